"""Closes a socket so that the peer gets our last bytes (RFC 9112, section 9.6)."""

import socket
from collections.abc import Callable

from twisted.internet import interfaces
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from meshcar.net.events import Reactor
from meshcar.net.timeouts import after

SECONDS = 1.0  # Envoy's delayed_close_timeout
_PORTION = 65536


def close_gently(reactor: Reactor, sock: socket.socket, closed: Callable[[], None]) -> None:
    """Ends our direction, and closes when the peer has ended its own, or after a second; what it still says is thrown away.

    A socket closed while bytes of the peer lie in it, or arrive, makes the kernel send a reset, which destroys what the peer has
    not read yet: an early answer to a long upload, or the end of a TLS 1.3 stream whose tickets nobody read.
    """
    lingering = Lingering(reactor, sock, closed)
    try:
        sock.shutdown(socket.SHUT_WR)
        ended = lingering.doRead() is not None
    except OSError:
        ended = True
    if ended:
        sock.close()
        closed()
    else:
        lingering.start()


@implementer(interfaces.IReadDescriptor)
class Lingering:
    """A socket about to be closed; made by `close_gently`, ends with the peer's end or with the time."""

    __slots__ = ("_closed", "_reactor", "_socket", "_timer")

    def __init__(self, reactor: Reactor, sock: socket.socket, closed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._socket = sock
        self._closed = closed

    def start(self) -> None:
        """Waits for the peer."""
        self._timer = after(self._reactor, SECONDS, self._end)
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's."""
        return self._socket.fileno()

    def doRead(self) -> Exception | None:
        """Throws away what came."""
        try:
            return None if self._socket.recv(_PORTION) else CONNECTION_DONE
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST

    def connectionLost(self, reason: Failure) -> None:
        """The peer has ended, or the reactor stops."""
        self._end()

    def logPrefix(self) -> str:
        """Names this in Twisted's log."""
        return "meshcar.net"

    def _end(self) -> None:
        self._timer.cancel()
        del self._timer  # which may know us
        self._reactor.removeReader(self)
        self._socket.close()
        self._closed()
