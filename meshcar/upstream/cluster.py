"""A place one can send to: endpoints, balancing, limits, connections."""

from collections.abc import Collection, Sequence

from meshcar.errors import NoHealthyUpstream, Overflow
from meshcar.policy.balance import Pick, balancer
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.upstream.endpoint import Endpoint
from meshcar.upstream.h1 import Connection
from meshcar.upstream.opener import Opener
from meshcar.upstream.sink import Waiter

_FURTHER_PICKS = 5
"""How often a further try looks for an endpoint that has not been tried: Istio's host_selection_retry_max_attempts."""


class Counts:
    """What a cluster counts; read when somebody asks."""

    __slots__ = ("connect_fail", "connections", "overflow", "pending_overflow", "retry_overflow")

    def __init__(self) -> None:
        self.connections = self.connect_fail = self.overflow = self.pending_overflow = self.retry_overflow = 0


class Cluster:
    """Made when a snapshot first names it, kept while its configuration is equal, retired when none names it.

    `source` is the address connections come from, or None; `opaque` says that what flows is not HTTP.
    """

    def __init__(self, config: ClusterConfig, opener: Opener, source: str | None = None, opaque: bool = False) -> None:
        self.config = config
        self.name = config.name
        self.opener = opener
        self.source = source
        self.opaque = opaque
        self.counts = Counts()
        self.connections = 0
        self.retrying = 0
        self.endpoints = [Endpoint(endpoint, self) for endpoint in config.endpoints]
        self._usable: Sequence[Endpoint] = self.endpoints
        self._pick: Pick[Endpoint] = balancer(config.balance)

    def update(self, endpoints: Sequence[EndpointConfig]) -> None:
        """Who answers has changed; who stays keeps its connections."""
        known = {one.config: one for one in self.endpoints}
        self.endpoints = [known[one] if one in known else Endpoint(one, self) for one in endpoints]
        for gone in known.keys() - set(endpoints):
            known[gone].retire()
        self.refresh()

    def refresh(self) -> None:
        """Which endpoints may be chosen has changed: there are others, or one was ejected or came back."""
        self._usable = [one for one in self.endpoints if not one.ejected] or self.endpoints

    def choose(self, avoid: Collection[str] = ()) -> Endpoint:
        """The endpoint for the next request, if chance allows none of those names. Raises NoHealthyUpstream."""
        endpoints = self._usable
        if len(endpoints) == 1:
            return endpoints[0]
        if not endpoints:
            raise NoHealthyUpstream
        chosen = self._pick(endpoints, self.opener.roll())
        if avoid:
            for _ in range(_FURTHER_PICKS):
                if chosen.name not in avoid:
                    break
                chosen = self._pick(endpoints, self.opener.roll())
        return chosen

    def acquire(self, endpoint: Endpoint, waiter: Waiter) -> Connection | None:
        """A connection at once, or None: `waiter` will be told. Raises Overflow when a limit is reached."""
        most = self.config.max_requests
        if most is not None and sum(each.active for each in self.endpoints) >= most:
            self.counts.overflow += 1
            raise Overflow
        connection = endpoint.take()
        if connection is not None:
            return connection
        may_open = endpoint.may_open()
        if not may_open or self.config.max_pending_requests is not None:
            waiting = sum(each.waiting for each in self.endpoints)
            if waiting >= (self.config.max_pending_requests or 1024):
                self.counts.pending_overflow += 1
                raise Overflow
        endpoint.wait(waiter, may_open)
        return None

    def may_open(self) -> bool:
        """Whether the limit on connections leaves room for one more."""
        limit = self.config.max_connections
        return limit is None or self.connections < limit

    def begin_retry(self) -> bool:
        """Whether the limit on requests in their second or a further try leaves room for one more, which then ends with `end_retry`."""
        limit = self.config.max_retries
        if limit is not None and self.retrying >= limit:
            self.counts.retry_overflow += 1
            return False
        self.retrying += 1
        return True

    def end_retry(self) -> None:
        """A request that was retried is over."""
        self.retrying -= 1

    def opened(self) -> None:
        """An endpoint opens a connection."""
        self.connections += 1

    def closed(self) -> None:
        """An endpoint's connection is gone, or never came."""
        self.connections -= 1

    def connected(self) -> None:
        """A connection succeeded."""
        self.counts.connections += 1

    def connect_failed(self) -> None:
        """A connection failed."""
        self.counts.connect_fail += 1

    def renew(self) -> None:
        """Certificates changed: idle TLS connections are of the old ones."""
        for endpoint in self.endpoints:
            if endpoint.config.tls is not None:
                endpoint.close_idle()

    def retire(self) -> None:
        """No snapshot names this cluster any more."""
        for endpoint in self.endpoints:
            endpoint.retire()
