"""TLS on the real, non-blocking socket: the handshake, and records in and out of an OpenSSL connection that holds the socket."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure

from meshcar.net.tls_sessions import keep

if TYPE_CHECKING:
    from meshcar.net.transport import Transport

RECORD = 16384  # bytes of plaintext, RFC 8446, section 5.1

# what pyOpenSSL's recv and send call; they themselves take 0.8 us more for each record, and recv a copy
_lib, _ffi = SSL._lib, SSL._ffi  # type: ignore[attr-defined]
_CHARS = _ffi.typeof("char[]")
_allocate = _ffi.new_allocator(should_clear_after_alloc=False)


def read_records(connection: SSL.Connection, limit: int) -> tuple[bytes, Exception | None]:
    """What has come, up to about `limit` bytes, and why nothing more will (None: more may).

    A record that is not full is taken for the last of what waits, which saves a read that would only block. A cut without
    close_notify is CONNECTION_LOST (RFC 8446, section 6.1): what came before it may not be all.
    """
    ssl = connection._ssl
    buffer = _allocate(_CHARS, limit + RECORD)
    taken = 0
    while taken < limit:
        size = _lib.SSL_read(ssl, buffer + taken, RECORD)
        if size <= 0:
            return _ffi.buffer(buffer, taken)[:], _why(connection, size)
        taken += size
        if size < RECORD:
            break
    return _ffi.buffer(buffer, taken)[:], None


def _why(connection: SSL.Connection, result: int) -> Exception | None:
    try:
        connection._raise_ssl_error(connection._ssl, result)
    except SSL.WantReadError:
        return None
    except SSL.ZeroReturnError:
        return CONNECTION_DONE
    except SSL.Error:
        pass
    return CONNECTION_LOST


def send_records(connection: SSL.Connection, data: bytes | bytearray) -> int:
    """How many of `data` were taken; offer the rest again, in order. As socket.send: BlockingIOError, ConnectionError.

    Several records leave the kernel as one: each alone makes it go through TCP once more.
    """
    with _ffi.from_buffer(data) as start:
        size = len(data)
        if size <= RECORD:
            return _send(connection, start, size, 0) if size else 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        try:
            sent = 0
            while sent < size:
                taken = _send(connection, start + sent, min(size - sent, RECORD), sent)
                if not taken:
                    break
                sent += taken
            return sent
        finally:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def _send(connection: SSL.Connection, start: Any, size: int, before: int) -> int:
    """One record; 0 when it cannot be sent, but others were `before`."""
    taken: int = _lib.SSL_write(connection._ssl, start, size)
    if taken > 0:
        return taken
    try:
        connection._raise_ssl_error(connection._ssl, taken)
    except (SSL.WantWriteError, SSL.WantReadError):
        if not before:
            raise BlockingIOError from None
    except SSL.Error as error:
        if not before:
            raise ConnectionResetError(*error.args) from None
    return 0


def end_records(connection: SSL.Connection) -> None:
    """Says close_notify, if the socket takes it."""
    try:
        connection.shutdown()
    except SSL.Error:
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
        """Takes the side and the transport's events. The reactor takes the first step, so no callback comes before this returns."""
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        transport = self._transport
        transport.watch(self)
        transport.resumeProducing()
        if not server:
            transport.reactor.addWriter(transport)

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
        transport.encrypt(self._connection)
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
