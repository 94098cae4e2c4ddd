"""Whether this process takes part: health checks failed on purpose, listeners drained, and the end, by signal or by call."""

import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from meshcar.app.drain import Drain
from meshcar.net.listen import Port
from meshcar.proxy.side import Side


class Life:
    """Made by the process, asked and told by operators; `stop` begins the end, which the reactor waits for.

    `ports` and `sides` go by the same names, `seconds` is what --drain says. `others` tells further processes what this one was told: the
    name of the call, and what it takes.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, ports: Mapping[str, Port], sides: Mapping[str, Side], seconds: float,
        others: Callable[[str, Mapping[str, bool]], object] = lambda call, how: None,
    ) -> None:  # fmt: skip
        self._reactor, self._ports, self._sides, self._seconds, self._others = reactor, ports, sides, seconds, others
        self._drain = Drain(reactor, ports, sides, seconds)
        self._failing = self._told_to_end = self._ending = False
        self._leaving = set[str]()

    @property
    def leaving(self) -> str | None:
        """Why no new requests should come here, or None."""
        if self._ending:
            return "draining"
        return "draining: health checks fail, as an operator told them to" if self._failing else None

    def fail_health(self) -> None:
        """Not ready from now on, and answers say `connection: close`. Source: Envoy's /healthcheck/fail."""
        self._failing = True
        self._log.info("health checks fail from now on")
        self._others("fail_health", {})
        self._tell()

    def pass_health(self) -> None:
        """Takes that back."""
        self._failing = False
        self._log.info("health checks pass again")
        self._others("pass_health", {})
        self._tell()

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """Captured connections are not accepted any more: now; `graceful`, after --drain seconds in which answers say
        `connection: close`; `skip_exit`, never, but answers say so. The process goes on. Source: Envoy's /drain_listeners.
        """
        self._others("drain_listeners", {"graceful": graceful, "inbound_only": inbound_only, "skip_exit": skip_exit})
        names = ["inbound"] if inbound_only else ["inbound", "outbound"]
        self._log.info("listeners are drained: {names}", names=", ".join(names))
        if graceful or skip_exit:
            self._leaving.update(names)
            self._tell()
        if not skip_exit:
            self._reactor.callLater(self._seconds if graceful else 0, self._refuse, names)

    def quit(self) -> None:
        """Ends the process, with status 0, as SIGTERM does: drained first."""
        if not self._told_to_end:
            self._told_to_end = True
            self._reactor.callLater(0, self._reactor.stop)

    def take_signals(self) -> None:
        """From now on the first SIGTERM or SIGINT ends the process as before, and the next cuts what is left. The reactor runs."""
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, partial(self._signalled, before))

    def stop(self) -> "Deferred[None]":
        """Fires when all is drained, or cut."""
        self._told_to_end = self._ending = True
        return self._drain.begin()

    def cut(self) -> None:
        """Waits no longer for what is left."""
        self._log.info("told to end again: the rest is cut")
        self._others("cut", {})
        self._drain.cut()

    def _signalled(self, before: Callable[[int, Any], object], number: int, frame: Any) -> None:
        if self._told_to_end:
            self._reactor.callFromThread(self.cut)
        else:
            self._told_to_end = True
            before(number, frame)

    def _refuse(self, names: list[str]) -> None:
        for name in names:
            if name in self._ports and self._ports[name].listening:
                self._ports[name].stop()
                self._log.info("{name} connections are not accepted any more", name=name)

    def _tell(self) -> None:
        for name, side in self._sides.items():
            side.draining = self._failing or self._ending or name in self._leaving
