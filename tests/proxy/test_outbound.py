"""The outbound side's routing, from a head to a cluster or an answer."""

from typing import Any

import pytest

from meshcar.net.address import Address
from meshcar.proxy.outbound import host_of, port_of
from meshcar.rules.host_names import is_address
from meshcar.rules.policies import Fault, HeaderChange, RetryPolicy, Rewrite
from meshcar.wire.formats import parse

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def get(host: bytes = b"a", *headers: bytes, target: bytes = b"/1") -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, host, b"".join(header + b"\r\n" for header in headers))


def sent(mesh: Any, request: bytes) -> bytes:
    """What the endpoint gets."""
    mesh.client(request)
    heard: bytes = mesh.accept().heard()
    return heard


class TestAnswers:
    """Requests that go nowhere."""

    def test_no_route(self, mesh: Any) -> None:
        """No route of the host takes it: 404, NR."""
        mesh.route(matches=lambda head: head.path == b"/2")
        client = mesh.client(get())
        assert client.heard().endswith(b"content-length: 0\r\n\r\n") and not client.ended
        assert mesh.log.lines == [(404, "NR", "route_not_found")]
        mesh.at_rest()

    def test_no_cluster(self, mesh: Any) -> None:
        """The route names a cluster that nobody declared: 503, NC, empty."""
        mesh.route()
        mesh.clusters.reconcile({})
        client = mesh.client(get())
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.log.lines == [(503, "NC", "cluster_not_found")]

    def test_fault(self, mesh: Any) -> None:
        """An injected abort, as often as it is told; nothing is copied."""
        mesh.cluster("b", 81)
        mesh.route(fault=Fault(abort_percent=50.0, abort_status=418), mirrors=["b"])
        mesh.rolls[:] = [0.0, 0.99, 0.49]
        client = mesh.client(get())
        mesh.rolls.clear()
        assert client.heard().endswith(b"\r\n\r\nfault filter abort") and mesh.log.lines == [(418, "FI", "fault_filter_abort")]
        assert mesh.loop.dials == []

    def test_first_that_matches(self, mesh: Any) -> None:
        """Routes are asked in order."""
        mesh.cluster("b", 81)
        mesh.route(matches=lambda head: head.get(b"x-to") == b"b", cluster="b")
        mesh.route()
        mesh.client(get(b"a", b"x-to: b"))
        mesh.client(get())
        assert [dial.address.port for dial in mesh.loop.dials] == [81, 80]


