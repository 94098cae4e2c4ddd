"""What both sidecars are asked to do, and meshcar's rules and command line for it."""

import json
import sys
from pathlib import Path
from typing import Any

import attrs

HOSTS = 50
"""Services `svc-0` and so on, each with a VirtualService of three prefix routes."""
PORT = 8000
PREFIXES = (("admin", "/admin/"), ("api", "/api/"), ("rest", "/"))
CLIENT, SERVER = "spiffe://cluster.local/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/server"
TIMEOUT, TRY_TIMEOUT, ATTEMPTS = "15s", "5s", 2
RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled"
"""Without status codes, so that both sides mean the same."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a sidecar lives. It is an outbound for services that `backend` answers, or, if `app` is given, the inbound of that port."""

    folder: Path
    listen: int
    admin: int
    health: int
    metrics: int
    backend: int = 0
    mirror: int | None = None
    """Port of the service `shadow`, to which all routes are mirrored."""
    certs: Path | None = None
    app: int | None = None

    @property
    def log(self) -> Path:
        """The access log's file."""
        return self.folder / "access.log"


def names() -> list[str]:
    """The services' names."""
    return [f"svc-{number}" for number in range(HOSTS)]


def full(name: str) -> str:
    """A service's host name in the mesh."""
    return f"{name}.default.svc.cluster.local"


def command(place: Place) -> list[str]:
    """Writes meshcar's rules; gives the command line."""
    rules = place.folder / "rules.yaml"
    documents = _inbound_rules() if place.app else _outbound_rules(place)
    rules.write_text("".join(f"---\n{json.dumps(document)}\n" for document in documents))
    here, off = f"127.0.0.1:{place.listen}", "off"
    options = {
        "rules": str(rules),
        "intercept": "none",
        "outbound": off if place.app else here,
        "inbound": here if place.app else off,
        "admin": f"127.0.0.1:{place.admin}",
        "health": f"127.0.0.1:{place.health}",
        "metrics": f"127.0.0.1:{place.metrics}",
        "access-log": str(place.log),
        "access-log-format": "text",
        "tracing": "b3",
        "trace-sampling": "0",
    }
    if place.app:
        options |= {"app-port": str(place.app), "mtls": "strict", "forward-client-cert": "append_forward"}
    if place.certs:
        options |= {"certs": str(place.certs), "service-account": "server" if place.app else "client"}
    twistd = Path(sys.executable).with_name("twistd")
    return [sys.executable, str(twistd), "-n", "--pidfile=", "meshcar", *(f"--{name}={value}" for name, value in options.items())]


def _inbound_rules() -> list[dict[str, Any]]:
    return [_document("security.istio.io/v1", "PeerAuthentication", "default", spec={"mtls": {"mode": "STRICT"}})]


def _outbound_rules(place: Place) -> list[dict[str, Any]]:
    documents = []
    for number, name in enumerate(names()):
        documents += _service(name, f"10.96.1.{number + 1}", place.backend)
        documents.append(_virtual_service(name, place.mirror is not None))
        if place.certs:
            policy = {"tls": {"mode": "ISTIO_MUTUAL", "subjectAltNames": [SERVER]}}
            documents.append(
                _document("networking.istio.io/v1", "DestinationRule", name, spec={"host": full(name), "trafficPolicy": policy})
            )
    if place.mirror is not None:
        documents += _service("shadow", "10.96.2.1", place.mirror)
    return documents


def _service(name: str, address: str, backend: int) -> list[dict[str, Any]]:
    port = {"name": "http", "protocol": "TCP"}
    service = {"clusterIP": address, "ports": [{**port, "port": PORT, "targetPort": backend}]}
    subset = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{**port, "port": backend}]}
    return [_document("v1", "Service", name, spec=service), _document("v1", "Endpoints", name, subsets=[subset])]


def _virtual_service(name: str, mirrored: bool) -> dict[str, Any]:
    route: dict[str, Any] = {
        "route": [{"destination": {"host": name, "port": {"number": PORT}}}],
        "timeout": TIMEOUT,
        "retries": {"attempts": ATTEMPTS, "perTryTimeout": TRY_TIMEOUT, "retryOn": RETRY_ON},
    }
    if mirrored:
        route |= {"mirror": {"host": "shadow", "port": {"number": PORT}}, "mirrorPercentage": {"value": 100.0}}
    http = [{"name": title, "match": [{"uri": {"prefix": prefix}}], **route} for title, prefix in PREFIXES]
    return _document("networking.istio.io/v1", "VirtualService", name, spec={"hosts": [name], "http": http})


def _document(version: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **rest}
