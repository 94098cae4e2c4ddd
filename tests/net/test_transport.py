"""Transport on real sockets."""

import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import interfaces
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python import log
from zope.interface.verify import verifyObject

from meshcar.net.address import Address
from meshcar.net.transport import HIGH_WATER, STALL_SECONDS, Transport

MUCH = b"0123456789abcdef" * (1 << 20)  # 16 MiB: more than the socket's buffers take


class Producer:
    """Says when it was told to pause, to resume, to stop."""

    def __init__(self, told: Any = None) -> None:
        self.heard: list[str] = []
        self._told = told

    def pauseProducing(self) -> None:
        self.heard.append("pause")

    def resumeProducing(self) -> None:
        self.heard.append("resume")
        if self._told is not None:
            self._told.heard("resume")

    def stopProducing(self) -> None:
        self.heard.append("stop")


@pytest_twisted.ensureDeferred
async def test_is_what_twisted_calls_a_transport(loopback: Any) -> None:
    """Everything of the interfaces it claims is there."""
    client, server = await loopback.transports()
    for interface in (interfaces.ITransport, interfaces.IConsumer, interfaces.IPushProducer, interfaces.IReadWriteDescriptor):
        assert verifyObject(interface, client)
    assert client.getPeer().port == server.getHost().port
    assert (client.peer, client.local) == (server.local, server.peer)
    assert client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest_twisted.ensureDeferred
async def test_write_leaves_at_once(loopback: Any) -> None:
    """A written byte is in the peer's socket before the reactor turns."""
    client, server = await loopback.transports()
    client.write(b"now")
    client.writeSequence([b" ", b"and then"])
    assert server.peek(100) == b"now and then"
    assert server.socket.recv(100) == b"now and then"


@pytest_twisted.ensureDeferred
async def test_much_arrives_whole_and_in_order(loopback: Any) -> None:
    """What the socket does not take is kept and sent when it does."""
    ends = await loopback.pair()
    ends.client.transport.write(MUCH)
    ends.client.transport.write(b"end")
    await ends.server.got(len(MUCH) + 3)
    assert ends.server.data == MUCH + b"end"


@pytest_twisted.ensureDeferred
async def test_producer_is_paused_and_resumed(loopback: Any) -> None:
    """Above the high-water mark the producer is paused once; when everything is sent it is resumed."""
    ends = await loopback.pair()
    ends.server.transport.pauseProducing()
    producer = Producer(ends.client)
    ends.client.transport.registerProducer(producer, True)
    for _ in range(3):
        ends.client.transport.write(MUCH)
    assert producer.heard == ["pause"]
    ends.server.transport.resumeProducing()
    await ends.client.until(lambda: "resume" in producer.heard)
    await ends.server.got(3 * len(MUCH))
    assert producer.heard == ["pause", "resume"]


@pytest_twisted.ensureDeferred
async def test_late_producer_is_paused(loopback: Any) -> None:
    """One that is registered when much is unsent already is paused at once, and resumed."""
    ends = await loopback.pair()
    ends.client.transport.write(MUCH + bytes(HIGH_WATER))
    producer = Producer(ends.client)
    ends.client.transport.registerProducer(producer, True)
    assert producer.heard == ["pause"]
    await ends.client.until(lambda: producer.heard[-1] == "resume")


@pytest_twisted.ensureDeferred
async def test_producer_rules(loopback: Any) -> None:
    """Pull producers and second producers are refused; one on a lost connection is stopped, as is one whose connection goes."""
    ends = await loopback.pair()
    transport = ends.client.transport
    with pytest.raises(ValueError, match="push"):
        transport.registerProducer(Producer(), False)
    producer, late = Producer(), Producer()
    transport.registerProducer(producer, True)
    with pytest.raises(RuntimeError):
        transport.registerProducer(late, True)
    transport.abortConnection()
    await ends.client.lost()
    transport.registerProducer(late, True)
    assert producer.heard == late.heard == ["stop"]


@pytest_twisted.ensureDeferred
async def test_paused_reading_leaves_bytes_in_the_socket(loopback: Any) -> None:
    """A paused transport delivers nothing until it is resumed."""
    ends = await loopback.pair()
    ends.server.transport.pauseProducing()
    ends.client.transport.write(b"later")
    assert ends.server.transport.peek(10) == b"later"
    ends.server.transport.resumeProducing()
    await ends.server.got(5)


