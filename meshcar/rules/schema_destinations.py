"""Istio's DestinationRule as frozen values, field by field (https://istio.io/latest/docs/reference/config/networking/destination-rule/).

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault, repeated
from meshcar.rules.schema_balancing import LoadBalancer, failover_faults
from meshcar.rules.schema_targets import PortSelector
from meshcar.rules.visibility import export_faults

Count = Annotated[int, units.count]
Duration = Annotated[float, units.duration]


@attrs.frozen
class TlsRule:
    """Source: ClientTLSSettings."""

    REFUSED: ClassVar = frozenset({"credentialName", "caCrl"})

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    subject_alt_names: tuple[str, ...] = ()
    sni: Annotated[str, units.host] | None = None
    insecure_skip_verify: bool = False

    def faults(self) -> Iterator[Fault]:
        own = (("clientCertificate", self.client_certificate), ("privateKey", self.private_key))
        for field, value in own:
            if self.mode == "MUTUAL" and not value:
                yield Fault((field,), "REQUIRED", f"mode MUTUAL needs {field}")
            if self.mode == "ISTIO_MUTUAL" and value:
                yield Fault((field,), "CONFLICT", f"mode ISTIO_MUTUAL uses the mesh's certificates; {field} must not be given")
        if self.mode == "ISTIO_MUTUAL" and self.ca_certificates:
            yield Fault(("caCertificates",), "CONFLICT", "mode ISTIO_MUTUAL uses the mesh's certificates; caCertificates must not be given")
        if self.mode == "ISTIO_MUTUAL" and self.insecure_skip_verify:
            yield Fault(("insecureSkipVerify",), "CONFLICT", "mode ISTIO_MUTUAL always verifies the peer")


@attrs.frozen
class TcpLimits:
    """Source: ConnectionPoolSettings.TCPSettings."""

    REFUSED: ClassVar = frozenset({"idleTimeout", "maxConnectionDuration", "tcpKeepalive"})

    max_connections: Count | None = None
    connect_timeout: Duration | None = None


@attrs.frozen
class HttpLimits:
    """Source: ConnectionPoolSettings.HTTPSettings. 0 stands for Istio's default, no limit."""

    REFUSED: ClassVar = frozenset({"h2UpgradePolicy", "http2KeepAlive", "idleTimeout", "maxConcurrentStreams", "useClientProtocol"})
    SPELLINGS: ClassVar = {
        "http1_max_pending_requests": ("http1MaxPendingRequests",),
        "http2_max_requests": ("http2MaxRequests",),
    }

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0


@attrs.frozen
class ConnectionPool:
    """Source: ConnectionPoolSettings."""

    tcp: TcpLimits = TcpLimits()
    http: HttpLimits = HttpLimits()


@attrs.frozen(kw_only=True)
class PortPolicy:
    """Source: TrafficPolicy.PortTrafficPolicy."""

    REFUSED: ClassVar = frozenset({"outlierDetection"})

    port: PortSelector
    connection_pool: ConnectionPool | None = None
    load_balancer: LoadBalancer | None = None
    tls: TlsRule | None = None

    def faults(self) -> Iterator[Fault]:
        yield from failover_faults(self.load_balancer, getattr(self, "outlier_detection", None))


@attrs.frozen
class TrafficPolicy:
    """How to speak to a host or to one of its subsets."""

    REFUSED: ClassVar = frozenset({"outlierDetection", "tunnel", "proxyProtocol", "retryBudget"})

    connection_pool: ConnectionPool | None = None
    load_balancer: LoadBalancer | None = None
    tls: TlsRule | None = None
    port_level_settings: tuple[PortPolicy, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from failover_faults(self.load_balancer, getattr(self, "outlier_detection", None))


@attrs.frozen
class Subset:
    """The endpoints of a host that have these labels."""

    name: Annotated[str, units.label]
    labels: Mapping[str, str] = attrs.field(factory=dict)
    traffic_policy: TrafficPolicy | None = None


@attrs.frozen
class DestinationRule:
    """Policies for what goes to `host`, after routing."""

    REFUSED: ClassVar = frozenset({"workloadSelector"})

    host: Annotated[str, units.host_pattern]
    subsets: tuple[Subset, ...] = ()
    traffic_policy: TrafficPolicy | None = None
    export_to: tuple[Annotated[str, units.export_target], ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from export_faults(self.export_to)
        yield from repeated((subset.name for subset in self.subsets), "subsets", "name")
