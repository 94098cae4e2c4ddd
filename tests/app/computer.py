"""A computer that starts pretended processes."""

import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from meshcar import __version__
from meshcar.app.hand import CHANNEL
from meshcar.net.channel import PATIENCE, Channel
from meshcar.wire.frames import Frame
from tests.fakes import Turns


class Fake:
    """A process that does as it is told, unless the test says otherwise: `answers` are what it says to a call, an exception if it
    raises, None if it hangs."""

    def __init__(self, reactor: "Computer", protocol: Any, words: list[str], environ: dict[str, str], descriptors: dict[int, int]) -> None:
        self.protocol, self.words, self.environ, self.descriptors = protocol, words, environ, descriptors
        self.pid = 1000 + len(reactor.started)
        self.heard: list[Frame] = []
        self.answers: dict[str, Any] = {"report": Frame({"rows": [], "clusters": []})}
        self._reactor = reactor
        calls = ("begin", "prepare", "commit", "abandon", "rotate", "report", "drain", "cut", "fail_health")
        sock = socket.socket(fileno=os.dup(descriptors[CHANNEL]))
        self.channel = Channel(reactor, sock, dict.fromkeys(calls, self._called), lambda: None)
        self.alive = True

    def hello(self, version: str = __version__) -> None:
        self.channel.tell("hello", version=version)
        self._reactor.turn()

    def said(self) -> list[str]:
        """What it was told, in order, but for questions after its counters."""
        found, self.heard = [one.head["call"] for one in self.heard if one.head["call"] != "report"], []
        return found

    def end(self, signal: int | None = None) -> None:
        if self.alive:
            self.alive = False
            self.channel.close()
            reason = ProcessDone(0) if signal is None else ProcessTerminated(signal=signal)
            self.protocol.processEnded(Failure(reason))
            self._reactor.turn()

    def _called(self, said: Frame) -> Any:
        self.heard.append(said)
        answer = self.answers.get(said.head["call"], Frame({}))
        if isinstance(answer, Exception):
            raise answer
        return Deferred() if answer is None else answer


class Computer(Turns):
    """Starts pretended processes."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Fake] = []
        self.broken: OSError | None = None

    def spawnProcess(self, protocol: Any, executable: str, words: list[str], environ: dict[str, str], childFDs: dict[int, int]) -> Any:
        if self.broken is not None:
            raise self.broken
        self.started.append(Fake(self, protocol, words, environ, childFDs))
        return SimpleNamespace(pid=self.started[-1].pid)

    def kill(self, pid: int, signal: int) -> None:
        self.callLater(0, next(one for one in self.started if one.pid == pid).end, signal)

    def pass_by(self, seconds: float) -> None:
        """In parts: who waits for an answer does so, too."""
        for _ in range(PATIENCE):
            self.turn()
            self.advance(seconds / PATIENCE + 1e-6)
        self.turn()
