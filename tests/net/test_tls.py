"""TLS between two ends of a socket pair: who is accepted, who is refused and by which word."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from OpenSSL import SSL

from meshcar.errors import IdentityMismatch, SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority, Issued
from meshcar.identity.peer import PeerIdentity
from meshcar.identity.spiffe import SpiffeId
from meshcar.net.tls import HTTP_ALPN, TCP_ALPN, TlsContexts, failure_text, refusal
from meshcar.rules.policies import UpstreamTls

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 10 * DAY)
A, B = "spiffe://cluster.local/ns/default/sa/a", "spiffe://cluster.local/ns/default/sa/b"
MESH = UpstreamTls("ISTIO_MUTUAL", sni=b"outbound_.8000_._.b.default.svc.cluster.local", identities=frozenset({B}))
Connect = Callable[[socket.socket], SSL.Connection]


def credentials(issued: Issued, root: Authority = ROOT) -> Credentials:
    return Credentials.load(issued.chain, issued.key, root.pem)


def contexts(spiffe_id: str, root: Authority = ROOT, **options: bool) -> TlsContexts:
    return TlsContexts(credentials(root.issue(SpiffeId.parse(spiffe_id), NOW, DAY), root), "cluster.local", NOW.timestamp, **options)


def uri_leaf(*uris: str, days: tuple[int, int] = (0, 1), root: Authority = ROOT) -> Issued:
    return root.sign([x509.UniformResourceIdentifier(uri) for uri in uris], NOW + days[0] * DAY, NOW + days[1] * DAY)


class Ends:
    """Both ends of one connection. A step gives each side one turn; `failed` is what the handshakes raised, server's first."""

    def __init__(self, server: Connect, client: Connect) -> None:
        self.sockets = socket.socketpair()
        for end in self.sockets:
            end.setblocking(False)
        self.server, self.client = server(self.sockets[0]), client(self.sockets[1])
        self.failed: list[Exception | None] = [None, None]
        for _ in range(6):
            self._turn(1, self.client)
            self._turn(0, self.server)

    def _turn(self, index: int, connection: SSL.Connection) -> None:
        try:
            if self.failed[index] is None:
                connection.do_handshake()
        except (SSL.WantReadError, SSL.WantWriteError):
            pass
        except SSL.Error as error:
            self.failed[index] = error

    def say(self, text: bytes) -> bytes:
        """What the client reads when the server says `text`: with it come TLS 1.3's tickets."""
        self.server.send(text)
        return self.client.recv(1000)


def join(server: TlsContexts, client: TlsContexts, tls: UpstreamTls = MESH, alpn: tuple[bytes, ...] = HTTP_ALPN) -> Ends:
    return Ends(server.server_connection, lambda end: client.client_connection(end, tls, alpn))


def plain_client(issued: Issued | None = None, version: int = SSL.TLS1_3_VERSION) -> Connect:
    """A client that checks nothing and shows what it is told to."""

    def connect(end: socket.socket) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)
        if issued is not None:
            loaded = x509.load_pem_x509_certificates(issued.chain)
            context.use_certificate(loaded[0])
            for above in loaded[1:]:
                context.add_extra_chain_cert(above)
            context.use_privatekey(credentials_key(issued))
        connection = SSL.Connection(context, end)
        connection.set_connect_state()
        return connection

    return connect


def credentials_key(issued: Issued) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(issued.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_both_ways() -> None:
    """Each end learns who the other is; the server name and the ALPN arrive."""
    one, other = contexts(A), contexts(B)
    ends = join(other, one)
    assert ends.failed == [None, None]
    assert str(one.check_server(ends.client, MESH).spiffe_id) == B
    assert str(other.accept_client(ends.server).spiffe_id) == A
    assert ends.server.get_servername() == MESH.sni
    assert ends.client.get_protocol_version_name() == "TLSv1.3"
    assert ends.client.get_cipher_name() == "TLS_AES_128_GCM_SHA256"  # as between two Envoys


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(HTTP_ALPN, b"http/1.1"), (TCP_ALPN, b""), ((b"h2", b"http/1.1"), b"http/1.1"), ((b"h2",), b""), ((), b"")],
)
def test_alpn(offered: tuple[bytes, ...], chosen: bytes) -> None:
    """http/1.1 is chosen wherever it is offered; no other offer fails the handshake, or gets a name."""
    ends = join(contexts(B), contexts(A), alpn=offered)
    assert ends.failed == [None, None]
    assert ends.client.get_alpn_proto_negotiated() == ends.server.get_alpn_proto_negotiated() == chosen


