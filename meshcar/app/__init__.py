"""The process: options, wiring, start and stop."""
