"""Istio's ConnectionPoolSettings of a DestinationRule as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault

Count = Annotated[int, units.count]
Timespan = Annotated[float, units.timespan]

_HTTP2 = "has no effect: HTTP/2 is not spoken to endpoints"


@attrs.frozen
class TcpKeepalive:
    """Source: ConnectionPoolSettings.TCPSettings.TcpKeepalive. What is not given is as the kernel has it."""

    probes: Annotated[int, units.uint32] = 0
    time: Timespan | None = None
    interval: Timespan | None = None


@attrs.frozen
class TcpLimits:
    """Source: ConnectionPoolSettings.TCPSettings. An `idle_timeout` of 0 is none; a `max_connections` of 0 Istio's default, no limit."""

    max_connections: Count = 0
    connect_timeout: Timespan | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Timespan | None = None
    idle_timeout: Annotated[float, units.timespan_or_none] | None = None


@attrs.frozen
class Http2KeepAlive:
    """Source: ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive."""

    interval: Timespan
    timeout: Timespan


@attrs.frozen
class HttpLimits:
    """Source: ConnectionPoolSettings.HTTPSettings. 0 stands for Istio's default, no limit."""

    SPELLINGS: ClassVar = {
        "http1_max_pending_requests": ("http1MaxPendingRequests",),
        "http2_max_requests": ("http2MaxRequests",),
        "http2_keep_alive": ("http2KeepAlive",),
        "h2_upgrade_policy": ("h2UpgradePolicy",),
    }

    http1_max_pending_requests: Count = 0
    http2_max_requests: Count = 0
    max_requests_per_connection: Count = 0
    max_retries: Count = 0
    idle_timeout: Timespan | None = None
    h2_upgrade_policy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: Count = 0
    http2_keep_alive: Http2KeepAlive | None = None

    def faults(self) -> Iterator[Fault]:
        if self.h2_upgrade_policy == "UPGRADE":
            yield Fault(("h2UpgradePolicy",), "UNSUPPORTED_VALUE", "UPGRADE is not supported: HTTP/2 is not spoken to endpoints")
        if self.h2_upgrade_policy == "UPGRADE" and self.use_client_protocol:
            yield Fault(("useClientProtocol",), "CONFLICT", "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other")
        if self.max_concurrent_streams:
            yield Fault(("maxConcurrentStreams",), "NO_EFFECT", f"maxConcurrentStreams {_HTTP2}")
        if self.http2_keep_alive is not None:
            yield Fault(("http2KeepAlive",), "NO_EFFECT", f"http2KeepAlive {_HTTP2}")


@attrs.frozen
class ConnectionPool:
    """Source: ConnectionPoolSettings."""

    tcp: TcpLimits | None = None
    http: HttpLimits | None = None

    def faults(self) -> Iterator[Fault]:
        if self.tcp is None and self.http is None:
            yield Fault((), "REQUIRED", "connectionPool needs tcp or http")
