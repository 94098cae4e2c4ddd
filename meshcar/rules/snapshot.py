"""The compiled rules: what the data path asks, once per connection or request."""

from bisect import bisect_right
from collections.abc import Callable, Mapping

import attrs

from meshcar.rules.authz import Authorization
from meshcar.rules.balancing import Balancing, HashOn
from meshcar.rules.listeners import Listeners
from meshcar.rules.policies import (
    Answer,
    Condition,
    Cors,
    Destination,
    Fault,
    HeaderChange,
    Keepalive,
    Mirror,
    OutlierPolicy,
    RetryBudget,
    RetryPolicy,
    Rewrite,
    UpstreamTls,
)
from meshcar.wire.head import RequestHead

IDLE_SECONDS = 3600.0
"""For how long a connection may be idle where no rule says otherwise. Source: Envoy's default for HTTP and TCP."""


@attrs.frozen
class EndpointConfig:
    """Who answers: address (IPv4, IPv6, or a DNS name that is resolved) and port; `tls` None is plaintext. `locality` is
    `region/zone/subzone` or empty; `weight` a share among endpoints; those of a higher `priority` number get requests only where those of
    lower ones are down."""

    address: str
    port: int
    tls: UpstreamTls | None = None
    weight: int = 1
    locality: str = ""
    priority: int = 0


@attrs.frozen
class ClusterConfig:
    """A place one can send to, `outbound|8000|v1|httpbin.default.svc.cluster.local`. Times in seconds; a limit of None is none.

    Source: Istio DestinationRule's trafficPolicy. `idle_timeout` is for pooled connections that serve no request, `relay_idle_timeout` and
    `relay_max_duration` for opaque connections. `retry_budget` takes the place of `max_retries`. `proxy_protocol` is V1, V2 or empty.
    `elsewhere` stands for endpoints that nobody declares, where requests go to whatever address they were meant for. `discovery` is
    Envoy's word for how endpoints are found that have DNS names: STRICT_DNS, all addresses of all names; LOGICAL_DNS, one of them for
    each connection; STATIC where none has a name. With DYNAMIC_DNS the Host of each request is looked up, also of captured ones.
    """

    name: str
    destination: Destination
    endpoints: tuple[EndpointConfig, ...]
    balance: Balancing = Balancing()
    connect_timeout: float = 10.0
    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    retry_budget: RetryBudget | None = None
    idle_timeout: float | None = IDLE_SECONDS
    max_connection_duration: float | None = None
    relay_idle_timeout: float | None = IDLE_SECONDS
    relay_max_duration: float | None = None
    keepalive: Keepalive | None = None
    outliers: OutlierPolicy | None = None
    proxy_protocol: str = ""
    elsewhere: EndpointConfig | None = None
    discovery: str = "STATIC"


@attrs.frozen
class WeightedCluster:
    """One destination of a route, and the header changes (the route's and its own, merged) for what goes there."""

    cluster: str
    destination: Destination
    weight: int
    request: HeaderChange | None = None
    response: HeaderChange | None = None


@attrs.frozen
class Route:
    """One compiled rule, of the resource `virtual_service` (`namespace/name`) of a `kind`.

    `name` is %ROUTE_NAME%; `shares` are cumulative and end at 1.0; `timeout` None is none. A route with an `answer` has no clusters.
    `matches` is all of `conditions` in one, or None where there are none. `place` counts the rule in its resource, and the match in
    the rule. `no_cluster_status` is answered where a cluster is not there. `hashes` are what its clusters balance by, those that hash.
    `operation` is x-envoy-decorator-operation, which names the span: `httpbin.default.svc.cluster.local:8000/*`. `plain`: the route
    sends requests on and does nothing else before that.
    """

    name: str
    virtual_service: str | None
    matches: Callable[[RequestHead], bool] | None
    clusters: tuple[WeightedCluster, ...]
    shares: tuple[float, ...]
    timeout: float | None = None
    retries: RetryPolicy | None = RetryPolicy()
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    fault: Fault | None = None
    answer: Answer | None = None
    cors: Cors | None = None
    conditions: tuple[Condition, ...] = ()
    place: tuple[int, int] = (0, 0)
    no_cluster_status: int = 503
    kind: str = "VirtualService"
    hashes: tuple[HashOn, ...] = ()
    operation: bytes = attrs.field(default=attrs.Factory(lambda self: _operation(self.clusters), takes_self=True), repr=False)
    plain: bool = attrs.field(init=False, repr=False)

    @plain.default
    def _is_plain(self) -> bool:
        return self.fault is None and self.answer is None and self.cors is None

    def pick(self, roll: float) -> WeightedCluster:
        """The destination on which `roll`, in [0, 1), falls."""
        return self.clusters[bisect_right(self.shares, roll) if len(self.shares) > 1 else 0]


