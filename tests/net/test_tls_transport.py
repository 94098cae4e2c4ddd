"""TLS on real sockets, through Transport.start_tls."""

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId
from meshcar.net.splice import Pipes, join
from meshcar.net.tls_records import Records
from meshcar.net.transport import HIGH_WATER

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, DAY)
STRANGER = Authority.new("cluster.local", NOW, DAY)
MUCH = b"0123456789abcdef" * (1 << 19)  # 8 MiB


def context(authority: Authority = ROOT, trusted: Authority = ROOT) -> SSL.Context:
    """A side of mutual TLS."""
    issued = authority.issue(SpiffeId.parse("spiffe://cluster.local/ns/default/sa/a"), NOW, DAY)
    made = SSL.Context(SSL.TLS_METHOD)
    made.use_certificate(x509.load_pem_x509_certificates(issued.chain)[0])
    made.use_privatekey(load_pem_private_key(issued.key, None))
    store = made.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(trusted.pem)))
    made.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    made.set_session_id(b"test")
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return made


SERVER, CLIENT = context(), context()


def shake(transport: Any, tls: SSL.Context, server: bool, session: Any = None) -> Deferred[None]:
    """Fires when hands are shaken, fails when they are not."""
    shaken: Deferred[None] = Deferred()
    connection = SSL.Connection(tls, transport.socket)
    if session is not None:
        connection.set_session(session)
    transport.start_tls(connection, lambda: shaken.callback(None), shaken.errback, server)
    assert not shaken.called, "no callback before start_tls returns"
    return shaken


async def secured(loopback: Any, client: Any, server: Any, session: Any = None) -> None:
    """Joins two protocols by TLS."""
    client_transport, server_transport = await loopback.transports()
    shaken = shake(server_transport, SERVER, True)
    await shake(client_transport, CLIENT, False, session)
    await shaken
    client_transport.attach(client)
    server_transport.attach(server)


@pytest_twisted.ensureDeferred
async def test_bytes_both_ways(loopback: Any, recorder: Any) -> None:
    """Small and large writes arrive whole, encrypted, in order; both ends know the connection."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    client.transport.write(b"plaintext")
    assert b"plaintext" not in server.transport.peek(100) != b""
    client.transport.write(MUCH)
    client.transport.writeSequence([b"e", b"nd"])
    server.transport.write(MUCH[::-1])
    await server.got(len(MUCH) + 12)
    await client.got(len(MUCH))
    assert server.data == b"plaintext" + MUCH + b"end"
    assert client.data == MUCH[::-1]
    assert server.transport.tls.get_peer_certificate() is not None


@pytest_twisted.ensureDeferred
async def test_full_records_come_together(loopback: Any, recorder: Any) -> None:
    """What has come is delivered in one piece, up to a limit: one write of the answer costs one read here."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    server.transport.pauseProducing()
    client.transport.write(bytes(65536))
    server.transport.resumeProducing()
    await server.got(65536)
    assert server.events.count("data") <= 2


