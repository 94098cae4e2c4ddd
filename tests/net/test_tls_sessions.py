"""Sessions that a client lays aside and resumes."""

from typing import Any

import pytest
from OpenSSL import SSL

from meshcar.identity.issue import Authority
from meshcar.net import tls_sessions
from meshcar.net.tls import HTTP_ALPN, TlsContexts
from meshcar.net.tls_sessions import SESSION_SECONDS, keep, spoil
from meshcar.net.tls_transport import forget
from tests.net.test_tls import DAY, MESH, NOW, A, B, Ends, contexts, credentials, is_resumed, uri_leaf


@pytest.fixture
def server() -> TlsContexts:
    return contexts(B)


@pytest.fixture
def client() -> TlsContexts:
    return contexts(A)


def call(server: TlsContexts, client: TlsContexts, peer: str = "10.0.0.1:80", alpn: tuple[bytes, ...] = HTTP_ALPN) -> Ends:
    """A connection that is shaken hands on, and whose peers are checked."""
    ends = Ends(server.server_connection, lambda end: client.client_connection(end, MESH, alpn, peer))
    assert ends.failed == [None, None]
    server.accept_client(ends.server)
    client.check_server(ends.client, MESH)
    return ends


def answered(server: TlsContexts, client: TlsContexts, **options: Any) -> bool:
    """A whole connection, with an answer, closed by the client; whether it was resumed."""
    ends = call(server, client, **options)
    assert ends.say(b"answer") == b"answer"
    forget(ends.client)
    assert is_resumed(ends.client) == is_resumed(ends.server)
    return is_resumed(ends.client)


def test_each_is_resumed_by_the_next(server: TlsContexts, client: TlsContexts) -> None:
    """The first handshake with an endpoint is full; one that follows a closed connection resumes, again and again."""
    assert [answered(server, client) for _ in range(4)] == [False, True, True, True]


def test_peers_are_known_by_the_session(server: TlsContexts, client: TlsContexts) -> None:
    """Resumed, both ends know each other as after a full handshake."""
    answered(server, client)
    ends = call(server, client)
    assert is_resumed(ends.client)
    assert server.accept_client(ends.server).uris == (A,) and client.check_server(ends.client, MESH).uris == (B,)


def test_used_once(server: TlsContexts, client: TlsContexts) -> None:
    """A session is lent to one connection; who comes before it is laid aside anew shakes hands in full."""
    answered(server, client)
    assert [is_resumed(call(server, client).client) for _ in range(2)] == [True, False]


def test_kept_while_its_connection_lives(server: TlsContexts, client: TlsContexts) -> None:
    """What an open connection laid aside can be resumed beside it, and its closing adds nothing."""
    first = call(server, client)
    first.say(b"answer")
    keep(first.client)
    assert is_resumed(call(server, client).client)
    forget(first.client)
    assert not is_resumed(call(server, client).client)


@pytest.mark.parametrize("other", [{"peer": "10.0.0.2:80"}, {"alpn": (b"istio",)}])
def test_for_the_same_only(server: TlsContexts, client: TlsContexts, other: dict[str, Any]) -> None:
    """Another endpoint, or another protocol, has sessions of its own."""
    answered(server, client)
    assert not answered(server, client, **other)
    assert answered(server, client)


def test_nameless_endpoints_resume_nothing(server: TlsContexts, client: TlsContexts) -> None:
    """Without a name of the endpoint a connection neither lays aside nor resumes."""
    assert not answered(server, client, peer="") and not answered(server, client, peer="")


def test_generation_ends_them(server: TlsContexts, client: TlsContexts) -> None:
    """New certificates of either side mean full handshakes; a connection of the old ones gives nothing to the new."""
    old = call(server, client)
    answered(server, client)
    answered(server, client)
    new = contexts(A)
    old.say(b"answer")
    forget(old.client)
    assert not answered(server, new)
    assert not answered(contexts(B), client)


def test_distrusted_root(client: TlsContexts) -> None:
    """A server whose root left the bundle is not reached by a session from before."""
    other = Authority.new("cluster.local", NOW, DAY)
    server = contexts(B)
    answered(server, client)
    client = TlsContexts(credentials(uri_leaf(A), other), "cluster.local", NOW.timestamp)
    ends = Ends(server.server_connection, lambda end: client.client_connection(end, MESH, HTTP_ALPN, "10.0.0.1:80"))
    assert ends.failed != [None, None]


