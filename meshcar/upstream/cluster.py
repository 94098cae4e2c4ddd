"""A place one can send to: endpoints, balancing, limits, connections."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import attrs

from meshcar.errors import NoHealthyUpstream, Overflow
from meshcar.policy.balance import Choice
from meshcar.policy.balance_levels import arrange, levels
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
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
    """What a cluster counts; read when somebody asks."""

    __slots__ = ("connect_fail", "connections", "overflow", "pending_overflow", "retry_overflow")

    def __init__(self) -> None:
        self.connections = self.connect_fail = self.overflow = self.pending_overflow = self.retry_overflow = 0


class Cluster:
    """Made when a snapshot first names it, kept while its configuration is equal but for endpoints, retired when none names it.

    `plain`: any endpoint may take a request, by load or in turn; else it depends on the request. `source` is the address connections
    come from, or None; `opaque` says that what flows is not HTTP. `names` knows the addresses of endpoints that have DNS names, where
    there are any.
    """

    names: "Names | None" = None

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
        self._usable: Sequence[Endpoint]
        self._choice: Choice[Endpoint] | None
        self._elsewhere: OrderedDict[tuple[str, int], Endpoint] = OrderedDict()
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
        known = {_identity(one.config): one for one in self.endpoints}
        self.endpoints = [self._kept(known.pop(_identity(one), None), one) for one in endpoints]
        for gone in known.values():
            gone.retire()
        self.refresh()

    def _kept(self, known: Endpoint | None, config: EndpointConfig) -> Endpoint:
        if known is None:
            return Endpoint(config, self)
        known.config = config
        return known

    def refresh(self) -> None:
        """Which endpoints may be chosen has changed: there are others, or one was ejected or came back."""
        balance = self.config.balance
        self._choice = None
        self._warms = balance.warmup is not None
        self.plain = not balance.hashed and self.config.elsewhere is None
        if any(one.ejected or one.config.priority for one in self.endpoints):
            self._usable = [one for level in levels(self.endpoints, balance.panic) for one in level.usable]
        else:
            self._usable = self.endpoints

    def choose(self, avoid: Collection[str] = (), key: int | None = None, without: Collection[int] = ()) -> Endpoint:
        """The endpoint for the next request, by its hash `key` if the cluster is hashed, and if possible none of the names to avoid,
        nor of the priorities `without`. Raises NoHealthyUpstream."""
        endpoints = self._usable
        if len(endpoints) == 1 and not without:
            return endpoints[0]
        if not endpoints:
            raise NoHealthyUpstream
        opener = self.opener
        now = opener.reactor.seconds() if self._warms else 0.0
        pick = (self._choice or self._arranged()) if not without else self._arranged(without)
        chosen = pick(opener.roll(), key, now)
        if avoid:
            for further in range(1, _FURTHER_PICKS + 1):
                if chosen.name not in avoid:
                    break
                chosen = pick(opener.roll(), None if key is None else key + further, now)
        return chosen

    def _arranged(self, without: Collection[int] = ()) -> Choice[Endpoint]:
        """How to choose among whoever is usable now; kept until that changes, unless it is for one request."""
        balance, opener = self.config.balance, self.opener
        found = levels(self.endpoints, balance.panic, without) or levels(self.endpoints, balance.panic)
        made = arrange(found, balance, opener.roll(), opener.reactor.seconds())
        if not without:
            self._choice = made
        return made

    def at(self, address: str, port: int) -> Endpoint:
        """The endpoint at an address that a client meant to reach; made if nobody declares it. Source: Envoy's ORIGINAL_DST cluster."""
        for one in self.endpoints:
            if one.config.address == address and one.config.port == port:
                return one
        found = self._elsewhere.get((address, port))
        if found is None:
            template = self.config.elsewhere or EndpointConfig(address, port)
            found = Endpoint(attrs.evolve(template, address=address, port=template.port or port), self)
            self._elsewhere[address, port] = found
            if len(self._elsewhere) > _MOST_ELSEWHERE:
                self._elsewhere.popitem(last=False)[1].retire()
        else:
            self._elsewhere.move_to_end((address, port))
        return found

    def everyone(self) -> list[Endpoint]:
        """The declared endpoints, and those that clients asked for by address."""
        return [*self.endpoints, *self._elsewhere.values()]

    def acquire(self, endpoint: Endpoint, waiter: Waiter) -> Connection | None:
        """A connection at once, or None: `waiter` will be told. Raises Overflow when a limit is reached."""
        most = self.config.max_requests
        if most is not None and sum(each.active for each in self.everyone()) >= most:
            self.counts.overflow += 1
            raise Overflow
        connection = endpoint.take()
        if connection is not None:
            return connection
        may_open = endpoint.may_open()
        if not may_open or self.config.max_pending_requests is not None:
            waiting = sum(each.waiting for each in self.everyone())
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
        for endpoint in self.everyone():
            if endpoint.config.tls is not None:
                endpoint.close_idle()

    def retire(self) -> None:
        """No snapshot names this cluster any more."""
        for endpoint in self.everyone():
            endpoint.retire()


def _identity(config: EndpointConfig) -> tuple[object, ...]:
    """What makes two configurations one endpoint: connections to one serve the other."""
    return config.address, config.port, config.tls
