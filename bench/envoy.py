"""Envoy's configuration for a place, in the shape that Istio gives it, with the features that the rules ask of meshcar."""

import json
from pathlib import Path
from typing import Any

from bench.mesh import ATTEMPTS, CLIENT, PORT, PREFIXES, RETRY_ON, SERVER, TIMEOUT, TRY_TIMEOUT, Place, full, names
from meshcar.observe.accesslog import ISTIO_TEXT

UNLIMITED = 2**32 - 1


def command(program: str, place: Place) -> list[str]:
    """Writes Envoy's configuration; gives the command line."""
    path = place.folder / "envoy.json"
    path.write_text(json.dumps(_config(place)))
    return [program, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _config(place: Place) -> dict[str, Any]:
    if place.app:
        listener, clusters = _inbound(place), [_cluster("app", place.app)]
    else:
        listener = {"filter_chains": [{"filters": [_http(place, [_virtual_host(name, place.mirror) for name in names()])]}]}
        clusters = [_service(name, place.backend, place.certs) for name in names()]
        if place.mirror is not None:
            clusters.append(_service("shadow", place.mirror, None))
    return {
        "node": {"id": "bench", "cluster": "bench"},
        "admin": {"address": _address(place.admin)},
        "static_resources": {
            "listeners": [{"name": "bench", "address": _address(place.listen), **listener}],
            "clusters": [*clusters, _cluster("zipkin", 9)],
        },
    }


def _typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _extension(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": _typed(f"extensions.{kind}", **fields)}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    """One endpoint, HTTP/1.1, Istio's defaults: least request, no limits."""
    options = "extensions.upstreams.http.v3.HttpProtocolOptions"
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), UNLIMITED)
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
        "typed_extension_protocol_options": {
            f"envoy.{options}": _typed(options, explicit_http_config={"http_protocol_options": {}}),
        },
    }


def _name(service: str) -> str:
    return f"outbound|{PORT}||{full(service)}"


def _service(name: str, port: int, certs: Path | None) -> dict[str, Any]:
    cluster = _cluster(_name(name), port)
    if certs:
        cluster["transport_socket"] = _extension(
            "envoy.transport_sockets.tls",
            "transport_sockets.tls.v3.UpstreamTlsContext",
            sni=f"outbound_.{PORT}_._.{full(name)}",
            common_tls_context=_tls(certs, SERVER),
        )
    return cluster


def _virtual_host(name: str, mirror: int | None) -> dict[str, Any]:
    hosts = [name, f"{name}.default", f"{name}.default.svc", full(name)]
    other_hosts = {"name": "envoy.retry_host_predicates.previous_hosts"}
    other_hosts |= _extension(other_hosts["name"], "retry.host.previous_hosts.v3.PreviousHostsPredicate")
    route: dict[str, Any] = {
        "cluster": _name(name),
        "timeout": TIMEOUT,
        "max_grpc_timeout": TIMEOUT,
        "retry_policy": {
            "retry_on": RETRY_ON,
            "num_retries": ATTEMPTS,
            "per_try_timeout": TRY_TIMEOUT,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [other_hosts],
        },
    }
    if mirror is not None:
        route["request_mirror_policies"] = [{"cluster": _name("shadow"), "runtime_fraction": {"default_value": {"numerator": 100}}}]
    return {
        "name": f"{name}:{PORT}",
        "domains": [domain for host in hosts for domain in (host, f"{host}:{PORT}")],
        "include_request_attempt_count": True,
        "routes": [
            {"name": title, "match": {"prefix": prefix}, "route": route, "decorator": {"operation": f"{full(name)}:{PORT}{prefix}*"}}
            for title, prefix in PREFIXES
        ],
    }


def _http(place: Place, hosts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The connection manager: access log, request ids, b3 that is never sampled, the filters that Istio always has."""
    zipkin = {"collector_cluster": "zipkin", "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON"}
    provider = {"name": "envoy.tracers.zipkin"}
    provider |= {"typed_config": _typed("config.trace.v3.ZipkinConfig", trace_id_128bit=True, shared_span_context=False, **zipkin)}  # type: ignore[dict-item]
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        use_remote_address=False,
        normalize_path=True,
        stream_idle_timeout="0s",
        upgrade_configs=[{"upgrade_type": "websocket"}],
        access_log=[
            _extension(
                "envoy.access_loggers.file",
                "access_loggers.file.v3.FileAccessLog",
                path=str(place.log),
                log_format={"text_format_source": {"inline_string": ISTIO_TEXT}},
            )
        ],
        tracing={
            "client_sampling": {"value": 100},
            "random_sampling": {"value": 0},
            "overall_sampling": {"value": 100},
            "provider": provider,
        },
        http_filters=[
            _extension("envoy.filters.http.cors", "filters.http.cors.v3.Cors"),
            _extension("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
            _extension("envoy.filters.http.router", "filters.http.router.v3.Router"),
        ],
        route_config={"name": "bench", "virtual_hosts": hosts},
        **more,
    )


def _inbound(place: Place) -> dict[str, Any]:
    assert place.certs
    routes = [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}]
    manager = _http(
        place,
        [{"name": "app", "domains": ["*"], "routes": routes}],
        forward_client_cert_details="APPEND_FORWARD",
        set_current_client_cert_details={"subject": True, "uri": True, "dns": True},
    )
    tls = _extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_tls(place.certs, CLIENT),
    )
    inspector = _extension("envoy.filters.listener.tls_inspector", "filters.listener.tls_inspector.v3.TlsInspector")
    return {"listener_filters": [inspector], "filter_chains": [{"filters": [manager], "transport_socket": tls}]}


def _tls(certs: Path, peer: str) -> dict[str, Any]:
    def file(name: str) -> dict[str, str]:
        return {"filename": str(certs / name)}

    return {
        "tls_certificates": [{"certificate_chain": file("cert-chain.pem"), "private_key": file("key.pem")}],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": {
            "trusted_ca": file("root-cert.pem"),
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    }
