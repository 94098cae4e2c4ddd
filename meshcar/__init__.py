"""meshcar: a service-mesh sidecar whose shadow traffic one can trust."""

__version__ = "0.1.0"
