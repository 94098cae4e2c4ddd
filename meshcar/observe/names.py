"""Every metric in one table: name, kind, labels, meaning, and whose name it copies."""

import attrs

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@attrs.frozen
class Metric:
    """One metric. `unit` is what it counts; `source` says where the name comes from."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    help: str
    source: str = "meshcar"


BUCKETS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip
"""Upper bounds of every histogram, milliseconds or bytes. Source: Envoy's default buckets, which Istio keeps."""

PEERS = tuple(
    "reporter source_workload source_canonical_service source_canonical_revision source_workload_namespace source_principal "
    "source_app source_version source_cluster destination_workload destination_workload_namespace destination_principal "
    "destination_app destination_version destination_service destination_canonical_service destination_canonical_revision "
    "destination_service_name destination_service_namespace destination_cluster".split()
)
"""Labels that Istio puts on all of its metrics. Source: Istio Standard Metrics."""

_REQUEST = (*PEERS, "request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy")
_TCP = (*PEERS, "request_protocol", "response_flags", "connection_security_policy")
_ISTIO = "Istio Standard Metrics"
_COPY = ("destination_service", "subset")

REQUESTS = Metric("istio_requests_total", COUNTER, "requests", _REQUEST, "Requests; mirrored copies are not among them.", _ISTIO)
DURATION = Metric("istio_request_duration_milliseconds", HISTOGRAM, "milliseconds", _REQUEST, "Duration of requests.", _ISTIO)
REQUEST_BYTES = Metric("istio_request_bytes", HISTOGRAM, "bytes", _REQUEST, "Bodies of requests.", _ISTIO)
RESPONSE_BYTES = Metric("istio_response_bytes", HISTOGRAM, "bytes", _REQUEST, "Bodies of responses.", _ISTIO)
TCP_OPENED = Metric("istio_tcp_connections_opened_total", COUNTER, "connections", _TCP, "Opaque connections opened.", _ISTIO)
TCP_CLOSED = Metric("istio_tcp_connections_closed_total", COUNTER, "connections", _TCP, "Opaque connections closed.", _ISTIO)
TCP_SENT = Metric("istio_tcp_sent_bytes_total", COUNTER, "bytes", _TCP, "Bytes sent to clients of opaque connections.", _ISTIO)
TCP_RECEIVED = Metric("istio_tcp_received_bytes_total", COUNTER, "bytes", _TCP, "Bytes received from them.", _ISTIO)
MIRRORED = Metric("meshcar_mirror_requests_total", COUNTER, "requests", (*_COPY, "outcome"), "Mirrored copies sent, by how they ended.")
MIRROR_DROPPED = Metric("meshcar_mirror_dropped_total", COUNTER, "requests", (*_COPY, "reason"), "Mirrored copies that were not sent.")
CONNECTIONS = Metric(
    "envoy_listener_downstream_cx_total", COUNTER, "connections", ("listener_address",), "Connections accepted.", "Envoy, Istio's tags"
)
ACTIVE = Metric(
    "envoy_listener_downstream_cx_active", GAUGE, "connections", ("listener_address",), "Connections open now.", "Envoy, Istio's tags"
)
REFUSED = Metric(
    "meshcar_connections_refused_total", COUNTER, "connections", ("listener_address", "reason"),
    "Connections refused: reason loop (to a listener of our own), not_captured, limit and the like.",
)  # fmt: skip
HANDSHAKES = Metric(
    "meshcar_tls_handshakes_total", COUNTER, "handshakes", ("side", "result"),
    "TLS handshakes by side (inbound, outbound) and result: ok, or why the peer was refused.",
)  # fmt: skip
HTTP_RBAC = Metric(
    "envoy_http_rbac", COUNTER, "decisions",
    ("http_conn_manager_prefix", "authz_enforce_result", "authz_dry_run_action", "authz_dry_run_result"),
    "Requests that AuthorizationPolicies of one action let pass or refused; with a dry run's action, would have.", "Envoy, Istio's tags",
)  # fmt: skip
TCP_RBAC = Metric(
    "envoy_tcp_rbac", COUNTER, "decisions", ("authz_enforce_result", "authz_dry_run_action", "authz_dry_run_result"),
    "The same for connections that are not HTTP.", "Envoy, Istio's tags",
)  # fmt: skip
AUDITED = Metric(
    "meshcar_authorization_audited_total", COUNTER, "requests and connections", ("rule",),
    "What matched an AuthorizationPolicy of action AUDIT, by rule: ns[NAMESPACE]-policy[NAME]-rule[INDEX].",
)  # fmt: skip
GENERATION = Metric("meshcar_rules_generation", GAUGE, "generations", (), "Generation of the rules in force.")
RELOAD_FAILURES = Metric("meshcar_rules_reload_failures_total", COUNTER, "reloads", (), "Rules that were read or applied and refused.")
CERTIFICATE_FAILURES = Metric(
    "meshcar_certificate_reload_failures_total", COUNTER, "reloads", (), "Certificates that changed on disk and could not be used."
)
CERTIFICATE_EXPIRY = Metric(
    "istio_agent_cert_expiry_seconds", GAUGE, "seconds", ("resource_name",), "Seconds until the certificate expires.", "Istio agent"
)
CERTIFICATE_WARNINGS = Metric(
    "meshcar_certificate_expiry_warnings_total", COUNTER, "warnings", (), "Warnings, one a day, of a certificate that expires soon."
)
WORKERS = Metric("meshcar_workers", GAUGE, "processes", (), "Processes that serve, where --workers says more than one.")
WORKER_RESTARTS = Metric(
    "meshcar_worker_restarts_total", COUNTER, "processes", (), "Processes that ended though nobody told them to; each was replaced."
)
_ENVOY = "Envoy, Istio's tags"