def _operation(clusters: tuple[WeightedCluster, ...]) -> bytes:
    return f"{clusters[0].destination.host}:{clusters[0].destination.port}/*".encode() if clusters else b""


@attrs.frozen
class VirtualHost:
    """The routes of a host, in order. The first that matches takes the request."""

    name: str
    routes: tuple[Route, ...]

    def route(self, head: RequestHead) -> Route | None:
        """None: no rule takes it; the caller answers 404 with flag NR, as Envoy does."""
        for route in self.routes:
            if route.matches is None or route.matches(head):
                return route
        return None


@attrs.frozen
class InboundListener:
    """How this workload's own port is served. `protocol`: http, tcp or auto; `mode`: STRICT, PERMISSIVE or DISABLE.

    `service` is who it serves, `httpbin.default.svc.cluster.local:8000`, or empty where no service selects this workload. `endpoint` is
    where the application is, if a Sidecar says so; an empty host is the address that was meant.
    """

    protocol: str
    mode: str
    service: str = ""
    endpoint: tuple[str, int] | None = None


@attrs.frozen(kw_only=True)
class Snapshot:
    """All rules, compiled. Never changed: a reload replaces the whole.

    `hosts` holds, for each port that speaks HTTP, its virtual hosts by name in lower case, with that port and without; a wildcard
    stands under its suffix with the dot (`.example.com`), any host under `*`; those for a part of a label
    stand under themselves (`*-api.example.com`), and `partial` says of ports that have such ones how long their wildcards of all kinds
    are, the longest first. `listeners` says what the application's connections
    are. `allow_any` is what a Sidecar says of hosts that nobody knows, None where none does.
    """

    generation: int
    clusters: Mapping[str, ClusterConfig]
    hosts: Mapping[int, Mapping[bytes, VirtualHost]] = attrs.field(factory=dict)
    partial: Mapping[int, tuple[int, ...]] = attrs.field(factory=dict)
    listeners: Listeners = Listeners()
    inbound_ports: Mapping[int, InboundListener] = attrs.field(factory=dict)
    inbound_default: InboundListener = InboundListener("auto", "PERMISSIVE")
    authorization: Authorization | None = None
    allow_any: bool | None = None

    def virtual_host(self, authority: bytes, port: int) -> VirtualHost | None:
        """The virtual host of an authority on a port: any case, port in it ignored; exact, then longest suffix, then `*`."""
        here = self.hosts.get(port)
        if here is None:
            return None
        found = here.get(authority)
        if found is not None:
            return found
        host = without_port(authority).lower()
        found = here.get(host)
        if found is not None:
            return found
        if port in self.partial and len(host) <= _LONGEST_NAME:
            return _by_any_suffix(host, here, self.partial[port])
        dot = host.find(b".") if len(host) <= _LONGEST_NAME else -1
        while dot > 0:
            found = here.get(host[dot:])
            if found is not None:
                return found
            dot = host.find(b".", dot + 1)
        return here.get(b"*")

    def parts(self) -> list[object]:
        """Whatever may be many in it, for `discarded`."""
        tables = [value for value in attrs.astuple(self, recurse=False) if isinstance(value, Mapping)]
        tables += (*self.hosts.values(), self.listeners.at, self.listeners.anywhere)
        return [value for table in tables for value in table.values()]

    def inbound(self, port: int) -> InboundListener:
        """How this workload's own port is served."""
        return self.inbound_ports.get(port, self.inbound_default)


def _by_any_suffix(host: bytes, table: Mapping[bytes, VirtualHost], lengths: tuple[int, ...]) -> VirtualHost | None:
    """The longest wildcard of all kinds; it stands for one character at least. Source: Envoy's VirtualHost.domains."""
    for length in lengths:
        if length < len(host):
            suffix = host[-length:]
            found = table.get(suffix if suffix[:1] == b"." else b"*" + suffix)
            if found is not None:
                return found
    return table.get(b"*")


def without_port(authority: bytes) -> bytes:
    """An authority without the port at its end; IPv6 addresses keep their brackets."""
    host, colon, port = authority.rpartition(b":")
    return host if colon and (not port or port.isdigit()) and (b":" not in host or host.endswith(b"]")) else authority


_LONGEST_NAME = 255
"""No DNS name is longer; a peer that sends one must not cost a search for each of its dots."""
