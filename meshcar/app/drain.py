"""The end of the process: no new connections, what runs is finished, the rest is cut."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from meshcar.net.listen import Port
from meshcar.proxy.arrival import Arrival
from meshcar.proxy.side import Side

LOOK_SECONDS = 0.05
"""How often it is looked whether all are done."""
IDLE_SECONDS = 0.5
"""How long an idle connection stays open, for a request that is on its way: its answer says `connection: close`."""


class Drain:
    """Begun once, by the service that stops. `seconds` is the time that all of it gets; `ports` and `sides` go by the same names.

    Inbound connections are refused first. Outbound ones are taken as long as inbound ones live: to answer those, the application may
    have to call somebody. Each step is one line of the log.
    """

    _log = Logger()

    def __init__(self, clock: Any, ports: Mapping[str, Port], sides: Mapping[str, Side], seconds: float) -> None:
        self._clock, self._ports, self._sides, self._seconds = clock, ports, sides, seconds
        self._idle_from = self._until = 0.0
        self._done: Deferred[None] | None = None

    def begin(self) -> "Deferred[None]":
        """Fires when nothing is left."""
        begun = self._clock.seconds()
        self._idle_from, self._until = begun + IDLE_SECONDS, begun + self._seconds
        self._log.info("draining: {left}, up to {seconds:g} s", left=self._left(), seconds=self._seconds)
        for side in self._sides.values():
            side.draining = True
        self._refuse("inbound")
        done = self._done = Deferred()
        self._look()
        return done

    def cut(self) -> None:
        """Waits no longer."""
        self._until = 0.0

    def _refuse(self, name: str) -> None:
        port = self._ports.get(name)
        if port is not None and port.listening:
            port.stop()
            self._log.info("draining: {name} connections are not accepted any more", name=name)

    def _connections(self, name: str) -> int:
        """How many live, or still get their last bytes."""
        return self._ports[name].open if name in self._ports else 0

    def _copies(self) -> int:
        return sum(side.copies for side in self._sides.values())

    def _left(self) -> str:
        return ", ".join([*(f"{name} connections: {self._connections(name)}" for name in self._sides), f"copies: {self._copies()}"])

    def _look(self) -> None:
        now = self._clock.seconds()
        if now >= self._idle_from:
            self._close_idle()
        if not self._connections("inbound"):
            self._refuse("outbound")
        if now < self._until and (self._copies() or any(map(self._connections, self._sides))):
            self._clock.callLater(LOOK_SECONDS, self._look)
        else:
            self._end()

    def _close_idle(self) -> None:
        for side in self._sides.values():
            side.close_idle(IDLE_SECONDS)
        for port in self._ports.values():
            for transport in list(port.connections):
                if isinstance(transport.protocol, Arrival):
                    transport.protocol.close_if_silent()

    def _end(self) -> None:
        self._refuse("outbound")
        if self._copies() or any(map(self._connections, self._sides)):
            self._log.info("drained: the rest is cut, {left}", left=self._left())
        else:
            self._log.info("drained: all is finished")
        for port in self._ports.values():
            for transport in list(port.connections):
                transport.abortConnection()
        # those that were cut end in the reactor's next turn
        self._clock.callLater(0, self._done.callback, None)  # type: ignore[union-attr]
