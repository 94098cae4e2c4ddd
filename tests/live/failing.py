"""A web server that does as it is told, in threads: statuses, waits, resets, TLS; it writes down what it saw."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


class Failing:
    """Answers `status` (0 resets the connection) after `wait` seconds. `hits` counts requests, `connections` connections; with TLS,
    `names` are the server names of the clients and `alpn` what was agreed."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.wait = 200, 0.0
        self.hits = self.connections = 0
        self.names: list[str | None] = []
        self.alpn: list[str | None] = []
        self.first: list[bytes] = []
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self.listening.getsockname()[1])
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self.alpn.append(connection.selected_alpn_protocol())  # type: ignore[attr-defined]
            held = b""
            while data := connection.recv(65536):
                if not held:
                    self.first.append(data)
                held += data
                if b"\r\n\r\n" not in held:
                    continue
                held = b""
                self._answer(connection)
        connection.close()

    def _answer(self, connection: socket.socket) -> None:
        self.hits += 1
        status = self.status
        time.sleep(self.wait)
        if not status:
            raise OSError
        connection.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nok" % status)


@contextmanager
def failing(tls: ssl.SSLContext | None = None) -> Iterator[Failing]:
    """The server, and its end."""
    one = Failing(tls)
    try:
        yield one
    finally:
        one.listening.close()
