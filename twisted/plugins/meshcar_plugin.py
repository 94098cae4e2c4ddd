"""Lets twistd find the sidecar: `twistd meshcar`."""

from twisted.application.service import ServiceMaker

meshcar = ServiceMaker("meshcar", "meshcar.app.tap", "A service-mesh sidecar.", "meshcar")
