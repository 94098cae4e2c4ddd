"""TLS on the real, non-blocking socket: how it begins, and how it ends."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure

from meshcar.net.tls_records import Records
from meshcar.net.tls_sessions import keep

if TYPE_CHECKING:
    from meshcar.net.transport import Transport


def end_records(connection: SSL.Connection) -> None:
    """Says close_notify, if the socket takes it. It leaves together with the end of our direction, which must follow."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.shutdown()
    except (OSError, SSL.Error):
        pass


def forget(connection: SSL.Connection) -> None:
    """Ends the connection so that its session can be resumed: OpenSSL spoils the session of one freed without both marks."""
    keep(connection)
    end_records(connection)
    connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)


class Handshake:
    """Watches a transport until both sides have shaken hands; made by Transport.start_tls, ends with `done` or `failed`."""

    __slots__ = ("_connection", "_done", "_error", "_failed", "_transport")

    def __init__(
        self, transport: "Transport", connection: SSL.Connection, done: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._done = done
        self._failed = failed
        self._error: Exception | None = None

    def start(self, server: bool) -> None:
        """Takes the side, the transport's events, and a client's first step; no callback comes before this returns."""
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        transport = self._transport
        transport.watch(self)
        transport.resumeProducing()
        # the socket of a new connection has room for the hello; nobody else hears here that it is broken
        if not server and self.doRead() is not None:
            transport.abortConnection()

    def doRead(self) -> Exception | None:
        """Takes the next step: whatever has come is read, whatever must be said is sent."""
        transport = self._transport
        if self._error is not None:
            return None
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            transport.reactor.removeWriter(transport)
            return None
        except SSL.WantWriteError:
            transport.reactor.addWriter(transport)
            return None
        except SSL.SysCallError as error:
            self._error = error
            return CONNECTION_LOST
        except SSL.Error as error:
            self._error = error
            transport.stopWriting()
            transport.loseConnection()  # in peace: a reset would destroy the alert that says why
            return None
        transport.reactor.removeWriter(transport)
        transport.encrypt(self._connection, Records(self._connection))
        transport.watch(None)
        self._done()
        return None

    def doWrite(self) -> Exception | None:
        """See doRead."""
        return self.doRead()

    def connectionLost(self, reason: Failure) -> None:
        """Tells why: OpenSSL's error, or the connection's end."""
        assert isinstance(reason.value, Exception)
        self._failed(self._error or reason.value)
