"""The end of the process: no new connections, running requests finish, the rest is cut."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from meshcar.proxy.side import Side

LOOK_SECONDS = 0.05
"""How often it is looked whether all are done."""


class Drain:
    """Begun once, by the service that stops. `seconds` is the time that running requests get."""

    _log = Logger()

    def __init__(self, clock: Any, sides: Sequence[Side], seconds: float) -> None:
        self._clock = clock
        self._sides = sides
        self._seconds = seconds
        self._until = 0.0

    def begin(self) -> "Deferred[None]":
        """Fires when no session is left."""
        self._until = self._clock.seconds() + self._seconds
        for side in self._sides:
            side.drain()
        self._log.info("draining: {count} connections, up to {seconds} s", count=self._running(), seconds=self._seconds)
        done: Deferred[None] = Deferred()
        self._look(done)
        return done

    def _running(self) -> int:
        return sum(len(side.sessions) for side in self._sides)

    def _look(self, done: "Deferred[None]") -> None:
        running = self._running()
        if running and self._clock.seconds() < self._until:
            self._clock.callLater(LOOK_SECONDS, self._look, done)
            return
        for side in self._sides:
            for session in list(side.sessions):
                session.transport.abortConnection()
        self._log.info("drained: {count} connections cut", count=running)
        # those that were cut end in the reactor's next turn
        self._clock.callLater(0, done.callback, None)
