"""How one process hands its listening sockets to the next: over a Unix socket, to whoever may open it.

The successor connects, and gets a line with the length of a text, the text, and with its first bytes one descriptor each. When it serves,
it says so in one byte; the predecessor then lets go of its own copies and of its paths, says so in one byte, and ends.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshcar.errors import SettingsError
from meshcar.net.inherited import Given, given

SECONDS = 30.0
"""How long a successor waits for its predecessor's answers."""
READY = b"\n"
_MOST = 16
"""Descriptors in one message."""


class Predecessor:
    """The successor's side; calls block, as they come before anything is served. `sockets` and `text` are what was handed over."""

    def __init__(self, connection: socket.socket, sockets: Sequence[Given], text: str) -> None:
        self._connection, self.sockets, self.text = connection, sockets, text

    @classmethod
    def ask(cls, path: str) -> "Predecessor | None":
        """Whoever listens at `path`; None if nobody does. Raises SettingsError where it does not answer as it should."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(SECONDS)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as e:
            raise SettingsError(f"{path}: {e.strerror}") from None
        try:
            descriptors, text = _received(connection)
        except (OSError, ValueError) as e:
            raise SettingsError(f"{path}: whoever listens there hands nothing over: {e}") from None
        return cls(connection, [given(descriptor) for descriptor in descriptors], text)

    def serving(self) -> None:
        """From now on this process serves: the other one may end. Returns when it has let go of its paths, or is gone."""
        try:
            self._connection.sendall(READY)
            self._connection.recv(1)
        except OSError:
            pass
        self._connection.close()


def _received(connection: socket.socket) -> tuple[list[int], str]:
    data, descriptors = b"", list[int]()
    while b"\n" not in data or len(data) < data.index(b"\n") + 1 + int(data.partition(b"\n")[0]):
        part, more, _, _ = socket.recv_fds(connection, 65536, _MOST)
        if not part:
            raise ValueError("it ended early")
        data += part
        descriptors += more
    return descriptors, data.partition(b"\n")[2].decode()


class Offer(Factory):
    """The predecessor's side, served by the reactor. `prepare` gives sockets and a text, and holds them as they are, until `kept`: the
    successor gave up; or `gone`: it serves, and this process must let go. One successor at a time.
    """

    noisy = False

    def __init__(
        self, prepare: Callable[[], "Deferred[tuple[list[socket.socket], str]]"], kept: Callable[[], object], gone: Callable[[], object]
    ) -> None:
        self.prepare, self.kept, self.gone = prepare, kept, gone
        self.busy = False

    def buildProtocol(self, address: object) -> "Protocol | None":
        """None, which hangs up, while another successor is served."""
        return None if self.busy else _Handing(self)


class _Handing(Protocol):
    _log = Logger()
    transport: Any

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._held = self._taken = self._lost = False

    def connectionMade(self) -> None:
        self._offer.busy = True
        self._log.info("handover: a successor asks for the listening sockets")
        self._offer.prepare().addCallback(lambda prepared: self._give(*prepared)).addErrback(self._failed)

    def _give(self, sockets: list[socket.socket], text: str) -> None:
        if self._lost:
            self._offer.kept()
            return
        self._held = True
        data = text.encode()
        for sock in sockets:
            self.transport.sendFileDescriptor(sock.fileno())
        self.transport.write(b"%*d\n" % (_MOST, len(data)) + data)

    def dataReceived(self, data: bytes) -> None:
        if data == READY and not self._taken:
            self._taken = True
            self._log.info("handover: the successor serves")
            self._offer.gone()
            self.transport.write(READY)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self._offer.busy = False
        if not self._taken:
            self._log.info("handover: the successor gave up; this process goes on")
        if self._held and not self._taken:
            self._offer.kept()

    def _failed(self, failure: Failure) -> None:
        self._log.failure("handover: it failed; this process goes on", failure)
        self.transport.loseConnection()