@pytest_twisted.ensureDeferred
async def test_back_pressure(loopback: Any, recorder: Any) -> None:
    """A producer is paused and resumed as on a plain transport, and a paused reader keeps its records in the socket."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    server.transport.pauseProducing()
    heard: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            heard.append("pause")

        def resumeProducing(self) -> None:
            heard.append("resume")

    client.transport.registerProducer(Producer(), True)
    client.transport.write(MUCH + bytes(HIGH_WATER))
    assert heard == ["pause"]
    assert not server.data
    server.transport.resumeProducing()
    await server.got(len(MUCH) + HIGH_WATER)
    assert heard == ["pause", "resume"]
    client.transport.unregisterProducer()


@pytest_twisted.ensureDeferred
async def test_orderly_close(loopback: Any, recorder: Any) -> None:
    """loseConnection flushes and says close_notify: the peer hears ConnectionDone."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    client.transport.write(MUCH)
    client.transport.loseConnection()
    await server.lost()
    assert server.data == MUCH
    assert isinstance(server.reason, ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_truncation(loopback: Any, recorder: Any) -> None:
    """A FIN without close_notify is no end of data but a lost connection."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    client.transport.write(b"half")
    client.transport.tls = None
    client.transport.loseConnection()
    await server.lost()
    assert server.data == b"half"
    assert isinstance(server.reason, ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_half_close(loopback: Any, half_recorder: Any) -> None:
    """One direction may end by close_notify, right after full records too, while the other goes on."""
    client, server = half_recorder(), half_recorder()
    await secured(loopback, client, server)
    client.transport.write(bytes(16384))
    client.transport.loseWriteConnection()
    await server.until(lambda: "read lost" in server.events)
    assert len(server.data) == 16384
    server.transport.write(MUCH)
    await client.got(len(MUCH))
    server.transport.loseConnection()
    await client.lost()


@pytest_twisted.ensureDeferred
async def test_garbage_after_the_handshake(loopback: Any, recorder: Any) -> None:
    """Bytes that are no records lose the connection, without a traceback."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    client.transport.write(b"good")
    client.transport.socket.send(b"GET / HTTP/1.1\r\n\r\n")
    await server.lost()
    client.transport.write(b"nobody reads this")
    await client.lost()
    assert server.data == b"good"
    assert isinstance(server.reason, ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_no_tls_at_all(loopback: Any) -> None:
    """A plaintext peer: the handshake fails with OpenSSL's error, and the connection is closed."""
    client, server = await loopback.transports()
    failed = shake(server, SERVER, True)
    client.write(b"GET / HTTP/1.1\r\n\r\n")
    try:
        await failed
        raise AssertionError("shaken")
    except SSL.Error as error:
        assert error.args
    assert not server.connected
    assert server.tls is None


@pytest_twisted.ensureDeferred
async def test_foreign_certificate(loopback: Any) -> None:
    """A certificate of an unknown authority fails both sides, each once."""
    client, server = await loopback.transports()
    refused = shake(server, SERVER, True)
    told = shake(client, context(STRANGER, STRANGER), False)
    for failing in (refused, told):
        try:
            await failing
            raise AssertionError("shaken")
        except SSL.Error as error:
            assert error.args


@pytest_twisted.ensureDeferred
async def test_peer_goes_away(loopback: Any) -> None:
    """A peer that ends or resets in mid-handshake, and our own abort (a timeout), end in `failed`."""
    for close, kind in (("loseConnection", (SSL.Error, ConnectionDone)), ("abortConnection", (SSL.Error, ConnectionLost))):
        client, server = await loopback.transports()
        failed = shake(server, SERVER, True)
        client.write(b"\x16\x03")
        getattr(client, close)()
        try:
            await failed
            raise AssertionError("shaken")
        except kind:
            pass
    client, server = await loopback.transports()
    failed = shake(server, SERVER, True)
    server.write(b"never in the clear")
    server.abortConnection()
    try:
        await failed
        raise AssertionError("shaken")
    except ConnectionAborted:
        pass
    assert client.peek(100) == b""


@pytest_twisted.ensureDeferred
async def test_lose_connection_while_shaking(loopback: Any) -> None:
    """loseConnection does not wait for a peer that never answers."""
    _, server = await loopback.transports()
    failed = shake(server, SERVER, True)
    server.loseConnection()
    try:
        await failed
        raise AssertionError("shaken")
    except ConnectionDone:
        pass


@pytest_twisted.ensureDeferred
async def test_written_while_shaking(loopback: Any, recorder: Any) -> None:
    """What is written too early is sent after the handshake, encrypted."""
    client, server = await loopback.transports()
    peer = recorder()
    shaken, early = shake(client, CLIENT, False), shake(server, SERVER, True)
    client.write(b"early")
    await shaken
    await early
    server.attach(peer)
    await peer.got(5)
    assert peer.data == b"early"


@pytest_twisted.ensureDeferred
async def test_handshake_after_sniffing(loopback: Any, recorder: Any) -> None:
    """`look` may start TLS on bytes that are still in the socket, one byte at a time if need be."""
    client, server = await loopback.transports()
    heir = recorder()
    shaken: Deferred[None] = Deferred()

    def look(data: bytes, last: bool) -> int:
        if len(data) < 3:
            return 3
        assert data[0] == 0x16
        server.start_tls(SSL.Connection(SERVER, server.socket), lambda: shaken.callback(server.attach(heir)), shaken.errback, True)
        return 0

    server.sniff(look)
    await shake(client, CLIENT, False)
    await shaken
    client.write(b"hello")
    await heir.got(5)


@pytest_twisted.ensureDeferred
async def test_sessions_stay_resumable(loopback: Any, recorder: Any) -> None:
    """A session of a connection that was closed, in order or not, can be used again."""
    for close in ("loseConnection", "abortConnection"):
        client, server = recorder(), recorder()
        await secured(loopback, client, server)
        server.transport.write(b"ticket")
        await client.got(6)
        session = client.transport.tls.get_session()
        getattr(client.transport, close)()
        await client.lost()
        await server.lost()
        again = recorder()
        await secured(loopback, again, recorder(), session)
        assert SSL._lib.SSL_session_reused(again.transport.tls._ssl)  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
async def test_joined_to_a_plain_one(loopback: Any, half_recorder: Any) -> None:
    """TLS on one side: the relay copies, with the same half-close."""
    client, a = await loopback.transports()
    b, server = await loopback.transports()
    shaken = shake(a, SERVER, True)
    await shake(client, CLIENT, False)
    await shaken
    source, target = half_recorder(), half_recorder()
    client.attach(source)
    server.attach(target)
    done: Deferred[Any] = Deferred()
    join(a, b, Pipes(), done.callback)
    client.write(MUCH)
    client.loseWriteConnection()
    await target.until(lambda: "read lost" in target.events)
    assert target.data == MUCH
    server.write(MUCH)
    server.loseWriteConnection()
    joined = await done
    await source.lost()
    assert source.data == MUCH
    assert (joined.sent, joined.received, joined.broken) == (len(MUCH), len(MUCH), None)


def test_nothing_to_send() -> None:
    """No bytes make no record, and no error."""
    assert Records(SSL.Connection(CLIENT, None)).send(b"") == 0


@pytest_twisted.ensureDeferred
async def test_no_hello(loopback: Any) -> None:
    """A client that cannot even begin, as no version is left to it, says why, behind start_tls and not within."""
    client_transport, server_transport = await loopback.transports()
    versionless = context()
    versionless.set_options(SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3)
    versionless.set_min_proto_version(SSL.TLS1_2_VERSION)
    with pytest.raises(SSL.Error, match="no protocols available"):
        await shake(client_transport, versionless, False)
    server_transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_hello_to_closed_socket(loopback: Any) -> None:
    """A connection that is broken before the hello fails like one that breaks later."""
    client_transport, server_transport = await loopback.transports()
    client_transport.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(SSL.SysCallError):
        await shake(client_transport, CLIENT, False)
    server_transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_abort_is_no_end(loopback: Any, recorder: Any) -> None:
    """Who gives a connection up says no close_notify, so that a stream cut short is not taken for a whole one."""
    client, server = recorder(), recorder()
    await secured(loopback, client, server)
    client.transport.write(b"half")
    await server.got(4)
    client.transport.abortConnection()
    await server.lost()
    assert not isinstance(server.reason, ConnectionDone)
