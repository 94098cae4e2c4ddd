"""Leaving when the application has left: its process has ended, or its port is not listened on any more."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshcar.errors import SettingsError

LOOK_SECONDS = 1.0
GONE_LOOKS = 3
"""How often in a row nobody may listen before the application counts as gone: a restart of it should not end the sidecar."""


@attrs.frozen
class Companion:
    """Whom the sidecar follows: `kind` is pid or port."""

    kind: str
    number: int

    def __str__(self) -> str:
        """As the option is written."""
        return f"{self.kind}:{self.number}"


def read_companion(text: str) -> Companion:
    """`pid:NUMBER` or `port:NUMBER`. Raises ValueError."""
    kind, _, number = text.partition(":")
    most = {"pid": 1 << 22, "port": 65535}.get(kind, 0)
    if not (number.isascii() and number.isdigit()) or not 0 < int(number) <= most:
        raise ValueError(f"{text!r} is neither pid:NUMBER nor port:NUMBER")
    return Companion(kind, int(number))


def listening_ports(folder: Path = Path("/proc/net")) -> Iterator[int]:
    """Ports of this network namespace on which somebody listens. Source: proc(5), /proc/net/tcp."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (folder / name).read_text().splitlines()[1:]
        except FileNotFoundError:  # a machine without IPv6
            continue
        for line in lines:
            words = line.split()
            if words[3] == "0A":
                yield int(words[1].rpartition(":")[2], 16)


class Following:
    """Calls `left` once, when the companion has left. `ports` tells who listens. The owner calls start(), and stop() at the end."""

    _log = Logger()

    def __init__(
        self, reactor: Any, companion: Companion, left: Callable[[], object], ports: Callable[[], Iterator[int]] = listening_ports
    ) -> None:
        self._reactor, self._companion, self._left, self._ports = reactor, companion, left, ports
        self._seen, self._missing = False, 0
        self._descriptor = -1
        self._polling = LoopingCall(self._look)
        self._polling.clock = reactor
        if companion.kind == "pid":
            try:
                self._descriptor = os.pidfd_open(companion.number)
            except OSError as e:
                raise SettingsError(f"--exit-with {companion}: {e.strerror}") from None

    def start(self) -> None:
        """Begins to look."""
        if self._companion.kind == "pid":
            self._reactor.addReader(self)
        else:
            self._polling.start(LOOK_SECONDS)

    def stop(self) -> None:
        """Looks no more."""
        if self._polling.running:
            self._polling.stop()
        if self._descriptor != -1:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """The process's; it can be read when the process has ended (pidfd_open(2))."""
        return self._descriptor

    def doRead(self) -> None:
        """It has."""
        self._gone()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.stop()

    def logPrefix(self) -> str:
        """Names this in Twisted's log."""
        return "meshcar.app"

    def _look(self) -> None:
        if self._companion.number in self._ports():
            self._seen, self._missing = True, 0
        elif self._seen:
            self._missing += 1
            if self._missing >= GONE_LOOKS:
                self._gone()

    def _gone(self) -> None:
        self._log.info("the application has left ({who}): so does the sidecar", who=str(self._companion))
        self.stop()
        self._left()