def test_expired_meanwhile() -> None:
    """Times are looked at again when a session is resumed, at both ends, whether the certificate was seen before or not."""
    moment = NOW.timestamp()
    server = TlsContexts(credentials(uri_leaf(B)), "cluster.local", lambda: moment)
    client = TlsContexts(credentials(uri_leaf(A)), "cluster.local", lambda: moment)
    answered(server, client)
    ends = call(server, client)
    assert is_resumed(ends.client)
    moment += 2 * 86400
    for check in (lambda: server.accept_client(ends.server), lambda: client.check_server(ends.client, MESH)):
        with pytest.raises(Exception, match="has expired"):
            check()


def test_chain_is_looked_at_again() -> None:
    """However often it is resumed, an hour after the full handshake the next is full."""
    moment = NOW.timestamp()
    server, client = contexts(B), TlsContexts(credentials(uri_leaf(A)), "cluster.local", lambda: moment)
    answered(server, client)
    moment += SESSION_SECONDS - 1
    assert answered(server, client)
    moment += 1
    assert not answered(server, client)
    assert answered(server, client)


def test_refused_peer(server: TlsContexts, client: TlsContexts) -> None:
    """A connection whose peer was refused lays nothing aside."""
    ends = call(server, client)
    spoil(ends.client)
    ends.say(b"answer")
    forget(ends.client)
    assert not answered(server, client)


@pytest.mark.parametrize(
    ("error", "again"), [(SSL.Error([("", "", "session id context uninitialized")]), False), (SSL.SysCallError(-1, "Unexpected EOF"), True)]
)
def test_server_that_cannot_resume(server: TlsContexts, client: TlsContexts, error: Exception, again: bool) -> None:
    """After TLS failed over a session, none is offered to that peer any more; a connection that broke says nothing about sessions."""
    answered(server, client)
    spoil(call(server, client).client, error)
    assert not answered(server, client)
    assert answered(server, client) is again


def test_first_failure_is_not_the_sessions(server: TlsContexts, client: TlsContexts) -> None:
    """A full handshake that fails does not forbid sessions."""
    spoil(call(server, client).client, SSL.Error([("", "", "some alert")]))
    answered(server, client)
    assert answered(server, client)


def test_servers_lay_nothing_aside(server: TlsContexts, client: TlsContexts) -> None:
    """A server's connection is freed without a session kept for it."""
    ends = call(server, client)
    keep(ends.server)
    forget(ends.server)
    assert ends.server.get_app_data() is None


def test_few_of_a_peer(server: TlsContexts, client: TlsContexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one peer's sessions the newest are kept."""
    monkeypatch.setattr(tls_sessions, "_EACH", 4)
    several = [call(server, client) for _ in range(6)]
    for ends in several:
        ends.say(b"answer")
        forget(ends.client)
    assert sum(is_resumed(call(server, client).client) for _ in range(6)) == 4


def test_few_peers(server: TlsContexts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many peers those that were called last are remembered."""
    monkeypatch.setattr(tls_sessions, "_PEERS", 2)
    client = contexts(A)
    for peer in ("a", "b", "a", "c"):
        answered(server, client, peer=peer)
    assert [answered(server, client, peer=peer) for peer in ("a", "c", "b")] == [True, True, False]


def test_peer_that_insists(client: TlsContexts) -> None:
    """A server that takes only the hybrid key exchange refuses once, and is known from then on; others are offered none."""
    lib = SSL._lib  # type: ignore[attr-defined]
    server = contexts(B)

    def accept(end: Any) -> SSL.Connection:
        connection = server.server_connection(end)
        assert lib.SSL_set1_curves_list(connection._ssl, b"X25519MLKEM768") == 1
        return connection

    def connect(peer: str) -> Ends:
        ends = Ends(accept, lambda end: client.client_connection(end, MESH, HTTP_ALPN, peer))
        if ends.failed[1] is not None:
            spoil(ends.client, ends.failed[1])
        return ends

    assert [connect("10.0.0.1:80").failed[1] is None for _ in range(3)] == [False, True, True]
    assert connect("10.0.0.2:80").failed[1] is not None
