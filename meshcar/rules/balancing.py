"""How requests spread over the endpoints of a cluster: values, made by compile, obeyed by `meshcar.policy.balance`."""

from typing import Literal

import attrs


@attrs.frozen
class Cookie:
    """The cookie that keeps a client at its endpoint. `ttl` None: it is read but never made; 0: it ends with the browser's session.
    Times in seconds; `attributes` are pairs of a name and a value or nothing. Source: Istio's HTTPCookie."""

    path: bytes = b""
    ttl: int | None = None
    attributes: tuple[tuple[bytes, bytes], ...] = ()


@attrs.frozen
class HashOn:
    """What of a request decides which endpoint it gets; `name` is the header's, the cookie's or the query parameter's.

    Source: Istio's ConsistentHashLB, Envoy's RouteAction.HashPolicy.
    """

    kind: Literal["header", "cookie", "query", "source_ip"]
    name: bytes = b""
    cookie: Cookie | None = None


@attrs.frozen
class Warmup:
    """A new endpoint's share grows for `seconds`, from `minimum` of it (0 to 1). Source: Envoy's slow start."""

    seconds: float
    minimum: float = 0.1
    aggression: float = 1.0


@attrs.frozen
class Balancing:
    """How a cluster chooses among its endpoints.

    `policy` is LEAST_REQUEST, ROUND_ROBIN, RANDOM, RING_HASH, MAGLEV, or PASSTHROUGH (to wherever the client meant to go). `slots` is
    how many pieces a hash table has. `panic`: when less than this part of a priority (in percent) is healthy, all of it counts as
    healthy. `localities` are weights of the localities of a priority, as (priority, locality, weight); empty: where an endpoint
    stands does not matter. `by_source`: connections that are no HTTP are hashed by their client's address.
    """

    policy: str = "LEAST_REQUEST"
    slots: int = 0
    warmup: Warmup | None = None
    panic: float = 0.0
    localities: tuple[tuple[int, str, int], ...] = ()
    by_source: bool = False

    @property
    def hashed(self) -> bool:
        """Whether the same key gets the same endpoint."""
        return self.slots > 0