class TestUnknownHost:
    """A host that no rule knows."""

    def test_forbidden(self, make_mesh: Any) -> None:
        """502, as with registry_only."""
        mesh = make_mesh(outbound_allow_any=False)
        assert mesh.client(get()).heard().startswith(b"HTTP/1.1 502 ") and mesh.log.lines == [(502, "-", "direct_response")]
        assert mesh.log.records[0].route == "block_all"

    @pytest.mark.parametrize(("host", "where"), [(b"10.9.9.9", Address("10.9.9.9", 80)), (b"[fd00::9]:81", Address("fd00::9", 81))])
    def test_address(self, mesh: Any, host: bytes, where: Address) -> None:
        """An address is taken as it stands; all such share one label in the metrics."""
        client = mesh.client(get(host))
        assert mesh.loop.dials[0].address == where
        mesh.say(mesh.accept(), OK)
        record = mesh.log.records[0]
        assert client.heard().endswith(b"ok") and (record.route, record.cluster) == ("allow_any", "PassthroughCluster")
        assert list(mesh.outbound._traffic) == ["PassthroughCluster"]
        mesh.at_rest()

    def test_impossible_port(self, mesh: Any) -> None:
        """A port that cannot be is a connection that cannot be."""
        client = mesh.client(get(b"10.9.9.9:99999"))
        for dial in mesh.loop.dials:
            assert dial.address.port == 0
            dial.refuse()
        mesh.loop.turn()
        assert client.heard()[:12] in (b"HTTP/1.1 503", b"HTTP/1.1 400")

    def test_name(self, mesh: Any) -> None:
        """A name is looked up; the request waits, and its body with its client."""
        names = mesh.loop.nameResolver
        names.known["other.example"] = ["10.9.9.1"]
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: other.example:81\r\ncontent-length: 8\r\n\r\nhalf")
        assert not mesh.loop.reads(client) and names.asked[0][1] == "other.example"
        client.say(b"more")
        names.answer()
        mesh.loop.turn()
        assert mesh.loop.dials[0].address == Address("10.9.9.1", 81)
        assert mesh.accept().heard().endswith(b"\r\n\r\nhalfmore")

    @pytest.mark.parametrize("how", ["no address", "late"])
    def test_no_address(self, mesh: Any, how: str) -> None:
        """A name without an address, or whose look-up takes too long, is a 503."""
        client = mesh.client(get(b"other.example"))
        if how == "late":
            mesh.loop.turn(5)
        mesh.loop.nameResolver.answer()
        mesh.loop.turn()
        assert client.heard().startswith(b"HTTP/1.1 503 ") and "no_address_for_other.example" in mesh.log.records[0].details
        mesh.at_rest()

    @pytest.mark.parametrize("host", [b"a" * 70 + b".com", b"a..b", b"x" * 300])
    def test_no_name(self, mesh: Any, host: bytes) -> None:
        """What can be no name is not even asked."""
        assert mesh.client(get(host)).heard().startswith(b"HTTP/1.1 503 ") and mesh.loop.nameResolver.asked == []
        mesh.at_rest()

    @pytest.mark.parametrize("known", [["10.9.9.1"], []])
    def test_client_gone(self, mesh: Any, known: list[str]) -> None:
        """A client that leaves meanwhile has no request any more."""
        mesh.loop.nameResolver.known["other.example"] = known
        client = mesh.client(get(b"other.example"))
        client.transport.abortConnection()
        mesh.loop.turn()
        mesh.loop.nameResolver.answer()
        assert mesh.loop.dials == [] and mesh.log.records[0].flags == "DC" and len(mesh.log.records) == 1
        mesh.at_rest()

    def test_no_room(self, mesh: Any) -> None:
        """Limits count behind a look-up, too."""
        cluster = mesh.clusters.original("PassthroughCluster", "10.9.9.1", 80)
        cluster.endpoints.clear()
        mesh.loop.nameResolver.known["other.example"] = ["10.9.9.1"]
        client = mesh.client(get(b"other.example"))
        mesh.loop.nameResolver.answer()
        assert client.heard().endswith(b"no healthy upstream")


