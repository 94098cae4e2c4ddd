"""The end of the process, step by step, on a clock of the test's own; and what operators may do before."""

import signal
from typing import Any

import attrs
import pytest
from twisted.logger import capturedLogs, formatEvent

from meshcar.app.drain import IDLE_SECONDS, LOOK_SECONDS, Drain
from meshcar.app.life import Life
from tests.fakes import Stoppable


@attrs.define
class FakePort:
    """A port with some connections."""

    connections: set[Any] = attrs.Factory(set)
    listening: bool = True

    @property
    def open(self) -> int:
        return len(self.connections)

    def stop(self) -> None:
        self.listening = False


@attrs.define(eq=False)
class FakeTransport:
    """Remembers that it was cut."""

    protocol: Any = None
    aborted: bool = False

    def abortConnection(self) -> None:
        self.aborted = True


@attrs.define
class FakeSide:
    """Knows how many copies are on their way, and what it was told."""

    copies: int = 0
    draining: bool = False
    closed_idle: list[float] = attrs.Factory(list)

    def close_idle(self, seconds: float) -> None:
        self.closed_idle.append(seconds)


class Scene:
    """Two ports with a connection each, and their sides."""

    def __init__(self) -> None:
        self.reactor = Stoppable()
        self.ports = {name: FakePort({FakeTransport()}) for name in ("inbound", "outbound")}
        self.sides = {name: FakeSide() for name in ("inbound", "outbound")}
        self.drain = Drain(self.reactor, self.ports, self.sides, 5.0)  # type: ignore[arg-type]
        self.life = Life(self.reactor, self.ports, self.sides, 5.0)  # type: ignore[arg-type]
        self.log: list[str] = []

    def begin(self) -> list[None]:
        """What its end leaves here."""
        ended: list[None] = []
        self.drain.begin().addCallback(ended.append)
        return ended

    def listening(self) -> list[str]:
        return [name for name, port in self.ports.items() if port.listening]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_steps(scene: Scene) -> None:
    """Inbound is refused first, outbound when nothing inbound is left, the end comes when nothing is; a line each."""
    with capturedLogs() as events:
        ended = scene.begin()
        assert scene.listening() == ["outbound"] and all(side.draining for side in scene.sides.values())
        scene.ports["inbound"].connections.clear()
        scene.reactor.advance(LOOK_SECONDS)
        assert scene.listening() == [] and not ended
        scene.ports["outbound"].connections.clear()
        scene.reactor.pump([LOOK_SECONDS, 0])
    assert ended == [None]
    assert [formatEvent(event) for event in events] == [
        "draining: inbound connections: 1, outbound connections: 1, copies: 0, up to 5 s",
        "draining: inbound connections are not accepted any more",
        "draining: outbound connections are not accepted any more",
        "drained: all is finished",
    ]


def test_nothing_runs(scene: Scene) -> None:
    """Then it ends at once."""
    for port in scene.ports.values():
        port.connections.clear()
    ended = scene.begin()
    scene.reactor.advance(0)
    assert ended == [None]


def test_copies(scene: Scene) -> None:
    """Copies of requests that were answered are waited for."""
    for port in scene.ports.values():
        port.connections.clear()
    scene.sides["outbound"].copies = 1
    ended = scene.begin()
    scene.reactor.advance(1)
    assert not ended
    scene.sides["outbound"].copies = 0
    scene.reactor.pump([LOOK_SECONDS, 0])
    assert ended == [None]


def test_idle(scene: Scene) -> None:
    """Idle connections may bring one more request for a moment; then they end."""
    scene.begin()
    scene.reactor.advance(IDLE_SECONDS / 2)
    assert scene.sides["inbound"].closed_idle == []
    scene.reactor.pump([LOOK_SECONDS] * 7)
    assert set(scene.sides["inbound"].closed_idle) == {IDLE_SECONDS}


def test_deadline(scene: Scene) -> None:
    """What is left when the time is over is cut, and counted in the log."""
    left = [transport for port in scene.ports.values() for transport in port.connections]
    with capturedLogs() as events:
        ended = scene.begin()
        scene.reactor.pump([1.0] * 5)
        scene.reactor.advance(0)
    assert ended == [None] and all(transport.aborted for transport in left)
    assert formatEvent(events[-1]) == "drained: the rest is cut, inbound connections: 1, outbound connections: 1, copies: 0"


def test_cut(scene: Scene) -> None:
    """Told again, it waits no longer."""
    ended = scene.begin()
    scene.drain.cut()
    scene.reactor.pump([LOOK_SECONDS, 0])
    assert ended == [None]


def test_health(scene: Scene) -> None:
    """Failing health checks are a reason, and told in answers, until they pass."""
    life = scene.life
    life.fail_health()
    assert "health checks fail" in str(life.leaving) and all(side.draining for side in scene.sides.values())
    life.pass_health()
    assert life.leaving is None and not any(side.draining for side in scene.sides.values())
    assert scene.listening() == ["inbound", "outbound"]


@pytest.mark.parametrize(("how", "at_once", "later", "told"), [
    ({}, [], [], []),
    ({"inbound_only": True}, ["outbound"], ["outbound"], []),
    ({"graceful": True}, ["inbound", "outbound"], [], ["inbound", "outbound"]),
    ({"graceful": True, "inbound_only": True}, ["inbound", "outbound"], ["outbound"], ["inbound"]),
    ({"skip_exit": True}, ["inbound", "outbound"], ["inbound", "outbound"], ["inbound", "outbound"]),
])
def test_drain_listeners(scene: Scene, how: dict[str, bool], at_once: list[str], later: list[str], told: list[str]) -> None:
    """Which ports listen at once and after --drain, and whose answers say `connection: close`; the process stays ready."""
    scene.life.drain_listeners(**{"graceful": False, "inbound_only": False, "skip_exit": False} | how)
    scene.reactor.advance(0)
    assert scene.listening() == at_once
    assert [name for name, side in scene.sides.items() if side.draining] == told
    scene.reactor.advance(5)
    assert scene.listening() == later and scene.life.leaving is None


def test_health_of_drained(scene: Scene) -> None:
    """Passing health checks do not undo a drain."""
    scene.life.drain_listeners(graceful=True, inbound_only=True, skip_exit=False)
    scene.life.pass_health()
    assert scene.sides["inbound"].draining and not scene.sides["outbound"].draining


def test_quit(scene: Scene) -> None:
    """Once, however often it is asked for."""
    scene.life.quit()
    scene.life.quit()
    scene.reactor.advance(0)
    assert scene.reactor.stopped == 1


def test_signals(scene: Scene) -> None:
    """The first goes the usual way; the second cuts."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda got, frame: heard.append(got)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        scene.life.take_signals()
        signal.raise_signal(signal.SIGTERM)
        ended: list[None] = []
        scene.life.stop().addCallback(ended.append)
        assert heard == [signal.SIGTERM] and not ended and scene.life.leaving == "draining"
        signal.raise_signal(signal.SIGINT)
        scene.reactor.pump([LOOK_SECONDS, 0])
        assert heard == [signal.SIGTERM] and ended == [None]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
