"""A place one can send to: endpoints, balancing, limits, connections."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import attrs

from meshcar.errors import NoHealthyUpstream, Overflow
from meshcar.latest import Latest
from meshcar.observe.names import ACTIVE_OVERFLOW, CONNECTION_OVERFLOW, PENDING_OVERFLOW, RETRY_OVERFLOW, Metric
from meshcar.policy.balance import Choice
from meshcar.policy.balance_levels import arrange, levels
from meshcar.policy.breakers import Recent, most_retries
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.upstream.ejections import Ejections
from meshcar.upstream.endpoint import Endpoint
from meshcar.upstream.h1 import Connection
from meshcar.upstream.opener import Opener
from meshcar.upstream.sink import Waiter

if TYPE_CHECKING:
    from meshcar.upstream.resolve import Names

_FURTHER_PICKS = 5
"""How often a further try looks for an endpoint that has not been tried: Istio's host_selection_retry_max_attempts."""


_MOST_ELSEWHERE = 1024
"""Original destinations of one cluster that are kept; the one unused longest goes first."""


class Counts:
    """What a cluster counts, for HTTP and opaque bytes together; read when somebody asks."""

    __slots__ = (
        "connect_fail", "connections", "connections_overflow", "open", "overflow", "pending_overflow", "retry_overflow", "retrying",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connections = self.connect_fail = 0
        self.overflow = self.pending_overflow = self.retry_overflow = self.connections_overflow = 0
        self.open = self.retrying = 0  # now


class Cluster:
    """Made when a snapshot first names it, kept while its configuration is equal but for endpoints, retired when none names it.

    `plain`: any endpoint may take a request, by load or in turn; else it depends on the request. `apart`: so does the connection.
    `source` is the address connections come from, or None; `opaque` says that what flows is not HTTP. `twin` is the cluster of the
    same endpoints for the other of the two: limits and ejections hold for both. `names` knows the addresses of endpoints that have DNS
    names, where there are any.
    """

    names: "Names | None" = None

    def __init__(
        self, config: ClusterConfig, opener: Opener, source: str | None = None, opaque: bool = False, twin: "Cluster | None" = None
    ) -> None:
        self.config = config
        self.name = config.name
        self.opener = opener
        self.source = source
        self.opaque = opaque
        self.counts: Counts = Counts() if twin is None else twin.counts
        self.ejections: Ejections | None = None
        if config.outliers is not None:
            self.ejections = Ejections(config.name, config.outliers, opener) if twin is None else twin.ejections
        if self.ejections is not None:
            self.ejections.outliers.changed.append(self.refresh)
        budget = config.retry_budget
        self._recent = Recent(budget.interval) if budget is not None and budget.interval else None
        self.endpoints = [Endpoint(endpoint, self) for endpoint in config.endpoints]
        self._usable: Sequence[Endpoint]
        self._choice: Choice[Endpoint] | None
        self._elsewhere: Latest[tuple[str, int], Endpoint] = Latest(_MOST_ELSEWHERE)
        self.refresh()

    def may_adopt(self, config: ClusterConfig) -> bool:
        """Whether a newer configuration only says differently who answers, and who of them is chosen."""
        own = self.config
        return config == own or attrs.evolve(config, endpoints=own.endpoints, balance=own.balance) == own

    def adopt(self, config: ClusterConfig) -> None:
        """Takes over a newer configuration; see `may_adopt`."""
        self.config = config
        self.update(config.endpoints)

    def update(self, endpoints: Sequence[EndpointConfig]) -> None:
        """Who answers has changed, or its weight or place; who stays keeps its connections and its state."""
        before = self.endpoints
        known = {_identity(one.config): one for one in before}
        self.endpoints = [self._kept(known.pop(_identity(one), None), one) for one in endpoints]
        for gone in set(before).difference(self.endpoints):
            gone.retire()
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        if self.ejections is not None:
            self.ejections.outliers.keep([one.name for one in self.everyone()])

    def _kept(self, known: Endpoint | None, config: EndpointConfig) -> Endpoint:
        if known is None:
            return Endpoint(config, self)
        known.config = config
        return known

    def refresh(self) -> None:
        """Which endpoints may be chosen has changed: there are others, or one was ejected or came back."""
        balance = self.config.balance
        self._choice = None
        self._others: dict[frozenset[int], Choice[Endpoint]] = {}
        self._warms = balance.warmup is not None
        passes = self.config.elsewhere is not None
        self.plain = not balance.hashed and not passes
        self._declared = {(one.config.address, one.config.port): one for one in self.endpoints} if passes else {}
        by_host = any(one.config.tls is not None and one.config.tls.by_host for one in self.endpoints)
        self.apart = not self.opaque and (by_host or bool(self.config.proxy_protocol))
        if any(one.ejected or one.config.priority for one in self.endpoints):
            self._usable = [one for level in levels(self.endpoints, balance.panic) for one in level.usable]
        else:
            self._usable = self.endpoints

    def choose(self, avoid: Collection[str] = (), key: int | None = None, without: frozenset[int] = frozenset()) -> Endpoint:
        """The endpoint for the next request, by its hash `key` if the cluster is hashed, and if possible none of the names to avoid,
        nor of the priorities `without`. Raises NoHealthyUpstream."""
        endpoints = self._usable
        if len(endpoints) == 1 and not without:
            return endpoints[0]
        if not endpoints:
            raise NoHealthyUpstream
        opener = self.opener
        now = opener.reactor.seconds() if self._warms else 0.0
        pick = (self._others.get(without) if without else self._choice) or self._arranged(without)
        chosen = pick(opener.roll(), key, now)
        if avoid:
            for further in range(1, _FURTHER_PICKS + 1):
                if chosen.name not in avoid:
                    break
                chosen = pick(opener.roll(), None if key is None else key + further, now)
        return chosen

    def _arranged(self, without: frozenset[int]) -> Choice[Endpoint]:
        """How to choose among whoever is usable now; kept until that changes."""
        balance, opener = self.config.balance, self.opener
        found = levels(self.endpoints, balance.panic, without) or levels(self.endpoints, balance.panic)
        made = arrange(found, balance, opener.roll(), opener.reactor.seconds())
        if without:
            self._others[without] = made
        else:
            self._choice = made
        return made

    def at(self, address: str, port: int) -> Endpoint:
        """The endpoint at an address that a client meant to reach; made if nobody declares it. Source: Envoy's ORIGINAL_DST cluster."""
        declared = self._declared.get((address, port))
        if declared is not None:
            return declared
        found = self._elsewhere.get((address, port))
        if found is None:
            template = self.config.elsewhere or EndpointConfig(address, port)
            found = Endpoint(attrs.evolve(template, address=address, port=template.port or port), self)
            gone = self._elsewhere.put((address, port), found)
            if gone is not None:
                gone.retire()
                self._forget()
        return found

    def everyone(self) -> list[Endpoint]:
        """The declared endpoints, and those that clients asked for by address."""
        return [*self.endpoints, *self._elsewhere.values()]

    def acquire(self, endpoint: Endpoint, waiter: Waiter) -> Connection | None:
        """A connection at once, or None: `waiter` will be told. Raises Overflow when a limit is reached."""
        if self._recent is not None:
            self._recent.begun(self.opener.reactor.seconds())
        if self.config.max_requests is not None and endpoint.idles and not self.may_run():
            raise self.overflow(ACTIVE_OVERFLOW, endpoint.name)
        connection = endpoint.take()
        if connection is not None:
            return connection
        most = self.config.max_pending_requests
        if most is not None and self._waiting() >= most:
            raise self.overflow(PENDING_OVERFLOW)
        may_open = endpoint.may_open()
        if not may_open:
            self.overflow(CONNECTION_OVERFLOW)
        endpoint.wait(waiter, may_open)
        return None

    def full(self) -> Metric | None:
        """The limit by which `acquire` would refuse, whichever endpoint is chosen; for who would rather know before a request is made.

        None: it may pass, or the choice decides.
        """
        active, pending, endpoints = self.config.max_requests, self.config.max_pending_requests, self._usable
        if (active is None and pending is None) or self.apart or not endpoints:
            return None
        if active is not None and not self.may_run() and all(each.idles for each in endpoints):
            return ACTIVE_OVERFLOW
        if pending is not None and self._waiting() >= pending and not any(each.idles for each in endpoints):
            return PENDING_OVERFLOW
        return None

    def join(self, endpoint: Endpoint, waiter: Waiter) -> None:
        """A connection for opaque bytes, opened for `waiter` alone, who will be told. Raises Overflow when a limit is reached.

        Nobody waits for another's connection to end, as with Envoy's tcp_proxy.
        """
        if not self.may_open():
            raise self.overflow(CONNECTION_OVERFLOW)
        most = self.config.max_pending_requests
        if most is not None and self._waiting() >= most:
            raise self.overflow(PENDING_OVERFLOW)
        endpoint.wait(waiter, True)

    def _waiting(self) -> int:
        return sum(each.waiting for each in self.everyone())

    def may_run(self) -> bool:
        """Whether the limit on requests leaves room for one more to be sent. Who waits for a connection does not count yet."""
        most = self.config.max_requests
        return most is None or sum(each.active - each.waiting for each in self.everyone()) < most

    def may_open(self) -> bool:
        """Whether the limit on connections leaves room for one more."""
        limit = self.config.max_connections
        return limit is None or self.counts.open < limit

    def begin_retry(self) -> bool:
        """Whether the limit on requests in their second or a further try leaves room for one more, which then ends with `end_retry`."""
        limit = self.config.max_retries
        if self.config.retry_budget is not None:
            active = sum(each.active for each in self.everyone())
            active += self._recent.count(self.opener.reactor.seconds()) if self._recent is not None else 0
            limit = most_retries(limit, self.config.retry_budget, active)
        if limit is not None and self.counts.retrying >= limit:
            self.overflow(RETRY_OVERFLOW)
            return False
        self.counts.retrying += 1
        return True

    def end_retry(self) -> None:
        """A request that was retried is over."""
        self.counts.retrying -= 1

    def overflow(self, metric: Metric, endpoint: str = "") -> Overflow:
        """Counts that a limit was reached, and makes what a request is told of it."""
        counted = _OVERFLOWS[metric]
        setattr(self.counts, counted, getattr(self.counts, counted) + 1)
        self.opener.counters.counter(metric, self.name).value += 1
        return Overflow(endpoint)

    @property
    def connections(self) -> int:
        """How many are open now, or on their way."""
        return self.counts.open

    @property
    def retrying(self) -> int:
        """How many requests are in their second or a further try."""
        return self.counts.retrying

    def opened(self) -> None:
        """An endpoint opens a connection."""
        self.counts.open += 1

    def closed(self) -> None:
        """An endpoint's connection is gone, or never came."""
        self.counts.open -= 1

    def connected(self) -> None:
        """A connection succeeded."""
        self.counts.connections += 1

    def connect_failed(self) -> None:
        """A connection failed."""
        self.counts.connect_fail += 1

    def renew(self) -> None:
        """Certificates changed: idle TLS connections are of the old ones."""
        for endpoint in self.everyone():
            if endpoint.config.tls is not None:
                endpoint.close_idle()

    def retire(self) -> bool:
        """No snapshot names this cluster any more; whether it is free of requests, too. Else it is asked again, later.

        Then it lets go of its endpoints, which know their cluster: the collector does not look for cycles among what a reload froze.
        """
        if self.ejections is not None and not self.opaque:
            self.ejections.end()
        for endpoint in self.everyone():
            endpoint.retire()
        if self.counts.retrying or any(endpoint.active for endpoint in self.everyone()):
            return False
        self._elsewhere = Latest(_MOST_ELSEWHERE)
        self.endpoints = []
        self.refresh()
        if self.ejections is not None and not self.opaque:
            self.ejections.outliers.changed.clear()
            self._forget()
        return True


def _identity(config: EndpointConfig) -> tuple[object, ...]:
    """What makes two configurations one endpoint: connections to one serve the other."""
    return config.address, config.port, config.tls


_OVERFLOWS = {
    PENDING_OVERFLOW: "pending_overflow",
    ACTIVE_OVERFLOW: "overflow",
    CONNECTION_OVERFLOW: "connections_overflow",
    RETRY_OVERFLOW: "retry_overflow",
}
