"""Small writes at the end of a turn: on wires, and under the reactor that calls for them."""

import socket
from typing import Any

from OpenSSL import SSL
from twisted.logger import globalLogPublisher

from meshcar.net.address import Address
from meshcar.net.reactor import DirectReactor
from meshcar.net.transport import HIGH_WATER, SMALL, Transport
from tests.fakes import Loop

PEER = Address("10.0.0.2", 80)


def made(room: int = 1 << 20) -> tuple[Loop, Any]:
    """A loop, and a wire whose transport is attached to nobody."""
    loop = Loop()
    return loop, loop.wire(PEER, room)


def test_what_is_small_waits() -> None:
    """It leaves when the turn ends, in one piece; what comes behind it in the turn is joined to it."""
    loop, wire = made()
    for data in (b"", b"one", b"", b"two"):
        wire.transport.write(data)
    assert wire.sent == b""
    loop.outgoing.leave()
    assert wire.sent == b"onetwo"
    loop.outgoing.leave()
    assert wire.sent == b"onetwo"


def test_what_is_large_does_not() -> None:
    """It goes at once, behind what was held."""
    _, wire = made()
    wire.transport.write(b"a" * SMALL)
    assert wire.sent == b""
    wire.transport.write(b"b")
    assert wire.sent == b"a" * SMALL + b"b"
    wire.transport.write(b"c" * (SMALL + 1))
    assert len(wire.sent) == 2 * SMALL + 2


def test_order_behind_what_the_socket_did_not_take() -> None:
    """Nothing is held while something is unsent; a producer is paused by the sum."""
    loop, wire = made(room=2)
    wire.transport.write(b"abcd")
    loop.outgoing.leave()
    wire.transport.write(b"efgh")
    assert (bytes(wire.sent), wire.transport.backlogged) == (b"ab", False)
    wire.transport.write(b"x" * HIGH_WATER)
    assert wire.transport.backlogged
    wire.room = 1 << 20
    loop.turn()
    assert wire.sent[:9] == b"abcdefghx"


def test_end_of_the_connection() -> None:
    """Whoever closes, ends our direction or resets has sent before what was written before."""
    for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
        _, wire = made()
        wire.transport.write(b"last words")
        getattr(wire.transport, end)()
        assert wire.sent == b"last words", end


def test_written_behind_a_close() -> None:
    """A close waits for what is written behind it in the same turn, too."""
    loop, wire = made()
    wire.transport.loseConnection()
    wire.transport.write(b"after all")
    loop.turn()
    assert (bytes(wire.sent), wire.ended) == (b"after all", True)


def test_broken_connection() -> None:
    """What cannot be sent any more is forgotten with its connection."""
    loop, wire = made()
    wire.transport.write(b"never")
    wire.transport.connectionLost(None)
    loop.outgoing.leave()
    assert wire.sent == b""


def test_before_a_handshake() -> None:
    """What was written in the clear leaves in the clear: a PROXY header."""
    _, wire = made()
    wire.transport.write(b"PROXY TCP4")
    wire.transport.start_tls(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None), lambda: None, lambda error: None, False)
    assert wire.sent == b"PROXY TCP4"


def test_an_error_is_one_connections() -> None:
    """A socket that fails as none does costs its own connection, and nobody else's bytes."""
    loop, wire = made()
    other = loop.wire(PEER)
    wire.room = None
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    for each in (wire, other):
        each.transport.write(b"x")
    loop.outgoing.leave()
    globalLogPublisher.removeObserver(seen.append)
    assert [event["log_format"] for event in seen if "log_failure" in event] == ["a connection is given up"]
    loop.advance(0)
    assert (wire.was_reset, bytes(other.sent)) == (True, b"x")


class Echo:
    """Answers what it is told."""

    def makeConnection(self, transport: Transport) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionLost(self, reason: object) -> None: ...


def test_the_reactor_ends_its_turns() -> None:
    """After what was read, and after what was due: before a poll that may take as long as it likes."""
    reactor = DirectReactor()
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    transport = Transport(reactor, ours, PEER)
    transport.attach(Echo())
    theirs.send(b"read")
    reactor.doIteration(1)
    assert theirs.recv(9) == b"read"
    reactor.callLater(0, transport.write, b"due")
    reactor.runUntilCurrent()
    assert theirs.recv(9) == b"due"
    reactor.removeAll()
    for each in (ours, theirs):
        each.close()
