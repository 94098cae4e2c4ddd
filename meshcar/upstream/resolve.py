"""Endpoints that have DNS names: the names are looked up again and again, and their clusters told what they lead to."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshcar.rules.host_names import is_address
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.opener import Opener

REFRESH_SECONDS = 5.0
"""How long addresses count before a name is looked up again: Envoy's dns_refresh_rate. The machine's resolver does not tell a TTL."""
MOST_PER_SECOND = 20
"""So many look-ups a second; with more names each waits longer."""
MOST_AT_ONCE = 8
"""So many look-ups run at a time, which leaves threads of the resolver's to requests for hosts that nobody declares."""
MAX_BACK_OFF = 60.0
"""Seconds between look-ups of a name that fails again and again."""

Resolve = Callable[[str], "Deferred[tuple[str, ...]]"]
"""All addresses of a name, of one family; fails where there are none."""
Told = Callable[[], None]


class _Name:
    """One name that somebody follows; `addresses` is None until the first answer, and empty after a first one that failed."""

    __slots__ = ("addresses", "failures", "followers", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: tuple[str, ...] | None = None
        self.failures = 0
        self.followers: dict[Told, None] = {}


class Names:
    """Every name that a cluster needs, each looked up once for all of them. Owned by `Clusters`.

    A failure leaves the addresses as they are. A name that nobody follows any more is forgotten when it would be looked up again, so
    that a reload that keeps it does not look it up.
    """

    _log: ClassVar[Logger] = Logger(__name__)

    def __init__(self, clock: Any, resolve: Resolve) -> None:
        self._clock = clock
        self._resolve = resolve
        self._names: dict[str, _Name] = {}
        self._due: deque[_Name] = deque()
        self._running = 0

    def follow(self, name: str, told: Told) -> None:
        """`told` is called whenever the addresses of a name have changed, never before this returns."""
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = _Name(name)
            self._clock.callLater(0, self._ask, known)
        known.followers[told] = None

    def leave(self, name: str, told: Told) -> None:
        """No further calls."""
        self._names[name].followers.pop(told, None)

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """What a followed name led to when it was last known; None: no answer has come yet."""
        return self._names[name].addresses

    def first(self, name: str, timeout: float, found: Callable[[str], None], unknown: Callable[[bool], None]) -> None:
        """Calls `found` with the first address of a followed name, now or when the first answer comes; an address is its own.

        Else, later, `unknown(late)`: nothing came within `timeout` seconds, or the name has no address.
        """
        known = self._names.get(name)
        if known is not None and known.addresses:
            found(known.addresses[0])
        elif known is not None and known.addresses is None:
            self._wait(known, timeout, found, unknown)
        elif known is None and is_address(name):
            found(name)
        else:  # or one that is forgotten: its cluster ended, but for a request that is tried again
            self._clock.callLater(0, unknown, False)

    def _wait(self, name: _Name, timeout: float, found: Callable[[str], None], unknown: Callable[[bool], None]) -> None:
        def told() -> None:
            timer.cancel()
            self.leave(name.name, told)
            if name.addresses:
                found(name.addresses[0])
            else:
                unknown(False)

        def late() -> None:
            self.leave(name.name, told)
            unknown(True)

        timer = self._clock.callLater(timeout, late)
        name.followers[told] = None

    def _ask(self, name: _Name) -> None:
        """It is time to look a name up, if anybody still follows it."""
        self._due.append(name)
        self._go_on()

    def _go_on(self) -> None:
        while self._due and self._running < MOST_AT_ONCE:
            name = self._due.popleft()
            if not name.followers:
                del self._names[name.name]
                continue
            self._running += 1
            self._resolve(name.name).addBoth(self._over).addCallbacks(self._found, self._failed, (name,), {}, (name,), {}).addErrback(
                self._broken
            )

    def _over(self, result: Any) -> Any:
        self._running -= 1
        if self._due:
            self._clock.callLater(0, self._go_on)
        return result

    def _found(self, addresses: tuple[str, ...], name: _Name) -> None:
        name.failures = 0
        self._again(name)
        if addresses != name.addresses:
            name.addresses = addresses
            self._tell(name)

    def _failed(self, failure: Failure, name: _Name) -> None:
        name.failures += 1
        if name.failures == 1:
            self._log.warn("{name}: {why}", name=name.name, why=failure.getErrorMessage())
        self._again(name)
        if name.addresses is None:
            name.addresses = ()
            self._tell(name)

    def _again(self, name: _Name) -> None:
        usual = max(REFRESH_SECONDS, len(self._names) / MOST_PER_SECOND)
        longer = min(usual * 2.0 ** min(max(0, name.failures - 1), 10), MAX_BACK_OFF)
        self._clock.callLater(max(usual, longer), self._ask, name)

    def _tell(self, name: _Name) -> None:
        for told in list(name.followers):
            told()

    def _broken(self, failure: Failure) -> None:
        self._log.failure("a change of addresses could not be carried out", failure)


class NamedCluster(Cluster):
    """A cluster whose endpoints have DNS names. Made by `Clusters`.

    STRICT_DNS: each address of each name is an endpoint. LOGICAL_DNS: the name itself is the only one, and each new connection goes to
    its first address. Until the first answer comes a name is an endpoint, too, and who wants a connection there waits for the answer.
    """

    def __init__(
        self, config: ClusterConfig, opener: Opener, names: Names, opaque: bool = False, twin: Cluster | None = None
    ) -> None:
        super().__init__(config, opener, opaque=opaque, twin=twin)
        self.names = self._names = names
        self._followed = self._follow(config)
        self._changed()

    def adopt(self, config: ClusterConfig) -> None:
        """See Cluster."""
        before, self._followed = self._followed, self._follow(config)
        for name in before - self._followed:
            self._names.leave(name, self._changed)
        self.config = config
        self._changed()

    def retire(self) -> bool:
        """See Cluster."""
        for name in self._followed:
            self._names.leave(name, self._changed)
        self._followed = frozenset()
        return super().retire()

    def _follow(self, config: ClusterConfig) -> frozenset[str]:
        found = frozenset(one.address for one in config.endpoints if not is_address(one.address))
        for name in found:
            self._names.follow(name, self._changed)
        return found

    def _changed(self) -> None:
        known = dict.fromkeys(one for each in self.config.endpoints for one in self._resolved(each))
        if known.keys() == {one.config for one in self.endpoints}:
            self.refresh()
        else:
            self.update(tuple(known))

    def _resolved(self, endpoint: EndpointConfig) -> Iterator[EndpointConfig]:
        found = self._names.addresses(endpoint.address) if endpoint.address in self._followed else None
        if found and self.config.discovery == "STRICT_DNS":
            for address in found:
                yield attrs.evolve(endpoint, address=address)
        elif found != ():
            yield endpoint