def test_chain_of_client() -> None:
    """The server sees all that the client sent, leaf first, without the root."""
    lower = ROOT.subordinate("lower", NOW, DAY)
    issued = lower.issue(SpiffeId.parse(A), NOW, DAY)
    server = contexts(B, resumable=False)
    ends = join(server, TlsContexts(credentials(issued), "cluster.local", NOW.timestamp))
    chain = server.accept_client(ends.server).chain
    assert b"".join(one.public_bytes(Encoding.PEM) for one in chain) == issued.chain


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(
    ("issued", "reason"),
    [
        (None, "no_certificate"),
        (uri_leaf(A, days=(-2, -1)), "expired"),
        (uri_leaf(A, days=(1, 2)), "not_yet_valid"),
        (uri_leaf(A, root=Authority.new("evil.example", NOW, DAY)), "unknown_ca"),
        (uri_leaf(A, root=Authority.new("cluster.local", NOW, DAY)), "unknown_ca"),
    ],
)
def test_client_refused(issued: Issued | None, reason: str, version: int) -> None:
    """A handshake that fails for the client's certificate is counted by what was wrong with it."""
    ends = Ends(contexts(B).server_connection, plain_client(issued, version))
    assert ends.failed[0] is not None
    assert refusal(ends.failed[0], ends.server) == reason


@pytest.mark.parametrize(
    ("uris", "reason"),
    [(("spiffe://evil.example/ns/a/sa/b",), "bad_identity"), (('spiffe://cluster.local/ns/a;b/sa/c,d"e=f',), "malformed")],
)
def test_client_of_wrong_name(uris: tuple[str, ...], reason: str) -> None:
    """A certificate of our CA is not enough: the id in it decides, after the handshake."""
    server = contexts(B)
    ends = Ends(server.server_connection, plain_client(uri_leaf(*uris)))
    with pytest.raises(IdentityMismatch) as caught:
        server.accept_client(ends.server)
    assert refusal(caught.value, ends.server) == reason


