"""AuthorizationPolicies on the inbound side: who is refused, how that looks, and what is logged and counted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from cryptography import x509

from meshcar.identity.issue import Authority
from meshcar.identity.peer import peer_identity
from meshcar.identity.spiffe import SpiffeId
from meshcar.observe.names import AUDITED, HTTP_RBAC, TCP_RBAC
from tests.proxy.test_inbound import hello
from tests.rules.authz_policies import compiled, operation, policy, source, when

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUED = Authority.new("cluster.local", NOW, timedelta(1)).issue(
    SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/cart"), NOW, timedelta(1)
)
CART = peer_identity(x509.load_pem_x509_certificate(ISSUED.chain))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n"
NONE = "rbac_access_denied_matched_policy[none]"


@pytest.fixture
def mesh(make_mesh: Any) -> Any:
    made = make_mesh(app_port=8080)
    made.serve("http", "PERMISSIVE", "store.shop.svc.cluster.local:80")
    return made


def apply(mesh: Any, *policies: dict[str, Any]) -> None:
    mesh.snapshot.swap(attrs.evolve(mesh.snapshot.get(), authorization=compiled(*policies)))


def get(target: str = "/", headers: str = "", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n".encode()


def counts(mesh: Any, metric: Any) -> dict[tuple[str, ...], float]:
    return {labels: slot.value for labels, slot in mesh.counters.slots(metric)}




class TestRequests:
    """Each request is asked about."""

    def test_refused(self, mesh: Any) -> None:
        """403 with Envoy's words and headers; the connection goes on; the application hears nothing; log and counter know why."""
        apply(mesh, policy({"action": "DENY", "rules": [operation(paths=["/admin*"])]}, "no-admin"))
        client = mesh.client(get("/admin/x"), mesh.inbound)
        heard = client.heard()
        assert heard.startswith(REFUSED) and heard.endswith(b"\r\n\r\nRBAC: access denied") and b"connection" not in heard
        assert mesh.loop.dials == []
        mesh.say(client, get("/%61dmin/../%61dmin"))
        assert client.heard().startswith(REFUSED)
        mesh.say(client, get("/other"))
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")
        details = "rbac_access_denied_matched_policy[ns[shop]-policy[no-admin]-rule[0]]"
        assert mesh.log.lines == [(403, "-", details)] * 2 + [(200, "-", "via_upstream")]
        record = mesh.log.records[0]
        assert (record.route, record.cluster, record.upstream_host, record.sent) == ("default", "inbound|8080||", "-", 19)
        prefix = "inbound_0.0.0.0_8080"
        assert counts(mesh, HTTP_RBAC) == {(prefix, "denied", "", ""): 2, (prefix, "allowed", "", ""): 1}
        mesh.at_rest()

    def test_body(self, mesh: Any) -> None:
        """A body that nobody wants ends the connection."""
        apply(mesh, policy({}))
        client = mesh.client(get("/", "content-length: 5\r\n", "POST") + b"hello", mesh.inbound)
        heard = client.heard()
        assert heard.startswith(REFUSED) and b"connection: close\r\n" in heard and client.ended
        assert mesh.log.records[0].received == 0

    def test_grpc(self, mesh: Any) -> None:
        """A gRPC client gets its own kind of refusal."""
        apply(mesh, policy({}))
        heard = mesh.client(get("/", "content-type: application/grpc\r\n", "POST"), mesh.inbound).heard()
        assert heard.startswith(b"HTTP/1.1 200 OK\r\n") and b"grpc-status: 7\r\ngrpc-message: RBAC: access denied\r\n" in heard

    def test_identity(self, mesh: Any) -> None:
        """By the certificate of the connection, not by what a header says."""
        apply(mesh, policy({"rules": [source(principals=["cluster.local/ns/shop/sa/cart"])]}))
        forged = get("/", "x-forwarded-client-cert: By=x;URI=spiffe://cluster.local/ns/shop/sa/cart\r\n")
        assert mesh.client(forged, mesh.inbound).heard().startswith(REFUSED)
        mesh.contexts.get().peer = CART
        client = mesh.client(hello("istio-http/1.1"), mesh.inbound)
        mesh.say(client, get())
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")

    def test_change(self, mesh: Any) -> None:
        """The next request of a connection obeys the policies of its own time."""
        client = mesh.client(get(), mesh.inbound)
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")
        apply(mesh, policy({}))
        mesh.say(client, get())
        assert client.heard().startswith(REFUSED)
        apply(mesh)
        mesh.say(client, get())
        assert client.heard() == b"" and len(mesh.log.records) == 2

    @pytest.mark.parametrize(
        ("headers", "allowed"),
        [("", False), ("x-forwarded-for: 9.9.9.9\r\n", True), ("x-forwarded-for: 9.9.9.9, 8.8.8.8\r\n", False),
         ("x-forwarded-for: 8.8.8.8\r\nx-forwarded-for: 9.9.9.9\r\n", True), ("x-forwarded-for: 9.9.9.9, x\r\n", False)],
    )
    def test_remote_address(self, mesh: Any, headers: str, allowed: bool) -> None:
        """The client is the last address of X-Forwarded-For, or else the peer, whose own address does not change by it."""
        apply(mesh, policy({"rules": [source(remoteIpBlocks=["9.0.0.0/8"], ipBlocks=["10.0.0.7"])]}))
        client = mesh.client(get("/", headers), mesh.inbound)
        assert client.heard().startswith(REFUSED) is not allowed

    def test_headers(self, mesh: Any) -> None:
        """As Envoy's filter sees them: with what the sidecar adds, without what ends at this hop, a trace as the caller sent it."""
        for name, value, seen in (
            ("x-a", "1", True), ("x-forwarded-proto", "http", True), ("x-request-id", "*", True), ("content-length", "0", True),
            ("connection", "*", False), ("upgrade", "*", False), ("x-envoy-internal", "*", False), ("host", "a", True),
            ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7", True),
        ):  # fmt: skip
            apply(mesh, policy({"action": "DENY", "rules": [when(f"request.headers[{name}]", values=[value])]}))
            sent = "x-a: 1\r\ncontent-length: 0\r\nconnection: x-b\r\nx-envoy-internal: true\r\n"
            client = mesh.client(get("/", sent + "x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7\r\n"), mesh.inbound)
            assert client.heard().startswith(REFUSED) is seen, name

    def test_audit_and_dry_run(self, mesh: Any) -> None:
        """What is audited or tried is counted by its own names, and passes."""
        audit = policy({"action": "AUDIT", "rules": [operation(methods=["GET"])]}, "audit")
        mesh.serve("http", "PERMISSIVE")
        apply(mesh, audit, policy({}, "tried", dry="true"))
        client = mesh.client(get(), mesh.inbound)
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")
        prefix = "InboundPassthroughCluster"  # no service has this port
        assert counts(mesh, HTTP_RBAC) == {(prefix, "allowed", "", ""): 1, (prefix, "", "allow", "denied"): 1}
        assert counts(mesh, AUDITED) == {("ns[shop]-policy[audit]-rule[0]",): 1}


