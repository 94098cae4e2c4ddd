"""How this process hands over to the next one, and takes over from the one before: sockets, and the rules that were applied."""

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from meshcar.app.life import Life
from meshcar.app.ports import Ports
from meshcar.app.reload import LiveRules
from meshcar.net.address import PathAddress
from meshcar.net.handover import Offer, Predecessor
from meshcar.net.site_port import listen_for


class Succession:
    """Made with --handover. While a successor starts, connections to admin wait, and rules stay as they are: both are its own then."""

    def __init__(self, reactor: Any, path: Path, predecessor: Predecessor | None, ports: Ports, rules: LiveRules, life: Life) -> None:
        self._reactor, self._path, self._predecessor = reactor, str(path), predecessor
        self._ports, self._rules, self._life = ports, rules, life
        self._listening: Any = None
        if predecessor is None:
            self._listen()

    def begin(self) -> None:
        """This process serves from now on. The predecessor, if there is one, lets go of the path first, and drains."""
        if self._predecessor is not None:
            self._predecessor.serving()
            self._ports.take_over()
            self._listen()

    def end(self) -> None:
        """There will be no successor, or there is one."""
        if self._listening is not None:
            self._listening.stopListening()
            self._listening = None
            os.unlink(self._path)

    def _listen(self) -> None:
        offer = Offer(self._prepare, self._kept, self._gone)
        self._listening = listen_for(self._reactor, PathAddress(self._path), offer, None)

    def _prepare(self) -> "Deferred[tuple[list[socket.socket], str]]":
        self._ports.pause("admin")
        return self._rules.hold().addCallback(lambda _: (self._ports.sockets(), self._rules.applied_text()))

    def _kept(self) -> None:
        self._rules.release()
        self._ports.resume("admin")

    def _gone(self) -> None:
        self._ports.hand_over()
        self.end()
        self._life.quit()
