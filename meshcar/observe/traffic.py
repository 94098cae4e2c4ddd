"""Istio's request and TCP metrics of one pair of peers: labels joined once, slots bound when a code or flag first occurs."""

from collections.abc import Mapping

import attrs

from meshcar.observe.counters import Counter, Counters, Histogram
from meshcar.observe.names import (
    DURATION,
    PEERS,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
    TCP_CLOSED,
    TCP_OPENED,
    TCP_RECEIVED,
    TCP_SENT,
    Metric,
)

UNKNOWN = "unknown"
"""What Istio writes where it does not know."""


@attrs.frozen
class Party:
    """What a sidecar knows of one end: `labels` are those of its pod, `principal` its SPIFFE id. Empty text is not known."""

    namespace: str = ""
    principal: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)

    def described(self, side: str) -> dict[str, str]:
        """Istio's labels for it; `side` is source or destination. Names and revisions as Istio chooses them from pod labels."""
        app, version = self.labels.get("app", ""), self.labels.get("version", "")
        name = self.labels.get("service.istio.io/canonical-name") or self.labels.get("app.kubernetes.io/name") or app
        revision = self.labels.get("service.istio.io/canonical-revision") or self.labels.get("app.kubernetes.io/version") or version
        return {
            f"{side}_workload": name,
            f"{side}_canonical_service": name,
            f"{side}_canonical_revision": revision or ("latest" if name else ""),
            f"{side}_workload_namespace": self.namespace,
            f"{side}_principal": self.principal,
            f"{side}_app": app,
            f"{side}_version": version,
        }


@attrs.frozen
class Service:
    """The destination in the words of the rules: `httpbin.default.svc.cluster.local`. Empty text is not known."""

    host: str = ""

    def described(self) -> dict[str, str]:
        """Istio's labels for it."""
        name, _, rest = self.host.partition(".")
        namespace, separator, _ = rest.partition(".svc.")
        in_mesh = bool(separator)
        return {
            "destination_service": self.host,
            "destination_service_name": name if in_mesh else self.host,
            "destination_service_namespace": namespace if in_mesh else "",
        }


class Traffic:
    """Counts the exchanges between two parties. Whoever binds a cluster or a connection keeps one."""

    __slots__ = ("_counters", "_peers", "_policy", "_requests")

    def __init__(self, counters: Counters, reporter: str, source: Party, destination: Party, service: Service, mtls: bool) -> None:
        """`reporter` is source (outbound) or destination (inbound); `mtls` matters inbound only, as with Istio."""
        known = {"reporter": reporter} | source.described("source") | destination.described("destination") | service.described()
        self._counters = counters
        self._peers = tuple(known.get(label) or UNKNOWN for label in PEERS)
        self._policy = UNKNOWN if reporter == "source" else "mutual_tls" if mtls else "none"
        self._requests: dict[tuple[int, str], tuple[Counter, Histogram, Histogram, Histogram]] = {}

    def request(self, status: int, flags: str, duration_ms: int, received: int, sent: int) -> None:
        """One exchange that is over; `status` is 0 when no head was sent."""
        slots = self._requests.get((status, flags)) or self._bind(status, flags)
        requests, durations, request_bytes, response_bytes = slots
        requests.value += 1
        durations.observe(duration_ms)
        request_bytes.observe(received)
        response_bytes.observe(sent)

    def opened(self) -> None:
        """An opaque connection began."""
        self._tcp(TCP_OPENED, "-").value += 1

    def closed(self, flags: str, received: int, sent: int) -> None:
        """It is over; bytes as seen from the client: it sent `received`."""
        self._tcp(TCP_CLOSED, flags).value += 1
        self._tcp(TCP_SENT, flags).value += sent
        self._tcp(TCP_RECEIVED, flags).value += received

    def _bind(self, status: int, flags: str) -> tuple[Counter, Histogram, Histogram, Histogram]:
        labels = (*self._peers, "http", str(status), "", flags, self._policy)
        slots = (
            self._counters.counter(REQUESTS, *labels),
            self._counters.histogram(DURATION, *labels),
            self._counters.histogram(REQUEST_BYTES, *labels),
            self._counters.histogram(RESPONSE_BYTES, *labels),
        )
        self._requests[status, flags] = slots
        return slots

    def _tcp(self, metric: Metric, flags: str) -> Counter:
        return self._counters.counter(metric, *self._peers, "tcp", flags, self._policy)
