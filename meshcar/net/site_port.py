"""Listening for twisted.web: Twisted's own ports, on sockets that may be inherited, and paths that outlive a process."""

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import tcp, unix
from twisted.python.failure import Failure

from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress
from meshcar.net.listen import bound

OWNER_ONLY = 0o600
BACKLOG = 50
"""Connections that wait; Twisted's default."""


class PathPort(unix.Port):
    """A Unix socket that leaves its path alone: it may be systemd's, and when this process ends, its successor may listen there."""

    _shouldShutdown = False
    socket: Any
    fileno: Any
    factory: Any

    def startListening(self) -> None:
        """Serves the socket it was made of, which listens already."""
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno
        self.connected, self.numberAccepts = True, 100
        self.factory.doStart()
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Closes it."""
        tcp.Port.connectionLost(self, reason)


def listen_for(reactor: Any, address: Address | PathAddress, site: Any, inherited: socket.socket | None) -> Any:
    """Listens with a Site; `inherited` is a socket that listens there already. Raises SettingsError."""
    try:
        sock = inherited or _listening(address)
    except OSError as e:
        raise SettingsError(f"cannot listen on {address}: {e.strerror}") from None
    if isinstance(address, PathAddress):
        port = PathPort._fromListeningDescriptor(reactor, sock.fileno(), site)
    else:
        port = tcp.Port._fromListeningDescriptor(reactor, sock.fileno(), sock.family, site)
    sock.close()  # the port has a copy
    port.startListening()
    return port


def _listening(address: Address | PathAddress) -> socket.socket:
    sock = _bound_path(address.path) if isinstance(address, PathAddress) else bound(address)
    sock.listen(BACKLOG)
    return sock


def _bound_path(path: str) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        os.fchmod(sock.fileno(), OWNER_ONLY)  # before anybody can see it
        sock.bind(path)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on any more: its process was killed. Twisted's lock file would not tell, as the first process of
    a container has the same number each time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if Path(path).is_socket():
                os.unlink(path)
        except OSError:
            pass  # there is none, or none that we may open: bind will say
