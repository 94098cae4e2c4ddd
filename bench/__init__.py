"""Measurements that anybody can repeat: meshcar beside Envoy, and what a copy costs."""