class TestChanges:
    """What a route does to a request."""

    def test_rewritten(self, mesh: Any) -> None:
        """Path and authority; what they were is told, and a forged claim of it overwritten."""
        mesh.route(rewrite=Rewrite(b"other", lambda path: path.replace(b"/1", b"/2")))
        heard = sent(mesh, get(b"a:80", b"x-envoy-original-path: /forged", target=b"/1?q=/1"))
        assert heard.startswith(b"GET /2?q=/1 HTTP/1.1\r\nhost: other\r\n")
        assert b"x-envoy-original-host: a:80\r\n" in heard and b"x-envoy-original-path: /1?q=/1\r\n" in heard and b"forged" not in heard

    def test_headers(self, mesh: Any) -> None:
        """Header operations in their order; operators see the request; a value can break no line."""
        operations = (
            ("remove", b"x-gone", ()), ("set", b"x-set", parse("new")), ("add", b"x-add", parse("%REQ(X-IN)%-%ROUTE_NAME%")),
            ("set", b":authority", parse("other")),
        )  # fmt: skip
        mesh.route(request=HeaderChange(operations))
        heard = sent(mesh, get(b"a", b"x-gone: 1", b"x-set: old", b"x-in: in", b"x-add: first"))
        assert heard.startswith(b"GET /1 HTTP/1.1\r\nhost: other\r\n") and b"x-gone" not in heard and b"x-set: new\r\n" in heard
        assert b"x-add: first\r\n" in heard and b"x-add: in-default\r\n" in heard and b"x-envoy-original-host: a\r\n" in heard

    def test_forged(self, mesh: Any) -> None:
        """What only a proxy may say is dropped; an attempt count is ours."""
        mesh.route()
        forged = b"x-envoy-internal: true", b"x-forwarded-client-cert: By=me", b"x-envoy-attempt-count: 7", b"x-envoy-retry-on: 5xx"
        heard = sent(mesh, get(b"a", *forged))
        assert b"internal" not in heard and b"client-cert" not in heard and b"retry-on" not in heard
        assert b"x-envoy-attempt-count: 1\r\n" in heard and heard.count(b"attempt-count") == 1

    @pytest.mark.parametrize(("timeout", "per_try", "told"), [(2.0, None, b"2000"), (None, 0.5, b"500"), (2.0, 0.5, b"500")])
    def test_expected_time(self, mesh: Any, timeout: float | None, per_try: float | None, told: bytes) -> None:
        """The endpoint learns how long it has."""
        mesh.route(timeout=timeout, retries=RetryPolicy(per_try_timeout=per_try))
        assert b"x-envoy-expected-rq-timeout-ms: %b\r\n" % told in sent(mesh, get())

    @pytest.mark.parametrize(
        ("client", "obeyed"), [(b"10.1.2.3", True), (b"10.2.2.3", False), (b"10.1.2.3, 10.1.2.4", False), (b"x", False)]
    )
    def test_internal(self, mesh: Any, client: bytes, obeyed: bool) -> None:
        """A caller behind an internal address may set the time limit; others may not."""
        mesh.route(timeout=9.0)
        heard = sent(mesh, get(b"a", b"x-forwarded-for: " + client, b"x-envoy-upstream-rq-timeout-ms: 300"))
        assert (b"expected-rq-timeout-ms: 300\r\n" in heard) is obeyed and (b"x-envoy-internal: true" in heard) is obeyed
        assert b"upstream-rq-timeout-ms" not in heard
        mesh.loop.turn(0.3)
        assert bool(mesh.log.records) is obeyed

    def test_host_of_one_of_several(self, mesh: Any) -> None:
        """The Host is another one, and nobody is told which it was."""
        mesh.route(request=HeaderChange((("set", b"host", (b"other",)),)))
        heard = sent(mesh, get())
        assert b"host: other\r\n" in heard and b"original-host" not in heard

    def test_internal_asks_for_tries(self, mesh: Any) -> None:
        """So may when to try again be said, by the headers of Envoy's router, which end here."""
        mesh.route(retries=None)
        lines = b"x-envoy-retry-on: 5xx", b"x-envoy-max-retries: 1", b"x-envoy-expected-rq-timeout-ms: 77"
        client = mesh.client(get(b"a", b"x-forwarded-for: 10.1.2.3", *lines))
        server = mesh.accept()
        heard = server.heard()
        assert b"x-envoy-retry-on" not in heard and b"x-envoy-expected-rq-timeout-ms: 77\r\n" in heard
        for count in (b"2", None):
            mesh.say(server, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            mesh.loop.turn(1)
            assert count is None or b"x-envoy-attempt-count: %b\r\n" % count in server.heard()
        assert client.heard().startswith(b"HTTP/1.1 500 ") and mesh.log.records[0].flags == "URX"

    def test_traced(self, make_mesh: Any) -> None:
        """A trace is begun or continued, behind all other headers."""
        mesh = make_mesh(tracing="b3")
        mesh.route()
        client = mesh.client(get())
        server = mesh.accept()
        heard = server.heard()
        assert b"x-b3-traceid: " in heard and b"x-envoy-decorator-operation: a.default.svc.cluster.local:80/*" in heard
        mesh.say(server, OK)
        mesh.say(client, get(b"a", b"x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124", b"x-b3-spanid: a2fb4a1d1a96d312", b"x-b3-sampled: 1"))
        again = server.heard()
        assert again.count(b"463ac35c9f6413ad48485a3953bb6124") == 1 and again.count(b"x-b3-spanid") == 1


@pytest.mark.parametrize(
    ("authority", "host", "port", "literal"),
    [
        (b"a", "a", 80, False), (b"a:8000", "a", 8000, False), (b"10.0.0.1:1", "10.0.0.1", 1, True), (b"[fd00::1]", "fd00::1", 80, True),
        (b"[fd00::1]:443", "fd00::1", 443, True), (b"a:", "a", 80, False), (b"a:70000", "a", 0, False), (b"a:123456", "a", 0, False),
        (b"", "", 80, False),
    ],
)  # fmt: skip
def test_authorities(authority: bytes, host: str, port: int, literal: bool) -> None:
    """What an authority's parts are."""
    assert (host_of(authority), port_of(authority), is_address(host_of(authority))) == (host, port, literal)
