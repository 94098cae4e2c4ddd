"""Shows what a peer sent first, and leaves it in the socket for whoever serves the connection."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from meshcar.net.transport import Transport

MOST = 65536  # bytes looked at; a ClientHello beyond it is nobody's
_ESTABLISHED = 1  # linux/tcp.h, tcpi_state

Look = Callable[[bytes, bool], int]


class FirstBytes:
    """Watches a transport until `look` has seen enough; made by Transport.sniff.

    SO_RCVLOWAT is raised to what `look` asks for: the kernel keeps quiet until then, and wakes us if the peer ends before.
    """

    __slots__ = ("_look", "_transport", "_wanted")

    def __init__(self, transport: "Transport", look: Look) -> None:
        self._transport = transport
        self._look = look
        self._wanted = 1

    def doRead(self) -> Exception | None:
        """Shows what has come; closes a connection that ends before anybody knows it."""
        sock = self._transport.socket
        try:
            data = sock.recv(MOST, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        enough = len(data) >= self._wanted
        last = len(data) >= MOST or (not enough and _ended(sock))
        if not enough and not last:
            return None
        wanted = self._look(data, last)
        if self._transport.watcher is not self:
            return None
        if wanted and last:
            return CONNECTION_DONE
        if wanted:
            self._want(max(wanted, len(data) + 1))
        else:
            self._transport.watch(None)
        return None

    def doWrite(self) -> None:
        """What was written meanwhile waits until this is over."""
        self._transport.reactor.removeWriter(self._transport)

    def released(self) -> None:
        """Every byte wakes the reactor again; called when the transport's watcher changes."""
        if self._wanted > 1:
            self._want(1)

    def connectionLost(self, reason: Failure) -> None:
        """Passes it on to the protocol: a sniffed connection is still its own."""
        if self._transport.protocol is not None:
            self._transport.protocol.connectionLost(reason)

    def _want(self, size: int) -> None:
        self._wanted = size
        self._transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(size, MOST))


def _ended(sock: socket.socket) -> bool:
    """Whether the peer has sent its last byte; bytes still in the socket hide that from recv."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
