"""One of the further processes that serve: what it is told by the owner, who started it, and what it tells.

`python -m meshcar.app.worker NUMBER LISTENER...`: descriptor 1 is the access log, 3 the owner's channel, from 4 on listening sockets stand.
"""

import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from meshcar import __version__
from meshcar.admin.operator import ClusterStatus
from meshcar.app.engine import Engine, workload_of
from meshcar.app.hand import CHANNEL, FIRST_LISTENER
from meshcar.app.life import Life
from meshcar.app.log_file import line_writer
from meshcar.app.settings import Settings, read_settings
from meshcar.app.tap import global_reactor
from meshcar.identity.credentials import Credentials
from meshcar.net.channel import Channel, Refused, taken
from meshcar.net.listen import Port, listen
from meshcar.net.slices import in_slices
from meshcar.observe.summed import Row, Teller
from meshcar.rules.compile import compile_steps
from meshcar.rules.read import Resource, retaken
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.steps import Steps
from meshcar.wire.frames import Frame

STDOUT = 1


@implementer(ILogObserver)
class Worker:
    """Made when the process starts; begins to serve when the owner says so, ends when the owner says so or is gone, or by SIGTERM."""

    _log = Logger()
    _engine: Engine
    _settings: Settings
    _life: Life
    _teller: Teller

    def __init__(self, reactor: Any, channel: socket.socket, sockets: Mapping[str, socket.socket]) -> None:
        self._reactor, self._sockets = reactor, sockets
        self._ports: dict[str, Port] = {}
        self._shared: Sequence[str] = ()
        self._known: Mapping[bytes, Resource] = {}
        self._prepared: Snapshot | None = None
        self._begun = self._leaving = False
        self._channel = Channel(reactor, channel, {
            "begin": self._begin, "prepare": self._prepare, "commit": self._commit, "abandon": self._abandon, "rotate": self._rotate,
            "report": self._report, "fail_health": self._tell_life, "pass_health": self._tell_life, "drain_listeners": self._tell_life,
            "drain": self._drain, "cut": self._cut,
        }, self._abandoned)  # fmt: skip
        self._channel.tell("hello", version=__version__)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver: the owner has one log for all. What it cannot hear any more goes to stderr, if it is a warning or worse."""
        level, text = event.get("log_level"), eventAsText(event, includeTimestamp=False, includeSystem=False)
        if self._channel.open:
            self._channel.tell("log", namespace=event.get("log_namespace") or "", level=level.name if level else "info", text=text)
        elif level is not None and level >= LogLevel.warn:
            print(f"meshcar: {text}", file=sys.stderr)

    def terminated(self, number: int, frame: object) -> None:
        """A signal's handler: this process drains, and ends. Often the owner says so at the same time."""
        self._reactor.callFromThread(self._leave)

    def stop(self) -> "Deferred[None] | None":
        """Drains; the reactor waits for it."""
        if not self._begun:
            return None
        for name in self._shared:
            if name in self._ports:
                self._ports[name].shared = True
                self._ports[name].stop()
        return self._life.stop().addCallback(lambda _: self._end())

    def _end(self) -> None:
        self._engine.stop()
        for port in self._ports.values():
            port.stop()
        self._channel.tell("counted", rows=[row for row in self._teller.changes() if row is not None])
        self._channel.close()

    # -- what the owner says

    def _begin(self, said: Frame) -> "Deferred[None]":
        """Everything that is needed; answered when connections are accepted."""
        told = said.head
        self._settings = read_settings(told["rules"], told["settings"])
        writer = line_writer(None if self._settings.access_log is None else STDOUT, shared=True)
        self._engine = Engine(self._reactor, self._settings, _credentials(told["certificates"]), writer)
        self._engine.own.ports.update(told["own_ports"])
        self._teller = Teller(self._engine.counters)
        return in_slices(self._beginning(said), self._reactor)

    def _beginning(self, said: Frame) -> Steps[None]:
        engine = self._engine
        yield from engine.put_in_force((yield from self._compiled(said)))
        for name, sock in self._sockets.items():
            address = getattr(self._settings, name)
            self._ports[name] = port = listen(self._reactor, address.host, address.port, engine.sides[name].accept, inherited=sock)
            port.shared, port.at_a_turn = False, 1
        engine.measure(self._ports)
        self._life = Life(self._reactor, self._ports, engine.sides, self._settings.drain)
        self._begun = True
        engine.start()

    def _prepare(self, said: Frame) -> "Deferred[None]":
        """Refused, by an error, where the rules cannot be compiled."""
        def kept(snapshot: Snapshot) -> None:
            self._prepared = snapshot
        return in_slices(self._compiled(said), self._reactor).addCallback(kept)

    def _compiled(self, said: Frame) -> Steps[Snapshot]:
        known = yield from retaken(said.body.splitlines(), self._settings.namespace, self._known)
        compiled = yield from compile_steps(known.values(), workload_of(self._settings), said.head["generation"])
        errors = [problem for problem in compiled.problems if problem.severity == "error"]
        if errors:
            raise Refused("; ".join(map(str, errors[:20])))
        self._known = known
        return compiled.snapshot

    def _commit(self, said: Frame) -> "Deferred[None]":
        snapshot, self._prepared = self._prepared, None
        if snapshot is None or snapshot.generation != said.head["generation"]:
            raise ValueError(f"generation {said.head['generation']} was not prepared")
        return in_slices(self._engine.put_in_force(snapshot), self._reactor)

    def _abandon(self, said: Frame) -> None:
        self._prepared = None

    def _rotate(self, said: Frame) -> None:
        credentials = _credentials(said.head["certificates"])
        assert credentials is not None
        self._engine.rotate(credentials)

    def _report(self, said: Frame) -> "Deferred[Frame]":
        return in_slices(self._reporting(said.head["clusters"]), self._reactor)

    def _reporting(self, clusters: bool) -> Steps[Frame]:
        rows: list[Row] = []
        for row in self._teller.changes():
            if row is None:
                yield
            else:
                rows.append(row)
        if not clusters:
            return Frame({"rows": rows})
        found: list[list[Any]] = []
        for status in self._engine.statuses():
            found += endpoint_rows(status)
            yield
        return Frame({"rows": rows, "clusters": found})

    def _tell_life(self, said: Frame) -> None:
        getattr(self._life, said.head["call"])(**said.head["how"])

    def _drain(self, said: Frame) -> None:
        self._shared = said.head["shared"]
        self._leave()

    def _cut(self, said: Frame) -> None:
        if self._begun:
            self._life.cut()

    def _abandoned(self) -> None:
        """The owner is gone: nobody changes rules here, and nobody would start another."""
        self._log.error("the owner is gone: this worker drains and ends")
        self._leave()

    def _leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._reactor.callLater(0, self._reactor.stop)


