"""Twisted's epoll reactor without a logging context around every event, with an end of each turn for what is to be sent, and deadlines
that need no timer each.

The context names the connection in Twisted's old log. Nothing on the data path logs by it, and to enter and leave it costs about
as much as parsing a request's head (docs/performance.md).
"""

import sys

from twisted.internet import epollreactor, main

from meshcar.net.outgoing import Outgoing
from meshcar.net.timeouts import Timeouts
from meshcar.net.turn import serve


class DirectReactor(epollreactor.EPollReactor):
    """An EPollReactor that calls readers straight; everything but a plain read event goes the usual way."""

    def __init__(self) -> None:
        super().__init__()
        self.outgoing = Outgoing()
        self.timeouts = Timeouts(self)

    def runUntilCurrent(self) -> None:
        """Runs what is due, copies of requests among it, and sends what that made; before anybody asks how long the poll may take."""
        super().runUntilCurrent()
        self.outgoing.leave()

    def doPoll(self, timeout: float | None) -> None:
        """One turn: waits for events, at most `timeout` seconds (None: as long as it takes), serves each, and sends what that made."""
        selectables = self._selectables
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(selectables) or 1)
        except InterruptedError:
            return
        serve(self, events, selectables)
        self.outgoing.leave()

    doIteration = doPoll


def install() -> bool:
    """Makes this the process's reactor; False if another one was installed before."""
    if "twisted.internet.reactor" in sys.modules:
        return False
    main.installReactor(DirectReactor())
    return True
