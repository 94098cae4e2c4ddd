"""Records of TLS, in and out of an OpenSSL connection that holds the socket (RFC 8446, section 5.1)."""

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

RECORD = 16384
"""Bytes of plaintext that fit into one."""
LARGEST_READ = 262144
"""Bytes of plaintext that `read` takes at once, give or take a record."""

# what pyOpenSSL's recv and send call; they themselves take 0.8 us more for each record, and recv a copy
_ffi = SSL._ffi  # type: ignore[attr-defined]
_ssl_read = SSL._lib.SSL_read  # type: ignore[attr-defined]
_ssl_write = SSL._lib.SSL_write  # type: ignore[attr-defined]
_unpack = _ffi.unpack

_buffer = _ffi.new("char[]", LARGEST_READ + RECORD)
"""Where every connection is read into: what was read is copied out before anybody else runs."""


class Records:
    """Those of one connection, once hands are shaken."""

    __slots__ = ("_connection", "_ssl")

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._ssl: Any = connection._ssl

    def read(self) -> tuple[bytes, Exception | None]:
        """What has come, and why nothing more will (None: more may).

        A record that is not full is taken for the last of what waits, which saves a read that would only block. A cut without
        close_notify is CONNECTION_LOST (RFC 8446, section 6.1): what came before it may not be all.
        """
        ssl = self._ssl
        size: int = _ssl_read(ssl, _buffer, RECORD)
        taken = max(size, 0)
        while size == RECORD and taken < LARGEST_READ:
            size = _ssl_read(ssl, _buffer + taken, RECORD)
            taken += max(size, 0)
        why = None if size > 0 else self._why(size)
        return _unpack(_buffer, taken) if taken else b"", why

    def _why(self, result: int) -> Exception | None:
        try:
            self._connection._raise_ssl_error(self._ssl, result)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            return CONNECTION_DONE
        except SSL.Error:
            pass
        return CONNECTION_LOST

    def send(self, data: bytes | bytearray) -> int:
        """How many bytes of `data` were taken; offer the rest again, in order. As socket.send: BlockingIOError, ConnectionError.

        Several records leave the kernel as one: each alone makes it go through TCP once more.
        """
        size = len(data)
        if size <= RECORD and isinstance(data, bytes):
            return self._send(data, size, 0) if size else 0
        with _ffi.from_buffer(data) as start:
            if size <= RECORD:
                return self._send(start, size, 0) if size else 0
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            try:
                sent = 0
                while sent < size:
                    taken = self._send(start + sent, min(size - sent, RECORD), sent)
                    if not taken:
                        break
                    sent += taken
                return sent
            finally:
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    def _send(self, start: Any, size: int, before: int) -> int:
        """One record; 0 when it cannot be sent, but others were `before`."""
        taken: int = _ssl_write(self._ssl, start, size)
        if taken > 0:
            return taken
        try:
            self._connection._raise_ssl_error(self._ssl, taken)
        except (SSL.WantWriteError, SSL.WantReadError):
            if not before:
                raise BlockingIOError from None
        except SSL.Error as error:
            if not before:
                raise ConnectionResetError(*error.args) from None
        return 0
