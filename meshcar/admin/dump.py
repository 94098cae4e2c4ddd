"""What the process is doing, in the shapes of Envoy's admin: clusters, listeners, certificates, configuration; never a key."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs
from cryptography import x509
from twisted.web.server import Request

from meshcar import __version__
from meshcar.admin.http import TEXT, Answer, as_json, as_text, in_pieces, json_object, rfc3339
from meshcar.admin.operator import ClusterStatus, EndpointStatus, ListenerStatus, Operator
from meshcar.admin.rules_calls import entry, summary
from meshcar.net.slices import Work
from meshcar.observe.prometheus import CONTENT_TYPE

NO_LIMIT = 4294967295
"""How Envoy writes that there is none."""

_PLACE = ("region", "zone", "sub_zone")


def ready(operator: Operator, request: Request) -> Answer:
    """`GET /ready`: 200 `LIVE` and the remarks, or 503 and the reason, which begins with `DRAINING` where that is it."""
    reason = operator.ready()
    if operator.life.leaving:
        reason = f"DRAINING\n{reason}"
    return as_text("\n".join(["LIVE" if reason is None else reason, *operator.remarks(), ""]), 200 if reason is None else 503)


def clusters(operator: Operator, request: Request) -> Work[Answer]:
    """`GET /clusters`: Envoy's lines `cluster::endpoint::name::value`; `?format=json` for its cluster_statuses."""
    yield from operator.news(True)
    found = operator.clusters()
    if _wants_json(request):
        return (yield from in_pieces(json_object({}, "cluster_statuses", map(_cluster_value, found)), "application/json"))
    return (yield from in_pieces(("".join(f"{line}\n" for line in _cluster_lines(cluster)) for cluster in found), TEXT))


def listeners(operator: Operator, request: Request) -> Answer:
    """`GET /listeners`: lines `name::address:port`; `?format=json` for Envoy's listener_statuses."""
    found = operator.listeners()
    if _wants_json(request):
        return as_json({"listener_statuses": [{"name": listener.name, "local_address": _address(listener)} for listener in found]})
    return as_text("".join(f"{listener.name}::{_host_port(listener.address, listener.port)}\n" for listener in found))


def certificates(operator: Operator, request: Request) -> Answer:
    """`GET /certs`: Envoy's `certificates`, each with ca_cert and cert_chain; empty without --certs."""
    credentials, now = operator.credentials(), datetime.fromtimestamp(operator.clock(), UTC)
    if credentials is None:
        return as_json({"certificates": []})
    return as_json({"certificates": [{
        "ca_cert": [_certificate(certificate, "root-cert.pem", now) for certificate in credentials.roots],
        "cert_chain": [_certificate(certificate, "cert-chain.pem", now) for certificate in credentials.chain],
    }]})


def server_info(operator: Operator, request: Request) -> Answer:
    """`GET /server_info`: version, state, uptime and options."""
    return as_json({
        "version": f"meshcar/{__version__}",
        "state": _state(operator),
        "uptime_all_epochs": f"{int(operator.clock() - operator.started_at)}s",
        "command_line_options": dict(operator.config()),
        "option_origins": dict(operator.origins),
    })


def _state(operator: Operator) -> str:
    if operator.ready() is None:
        return "LIVE"
    return "DRAINING" if operator.life.leaving else "INITIALIZING"


def config_dump(operator: Operator, request: Request) -> Work[Answer]:
    """`GET /config_dump`: options, rules, clusters, what becomes of captured connections, our ports; each with its `@type`."""
    yield from operator.news(True)
    return (yield from in_pieces(_configs(operator), "application/json"))


