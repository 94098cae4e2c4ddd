"""A real Envoy as the other side's sidecar, configured as istiod does where mTLS and XFCC are concerned."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.live.processes import BIN, IDENTITY, Process, call, free_ports, until

_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3."
ALPN = ["istio-http/1.1", "istio", "http/1.1"]


class Envoy:
    """One listener, one cluster. Admin answers on `admin`, the listener on `port`."""

    def __init__(self, folder: Path, chains: list[dict[str, Any]], cluster: dict[str, Any], *filters: dict[str, Any]) -> None:
        self.port, self.admin = free_ports(2)
        folder.mkdir(parents=True)
        config = {
            "admin": {"address": _address(self.admin)},
            "static_resources": {
                "listeners": [{"name": "only", "address": _address(self.port), "filter_chains": chains, "listener_filters": filters}],
                "clusters": [{"name": "only", "connect_timeout": "5s", "type": "STATIC"} | cluster]},
        }
        (folder / "envoy.json").write_text(json.dumps(config))
        self.process = Process(
            [BIN / "envoy", "-c", folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning"], folder)

    def ready(self) -> "Envoy":
        """Waits until it is live."""
        def answered() -> bool:
            assert self.process.alive(), self.process.said()
            try:
                return call(self.admin, "GET", "/ready")[0] == 200
            except OSError:
                return False
        until(answered, 20, "Envoy's readiness")
        return self

    def stat(self, name: str) -> int:
        """A counter."""
        return int(call(self.admin, "GET", f"/stats?filter=^{name}$")[1].rpartition(":")[2] or 0)


def inbound(folder: Path, certs: Path, app_port: int, *, curves: Sequence[str] = ()) -> Envoy:
    """Envoy in front of an application: mTLS wanted, the caller told in XFCC. `curves` are the key exchanges it takes, if not its own."""
    details = {"subject": True, "uri": True, "dns": True}
    http = _http("inbound", forward_client_cert_details="APPEND_FORWARD", set_current_client_cert_details=details)
    chain = {"filters": [http], "transport_socket": _from_mesh(certs, curves)}
    return Envoy(folder, [chain], {"load_assignment": _endpoint(app_port)}).ready()


def guarded(folder: Path, certs: Path, app_port: int, rules: list[dict[str, Any]]) -> Envoy:
    """Envoy in front of an application, mTLS or plain, with a filter for each of some RBAC rules."""
    filters = [{"name": f"rbac{index}", "typed_config": _typed(_RBAC, rules=one)} for index, one in enumerate(rules)]
    http = _http("inbound", filters, normalize_path=True, use_remote_address=False)
    mutual = {"transport_protocol": "tls"}
    chains = [
        {"filters": [http], "filter_chain_match": mutual, "transport_socket": _from_mesh(certs)},
        {"filters": [http], "filter_chain_match": {"transport_protocol": "raw_buffer"}},
    ]
    inspector = {"name": "tls", "typed_config": _typed(_INSPECTOR)}
    return Envoy(folder, chains, {"load_assignment": _endpoint(app_port)}, inspector).ready()


def outbound(folder: Path, certs: Path, peer_port: int, identity: str = IDENTITY, *, one_request: bool = False) -> Envoy:
    """Envoy beside a client: plain in, mTLS out to a peer that must be `identity`, a connection for each request if so asked."""
    tls = _typed(_TLS + "UpstreamTlsContext", sni="outbound_.8000_._.httpbin.default.svc.cluster.local",
                 common_tls_context=_tls_context(certs, [identity]))
    cluster = {"load_assignment": _endpoint(peer_port), "transport_socket": {"name": "tls", "typed_config": tls}}
    if one_request:
        once = {"max_requests_per_connection": 1}
        options = _typed(_OPTIONS, common_http_protocol_options=once, explicit_http_config={"http_protocol_options": {}})
        cluster["typed_extension_protocol_options"] = {_OPTIONS: options}
    return Envoy(folder, [{"filters": [_http("outbound")]}], cluster).ready()


def routing(folder: Path, peer_port: int, routes: Sequence[dict[str, Any]]) -> Envoy:
    """Envoy beside a client: plain on both sides, with routes of one's own to the cluster `only`."""
    http = _http("outbound", routes=routes)
    return Envoy(folder, [{"filters": [http]}], {"load_assignment": _endpoint(peer_port)}).ready()


def _typed(name: str, **values: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **values}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: int) -> dict[str, Any]:
    return {"cluster_name": "only", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]}


def _from_mesh(certs: Path, curves: Sequence[str] = ()) -> dict[str, Any]:
    context = _tls_context(certs, ["spiffe://cluster.local/"])
    if curves:
        context["tls_params"]["ecdh_curves"] = curves
    tls = _typed(_TLS + "DownstreamTlsContext", require_client_certificate=True, common_tls_context=context)
    return {"name": "tls", "typed_config": tls}


def _http(
    name: str, filters: Sequence[dict[str, Any]] = (), routes: Sequence[dict[str, Any]] | None = None, **values: Any
) -> dict[str, Any]:
    every = {"match": {"prefix": "/"}, "route": {"cluster": "only"}}
    manager = _typed(
        _HTTP, stat_prefix=name, http_filters=[*filters, {"name": "router", "typed_config": _typed(_ROUTER)}],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes or [every]}]}, **values)
    return {"name": "http", "typed_config": manager}


def _tls_context(certs: Path, identities: list[str]) -> dict[str, Any]:
    files = {"certificate_chain": {"filename": f"{certs}/cert-chain.pem"}, "private_key": {"filename": f"{certs}/key.pem"}}
    sans = [{"san_type": "URI", "matcher": {"prefix" if each.endswith("/") else "exact": each}} for each in identities]
    return {
        "alpn_protocols": ALPN,
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [files],
        "validation_context": {"trusted_ca": {"filename": f"{certs}/root-cert.pem"}, "match_typed_subject_alt_names": sans},
    }
