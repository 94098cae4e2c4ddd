"""From Istio's YAML to one compiled Snapshot."""