def _configs(operator: Operator) -> Iterator[str]:
    options = {"@type": "meshcar.Settings", "last_updated": rfc3339(operator.started_at), **operator.config()}
    listening = [attrs.asdict(listener) for listener in operator.listeners()]
    yield '{\n"configs": [\n'
    yield json.dumps(options, indent=1, default=str) + ",\n"
    yield from json_object({"@type": "meshcar.Rules", **summary(operator)}, "resources", map(entry, operator.rules.resources()))
    yield ","
    yield from json_object({"@type": "meshcar.Clusters"}, "clusters", map(attrs.asdict, operator.clusters()))
    yield ","
    yield from json_object({"@type": "meshcar.OutboundListeners"}, "listeners", (one.entry() for one in operator.outbound()))
    yield "," + json.dumps({"@type": "meshcar.Listeners", "listeners": listening}, indent=1) + "\n]\n}\n"


def metrics(operator: Operator, request: Request) -> Work[Answer]:
    """`GET /stats/prometheus`: the exposition text."""
    yield from operator.news(False)
    return (yield from in_pieces(operator.metrics(), CONTENT_TYPE))


def _wants_json(request: Request) -> bool:
    return bool(request.args.get(b"format") == [b"json"])


def _cluster_lines(cluster: ClusterStatus) -> Iterator[str]:
    yield f"{cluster.name}::observability_name::{cluster.name}"
    for name, limit in cluster.limits.items():
        yield f"{cluster.name}::default_priority::{name}::{NO_LIMIT if limit is None else limit}"
    for endpoint in cluster.endpoints:
        start = f"{cluster.name}::{_host_port(endpoint.address, endpoint.port)}::"
        for name, count in endpoint.counts.items():
            yield f"{start}{name}::{count}"
        yield f"{start}health_flags::{'healthy' if endpoint.healthy else '/failed_outlier_check'}"
        yield f"{start}weight::{endpoint.weight}"
        for name, part in zip(_PLACE, endpoint.locality, strict=True):
            yield f"{start}{name}::{part}"
        yield f"{start}priority::{endpoint.priority}"


def _cluster_value(cluster: ClusterStatus) -> dict[str, Any]:
    limits = {name: NO_LIMIT if limit is None else limit for name, limit in cluster.limits.items()}
    return {
        "name": cluster.name,
        "observability_name": cluster.name,
        "circuit_breakers": {"thresholds": [limits]},
        "host_statuses": [_endpoint_value(endpoint) for endpoint in cluster.endpoints],
    }


def _endpoint_value(endpoint: EndpointStatus) -> dict[str, Any]:
    return {
        "address": {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}},
        "stats": [{"name": name, "value": str(count)} for name, count in endpoint.counts.items()],
        "health_status": {"eds_health_status": "HEALTHY"} if endpoint.healthy else {"failed_outlier_check": True},
        "weight": endpoint.weight,
        "locality": {name: part for name, part in zip(_PLACE, endpoint.locality, strict=True) if part},
        "priority": endpoint.priority,
    }


def _address(listener: ListenerStatus) -> dict[str, Any]:
    if listener.port is None:
        return {"pipe": {"path": listener.address}}
    return {"socket_address": {"address": listener.address, "port_value": listener.port}}


def _host_port(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _certificate(certificate: x509.Certificate, path: str, now: datetime) -> dict[str, Any]:
    left = certificate.not_valid_after_utc - now
    return {
        "path": path,
        "serial_number": f"{certificate.serial_number:x}",
        "subject_alt_names": [*_names(certificate)],
        "days_until_expiration": str(max(0, left.days)),
        "valid_from": rfc3339(certificate.not_valid_before_utc.timestamp()),
        "expiration_time": rfc3339(certificate.not_valid_after_utc.timestamp()),
    }


def _names(certificate: x509.Certificate) -> Iterator[dict[str, str]]:
    """URIs, DNS names and addresses of the subject; nothing of an extension that cannot be read."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for kind, word in ((x509.UniformResourceIdentifier, "uri"), (x509.DNSName, "dns"), (x509.IPAddress, "ip_address")):
        for value in names.get_values_for_type(kind):
            yield {word: str(value)}
