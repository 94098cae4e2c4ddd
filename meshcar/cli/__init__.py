"""The meshcar command, one file a verb."""
