"""Decisions with memory; time and chance come as arguments."""
