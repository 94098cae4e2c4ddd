"""The one client engine."""
