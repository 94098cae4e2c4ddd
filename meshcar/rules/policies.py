"""What a route tells the data path to do: values, made by compile, used at run time."""

from collections.abc import Callable, Iterable
from itertools import accumulate

import attrs

from meshcar.wire.formats import Format
from meshcar.wire.head import RequestHead

Predicate = Callable[[RequestHead], bool]


@attrs.frozen(eq=False)
class Condition:
    """One thing that a rule asks of a request. `field` is spelled as in the YAML (`uri`, `headers[x-user]`), `wanted` are words for
    people (`prefix "/api"`), `found` gives what the request has there (None: nothing)."""

    field: str
    wanted: str
    holds: Predicate
    found: Callable[[RequestHead], bytes | None]


Operation = tuple[str, bytes, Format]
"""`("remove", name, ())`, `("set", name, format)` or `("add", name, format)`; names in lower case."""


@attrs.frozen
class HeaderChange:
    """Changes to a head, in the order in which they are carried out. A "set" of the name `:authority` or `host` changes the Host; the
    former tells the old one in x-envoy-original-host.

    `groups` are the operations again: those of a group see the head as it is after the group's removes, not what the others of the
    group write. Source: Istio's Headers, Envoy's request_headers_to_add.
    """

    operations: tuple[Operation, ...]
    groups: tuple[tuple[Operation, ...], ...] = attrs.field(init=False, repr=False, eq=False)

    @groups.default
    def _grouped(self) -> tuple[tuple[Operation, ...], ...]:
        groups: list[list[Operation]] = []
        last = len(_ORDER)
        for operation in self.operations:
            place = _ORDER.index(operation[0])
            if place < last:
                groups.append([])
            groups[-1].append(operation)
            last = place
        return tuple(map(tuple, groups))


_ORDER = ("remove", "set", "add")


@attrs.frozen
class Rewrite:
    """Source: Istio HTTPRewrite. `path` maps the path (without query) to the new one; None leaves it."""

    authority: bytes | None = None
    path: Callable[[bytes], bytes] | None = None


@attrs.frozen
class Redirect:
    """Where a client is sent instead; what is None is as the client asked. Source: Istio HTTPRedirect.

    `target` maps the request's target (path and query) to the new one.
    """

    scheme: bytes | None = None
    authority: bytes | None = None
    port: int | None = None
    target: Callable[[bytes], bytes] | None = None


@attrs.frozen
class Answer:
    """What a route answers by itself, without an upstream. Source: Istio HTTPDirectResponse and HTTPRedirect.

    `redirect` is None for a direct response; `response` are the route's changes to the answer's headers.
    """

    status: int
    body: bytes = b""
    redirect: Redirect | None = None
    response: HeaderChange | None = None


@attrs.frozen
class Cors:
    """Who of other origins may ask. Source: Istio CorsPolicy, as Envoy's CORS filter carries it out.

    `allows` judges an Origin; lists are joined by commas, and empty where nothing is said, as is `max_age` (seconds). `forward`: a
    preflight of an origin that is not allowed goes on to the application.
    """

    allows: Callable[[bytes], bool]
    methods: bytes = b""
    headers: bytes = b""
    expose: bytes = b""
    max_age: bytes = b""
    credentials: bool = False
    forward: bool = True


@attrs.frozen
class Fault:
    """Source: Istio HTTPFaultInjection. Percentages run from 0 to 100.

    An abort by `grpc_status` has the HTTP status 200.
    """

    abort_percent: float = 0.0
    abort_status: int = 0
    delay_percent: float = 0.0
    delay_seconds: float = 0.0
    grpc_status: int | None = None


@attrs.frozen
class RetryPolicy:
    """When a failed try is repeated. Times in seconds. Source: Istio HTTPRetry, Envoy's retry_on words.

    `conditions` are Envoy's words; `status_codes` what retryOn names by number; `header_names` what "retriable-headers" looks for, which
    only a request can say. `spread`: a further try prefers an endpoint that has not been tried (Envoy's previous_hosts); `remote`: the
    third try leaves out the priorities of the first two, and so on (previous_priorities). `curious`: even
    an answer below 400 may be thrown away for its status or headers.
    """

    attempts: int = 2
    per_try_timeout: float | None = None
    conditions: frozenset[str] = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"})
    status_codes: frozenset[int] = frozenset()
    base_interval: float = 0.025
    max_interval: float = 0.25
    spread: bool = True
    remote: bool = False
    header_names: frozenset[bytes] = frozenset()
    curious: bool = attrs.field(init=False, repr=False, eq=False)

    def backing_off(self, base: float | None) -> "RetryPolicy":
        """The same with another base interval, if one is given; waits grow to ten times that. Source: Envoy's RetryBackOff."""
        return attrs.evolve(self, base_interval=base, max_interval=10 * base) if base else self

    @curious.default
    def _is_curious(self) -> bool:
        return bool(self.header_names) or any(code < 400 for code in self.status_codes)


@attrs.frozen
class Destination:
    """Where a route leads, in the words of the rules: full host name, subset (or ""), port."""

    host: str
    subset: str
    port: int


def shares(weights: Iterable[int]) -> tuple[float, ...]:
    """Of each of some destinations the part of all traffic, in [0, 1], that it or one before it gets; the last one is 1.0."""
    sums = list(accumulate(weights))
    return (*(part / sums[-1] for part in sums[:-1]), 1.0)


@attrs.frozen
class Mirror:
    """A copy of `percent` (0 to 100) of a route's requests goes to `cluster`. Source: Istio HTTPMirrorPolicy."""

    cluster: str
    percent: float
    destination: Destination


@attrs.frozen
class Keepalive:
    """TCP probes on an idle connection: how many, after how many seconds, and how many apart; None is as the kernel has it."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


@attrs.frozen(kw_only=True)
class OutlierPolicy:
    """When an endpoint that fails is left out for a while. Source: Istio OutlierDetection, Envoy's outlier detection.

    `errors` and `gateway_errors` (502, 503, 504) are how many in a row eject; 0 is never. `local_failures` is the same for what no
    endpoint answered, such as a refused connection; None counts those as 503. `statuses` are those that count as errors; without
    any, 500 and above. Times in seconds: `interval` between looks at who may come back, `ejection` how long the first one lasts.
    At most `max_percent` of the endpoints are out.
    """

    errors: int = 5
    gateway_errors: int = 0
    local_failures: int | None = None
    interval: float = 10.0
    ejection: float = 30.0
    max_percent: int = 10
    statuses: frozenset[int] = frozenset()


@attrs.frozen
class RetryBudget:
    """At most `percent` of the requests in flight, and of those begun in the last `interval` seconds, are retries; `least` always may."""

    percent: float = 20.0
    least: int = 3
    interval: float = 0.0


@attrs.frozen
class UpstreamTls:
    """How to speak TLS to an endpoint.

    `mode` is ISTIO_MUTUAL, MUTUAL or SIMPLE; `identities` the SPIFFE ids or other SANs of which the peer must show one (empty
    with ISTIO_MUTUAL: any id of the trust domain); `name` the host or address for which its certificate must be besides, unless
    empty. Files are paths; `ca_file` None is the machine's trust store. The server name is `sni`; with `by_host` each HTTP request's
    own Host takes its place, and with `named` that of `name`. Source: Istio ClientTLSSettings.
    """

    mode: str
    sni: bytes = b""
    identities: frozenset[str] = frozenset()
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False
    crl_file: str | None = None
    name: str = ""
    by_host: bool = False
    named: bool = False
