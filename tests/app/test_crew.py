"""Further processes, pretended: started, changed together, replaced, drained."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import capturedLogs, formatEvent

from meshcar.app import hand
from meshcar.app.crew import FIRST_DELAY, GRACE_SECONDS, LONGEST_DELAY, LOOK_SECONDS, WELL_SECONDS, Crew, State
from meshcar.app.hand import FIRST_LISTENER, SILENT_SECONDS
from meshcar.net.slices import in_slices
from meshcar.observe.names import ACTIVE, CONNECTIONS
from meshcar.observe.summed import Row
from meshcar.rules.read import read
from meshcar.wire.frames import Frame
from tests.app.computer import Computer, Fake

DOCUMENT = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n"
RESOURCES = read(DOCUMENT, "-").resources


@attrs.define
class Scene:
    """Two further processes, and whose turn it is to change the rules."""

    computer: Computer
    crew: Crew
    turn: DeferredLock

    def begun(self) -> list[Fake]:
        """Both serve."""
        self.crew.start()
        self.computer.turn()
        for one in self.computer.started:
            one.hello()
        self.computer.turn()
        for one in self.computer.started:
            one.said()
        return [*self.computer.started]

    def change(self, generation: int = 2) -> list[Any]:
        """The outcome of new rules, when there is one; as app.reload goes about it."""
        found: list[Any] = []

        def work() -> Any:
            refusals: list[str] = []
            yield self.crew.prepare(generation, RESOURCES, refusals)
            if refusals:
                self.crew.abandon()
            else:
                yield self.crew.commit(generation)
            return refusals

        in_slices(work(), self.computer).addBoth(found.append)
        self.computer.turn()
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    computer, turn = Computer(), DeferredLock()
    monkeypatch.setattr(hand.os, "kill", computer.kill)
    turns = SimpleNamespace(hold=turn.acquire, release=turn.release)
    crew = Crew(computer, 2, lambda: turns, lambda: State({"generation": 1}, b"documents"), lambda: {"outbound": 7, "inbound": 8}, 6)
    yield Scene(computer, crew, turn)
    for one in computer.started:
        one.end()


def test_start(scene: Scene) -> None:
    """Each inherits listeners, the log and its channel, begins with the rules in force, and counts once it serves."""
    ready: list[int] = []
    scene.crew.start()
    scene.crew.whole(lambda: ready.append(1))
    one, other = scene.computer.started
    assert one.words[1:] == ["-P", "-m", "meshcar.app.worker", "1", "outbound", "inbound"] and other.words[4] == "2"
    assert {number: one.descriptors[number] for number in (0, 1, 2, FIRST_LISTENER, FIRST_LISTENER + 1)} == {0: 0, 1: 6, 2: 2, 4: 7, 5: 8}
    assert scene.crew.missing == "1 of 3 processes serve"
    one.hello()
    assert [(said.head["call"], said.head["generation"], said.body) for said in one.heard] == [("begin", 1, b"documents")]
    assert scene.crew.missing == "2 of 3 processes serve" and not ready
    other.hello()
    assert scene.crew.missing is None and ready == [1]


def test_nobody() -> None:
    """With --workers 1 nothing is started, asked or waited for."""
    computer = Computer()
    crew = Crew(computer, 0, lambda: None, lambda: None, dict, None)  # type: ignore[arg-type, return-value]
    ready, gone = list[int](), list[None]()
    crew.start()
    crew.whole(lambda: ready.append(1))
    assert (crew.missing, crew.commit(2), [*crew.news(True)], ready) == (None, None, [], [1])
    crew.stop(5.0, ()).addCallback(gone.append)
    assert gone == [None] and not computer.started and not computer.getDelayedCalls()


def test_begins_in_turn(scene: Scene) -> None:
    """Who starts while rules change waits, and gets the new ones."""
    scene.turn.acquire()
    scene.crew.start()
    one = scene.computer.started[0]
    one.hello()
    assert one.said() == []
    scene.turn.release()
    scene.computer.turn()
    assert one.said() == ["begin"] and not scene.turn.locked


def test_change(scene: Scene) -> None:
    """All prepare before any swaps, and the outcome is there when all have."""
    one, other = scene.begun()
    other.answers["prepare"] = later = Deferred()
    found = scene.change()
    assert (one.said(), other.said()) == (["prepare"], ["prepare"]) and not found
    other.answers["commit"] = swapped = Deferred()
    later.callback(None)
    scene.computer.turn()
    assert (one.said(), other.said()) == (["commit"], ["commit"]) and not found
    swapped.callback(None)
    scene.computer.turn()
    assert found == [[]]


def test_refused(scene: Scene) -> None:
    """If one cannot, none does."""
    one, other = scene.begun()
    other.answers["prepare"] = ValueError("out of memory")
    assert scene.change() == [["worker 2: out of memory"]]
    assert (one.said(), other.said()) == (["prepare", "abandon"], ["prepare", "abandon"])
    assert scene.crew.missing is None


@pytest.mark.parametrize("call", ["prepare", "commit"])
def test_hangs(scene: Scene, call: str) -> None:
    """Who does not answer is killed, and the others go on; who replaces it gets the new rules."""
    one, other = scene.begun()
    other.answers[call] = other.answers["report"] = None
    found = scene.change()
    assert not found
    scene.computer.pass_by(LOOK_SECONDS)
    scene.computer.pass_by(SILENT_SECONDS)
    assert found == [[]] and one.said() == ["prepare", "commit"]
    scene.computer.pass_by(0)
    assert not other.alive
    scene.computer.pass_by(FIRST_DELAY)
    third = scene.computer.started[2]
    third.hello()
    assert third.words[4] == "2" and third.said() == ["begin"] and scene.crew.missing is None


def test_swap_fails(scene: Scene) -> None:
    """Who prepared and then cannot swap would serve by old rules: it is killed."""
    _, other = scene.begun()
    other.answers["commit"] = ValueError("broken")
    assert scene.change() == [[]]
    scene.computer.pass_by(0)
    assert not other.alive


def test_replaced(scene: Scene) -> None:
    """Who ends unasked is replaced and counted; later each time, while it fails at its start."""
    one, _ = scene.begun()
    with capturedLogs() as events:
        one.end(9)
        for number in range(9):
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2**number)
            assert len(scene.computer.started) == 2 + number
            scene.computer.pass_by(delay)
            assert len(scene.computer.started) == 3 + number
            scene.computer.started[-1].end()
    assert scene.crew.restarts == 10 and scene.crew.missing == "2 of 3 processes serve"
    assert formatEvent(events[0]) == "worker 1 ended by signal 9; another is started in 0.1 s"


def test_well_for_long(scene: Scene) -> None:
    """Who served for long is replaced at once again."""
    one, _ = scene.begun()
    one.end(9)
    scene.computer.pass_by(FIRST_DELAY)
    scene.computer.started[2].hello()
    scene.computer.pass_by(WELL_SECONDS)
    scene.computer.started[2].end(9)
    scene.computer.pass_by(FIRST_DELAY)
    assert len(scene.computer.started) == 4


def test_cannot_start(scene: Scene) -> None:
    """A machine without room for processes is asked again."""
    scene.computer.broken = OSError(11, "Resource temporarily unavailable")
    scene.crew.start()
    scene.computer.broken = None
    assert not scene.computer.started
    scene.computer.pass_by(FIRST_DELAY)
    assert len(scene.computer.started) == 2


@pytest.mark.parametrize("answer", [ValueError("no"), None])
def test_cannot_begin(scene: Scene, answer: Any) -> None:
    """It is killed, and the rules may change again."""
    scene.crew.start()
    one = scene.computer.started[0]
    one.answers["begin"], one.answers["report"] = answer, None
    one.hello()
    scene.computer.pass_by(LOOK_SECONDS)
    scene.computer.pass_by(SILENT_SECONDS)
    scene.computer.pass_by(0)
    assert not one.alive and not scene.turn.locked


def test_other_version(scene: Scene) -> None:
    """After an upgrade on disk, what starts is not what runs: it is not let in."""
    scene.crew.start()
    one = scene.computer.started[0]
    one.hello("0.0")
    scene.computer.pass_by(0)
    assert not one.alive and one.said() == []


def test_counted(scene: Scene) -> None:
    """What they counted is asked for each second, and whenever somebody looks; of one that is gone, what it counted stays."""
    one, other = scene.begun()

    def says(process: Fake, *rows: Row) -> None:
        process.answers["report"] = Frame({"rows": rows, "clusters": [["c", "10.0.0.1", 80, True, {"rq_active": 1}]]})

    says(one, [CONNECTIONS.name, ["outbound"], 5], [ACTIVE.name, ["outbound"], 2])
    says(other, [CONNECTIONS.name, ["outbound"], 7])
    looked: list[Any] = []
    in_slices(scene.crew.news(True), scene.computer).addCallback(looked.append)
    scene.computer.turn()

    def counted() -> tuple[float, float]:
        slots = [slot for table in scene.crew.tables() for metric in (CONNECTIONS, ACTIVE) for _, slot in table.slots(metric)]
        of = [slot.value for table in scene.crew.tables() for _, slot in table.slots(CONNECTIONS)]  # type: ignore[union-attr]
        return sum(of), sum(slot.value for slot in slots) - sum(of)  # type: ignore[union-attr]

    assert looked == [None] and counted() == (12, 2) and len(scene.crew.clusters()) == 2
    says(other, [CONNECTIONS.name, ["outbound"], 8])
    scene.computer.pass_by(LOOK_SECONDS)
    assert counted() == (13, 2)
    one.channel.tell("counted", rows=[[CONNECTIONS.name, ["outbound"], 6]])
    scene.computer.turn()
    one.end()
    assert counted() == (14, 0) and len(scene.crew.clusters()) == 1


def test_told(scene: Scene) -> None:
    """What is told to all is told to those that begin later, if it still holds for them."""
    one, other = scene.begun()
    scene.crew.tell("fail_health", kept="health", how={})
    scene.crew.tell("rotate", certificates=[])
    scene.computer.turn()
    assert one.said() == other.said() == ["fail_health", "rotate"]
    one.end(9)
    scene.computer.pass_by(FIRST_DELAY)
    third = scene.computer.started[2]
    third.hello()
    assert third.said() == ["begin", "fail_health"]


def test_told_while_one_begins(scene: Scene) -> None:
    """What is kept comes after its begin, other things as they come."""
    scene.crew.start()
    one = scene.computer.started[0]
    one.answers["begin"] = later = Deferred()
    one.hello()
    scene.crew.tell("fail_health", kept="health", how={})
    scene.crew.tell("rotate", certificates=[])
    scene.computer.turn()
    assert one.said() == ["begin", "rotate"]
    later.callback(None)
    scene.computer.turn()
    assert one.said() == ["fail_health"]


def test_log(scene: Scene) -> None:
    """Their lines go into the one log, under the part they are from."""
    one, _ = scene.begun()
    with capturedLogs() as events:
        one.channel.tell("log", namespace="meshcar.net.listen.Port", level="error", text="no room")
        scene.computer.turn()
    assert [(event["log_namespace"], event["log_level"].name, formatEvent(event)) for event in events] == [
        ("meshcar.net.listen.Port", "error", "worker 1: no room")
    ]


def test_stop(scene: Scene) -> None:
    """They drain; the end is there when all are gone, and nobody is replaced."""
    one, other = scene.begun()
    gone: list[None] = []
    scene.crew.stop(5.0, ["outbound"]).addCallback(gone.append)
    scene.computer.turn()
    assert [said.head["shared"] for said in one.heard] == [["outbound"]]
    scene.crew.cut()
    scene.computer.turn()
    assert one.said() == other.said() == ["drain", "cut"]
    one.end()
    assert not gone
    other.end()
    scene.computer.pass_by(LONGEST_DELAY)
    assert gone and len(scene.computer.started) == 2 and scene.crew.restarts == 0


def test_does_not_end(scene: Scene) -> None:
    """Who does not end in time is killed; who had not begun yet, at once."""
    scene.crew.start()
    one, other = scene.computer.started
    one.hello()
    gone: list[None] = []
    scene.crew.stop(5.0, ()).addCallback(gone.append)
    scene.computer.pass_by(0)
    assert one.alive and not other.alive
    for _ in range(9):
        scene.computer.pass_by((5.0 + GRACE_SECONDS) / 8)
    assert not one.alive and gone


def test_stop_while_one_is_awaited(scene: Scene) -> None:
    """Nobody is started any more."""
    one, other = scene.begun()
    one.end(9)
    other.end(9)
    gone: list[None] = []
    scene.crew.stop(5.0, ()).addCallback(gone.append)
    scene.computer.pass_by(LONGEST_DELAY)
    assert gone == [None] and len(scene.computer.started) == 2


def test_hung_up(scene: Scene) -> None:
    """A process that lives on without its channel cannot be told anything: it is killed."""
    one, _ = scene.begun()
    one.channel.close()
    scene.computer.turn()
    assert scene.crew.missing == "2 of 3 processes serve" and one.alive
    scene.computer.pass_by(SILENT_SECONDS)
    scene.computer.pass_by(0)
    assert not one.alive
