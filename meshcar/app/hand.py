"""One of the further processes that serve, as their owner sees it: started, asked, told, killed."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from meshcar import __version__
from meshcar.net.channel import Channel, Refused, Silent, pair
from meshcar.observe.counters import Counters
from meshcar.observe.summed import hear
from meshcar.wire.frames import Frame

CHANNEL, FIRST_LISTENER = 3, 4
"""Descriptors of a worker: our channel, then the listening sockets in the order of their names on its command line."""
SILENT_SECONDS = 5.0
"""A process that has not answered for so long hangs, and is killed. Its work is done in slices of milliseconds."""
_OURS_ALONE = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")


class Boss(Protocol):
    """Who is told of a hand; app.crew.Crew in a sidecar."""

    def greeted(self, hand: "Hand") -> None:
        """It has started, and may be told to begin."""

    def ended(self, hand: "Hand", how: str) -> None:
        """Its process is no more."""


class Hand(ProcessProtocol):
    """One process, from its start to its end; another one gets another Hand. `heard` is what it last said it had counted.

    `begun`: it has been given rules and certificates, and is told what changes; `serves`: it accepts connections.
    """

    _log = Logger()

    def __init__(self, reactor: Any, number: int, boss: Boss) -> None:
        self._reactor, self._boss = reactor, boss
        self.number = number
        self.begun = self.serves = False
        self.since = reactor.seconds()
        self.heard = Counters()
        self.clusters: list[list[Any]] = []
        self._pid = 0
        ours, self._theirs = pair()
        calls = {"hello": self._hello, "log": self._log_line, "counted": self._counted}
        self.channel = Channel(reactor, ours, calls, self._hung_up)

    def start(self, listeners: Mapping[str, int], log: int | None) -> None:
        """Starts the process, with descriptors of listening sockets by name; its stdout is the access log. Raises OSError."""
        words = [sys.executable, "-P", "-m", "meshcar.app.worker", str(self.number), *listeners]
        environ = {name: text for name, text in os.environ.items() if name not in _OURS_ALONE}
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # the code that runs here
        descriptors = {0: 0, 1: 1 if log is None else log, 2: 2, CHANNEL: self._theirs.fileno()}
        descriptors |= dict(enumerate(listeners.values(), FIRST_LISTENER))
        try:
            process = self._reactor.spawnProcess(self, sys.executable, words, environ, childFDs=descriptors)
            self._pid = process.pid
            self._log.info("worker {number}: process {pid}", number=self.number, pid=self._pid)
        finally:
            self._theirs.close()

    def kill(self) -> None:
        """Ends the process at once; its end is told as any other."""
        self.begun = self.serves = False
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)

    def look(self, clusters: bool) -> "Deferred[None]":
        """Hears what it counted, and of its clusters; never fails: who does not answer is killed."""
        return self.channel.ask("report", SILENT_SECONDS, clusters=clusters).addCallbacks(self._counted, self.failed)

    def failed(self, failure: Failure) -> None:
        """It did not answer, or not as it must: killed, and said so, unless it is gone already."""
        failure.trap(Silent, Refused)
        if self.begun:
            self._log.error("worker {number}: {why}; it is killed", number=self.number, why=failure.getErrorMessage())
        self.kill()

    def processEnded(self, reason: Failure) -> None:
        """See ProcessProtocol."""
        self._pid = 0
        self.kill()
        self.channel.close()
        status: Any = reason.value
        self._boss.ended(self, f"by signal {status.signal}" if status.signal else f"with status {status.exitCode}")

    def _hung_up(self) -> None:
        """It is about to end; if it is not, it cannot be told anything."""
        self.begun = self.serves = False
        self._reactor.callLater(SILENT_SECONDS, self.kill)

    # -- what it says

    def _hello(self, said: Frame) -> None:
        if said.head["version"] != __version__:
            self._log.error("worker {number} is of version {theirs}, its owner of {ours}: the sidecar must be started anew",
                            number=self.number, theirs=said.head["version"], ours=__version__)
            self.kill()
            return
        self._boss.greeted(self)

    def _counted(self, said: Frame) -> None:
        hear(self.heard, said.head["rows"])
        self.clusters = said.head.get("clusters", self.clusters)

    def _log_line(self, said: Frame) -> None:
        level = LogLevel.lookupByName(said.head["level"])
        Logger(namespace=said.head["namespace"]).emit(level, "worker {number}: {text}", number=self.number, text=said.head["text"])
