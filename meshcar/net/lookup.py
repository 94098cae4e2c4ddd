"""Names to addresses, by the machine's own resolver."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from meshcar.errors import TryFailed

SECONDS = 5.0
"""For one look-up."""
MOST_NAMES = 256
"""So many names are looked up for requests at a time."""


class LookUps:
    """First addresses of names that requests ask for. Made by the outbound side, for its own life.

    A name is asked for once at a time, and so many at a time: the resolver's threads work off a queue without end, and go on with a
    question when nobody waits for its answer any more.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._open: dict[str, dict[Deferred[str], None]] = {}

    def first(self, name: str) -> "Deferred[str]":
        """IPv4 before IPv6; fails with TryFailed when there is none within SECONDS, or too many names are asked for."""
        answer, waiting = _Answer(name), self._open.get(name)
        if waiting is None and len(self._open) >= MOST_NAMES:
            return fail(answer.failure())
        one: Deferred[str] = Deferred(lambda gone: self._open.get(name, {}).pop(gone, None))
        if waiting is None:
            self._open[name] = {one: None}
            _ask(self._reactor, answer).addBoth(self._answered, name)
        else:
            waiting[one] = None
        return one.addTimeout(SECONDS, self._reactor, answer.late)

    def _answered(self, result: "tuple[str, ...] | Failure", name: str) -> None:
        for one in list(self._open.pop(name)):
            if isinstance(result, Failure):
                one.errback(result)
            else:
                one.callback(result[0])


def look_up_all(reactor: Any, name: str) -> "Deferred[tuple[str, ...]]":
    """All addresses of a name in the resolver's order, IPv6 only where there is no IPv4; fails with TryFailed when there is none
    within SECONDS."""
    answer = _Answer(name)
    return _ask(reactor, answer).addTimeout(SECONDS, reactor, answer.late)


def _ask(reactor: Any, answer: "_Answer") -> "Deferred[tuple[str, ...]]":
    try:
        answer.name.encode("idna")  # a resolver would do it in its thread, from where the error does not come back
    except UnicodeError:
        return fail(answer.failure())
    reactor.nameResolver.resolveHostName(answer, answer.name)
    return answer.found


@implementer(IResolutionReceiver)
class _Answer:
    """Takes a resolver's answers."""

    def __init__(self, name: str) -> None:
        self.name = name
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
        return TryFailed("remote connection failure", "UF", "none", cause=f"no_address_for_{self.name}", endpoint=self.name)

    def late(self, _result: object, _seconds: float) -> Any:
        """The time is over."""
        raise self.failure()
