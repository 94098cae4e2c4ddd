"""Bytes and HTTP, without I/O."""
