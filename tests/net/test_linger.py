"""Closing without destroying what the peer has not read."""

import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshcar.net.linger import SECONDS, close_gently


class Turns(Clock):
    """A reactor one turns by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def turn(self) -> None:
        """What a poll would do for every reader."""
        for reader in tuple(self.readers):
            if reader.doRead() is not None:
                reader.connectionLost(Failure(ConnectionDone()))


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    return ours, theirs


def _close(ours: socket.socket) -> tuple[Turns, list[str]]:
    reactor, closed = Turns(), list[str]()
    close_gently(reactor, ours, lambda: closed.append("closed"))  # type: ignore[arg-type]
    return reactor, closed


def test_answer_survives_what_the_peer_still_sends() -> None:
    """Bytes that lie unread, or come late, do not destroy the answer; the peer's end closes."""
    ours, theirs = _pair()
    with theirs:
        theirs.sendall(b"a long upload")
        ours.send(b"413")
        reactor, closed = _close(ours)
        theirs.sendall(b" goes on")
        reactor.turn()
        assert theirs.recv(10) == b"413"
        assert theirs.recv(10) == b""
        assert not closed
    reactor.turn()
    assert closed == ["closed"]
    assert ours.fileno() == -1
    assert not reactor.getDelayedCalls()


def test_peer_ended_before() -> None:
    """Nobody to wait for: closed at once."""
    ours, theirs = _pair()
    theirs.close()
    reactor, closed = _close(ours)
    assert closed == ["closed"]
    assert not reactor.readers
    assert not reactor.getDelayedCalls()


def test_peer_never_ends() -> None:
    """After a second it is closed whatever the peer does."""
    ours, theirs = _pair()
    with theirs:
        reactor, closed = _close(ours)
        reactor.turn()
        reactor.advance(SECONDS)
        assert closed == ["closed"]
        assert not reactor.readers


def test_dead_socket() -> None:
    """One that was reset is only closed."""
    ours, theirs = _pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    _, closed = _close(ours)
    assert closed == ["closed"]


def test_reset_while_lingering() -> None:
    """A reset ends it too, once."""
    ours, theirs = _pair()
    reactor, closed = _close(ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    reactor.turn()
    assert closed == ["closed"]