def test_server_without_client_auth() -> None:
    """A client's certificate that is only good for servers is malformed."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    builder = x509.CertificateBuilder(ROOT.certificate.subject, x509.Name([]), key.public_key(), 5, NOW - DAY, NOW + DAY)
    leaf = builder.add_extension(usage, critical=False).sign(ROOT.key, SHA256())

    def connect(end: socket.socket) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(leaf)
        context.use_privatekey(key)
        connection = SSL.Connection(context, end)
        connection.set_connect_state()
        return connection

    ends = Ends(contexts(B).server_connection, connect)
    assert ends.failed[0] is not None
    assert refusal(ends.failed[0], ends.server) == "malformed"


def test_no_tls() -> None:
    """Bytes that are no TLS, or an alert at once, are a tls_error with a text of one word."""
    ends = Ends(
        contexts(B).server_connection,
        lambda end: [end.send(b"GET / HTTP/1.1\r\n\r\n"), SSL.Connection(SSL.Context(SSL.TLS_METHOD), end)][1],
    )
    assert isinstance(ends.failed[0], SSL.Error)
    assert refusal(ends.failed[0], ends.server) == "tls_error"
    assert failure_text(ends.failed[0]).startswith("TLS_error:|SSL_routines:_")
    assert " " not in failure_text(ends.failed[0])
    assert failure_text(SSL.SysCallError(-1, "Unexpected EOF")).endswith(":TLS_error_end")


def test_old_version() -> None:
    """TLS 1.1 is refused."""
    ends = Ends(contexts(B).server_connection, plain_client(uri_leaf(A), SSL.TLS1_1_VERSION))
    assert any(ends.failed)


@pytest.mark.parametrize(
    ("uris", "expected"),
    [((A,), {B}), (("spiffe://evil.example/x",), set()), ((), {B})],
)
def test_server_refused(uris: tuple[str, ...], expected: set[str]) -> None:
    """A server of our CA that is not the expected one is refused after the handshake."""
    issued = uri_leaf(*uris)
    client, tls = contexts(A), UpstreamTls("ISTIO_MUTUAL", identities=frozenset(expected))
    server = server_of(issued)
    ends = Ends(server, lambda end: client.client_connection(end, tls, ()))
    with pytest.raises(IdentityMismatch) as caught:
        client.check_server(ends.client, tls)
    assert caught.value.reason == "bad_identity"
    assert failure_text(caught.value).startswith("TLS_error:|the_peer_shows_")


def test_mesh_is_never_insecure() -> None:
    """insecureSkipVerify means nothing to ISTIO_MUTUAL."""
    client, tls = contexts(A), UpstreamTls("ISTIO_MUTUAL", identities=frozenset({A}), insecure_skip_verify=True)
    ends = join(contexts(B), client, tls)
    with pytest.raises(IdentityMismatch):
        client.check_server(ends.client, tls)


def test_server_of_other_ca() -> None:
    """A server that our bundle does not know fails the handshake on our side."""
    ends = join(contexts(B, Authority.new("cluster.local", NOW, DAY)), contexts(A))
    assert ends.failed[1] is not None
    assert refusal(ends.failed[1], ends.client) == "unknown_ca"


def server_of(issued: Issued) -> Connect:
    """A server that asks no client for a certificate."""

    def accept(end: socket.socket) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(x509.load_pem_x509_certificate(issued.chain))
        context.use_privatekey(credentials_key(issued))
        connection = SSL.Connection(context, end)
        connection.set_accept_state()
        return connection

    return accept


def test_rotation() -> None:
    """After a rotation the next handshake shows the new certificate, and old connections go on."""
    old, new, client = contexts(B), contexts(B), contexts(A)
    before, after = join(old, client), join(new, client)
    assert client.check_server(before.client, MESH).hash != client.check_server(after.client, MESH).hash
    assert before.say(b"still") == b"still"


@pytest.mark.parametrize(
    ("offered", "agreed"), [(b"X25519MLKEM768:X25519", b"x25519"), (b"P-256", b"secp256r1"), (b"X25519MLKEM768", b"X25519MLKEM768")]
)
def test_key_exchange(offered: bytes, agreed: bytes) -> None:
    """X25519 goes before the post-quantum hybrid, which is there for a client that insists."""
    lib = SSL._lib  # type: ignore[attr-defined]
    plain = plain_client(uri_leaf(A))

    def connect(end: socket.socket) -> SSL.Connection:
        connection = plain(end)
        assert lib.SSL_set1_curves_list(connection._ssl, offered) == 1
        return connection

    ends = Ends(contexts(B).server_connection, connect)
    assert ends.failed == [None, None]
    assert SSL._ffi.string(lib.SSL_get0_group_name(ends.server._ssl)).lower() == agreed.lower()  # type: ignore[attr-defined]


def test_no_second_hello() -> None:
    """A mesh client offers no hybrid: Envoy's server would choose it whatever share came, and ask for another hello."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        connection = contexts(A).client_connection(near, MESH, HTTP_ALPN)
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        hello = far.recv(4096)
    groups = [0x001D, 0x0017, 0x0018, 0x0019]  # X25519, P-256, P-384, P-521; RFC 8446, section 4.2.7
    assert bytes([0, 10, 0, 10, 0, 8]) + b"".join(group.to_bytes(2) for group in groups) in hello


def resumed(server: TlsContexts, client: TlsContexts, session: SSL.Session) -> Ends:
    def connect(end: socket.socket) -> SSL.Connection:
        connection = client.client_connection(end, MESH, HTTP_ALPN)
        connection.set_session(session)
        return connection

    return Ends(server.server_connection, connect)


def is_resumed(connection: SSL.Connection) -> bool:
    return bool(SSL._lib.SSL_session_reused(connection._ssl))


def first_session(server: TlsContexts, client: TlsContexts) -> SSL.Session:
    ends = join(server, client)
    assert ends.say(b"x") == b"x"
    session = ends.client.get_session()
    assert session is not None
    ends.client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
    return session


def test_resumption() -> None:
    """A session can be resumed, and the peer is known and checked all the same."""
    server, client = contexts(B), contexts(A)
    ends = resumed(server, client, first_session(server, client))
    assert is_resumed(ends.server)
    assert str(server.accept_client(ends.server).spiffe_id) == A
    assert str(client.check_server(ends.client, MESH).spiffe_id) == B


def test_resumption_ends_with_generation() -> None:
    """A ticket of an older generation is worth nothing: the handshake is a full one."""
    client = contexts(A)
    ends = resumed(contexts(B), client, first_session(contexts(B), client))
    assert ends.failed == [None, None]
    assert not is_resumed(ends.server)