def _of_cluster(name: str, what: str, unit: str = "requests", kind: str = COUNTER) -> Metric:
    return Metric(f"envoy_cluster_{name}", kind, unit, ("cluster_name",), what, _ENVOY)


PENDING_OVERFLOW = _of_cluster("upstream_rq_pending_overflow", "Requests refused as too many waited for a connection.")
ACTIVE_OVERFLOW = _of_cluster("upstream_rq_active_overflow", "Requests refused as too many ran.")
CONNECTION_OVERFLOW = _of_cluster("upstream_cx_overflow", "Requests for which no connection might be opened.")
RETRY_OVERFLOW = _of_cluster("upstream_rq_retry_overflow", "Retries that were not made as too many ran.")
_EJECTION_KINDS = ("consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure")
EJECTIONS_ACTIVE = _of_cluster("outlier_detection_ejections_active", "Endpoints that are ejected now.", "endpoints", GAUGE)
EJECTIONS_TOTAL = _of_cluster("outlier_detection_ejections_enforced_total", "Ejections.", "ejections")
EJECTIONS_OVERFLOW = _of_cluster("outlier_detection_ejections_overflow", "Ejections not made because of maxEjectionPercent.", "ejections")
EJECTIONS_ENFORCED = {
    kind: _of_cluster(f"outlier_detection_ejections_enforced_{kind}", "Ejections for this reason.", "ejections")
    for kind in _EJECTION_KINDS
}
EJECTIONS_DETECTED = {
    kind: _of_cluster(f"outlier_detection_ejections_detected_{kind}", "The same, made or not.", "ejections")
    for kind in _EJECTION_KINDS
}
LOG_DROPPED = Metric("meshcar_access_log_dropped_total", COUNTER, "lines", (), "Access log lines that could not be written.")

METRICS = (
    REQUESTS, DURATION, REQUEST_BYTES, RESPONSE_BYTES, TCP_OPENED, TCP_CLOSED, TCP_SENT, TCP_RECEIVED, MIRRORED, MIRROR_DROPPED,
    CONNECTIONS, ACTIVE, REFUSED, HANDSHAKES, HTTP_RBAC, TCP_RBAC, AUDITED, GENERATION, RELOAD_FAILURES, CERTIFICATE_FAILURES,
    CERTIFICATE_EXPIRY, CERTIFICATE_WARNINGS, LOG_DROPPED, WORKERS, WORKER_RESTARTS,
    PENDING_OVERFLOW, ACTIVE_OVERFLOW, CONNECTION_OVERFLOW, RETRY_OVERFLOW, EJECTIONS_ACTIVE, EJECTIONS_TOTAL, EJECTIONS_OVERFLOW,
    *EJECTIONS_ENFORCED.values(), *EJECTIONS_DETECTED.values(),
)  # fmt: skip
"""All of them, in the order of the exposition."""
