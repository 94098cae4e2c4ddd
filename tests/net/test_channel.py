"""Two ends that ask each other."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from meshcar.net.channel import Channel, Refused, Silent, pair
from meshcar.wire.frames import Frame
from tests.fakes import Turns


@attrs.define
class Scene:
    """Two ends; `calls` are those of the second, `lost` notes who lost the other."""

    turns: Turns
    one: Channel
    other: Channel
    calls: dict[str, Any]
    lost: list[str]

    def outcome(self, answer: "Deferred[Frame]") -> Any:
        """The answer, or what it failed with."""
        found: list[Any] = []
        answer.addBoth(found.append)
        self.turns.turn()
        (result,) = found
        return result.value if isinstance(result, Failure) else result


@pytest.fixture
def scene() -> Iterator[Scene]:
    turns, (ours, theirs), lost, calls = Turns(), pair(), list[str](), dict[str, Any]()
    one = Channel(turns, ours, {}, lambda: lost.append("one"))
    other = Channel(turns, theirs, calls, lambda: lost.append("other"))
    yield Scene(turns, one, other, calls, lost)
    one.close()
    other.close()


def test_answers(scene: Scene) -> None:
    """Now, later, or without words; each question gets its own."""
    later: Deferred[Frame] = Deferred()
    scene.calls |= {"now": lambda said: Frame({"got": said.head["x"]}, said.body), "later": lambda said: later, "mute": lambda said: None}
    slow = scene.one.ask("later", 5.0)
    assert scene.outcome(scene.one.ask("now", 5.0, b"body", x=1)) == Frame({"answer": 2, "got": 1}, b"body")
    assert scene.outcome(scene.one.ask("mute", 5.0)) == Frame({"answer": 3})
    later.callback(Frame({"late": True}))
    assert scene.outcome(slow).head["late"] is True
    assert not scene.turns.getDelayedCalls()


def test_told(scene: Scene) -> None:
    """What needs no answer gets none."""
    heard: list[Frame] = []
    scene.calls["news"] = heard.append
    scene.one.tell("news", b"x", of=1)
    scene.turns.turn()
    assert heard == [Frame({"call": "news", "of": 1}, b"x")]


def test_refused(scene: Scene) -> None:
    """A call that raises is an answer, in words; told instead of asked, it is logged here."""
    def broken(said: Frame) -> None:
        raise ValueError("not so")
    scene.calls["broken"] = broken
    scene.one.tell("broken")
    error = scene.outcome(scene.one.ask("broken", 5.0))
    assert isinstance(error, Refused) and str(error) == "not so" and scene.other.open


def test_refuses_on_purpose(scene: Scene) -> None:
    """Then the log has no word of it."""
    def refusing(said: Frame) -> None:
        raise Refused("not today")
    scene.calls["refusing"] = refusing
    with capturedLogs() as events:
        assert str(scene.outcome(scene.one.ask("refusing", 5.0))) == "not today"
    assert events == []


def test_large(scene: Scene) -> None:
    """More than the kernel takes at once arrives whole."""
    scene.calls["echo"] = lambda said: Frame({}, said.body)
    body = bytes(range(256)) * 20_000
    assert scene.outcome(scene.one.ask("echo", 5.0, body)).body == body


def test_silence(scene: Scene) -> None:
    """An answer that does not come in time, and then does, is none."""
    late: Deferred[None] = Deferred()
    scene.calls["late"] = lambda said: late
    answer = scene.one.ask("late", 5.0)
    scene.turns.turn()
    scene.turns.pump([1.0] * 5)
    error = scene.outcome(answer)
    assert isinstance(error, Silent) and str(error) == "no answer to late within 5 s"
    late.callback(None)
    scene.turns.turn()
    assert scene.one.open


def test_pause(scene: Scene) -> None:
    """A machine that stood still for long is no reason to give up: there is time for an answer left."""
    late: Deferred[None] = Deferred()
    scene.calls["late"] = lambda said: late
    answer = scene.one.ask("late", 5.0)
    scene.turns.turn()
    scene.turns.advance(3600)
    late.callback(None)
    assert scene.outcome(answer) == Frame({"answer": 1})


def test_gone(scene: Scene) -> None:
    """Whoever waits is told at once, and so is whoever asks later."""
    answer = scene.one.ask("anything", 5.0)
    scene.other.close()
    assert isinstance(scene.outcome(answer), Silent) and scene.lost == ["one"] and not scene.one.open
    assert isinstance(scene.outcome(scene.one.ask("more", 5.0)), Silent)
    scene.one.tell("nothing")
    assert not scene.turns.readers and not scene.turns.writers and not scene.turns.getDelayedCalls()


def test_nonsense(scene: Scene) -> None:
    """What is no message ends the channel."""
    scene.other._socket.send(b"\xff" * 100)
    scene.turns.turn()
    assert scene.lost == ["one", "other"]


def test_unknown_call(scene: Scene) -> None:
    """Is passed over."""
    scene.one.tell("nothing_of_the_kind")
    scene.turns.turn()
    assert scene.other.open