@pytest_twisted.ensureDeferred
async def test_lose_connection_sends_the_rest_first(loopback: Any) -> None:
    """loseConnection flushes; both protocols hear one ConnectionDone."""
    ends = await loopback.pair()
    ends.client.transport.write(MUCH)
    ends.client.transport.loseConnection()
    await ends.server.lost()
    await ends.client.lost()
    assert ends.server.data == MUCH
    assert isinstance(ends.server.reason, ConnectionDone)
    assert isinstance(ends.client.reason, ConnectionDone)
    assert ends.client.events.count("lost") == ends.server.events.count("lost") == 1
    assert ends.port.open == 0


@pytest_twisted.ensureDeferred
async def test_lose_connection_waits_for_the_producer(loopback: Any) -> None:
    """A registered producer may write on; unregistering it closes."""
    ends = await loopback.pair()
    transport = ends.client.transport
    transport.registerProducer(Producer(), True)
    transport.loseConnection()
    transport.write(b"one")
    await ends.server.got(3)
    transport.write(b"two")
    transport.unregisterProducer()
    await ends.server.lost()
    assert ends.server.data == b"onetwo"


class Idle(Clock):
    """A reactor whose sockets never take a byte."""

    def addReader(self, reader: object) -> None: ...
    def removeReader(self, reader: object) -> None: ...
    def addWriter(self, writer: object) -> None: ...
    def removeWriter(self, writer: object) -> None: ...


