"""What happened: counters, metrics, access log."""
