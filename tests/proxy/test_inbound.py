"""The inbound side: TLS or plain, who is it, and to which port of the application."""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL

from meshcar.errors import IdentityMismatch
from meshcar.identity.issue import Authority
from meshcar.identity.peer import peer_identity
from meshcar.identity.spiffe import SpiffeId
from meshcar.net.address import Address
from meshcar.observe.names import TCP_OPENED
from meshcar.proxy import arrival as arrival_module
from meshcar.proxy.arrival import PATIENT_SECONDS
from meshcar.proxy.inbound import HANDSHAKE_SECONDS
from meshcar.rules.snapshot import InboundListener

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ISSUED = Authority.new("cluster.local", NOW, DAY).issue(SpiffeId.parse("spiffe://cluster.local/ns/front/sa/client"), NOW, DAY)
PEER = peer_identity(x509.load_pem_x509_certificate(ISSUED.chain))
GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def hello(*alpn: str) -> bytes:
    """A ClientHello for httpbin."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="httpbin.default").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@pytest.fixture
def mesh(make_mesh: Any) -> Any:
    return make_mesh(app_port=8080)


@pytest.fixture
def mutual(mesh: Any) -> Any:
    """A sidecar whose peers prove who they are."""
    mesh.serve("http", "STRICT", "httpbin.default.svc.cluster.local:80")
    mesh.contexts.get().peer = PEER
    return mesh


class TestPlain:
    """Without TLS."""

    @pytest.mark.parametrize("mode", ["DISABLE", "PERMISSIVE"])
    @pytest.mark.parametrize("protocol", ["http", "auto"])
    def test_http(self, mesh: Any, mode: str, protocol: str) -> None:
        """HTTP goes to the application's port, with what Envoy adds and nothing more."""
        mesh.serve(protocol, mode)
        client = mesh.client(GET, mesh.inbound)
        assert mesh.loop.dials[0].address == Address("127.0.0.1", 8080)
        server = mesh.accept()
        assert server.heard() == (
            b"GET /1 HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: http\r\nx-request-id: 00000000-0000-4000-8000-000000000000\r\n\r\n"
        )
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok")
        (record,) = mesh.log.records
        assert (record.route, record.cluster, record.peer) == ("default", "inbound|8080||", None)
        mesh.at_rest()

    @pytest.mark.parametrize("mode", ["DISABLE", "PERMISSIVE"])
    @pytest.mark.parametrize(
        ("protocol", "said", "wait"), [("tcp", b"", 0.5), ("auto", b"", 0.5), ("auto", b"\0\0\0\0", 0.0), ("tcp", GET, 0.0)]
    )
    def test_opaque(self, mesh: Any, mode: str, protocol: str, said: bytes, wait: float) -> None:
        """Other bytes, or none, are joined."""
        mesh.serve(protocol, mode)
        mesh.client(said, mesh.inbound)
        mesh.loop.turn(wait)
        assert mesh.accept().heard() == said and mesh.log.records == []

    def test_strict(self, mesh: Any) -> None:
        """STRICT resets it, and counts."""
        mesh.serve("http", "STRICT")
        client = mesh.client(GET, mesh.inbound)
        assert client.was_reset and mesh.refusals() == {("inbound", "plaintext"): 1} and mesh.loop.dials == []

    @pytest.mark.parametrize(("mode", "seconds"), [("STRICT", HANDSHAKE_SECONDS), ("PERMISSIVE", PATIENT_SECONDS)])
    def test_silent(self, mesh: Any, mode: str, seconds: float) -> None:
        """A client that says nothing is waited for, but not for ever."""
        mesh.serve("http", mode)
        client = mesh.client(b"", mesh.inbound)
        mesh.loop.turn(seconds - 1)
        assert not client.was_reset
        mesh.loop.turn(1)
        assert client.was_reset and mesh.loop.dials == []

    def test_old_version(self, mesh: Any) -> None:
        """HTTP/1.0 is not served."""
        mesh.serve()
        client = mesh.client(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n", mesh.inbound)
        assert client.heard().startswith(b"HTTP/1.1 426 ") and client.ended and mesh.log.lines == [(426, "DPE", "low_version")]

    def test_forged_certificate_header(self, mesh: Any) -> None:
        """Nobody without a certificate may claim one."""
        mesh.serve()
        mesh.client(GET.replace(b"host: a", b"host: a\r\nx-forwarded-client-cert: By=me;Hash=0\r\nx-envoy-internal: true"), mesh.inbound)
        sent = mesh.accept().heard()
        assert b"forwarded-client-cert" not in sent and b"internal" not in sent

    def test_retried(self, mesh: Any) -> None:
        """A port that refuses is tried again, by Istio's policy; its callers are told."""
        mesh.serve()
        client = mesh.client(GET, mesh.inbound)
        for _ in range(3):
            mesh.loop.dials[0].refuse()
            mesh.loop.turn(1)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.log.records[0].flags == "URX,UF" and mesh.loop.dials == []


class TestWhere:
    """Which address is the application's."""

    @pytest.fixture(autouse=True)
    def captured(self, monkeypatch: pytest.MonkeyPatch) -> list[Address]:
        known = [Address("10.0.0.1", 80)]
        monkeypatch.setattr(arrival_module, "original_destination", lambda sock: known[0])
        return known

    @pytest.mark.parametrize(("host", "source"), [("10.0.0.1", "127.0.0.6"), ("fd00::1", "::6")])
    def test_captured(self, make_mesh: Any, captured: list[Address], host: str, source: str) -> None:
        """The one the connection came for, from Istio's source address."""
        mesh = make_mesh(intercept="redirect")
        mesh.serve()
        captured[0] = Address(host, 80)
        mesh.client(GET, mesh.inbound)
        assert (mesh.loop.dials[0].address, mesh.loop.dials[0].source) == (Address(host, 80), source)

    def test_app_address(self, make_mesh: Any) -> None:
        """The one that --app-address says."""
        mesh = make_mesh(intercept="redirect", app_address="127.0.0.1")
        mesh.serve()
        mesh.client(GET, mesh.inbound)
        assert (mesh.loop.dials[0].address, mesh.loop.dials[0].source) == (Address("127.0.0.1", 80), None)

    @pytest.mark.parametrize(
        ("endpoint", "where", "source"),
        [(("127.0.0.1", 81), "127.0.0.1", None), (("::1", 81), "::1", None), (("", 81), "10.0.0.1", "127.0.0.6")],
    )
    def test_endpoint(self, make_mesh: Any, endpoint: tuple[str, int], where: str, source: str | None) -> None:
        """The one that a Sidecar says; the log names the port that was meant."""
        mesh = make_mesh(intercept="redirect")
        mesh._swap(inbound_default=InboundListener("http", "DISABLE", endpoint=endpoint))
        client = mesh.client(GET, mesh.inbound)
        assert (mesh.loop.dials[0].address, mesh.loop.dials[0].source) == (Address(where, 81), source)
        mesh.say(mesh.accept(), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        assert client.heard().startswith(b"HTTP/1.1 200 ") and mesh.log.records[0].cluster == "inbound|80||"

    def test_nobody_said(self, make_mesh: Any) -> None:
        """Without capture and --app-port there is none: 503, and the log says why; opaque bytes are reset."""
        mesh = make_mesh()
        mesh.serve("auto")
        client = mesh.client(GET, mesh.inbound)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.log.lines == [(503, "NC", "no_app_port")]
        assert mesh.client(b"\0\0\0\0", mesh.inbound).was_reset and mesh.loop.dials == []
        mesh.at_rest()

    def test_own_listener(self, mesh: Any) -> None:
        """Never a listener of this sidecar: a peer must not reach admin through the inbound port."""
        mesh.serve()
        mesh.own.add(("127.0.0.1", 8080))
        client = mesh.client(GET, mesh.inbound)
        mesh.loop.turn(2)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.loop.dials == []


class TestTls:
    """With TLS."""

    def shake(self, mesh: Any, data: bytes = hello("istio")) -> Any:
        return mesh.client(data, mesh.inbound)

    def test_http(self, mutual: Any) -> None:
        """The application learns who called; counted by who it was."""
        client = self.shake(mutual)
        mutual.say(client, GET)
        server = mutual.accept()
        sent = server.heard()
        element = f'By=spiffe://cluster.local/ns/default/sa/me;Hash={PEER.hash};Subject="";URI=spiffe://cluster.local/ns/front/sa/client'
        assert b"\r\nx-forwarded-proto: https\r\n" in sent and f"\r\nx-forwarded-client-cert: {element}\r\n".encode() in sent
        mutual.say(server, OK)
        assert client.heard().endswith(b"ok") and mutual.handshakes() == {("inbound", "ok"): 1}
        (record,) = mutual.log.records
        assert record.peer is PEER and record.sni == "httpbin.default" and mutual.requests() == {("200", "-"): 1}
        mutual.at_rest()

    def test_continued_certificate_header(self, mutual: Any) -> None:
        """What a peer forwards stays before our element, in its place, on each request."""
        client = self.shake(mutual)
        request = GET.replace(b"host: a", b"host: a\r\nx-forwarded-client-cert: By=b\r\nx-forwarded-client-cert: By=c\r\nx-a: 1")
        mutual.say(client, request)
        server = mutual.accept()
        mutual.say(server, OK)
        mutual.say(client, request)
        sent = server.heard()
        assert sent.count(b"x-forwarded-client-cert: By=b,By=c,By=spiffe:") == 2 and sent.count(b"client-cert") == 2

    def test_sanitized(self, make_mesh: Any) -> None:
        """In mode sanitize the application learns nothing."""
        mesh = make_mesh(app_port=8080, forward_client_cert="sanitize")
        mesh.serve("http", "STRICT")
        mesh.contexts.get().peer = PEER
        mesh.say(self.shake(mesh), GET)
        assert b"client-cert" not in mesh.accept().heard()

    @pytest.mark.parametrize(
        ("protocol", "said", "wait"), [("tcp", b"", 0.0), ("auto", b"", 0.5), ("auto", b"\0\0\0\0", 0.0), ("tcp", GET, 0.0)]
    )
    def test_opaque(self, mutual: Any, protocol: str, said: bytes, wait: float) -> None:
        """Other bytes, or none, are joined, under TLS too."""
        mutual.serve(protocol, "STRICT")
        client = self.shake(mutual)
        mutual.say(client, said)
        mutual.loop.turn(wait)
        server = mutual.accept()
        mutual.say(server, b"back")
        assert server.heard() == said and client.heard() == b"back"
        ((labels, opened),) = mutual.counters.slots(TCP_OPENED)
        assert {"destination", "spiffe://cluster.local/ns/front/sa/client", "mutual_tls"} <= set(labels) and opened.value == 1

    def test_http_found(self, mutual: Any) -> None:
        """HTTP is found where nothing is declared."""
        mutual.serve("auto", "STRICT")
        mutual.say(self.shake(mutual), GET)
        assert b"x-forwarded-client-cert" in mutual.accept().heard()

    def test_permissive(self, mutual: Any) -> None:
        """A PERMISSIVE port knows a sidecar by its ALPN."""
        mutual.serve("http", "PERMISSIVE")
        mutual.say(self.shake(mutual), GET)
        assert b"x-forwarded-client-cert" in mutual.accept().heard()

    @pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
    def test_foreign(self, mutual: Any, alpn: tuple[str, ...]) -> None:
        """TLS of the application's own passes as it is, but not where plain HTTP is declared."""
        mutual.serve("auto", "PERMISSIVE")
        data = hello(*alpn)
        self.shake(mutual, data)
        assert mutual.accept().heard() == data
        mutual.serve("http", "PERMISSIVE")
        assert self.shake(mutual, data).was_reset and mutual.refusals() == {("inbound", "foreign_tls"): 1}

    def test_byte_by_byte(self, mutual: Any) -> None:
        """A ClientHello may come one byte at a time."""
        client = mutual.client(b"", mutual.inbound)
        for byte in hello("istio"):
            mutual.say(client, bytes((byte,)))
        assert mutual.handshakes() == {("inbound", "ok"): 1}

    @pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", b"\x16\x03\x01\xff\xff" + bytes(100), hello()[:50]])
    def test_not_a_hello(self, mutual: Any, data: bytes) -> None:
        """What looks like TLS and is not never raises."""
        mutual.contexts.get().fails = SSL.Error([("SSL routines", "", "wrong version number")])
        client = mutual.client(data, mutual.inbound)
        mutual.hang_up(client)
        mutual.loop.turn(100)
        assert client.closed and mutual.loop.dials == []

    def test_no_certificate_of_ours(self, mesh: Any) -> None:
        """Without certificates there is no TLS."""
        mesh.serve("http", "STRICT")
        assert self.shake(mesh).was_reset and mesh.refusals() == {("inbound", "no_own_certificate"): 1}

    def test_handshake_fails(self, mutual: Any) -> None:
        """A failed handshake is counted by its reason."""
        mutual.contexts.get().fails = SSL.Error([("SSL routines", "", "peer did not return a certificate")])
        client = self.shake(mutual)
        mutual.loop.turn(100)
        assert client.closed and mutual.handshakes() == {("inbound", "no_certificate"): 1}

    def test_bad_identity(self, mutual: Any) -> None:
        """A certificate that says nothing of use is refused, and counted."""
        mutual.contexts.get().error = IdentityMismatch("no SPIFFE id", "bad_identity")
        client = self.shake(mutual)
        mutual.loop.turn()
        assert client.was_reset and mutual.handshakes() == {("inbound", "bad_identity"): 1} and mutual.loop.dials == []

    def test_slow_handshake(self, mutual: Any) -> None:
        """A handshake has its time."""
        mutual.contexts.get().fails = SSL.WantReadError()
        client = self.shake(mutual)
        mutual.loop.turn(HANDSHAKE_SECONDS - 1)
        assert not client.was_reset
        mutual.loop.turn(1)
        assert client.was_reset


def test_decorator(make_mesh: Any) -> None:
    """A caller that traces, and did not name its operation, is told ours."""
    mesh = make_mesh(app_port=8080, tracing="b3")
    mesh.serve("http", "DISABLE", "httpbin.default.svc.cluster.local:80")
    client = mesh.client(GET, mesh.inbound)
    server = mesh.accept()
    mesh.say(server, OK)
    assert b"x-envoy-decorator-operation: httpbin.default.svc.cluster.local:80/*" in client.heard()
    mesh.say(client, GET.replace(b"host: a", b"host: a\r\nx-envoy-decorator-operation: theirs"))
    mesh.say(server, OK)
    assert b"decorator" not in client.heard()
