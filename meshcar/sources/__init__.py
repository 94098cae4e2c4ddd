"""Where rules and certificates come from."""
