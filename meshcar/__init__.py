"""meshcar: a service-mesh sidecar whose shadow traffic one can trust."""

from meshcar import compiled

__version__ = "0.1.0"

compiled.choose()
