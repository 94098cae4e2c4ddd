"""What a worker does when it is told something, without its process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshcar.admin.operator import ClusterStatus, EndpointStatus
from meshcar.app import engine
from meshcar.app.crew import lines_of
from meshcar.app.worker import Worker, endpoint_rows
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId
from meshcar.net.channel import Channel, Refused, pair
from meshcar.observe.names import LOG_DROPPED
from meshcar.rules.read import read
from meshcar.wire.frames import Frame
from tests.fakes import Stoppable, Turns

RULES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.test, trafficPolicy: {connectionPool: {tcp: {maxConnections: 10}}}}
"""
BODY = lines_of(read(RULES, "-").resources)
CLUSTER = "outbound|80||a.test"
NOW = datetime.now(UTC)
ROOT = Authority.new("cluster.local", NOW, timedelta(days=9))


def certificates() -> tuple[str, str, str]:
    issued = ROOT.issue(SpiffeId.of_workload("cluster.local", "default", "default"), NOW, timedelta(days=1))
    return Credentials.load(issued.chain, issued.key, ROOT.pem).texts()


class Reactor(Turns, Stoppable):
    """One that can be stopped."""


@attrs.define
class Scene:
    """A worker, and its owner's end of the channel, which notes what it hears."""

    reactor: Reactor
    worker: Worker
    owner: Channel
    heard: list[Frame]

    def ask(self, call: str, body: bytes = b"", **fields: Any) -> Any:
        """The answer, or what it failed with."""
        found: list[Any] = []
        answer: Deferred[Frame] = self.owner.ask(call, 5.0, body, **fields)
        answer.addBoth(found.append)
        for _ in range(20):
            self.reactor.turn(5)
            self.reactor.advance(0)
        (result,) = found
        return result.value if isinstance(result, Failure) else result

    def begin(self, certificates: Any = None) -> Any:
        settings = {"workers": "2", "access_log": "off", "intercept": "none"}
        return self.ask("begin", BODY, settings=settings, rules=["r.yaml"], own_ports=[15000], generation=3, certificates=certificates)

    def pass_by(self) -> None:
        self.reactor.turn(5)
        self.reactor.advance(0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    for name in ("collect", "freeze", "set_threshold"):
        monkeypatch.setattr(engine.gc, name, lambda *_: None)
    reactor, (ours, theirs), heard = Reactor(), pair(), list[Frame]()
    owner = Channel(reactor, ours, dict.fromkeys(("hello", "log", "counted"), heard.append), lambda: None)
    worker = Worker(reactor, theirs, {})
    yield Scene(reactor, worker, owner, heard)
    owner.close()
    worker._channel.close()


def test_begins(scene: Scene) -> None:
    """With the rules in force, its part of limits, and the ports that it must never call."""
    scene.pass_by()
    assert [said.head["call"] for said in scene.heard] == ["hello"]
    assert scene.begin() == Frame({"answer": 1})
    serving = scene.worker._engine
    cluster = serving._clusters.get(CLUSTER)
    assert cluster is not None and cluster.config.max_connections == 5
    (status,) = serving.statuses()
    assert status.limits["max_connections"] == 10, "as the rules say"
    assert serving.snapshot.get().generation == 3 and serving.own.ports == {15000}


def test_changes(scene: Scene) -> None:
    """New rules are in force when it is said so, and not before."""
    scene.begin()
    served = scene.worker._engine.snapshot
    assert isinstance(scene.ask("prepare", BODY.splitlines()[0], generation=4), Frame)
    assert served.get().generation == 3
    assert isinstance(scene.ask("commit", generation=4), Frame)
    assert served.get().generation == 4


UNKNOWN = b'{"apiVersion": "v9", "kind": "Service", "metadata": {"name": "a"}}'
TWICE = BODY.splitlines()[0] + b" \n" + BODY


@pytest.mark.parametrize("body", [UNKNOWN, TWICE])
def test_refuses(scene: Scene, body: bytes) -> None:
    """What it cannot compile, and to put in force what it has not prepared, or what was taken back."""
    scene.begin()
    assert isinstance(scene.ask("prepare", body, generation=4), Refused)
    assert isinstance(scene.ask("commit", generation=4), Refused)
    scene.ask("prepare", BODY, generation=4)
    scene.owner.tell("abandon")
    assert isinstance(scene.ask("commit", generation=4), Refused)
    assert scene.worker._engine.snapshot.get().generation == 3


def test_reports(scene: Scene) -> None:
    """What it counted since the last time; of clusters what is worth a word."""
    scene.begin()
    first = scene.ask("report", clusters=True).head
    assert [LOG_DROPPED.name, [], 0] in first["rows"] and first["clusters"] == []
    assert scene.ask("report", clusters=False).head["rows"] == []


def test_rotates(scene: Scene) -> None:
    """Certificates come over the channel, at the beginning and later."""
    first, second = certificates(), certificates()
    scene.begin(first)
    shown = scene.worker._engine.credentials
    assert shown is not None and shown.texts() == first
    scene.owner.tell("rotate", certificates=second)
    scene.pass_by()
    assert scene.worker._engine.credentials.texts() == second  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["told", "signalled", "owner gone"])
@pytest.mark.parametrize("begun", [True, False])
def test_ends(scene: Scene, begun: bool, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, however often it is told; what it counted last is said before it hangs up."""
    if begun:
        scene.begin()
    for _ in range(2):
        if how == "told":
            scene.owner.tell("drain", shared=[])
        elif how == "signalled":
            scene.worker.terminated(15, None)
        else:
            scene.owner.close()
        scene.pass_by()
    assert scene.reactor.stopped == 1
    drained = scene.worker.stop()
    assert (drained is not None) is begun
    scene.reactor.advance(0)
    scene.pass_by()
    assert not begun or (drained is not None and drained.called)
    if how != "owner gone":
        assert [said.head["call"] for said in scene.heard if said.head["call"] != "log"][1:] == ["counted"] * begun


def test_log(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go to the owner; when that is gone, those that matter go to stderr."""
    log = Logger(namespace="meshcar.net", observer=scene.worker)
    log.info("one {what}", what="line")
    scene.pass_by()
    assert scene.heard[-1].head == {"call": "log", "namespace": "meshcar.net", "level": "info", "text": "one line"}
    scene.owner.close()
    scene.pass_by()
    log.info("of no matter")
    log.error("of some")
    assert capsys.readouterr().err == "meshcar: of some\n"


def test_endpoint_rows() -> None:
    """Endpoints that are idle and healthy are not worth a word."""
    idle = EndpointStatus("10.0.0.1", 80, counts={"cx_active": 0})
    busy, ejected = attrs.evolve(idle, counts={"cx_active": 2}), attrs.evolve(idle, healthy=False)
    assert list(endpoint_rows(ClusterStatus("a", (idle, busy, ejected)))) == [
        ["a", "10.0.0.1", 80, True, {"cx_active": 2}], ["a", "10.0.0.1", 80, False, {"cx_active": 0}],
    ]