def test_resumption_ends_with_certificate() -> None:
    """A resumed session does not outlive the certificate that it was made with."""
    moment = NOW.timestamp()
    server = TlsContexts(credentials(uri_leaf(B)), "cluster.local", lambda: moment)
    client = contexts(A)
    ends = resumed(server, client, first_session(server, client))
    server.accept_client(ends.server)
    moment += 2 * 86400
    with pytest.raises(IdentityMismatch) as caught:
        server.accept_client(ends.server)
    assert caught.value.reason == "expired"


def test_not_resumable() -> None:
    """Where the whole chain is wanted each time, a session cannot be resumed, and nothing fails."""
    server, client = contexts(B, resumable=False), contexts(A)
    ends = resumed(server, client, first_session(server, client))
    assert ends.failed == [None, None]
    assert not is_resumed(ends.server)


def test_no_credentials() -> None:
    """Without certificates there is no mutual TLS, said in one line."""
    nothing = TlsContexts(None, "cluster.local", NOW.timestamp)
    with socket.socket() as end:
        with pytest.raises(SettingsError, match="--certs"):
            nothing.server_connection(end)
        with pytest.raises(SettingsError, match="--certs"):
            nothing.client_connection(end, MESH, HTTP_ALPN)


def test_weak_key() -> None:
    """Credentials that OpenSSL will not use are refused in one line when the contexts are made."""
    key = rsa.generate_private_key(65537, 1024)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(B)])
    builder = x509.CertificateBuilder(ROOT.certificate.subject, x509.Name([]), key.public_key(), 5, NOW - DAY, NOW + DAY)
    chain = builder.add_extension(names, critical=True).sign(ROOT.key, SHA256()).public_bytes(Encoding.PEM)
    weak = Credentials.load(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), ROOT.pem)
    with pytest.raises(SettingsError, match="key too small") as caught:
        TlsContexts(weak, "cluster.local", NOW.timestamp)
    assert "\n" not in str(caught.value)


def test_before_handshake() -> None:
    """A peer that has shown nothing is nobody."""
    server = contexts(B)
    with socket.socket() as end, pytest.raises(IdentityMismatch) as caught:
        server.accept_client(server.server_connection(end))
    assert caught.value.reason == "no_certificate"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A folder with a web server's certificate for api.example, and its CA."""
    issued = ROOT.sign([x509.DNSName("api.example")], NOW, NOW + DAY)
    for name, text in {"ca.pem": ROOT.pem, "cert.pem": issued.chain, "key.pem": issued.key}.items():
        (tmp_path / name).write_bytes(text)
    return tmp_path


def meet(web: Path, tls: UpstreamTls) -> PeerIdentity:
    """Handshake of a client that has no mesh certificate with the web server of `web`; raises what the client's side raises."""
    client = TlsContexts(None, "cluster.local", NOW.timestamp)
    issued = Issued((web / "cert.pem").read_bytes(), (web / "key.pem").read_bytes())
    ends = Ends(server_of(issued), lambda end: client.client_connection(end, tls, ()))
    if ends.failed[1] is not None:
        raise ends.failed[1]
    return client.check_server(ends.client, tls)


@pytest.mark.parametrize(("name", "identities"), [("api.example", set()), ("", set()), ("", {"x.example", "api.example"})])
def test_simple(web: Path, name: str, identities: set[str]) -> None:
    """SIMPLE: the server shows one of the identities, and the name; without either, its chain is enough, whatever the server name."""
    tls = UpstreamTls("SIMPLE", b"other.example", frozenset(identities), str(web / "ca.pem"), name=name)
    assert meet(web, tls).dns == ("api.example",)


@pytest.mark.parametrize(("name", "identities"), [("other.example", set()), ("", {"x"}), ("other.example", {"api.example"})])
def test_simple_of_wrong_name(web: Path, name: str, identities: set[str]) -> None:
    """A server of the right CA with another name is refused."""
    with pytest.raises(IdentityMismatch):
        meet(web, UpstreamTls("SIMPLE", b"api.example", frozenset(identities), str(web / "ca.pem"), name=name))


