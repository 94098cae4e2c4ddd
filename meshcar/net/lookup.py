"""Names to addresses, by the machine's own resolver."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from meshcar.errors import TryFailed

SECONDS = 5.0
"""For one look-up."""


def look_up(reactor: Any, name: str) -> "Deferred[str]":
    """The first address of a name, IPv4 before IPv6; fails with TryFailed when there is none within SECONDS."""
    return look_up_all(reactor, name).addCallback(lambda addresses: addresses[0])


def look_up_all(reactor: Any, name: str) -> "Deferred[tuple[str, ...]]":
    """All addresses of a name in the resolver's order, IPv6 only where there is no IPv4; fails like `look_up`."""
    answer = _Answer(name)
    try:
        name.encode("idna")  # a resolver would do it in its thread, from where the error does not come back
    except UnicodeError:
        return fail(answer.failure())
    reactor.nameResolver.resolveHostName(answer, name)
    return answer.found.addTimeout(SECONDS, reactor, answer.late)


@implementer(IResolutionReceiver)
class _Answer:
    """Takes a resolver's answers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._addresses: list[str] = []
        self.found: Deferred[tuple[str, ...]] = Deferred()

    def resolutionBegan(self, resolution: Any) -> None:
        """The answers follow."""

    def addressResolved(self, address: Any) -> None:
        """One of them."""
        self._addresses.append(address.host)

    def resolutionComplete(self) -> None:
        """That was all."""
        if self.found.called:
            return
        if self._addresses:
            old = [host for host in self._addresses if ":" not in host]
            self.found.callback(tuple(dict.fromkeys(old or self._addresses)))
        else:
            self.found.errback(self.failure())

    def failure(self) -> TryFailed:
        """What a name without an address is."""
        return TryFailed("remote connection failure", "UF", "none", cause=f"no_address_for_{self._name}", endpoint=self._name)

    def late(self, _result: object, _seconds: float) -> Any:
        """The time is over."""
        raise self.failure()