def test_closing_does_not_wait_for_ever(recorder: Any) -> None:
    """A peer that takes nothing of the rest for ten seconds is cut off; one that takes a little is waited for."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    clock, protocol = Idle(), recorder()
    transport = Transport(clock, ours, Address("127.0.0.1", 1))  # type: ignore[arg-type]
    transport.attach(protocol)
    transport.write(MUCH)
    transport.loseConnection()
    for _ in range(3):
        theirs.recv(1 << 17)
        transport.doWrite()
        clock.advance(STALL_SECONDS)
        clock.advance(0)
        assert "lost" not in protocol.events
    clock.advance(STALL_SECONDS)
    clock.advance(0)
    assert isinstance(protocol.reason, ConnectionAborted)
    theirs.close()


@pytest_twisted.ensureDeferred
async def test_early_answer_reaches_a_peer_that_still_writes(loopback: Any) -> None:
    """loseConnection throws away what the peer still sends instead of resetting, so that it gets to read the answer."""
    ends = await loopback.pair()
    ends.server.transport.pauseProducing()
    ends.client.transport.pauseProducing()
    ends.client.transport.write(MUCH)
    ends.server.transport.write(b"413")
    ends.server.transport.loseConnection()
    await ends.server.lost()
    ends.client.transport.write(MUCH)
    ends.client.transport.resumeProducing()
    await ends.client.lost()
    assert ends.client.data == b"413"
    assert isinstance(ends.client.reason, ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_abort_resets(loopback: Any) -> None:
    """abortConnection forgets what is unsent; the peer sees a reset; we hear ConnectionAborted, later, once."""
    ends = await loopback.pair()
    ends.server.transport.pauseProducing()
    ends.client.transport.write(MUCH)
    ends.client.transport.abortConnection()
    ends.client.transport.abortConnection()
    assert "lost" not in ends.client.events
    await ends.client.lost()
    assert isinstance(ends.client.reason, ConnectionAborted)
    ends.server.transport.resumeProducing()
    await ends.server.lost()
    assert isinstance(ends.server.reason, ConnectionLost)
    assert ends.client.events.count("lost") == 1


@pytest_twisted.ensureDeferred
async def test_dead_transport_is_silent(loopback: Any) -> None:
    """After the end every call does nothing."""
    ends = await loopback.pair()
    transport = ends.client.transport
    transport.abortConnection()
    await ends.client.lost()
    transport.write(b"x")
    for call in (
        transport.pauseProducing, transport.resumeProducing, transport.loseConnection, transport.loseWriteConnection,
        transport.abortConnection, transport.unregisterProducer, transport.stopProducing,
    ):  # fmt: skip
        call()
    assert not transport.connected
    assert transport.peek(1) == b""


@pytest_twisted.ensureDeferred
async def test_end_of_input_closes(loopback: Any) -> None:
    """A protocol that knows no half-close loses its connection when the peer ends its direction."""
    ends = await loopback.pair()
    ends.client.transport.socket.shutdown(socket.SHUT_WR)
    await ends.server.lost()
    assert isinstance(ends.server.reason, ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_half_close(loopback: Any, half_recorder: Any) -> None:
    """One that knows it may still write; when both directions have ended the connection is lost."""
    client, server = half_recorder(), half_recorder()
    await loopback.pair(client, server)
    client.transport.write(MUCH)
    client.transport.loseWriteConnection()
    await server.until(lambda: "read lost" in server.events)
    assert server.data == MUCH
    assert client.events[-1] == "write lost"
    server.transport.write(b"answer")
    await client.got(6)
    server.transport.loseWriteConnection()
    await server.lost()
    await client.lost()
    assert isinstance(server.reason, ConnectionDone)
    assert isinstance(client.reason, ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_no_writing_after_the_write_side_ended(loopback: Any, half_recorder: Any) -> None:
    """Bytes written too late go nowhere."""
    client = half_recorder()
    ends = await loopback.pair(client)
    client.transport.loseWriteConnection()
    await client.until(lambda: "write lost" in client.events)
    client.transport.write(b"late")
    await ends.server.lost()
    assert not ends.server.data


@pytest_twisted.ensureDeferred
async def test_answer_before_the_reset_is_read(loopback: Any) -> None:
    """A peer that answers and closes while we still write is heard before the connection is lost."""
    ends = await loopback.pair()
    ends.server.transport.pauseProducing()
    ends.client.transport.write(MUCH)
    ends.server.transport.write(b"413")
    ends.server.transport.loseConnection()
    await ends.client.lost()
    assert ends.client.data == b"413"


@pytest_twisted.ensureDeferred
async def test_raising_protocol_loses_its_connection(loopback: Any, recorder: Any) -> None:
    """It is logged once; nothing else suffers."""

    class Broken(recorder):
        def dataReceived(self, data: bytes) -> None:
            raise KeyError("broken")

    logged: list[Any] = []
    log.addObserver(logged.append)
    try:
        server = Broken()
        ends = await loopback.pair(server=server)
        ends.client.transport.write(b"x")
        await server.lost()
        await ends.client.lost()
    finally:
        log.removeObserver(logged.append)
    assert [type(event["failure"].value) for event in logged if event["isError"]] == [KeyError]
    assert isinstance(server.reason, KeyError)


@pytest_twisted.ensureDeferred
async def test_protocol_may_be_replaced(loopback: Any, recorder: Any) -> None:
    """Whoever is `protocol` when bytes come gets them."""
    ends = await loopback.pair()
    heir = recorder()
    ends.client.transport.write(b"first")
    await ends.server.got(5)
    ends.server.transport.protocol = heir
    ends.client.transport.write(b"second")
    await heir.got(6)
    assert ends.server.data == b"first"


@pytest_twisted.ensureDeferred
async def test_sniffing_leaves_the_bytes(loopback: Any, recorder: Any) -> None:
    """`look` sees a growing prefix, woken only when as much as it asked for has come; the protocol then reads all of it."""
    client, server = await loopback.transports()
    seen: list[bytes] = []
    heir = recorder()

    def look(data: bytes, last: bool) -> int:
        assert not last
        seen.append(data)
        if len(data) < 4:
            heir.heard("look")
            return 4
        server.attach(heir)
        return 0

    server.sniff(look)
    client.write(b"a")
    await heir.until(lambda: "look" in heir.events)
    for byte in b"bcdef":
        client.write(bytes((byte,)))
    await heir.got(6)
    assert seen[0] == b"a"
    assert len(seen) == 2
    assert heir.data == b"abcdef"
    assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


@pytest_twisted.ensureDeferred
async def test_sniffing_at_the_peers_end(loopback: Any, recorder: Any) -> None:
    """A peer that ends before enough has come is shown once more, as the last; undecided then, the connection closes."""
    client, server = await loopback.transports()
    seen: list[tuple[bytes, bool]] = []
    server.protocol = closed = recorder()

    def look(data: bytes, last: bool) -> int:
        seen.append((data, last))
        return 100

    server.sniff(look)
    client.write(b"GE")
    client.loseWriteConnection()
    await closed.lost()
    assert seen == [(b"GE", False), (b"GE", True)]
    assert closed.events == ["lost"]


@pytest_twisted.ensureDeferred
async def test_sniffing_nothing(loopback: Any, recorder: Any) -> None:
    """A peer that ends, or resets, without a byte is only closed."""
    for close in ("loseConnection", "abortConnection"):
        client, server = await loopback.transports()
        server.protocol = closed = recorder()
        server.sniff(lambda data, last: 1 // 0)
        getattr(client, close)()
        await closed.lost()
        assert not server.connected and not closed.data


@pytest_twisted.ensureDeferred
async def test_sniffing_may_be_given_up(loopback: Any, recorder: Any) -> None:
    """A server that speaks first: after watch(None) the protocol gets what comes, and what was written meanwhile is sent."""
    client, server = await loopback.transports()
    heir, peer = recorder(), recorder()
    client.attach(peer)
    server.sniff(lambda data, last: 50)
    server.write(MUCH)
    server.watch(None)
    server.attach(heir)
    await peer.got(len(MUCH))
    client.write(b"x")
    await heir.got(1)
    assert (peer.data, heir.data) == (MUCH, b"x")
