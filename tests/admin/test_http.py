"""Callers of the operator's ports who leave, do not read, or are many."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from meshcar.admin import http
from meshcar.admin.http import IDLE, Answer, QuietSite
from meshcar.rules.steps import Steps

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Callers:
    """A port whose answers `respond` makes; every step of work takes a millisecond."""

    def __init__(self, respond: Callable[..., Any]) -> None:
        self.clock = Clock()
        self.site = QuietSite(respond, self.clock)

    def call(self, reads: bool = True) -> Any:
        """A caller; one who does not read lets its transport fill up."""
        caller: Any = StringTransport()
        caller.told = self.site.buildProtocol(None)
        caller.told.makeConnection(caller)
        if not reads:
            caller.producer.pauseProducing()
        caller.told.dataReceived(GET)
        return caller

    @staticmethod
    def leave(caller: Any) -> None:
        caller.told.connectionLost(Failure(CONNECTION_LOST))


class Work:
    """Answers in slices; `done` counts the steps."""

    def __init__(self) -> None:
        self.done = self.ended = 0
        self.callers = Callers(lambda _: self.steps())

    def steps(self) -> Steps[Answer]:
        try:
            for _ in range(20):
                self.done += 1
                self.callers.clock.rightNow += 0.001
                yield
            return Answer(200, b"all")
        finally:
            self.ended += 1


def test_many_at_once() -> None:
    """However many call, a turn of the reactor does one slice of work for all of them together."""
    work = Work()
    waiting = [work.callers.call() for _ in range(10)]
    clock = work.callers.clock
    assert work.done <= 3 and len([call for call in clock.getDelayedCalls() if call.getTime() <= clock.seconds()]) == 1
    clock.advance(0)
    assert all(one.value().endswith(b"all") for one in waiting) and work.done == 200


def test_left_meanwhile() -> None:
    """Nobody works on for a caller who hung up, at work or in the queue; the others get theirs."""
    work = Work()
    first, second, third = (work.callers.call() for _ in range(3))
    work.callers.leave(first)
    work.callers.leave(second)
    for _ in range(20):
        work.callers.clock.advance(0)
    assert third.value().endswith(b"all") and work.done < 25 and not first.value() + second.value()


def test_a_change_is_carried_out() -> None:
    """Whoever asked for a change and left: it goes on, as others may wait for it too."""
    change: Deferred[Answer] = Deferred()
    callers = Callers(lambda _: change)
    callers.leave(callers.call())
    change.callback(Answer(200, b"done"))
    assert change.result is None


def test_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many may wait; the next is told so at once, and later there is room again."""
    monkeypatch.setattr(http, "MOST_WAITING", 2)
    changes: list[Deferred[Answer]] = []
    callers = Callers(lambda _: changes.append(Deferred()) or changes[-1])
    waiting = [callers.call() for _ in range(2)]
    assert callers.call().value().startswith(b"HTTP/1.1 503 ")
    changes[0].callback(Answer(200, b"done"))
    assert waiting[0].value().endswith(b"done") and not callers.call().value()


def test_never_reads() -> None:
    """A large answer is written as its caller takes it; who takes nothing is cut off in the end."""
    callers = Callers(lambda _: Answer(200, bytes(1 << 20)))
    slow, stuck = callers.call(reads=False), callers.call(reads=False)
    assert len(slow.value()) < 1000
    callers.clock.advance(IDLE - 1)
    slow.producer.resumeProducing()
    assert len(slow.value()) > 1 << 20
    callers.clock.advance(1)
    assert stuck.disconnected and not slow.disconnected


def test_unread_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are not read use up what there is for all of them; who comes then is told so."""
    monkeypatch.setattr(http, "MOST_UNREAD", 300_000)
    callers = Callers(lambda _: Answer(200, bytes(200_000)))
    slow = callers.call(reads=False)
    assert callers.call().value().startswith(b"HTTP/1.1 503 ")
    slow.producer.resumeProducing()
    assert len(slow.value()) > 200_000 and callers.call().value().startswith(b"HTTP/1.1 200 ")
