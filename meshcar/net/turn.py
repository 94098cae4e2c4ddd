"""The events of one turn of the reactor, each to whom it is for."""

import sys
from select import EPOLLIN
from typing import Any

from twisted.python import log

from meshcar.net.transport import Transport


def serve(reactor: Any, events: list[tuple[int, int]], selectables: dict[int, Any]) -> None:
    """Calls readers straight; everything but a plain read event goes the usual way of Twisted's EPollReactor, which `reactor` is."""
    why: BaseException | None
    for fd, event in events:
        selectable = selectables.get(fd)
        if selectable is None:
            continue  # closed by an event before this one
        if event != EPOLLIN:
            reactor._doReadOrWrite(selectable, fd, event)
            continue
        try:
            transport = selectable if isinstance(selectable, Transport) else None  # whose method needs no looking up, compiled
            why = selectable.doRead() if transport is None else transport.doRead()
        except BaseException:
            why = sys.exc_info()[1]
            log.err()
        if why:
            reactor._disconnectSelectable(selectable, why, True)