def revoked(folder: Path, *serials: int) -> None:
    """Writes the CA's list of revoked certificates."""
    made = x509.CertificateRevocationListBuilder().issuer_name(ROOT.certificate.subject)
    made = made.last_update(NOW - DAY).next_update(NOW + DAY)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - DAY).build()
        made = made.add_revoked_certificate(entry)
    (folder / "crl.pem").write_bytes(made.sign(ROOT.key, SHA256()).public_bytes(Encoding.PEM))


def test_revoked(web: Path) -> None:
    """caCrl: a certificate that the list names is refused, another is not; a file that holds no list cannot be used."""
    serial = x509.load_pem_x509_certificates((web / "cert.pem").read_bytes())[0].serial_number
    tls = UpstreamTls("SIMPLE", b"api.example", ca_file=str(web / "ca.pem"), crl_file=str(web / "crl.pem"))
    revoked(web, serial + 1)
    assert meet(web, tls).dns == ("api.example",)
    revoked(web, serial)
    with pytest.raises(SSL.Error):
        meet(web, tls)
    (web / "crl.pem").write_bytes(b"nothing")
    with pytest.raises(SettingsError, match=r"crl\.pem: cannot be used for TLS: holds no list"):
        meet(web, tls)


def test_no_session_beside_revocations(web: Path) -> None:
    """Where a list says who is revoked, it is asked each time: no session is laid aside."""
    tls = UpstreamTls("SIMPLE", sni=b"api.example", ca_file=str(web / "ca.pem"))
    revoked(web, 1)
    client = TlsContexts(None, "cluster.local", NOW.timestamp)
    with socket.socket() as end:
        listed = attrs.evolve(tls, crl_file=str(web / "crl.pem"))
        assert client.client_connection(end, listed, (), "10.0.0.1:443").get_app_data() is None
        assert client.client_connection(end, tls, (), "10.0.0.1:443").get_app_data() is not None


def test_simple_of_unknown_ca(web: Path) -> None:
    """Without caCertificates the machine's trust store decides, which does not know our CA; insecureSkipVerify asks nobody."""
    with pytest.raises(SSL.Error):
        meet(web, UpstreamTls("SIMPLE", sni=b"api.example"))
    assert meet(web, UpstreamTls("SIMPLE", sni=b"other.example", insecure_skip_verify=True)).dns == ("api.example",)


def test_mutual(web: Path) -> None:
    """MUTUAL shows the certificate of the files, which a mesh server takes."""
    issued = uri_leaf(A)
    (web / "cert.pem").write_bytes(issued.chain)
    (web / "key.pem").write_bytes(issued.key)
    server, client = contexts(B), TlsContexts(None, "cluster.local", NOW.timestamp)
    files = {"ca_file": str(web / "ca.pem"), "cert_file": str(web / "cert.pem"), "key_file": str(web / "key.pem")}
    tls = UpstreamTls("MUTUAL", identities=frozenset({B}), **files)
    ends = join(server, client, tls)
    assert str(server.accept_client(ends.server).spiffe_id) == A
    assert str(client.check_server(ends.client, tls).spiffe_id) == B


def test_files_are_read_again(web: Path) -> None:
    """A CA file that is replaced counts for the next connection."""
    tls = UpstreamTls("SIMPLE", sni=b"api.example", ca_file=str(web / "ca.pem"))
    client = TlsContexts(None, "cluster.local", NOW.timestamp)

    def connect() -> SSL.Context:
        with socket.socket() as end:
            return client.client_connection(end, tls, ()).get_context()

    first = connect()
    assert connect() is first
    (web / "new.pem").write_bytes(Authority.new("x", NOW, DAY).pem)
    os.replace(web / "new.pem", web / "ca.pem")
    assert connect() is not first


@pytest.mark.parametrize("broken", ["ca.pem", "cert.pem", "key.pem"])
@pytest.mark.parametrize("text", [None, b"garbage"])
def test_unusable_files(web: Path, broken: str, text: bytes | None) -> None:
    """A file of a DestinationRule that is missing or unreadable is an error in one line that names the files."""
    if text is None:
        (web / broken).unlink()
    else:
        (web / broken).write_bytes(text)
    tls = UpstreamTls("MUTUAL", ca_file=str(web / "ca.pem"), cert_file=str(web / "cert.pem"), key_file=str(web / "key.pem"))
    with socket.socket() as end, pytest.raises(SettingsError) as caught:
        TlsContexts(None, "cluster.local", NOW.timestamp).client_connection(end, tls, ())
    assert broken in str(caught.value)
    assert "\n" not in str(caught.value)