def endpoint_rows(cluster: ClusterStatus) -> Iterator[list[Any]]:
    """What the owner cannot know of a cluster: [name, address, port, healthy, counts], of endpoints where there is something to say."""
    for end in cluster.endpoints:
        if not end.healthy or any(end.counts.values()):
            yield [cluster.name, end.address, end.port, end.healthy, dict(end.counts)]


def _credentials(texts: Sequence[str] | None) -> Credentials | None:
    """Out of three PEM texts."""
    return None if texts is None else Credentials.load(*(text.encode() for text in texts))


def main(listeners: Sequence[str]) -> None:
    """The process, to its end."""
    reactor = global_reactor()
    for number in (signal.SIGINT, signal.SIGHUP):  # of a terminal, to all its processes: the owner hears it, too
        signal.signal(number, signal.SIG_IGN)
    sockets = {name: socket.socket(fileno=descriptor) for descriptor, name in enumerate(listeners, FIRST_LISTENER)}
    worker = Worker(reactor, taken(CHANNEL), sockets)
    globalLogBeginner.beginLoggingTo([worker], redirectStandardIO=False, discardBuffer=True)  # type: ignore[list-item]
    reactor.addSystemEventTrigger("before", "shutdown", worker.stop)
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, worker.terminated)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[2:])