class TestConnections:
    """A connection that is not HTTP's is asked about once."""

    def test_refused(self, mesh: Any) -> None:
        """It ends in peace before the application hears of it; log and counter know why."""
        mesh.serve("tcp")
        apply(mesh, policy({"rules": [operation(methods=["GET"])]}))
        client = mesh.client(b"\0\0\0\0", mesh.inbound)
        mesh.loop.turn()
        assert client.ended and not client.was_reset and mesh.loop.dials == []
        (record,) = mesh.log.records
        assert (record.status, record.flags, record.details, record.termination, record.cluster) == (0, "-", "-", NONE, "inbound|8080||")
        assert counts(mesh, TCP_RBAC) == {("denied", "", ""): 1}

    def test_allowed(self, mesh: Any) -> None:
        """By the namespace in its certificate; a port's number is the application's."""
        mesh.serve("tcp", "STRICT")
        mesh.contexts.get().peer = CART
        apply(mesh, policy({"rules": [source(namespaces=["shop"]) | operation(ports=["8080"])]}))
        client = mesh.client(hello("istio"), mesh.inbound)
        mesh.say(client, b"\1\2")
        assert mesh.accept().heard() == b"\1\2"
        assert counts(mesh, TCP_RBAC) == {("allowed", "", ""): 1}

    def test_foreign_tls(self, mesh: Any) -> None:
        """TLS of the application's own is known by the server name it asks for."""
        mesh.serve("tcp", "PERMISSIVE")
        apply(mesh, policy({"action": "DENY", "rules": [when("connection.sni", values=["httpbin.default"])]}))
        client = mesh.client(hello("h2"), mesh.inbound)
        mesh.loop.turn()
        assert client.ended and mesh.loop.dials == [] and mesh.log.records[0].sni == "httpbin.default"
