"""Routes that do more than send a request on, or answer it themselves."""

from random import Random
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from meshcar.proxy.exchange import Exchange
from meshcar.proxy.outbound import Outbound
from meshcar.rules.policies import Answer, Cors, Fault, HeaderChange, Redirect
from meshcar.rules.snapshot import Route, VirtualHost
from meshcar.wire.formats import parse

GET = b"GET /1?q HTTP/1.1\r\nhost: a:80\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TAIL = b"date: Sun, 09 Sep 2001 01:46:40 GMT\r\nserver: meshcar\r\n"
ORIGIN = b"https://o"
CORS = Cors(allows=ORIGIN.__eq__, methods=b"GET", expose=b"x-e", credentials=True)
X_A = HeaderChange((("set", b"x-a", parse("b")), ("add", b"x-c", parse("%RESPONSE_CODE%"))))
GRPC = GET.replace(b"\r\n\r\n", b"\r\ncontent-type: application/grpc+proto\r\n\r\n")


def answering(mesh: Any, answer: Answer, **more: Any) -> None:
    """All that ask for host a get this answer."""
    route = Route("r", None, None, (), (1.0,), answer=answer, **more)
    mesh.snapshot.swap(attrs.evolve(mesh.snapshot.get(), hosts={80: {b"a": VirtualHost("a", (route,))}}))


def asking(method: bytes = b"GET", origin: bytes = ORIGIN, *more: bytes) -> bytes:
    lines = (b"%b / HTTP/1.1" % method, b"host: a", b"origin: " + origin, *more)
    return b"\r\n".join(lines) + b"\r\n\r\n"


class TestAnswers:
    """Redirects and direct responses."""

    def test_redirect(self, mesh: Any) -> None:
        """Location first, then the route's headers; no cluster in the log."""
        answering(mesh, Answer(301, redirect=Redirect(scheme=b"https", port=8443), response=X_A))
        client = mesh.client(GET)
        assert client.heard() == (
            b"HTTP/1.1 301 Moved Permanently\r\nlocation: https://a:8443/1?q\r\nx-a: b\r\nx-c: 0\r\n"
            + TAIL
            + b"content-length: 0\r\n\r\n"
        )
        record = mesh.log.records[0]
        assert (record.status, record.flags, record.details, record.route) == (301, "-", "direct_response", "r")
        assert not mesh.loop.dials and not client.ended
        mesh.at_rest()

    def test_direct_response(self, mesh: Any) -> None:
        """The route's headers, then those of the body."""
        answering(mesh, Answer(200, b"hello", response=X_A))
        assert mesh.client(GET).heard() == (
            b"HTTP/1.1 200 OK\r\nx-a: b\r\nx-c: 0\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n" + TAIL + b"\r\nhello"
        )
        assert mesh.log.records[0].sent == 5

    @pytest.mark.parametrize(
        ("answer", "method", "headers"),
        [
            (Answer(200), b"GET", TAIL + b"content-length: 0\r\n"),
            (Answer(204), b"GET", TAIL),
            (Answer(200, b"hello"), b"HEAD", b"content-length: 5\r\ncontent-type: text/plain\r\n" + TAIL),
            (Answer(302), b"HEAD", b"location: http://a:80/1?q\r\n" + TAIL + b"transfer-encoding: chunked\r\n"),
            (Answer(201), b"GET", b"location: http://a:80/1?q\r\n" + TAIL + b"content-length: 0\r\n"),
            (
                Answer(200, b"{}", response=HeaderChange((("set", b"content-type", parse("application/json")),))),
                b"HEAD",
                b"content-type: application/json\r\ncontent-length: 2\r\n" + TAIL,
            ),
            (
                Answer(200, response=HeaderChange((("set", b"content-type", parse("x/y")), ("set", b"server", parse("s"))))),
                b"GET",
                TAIL.replace(b"date", b"server: meshcar\r\ndate").replace(b"GMT\r\nserver: meshcar", b"GMT") + b"content-length: 0\r\n",
            ),
        ],
        ids=["empty", "204", "HEAD", "3xx says where it was, and HEAD", "201 says where it was", "own type", "no type without a body"],
    )
    def test_headers(self, mesh: Any, answer: Answer, method: bytes, headers: bytes) -> None:
        """What is told of a body, and what not."""
        answering(mesh, answer)
        head = mesh.client(GET.replace(b"GET", method)).heard()
        assert head.partition(b"\r\n")[2] == headers + b"\r\n"

    def test_body_that_came_along(self, mesh: Any) -> None:
        """An answer before anybody has looked at a body ends the connection, as with Envoy; an empty body does not."""
        answering(mesh, Answer(200))
        client = mesh.client(GET.replace(b"\r\n\r\n", b"\r\ncontent-length: 4\r\n\r\nbody"))
        assert b"connection: close\r\ncontent-length: 0" in client.heard() and client.ended
        client = mesh.client(GET.replace(b"\r\n\r\n", b"\r\ncontent-length: 0\r\n\r\n"))
        assert b"connection: close" not in client.heard() and not client.ended

    def test_http_1_0(self, mesh: Any) -> None:
        """A client of HTTP/1.0 knows no chunks."""
        answering(mesh, Answer(302))
        assert mesh.client(GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"GET", b"HEAD")).heard().endswith(b"connection: close\r\n\r\n")

    def test_aborted(self, mesh: Any) -> None:
        """A fault that a delegating rule brings goes first."""
        answering(mesh, Answer(200), fault=Fault(100.0, 500))
        assert mesh.client(GET).heard().startswith(b"HTTP/1.1 500 ")


class TestFaults:
    """Delays and aborts."""

    def test_abort(self, mesh: Any) -> None:
        """The route's headers stand on it; the log knows the cluster."""
        mesh.route(fault=Fault(100.0, 555), response=X_A)
        assert mesh.client(GET).heard() == (
            b"HTTP/1.1 555 Unknown\r\nx-a: b\r\nx-c: 0\r\ncontent-length: 18\r\ncontent-type: text/plain\r\n"
            + TAIL
            + b"\r\nfault filter abort"
        )
        assert mesh.log.lines == [(555, "FI", "fault_filter_abort")] and mesh.log.records[0].cluster == "a"

    def test_shares(self, mesh: Any) -> None:
        """Of 10,000 requests on one connection as many are aborted as was said, within four sigma: each draws for itself."""
        answering(mesh, Answer(200), fault=Fault(abort_percent=12.5, abort_status=418))
        dice = Random(3)
        client = mesh.client(GET)
        for _ in range(9_999):
            mesh.rolls[:] = [dice.random() for _ in range(2)]
            mesh.say(client, GET)
        aborted = sum(record.status == 418 for record in mesh.log.records)
        assert len(mesh.log.records) == 10_000 and abs(aborted - 1250) <= 4 * (10_000 * 0.125 * 0.875) ** 0.5

    def test_reason_behind_the_route(self, mesh: Any) -> None:
        """What the router itself adds to its answer comes behind the route's headers."""
        mesh.cluster("full", 80, max_pending_requests=1)
        mesh.route(b"a", "full", response=X_A)
        mesh.client(GET)
        while b" 503 " not in (heard := mesh.client(GET).heard()):
            assert len(mesh.outbound.sessions) < 9
        assert heard.partition(b"\r\n")[2].startswith(b"x-a: b\r\nx-c: 0\r\nx-envoy-overloaded: true\r\ncontent-length: ")

    def test_share(self, mesh: Any) -> None:
        """Each request is drawn on its own: destination, delay, abort."""
        mesh.route(fault=Fault(50.0, 500))
        for roll, aborted in ((0.49, True), (0.5, False)):
            mesh.rolls[:] = [0.0, 0.0, roll]
            assert (b" 500 " in mesh.client(GET).heard()) is aborted

    def test_delay(self, mesh: Any) -> None:
        """The request waits, its copies too; the time does not count as the application's, nor towards the timeout."""
        mesh.cluster("m", 81)
        mesh.route(fault=Fault(delay_percent=100.0, delay_seconds=2.0), mirrors=("m",), timeout=1.0)
        client = mesh.client(GET)
        mesh.loop.advance(1.9)
        assert not mesh.loop.dials
        mesh.loop.advance(0.2)
        mesh.loop.turn()
        assert len(mesh.loop.dials) == 2
        server = mesh.accept()
        mesh.loop.advance(0.5)
        mesh.say(server, OK)
        assert b"x-envoy-upstream-service-time: 500\r\n" in client.heard()
        record = mesh.log.records[0]
        assert (record.flags, record.details, record.duration_ms) == ("DI", "via_upstream", 2600)

    def test_delay_keeps_the_body(self, mesh: Any) -> None:
        """What came with the head waits; the rest is left in the socket. Copies get both."""
        mesh.cluster("m", 81)
        mesh.route(fault=Fault(delay_percent=100.0, delay_seconds=2.0), mirrors=("m",))
        client = mesh.client(GET.replace(b"\r\n\r\n", b"\r\ncontent-length: 4\r\n\r\nbo"))
        mesh.say(client, b"dy")
        mesh.loop.advance(2.1)
        mesh.loop.turn()
        server, mirror = mesh.accept(), mesh.accept()
        mesh.loop.turn()
        for wire in (server, mirror):
            assert wire.heard().endswith(b"\r\n\r\nbody")
            mesh.say(wire, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_delay_then_abort(self, mesh: Any) -> None:
        """Both flags, in this order."""
        mesh.route(fault=Fault(100.0, 502, 100.0, 0.3))
        client = mesh.client(GET)
        assert client.heard() == b""
        mesh.loop.advance(0.4)
        assert client.heard().startswith(b"HTTP/1.1 502 ")
        assert mesh.log.lines == [(502, "DI,FI", "fault_filter_abort")]

    @pytest.mark.parametrize("seconds", [0.0, 2.0])
    def test_our_own_mistake(self, mesh: Any, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        """What nobody foresaw is answered, at once or after a delay, and logged once."""
        logged: list[str] = []
        monkeypatch.setattr(Exchange, "_log", SimpleNamespace(failure=logged.append))
        monkeypatch.setattr(Outbound, "take", lambda *_: 1 // 0)
        mesh.route(fault=Fault(delay_percent=100.0 if seconds else 0.0, delay_seconds=seconds, abort_percent=0.0))
        client = mesh.client(GET)
        mesh.loop.advance(seconds + 0.1)
        assert client.heard().startswith(b"HTTP/1.1 500 ") and logged == ["a request could not be routed"]
        assert mesh.log.lines[0][2] == "internal_error"

    def test_client_leaves_meanwhile(self, mesh: Any) -> None:
        """Nothing is sent for a client that did not wait."""
        mesh.route(fault=Fault(delay_percent=100.0, delay_seconds=2.0))
        client = mesh.client(GET)
        mesh.reset(client)
        mesh.loop.advance(3.0)
        assert not mesh.loop.dials
        assert mesh.log.lines == [(0, "DI,DC", "downstream_remote_disconnect")] and mesh.log.records[0].cluster == "a"
        mesh.at_rest()

    def test_delay_before_nothing(self, mesh: Any) -> None:
        """A cluster that is missing or empty is told after the delay."""
        mesh.cluster("empty")
        mesh.route(b"a", "empty", fault=Fault(delay_percent=100.0, delay_seconds=2.0))
        client = mesh.client(GET)
        mesh.loop.advance(2.1)
        assert client.heard().endswith(b"no healthy upstream")
        assert mesh.log.lines == [(503, "DI,UH", "no_healthy_upstream")]

    def test_grpc_status(self, mesh: Any) -> None:
        """A plain client gets 200 and the text, one that speaks gRPC the status in headers."""
        mesh.route(fault=Fault(100.0, 200, grpc_status=14))
        assert mesh.client(GET).heard().endswith(b"\r\n\r\nfault filter abort")
        assert mesh.client(GRPC).heard() == (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ngrpc-message: fault filter abort\r\n"
            + TAIL + b"content-length: 0\r\n\r\n"
        )  # fmt: skip
        assert mesh.log.lines == [(200, "FI", "fault_filter_abort")] * 2


class TestGrpc:
    """Other answers of our own to clients that speak gRPC."""

    def test_status_of_http(self, mesh: Any) -> None:
        """Every status has one that stands for it; text is escaped, its last line end dropped."""
        for status, number in ((503, 14), (404, 12), (200, 2)):
            answering(mesh, Answer(status, "50 % ü\n".encode(), response=HeaderChange((("set", b"content-type", parse("x/y")),))))
            heard = mesh.client(GRPC).heard()
            assert heard.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n")
            assert b"grpc-status: %d\r\ngrpc-message: 50 %%25 %%C3%%BC\r\n" % number in heard

    @pytest.mark.parametrize("kind", [b"application/grpc-web", b"application/json", b"application/grpcx"])
    def test_others(self, mesh: Any, kind: bytes) -> None:
        """gRPC-Web and the like are plain HTTP."""
        answering(mesh, Answer(503, b"down"))
        assert mesh.client(GRPC.replace(b"application/grpc+proto", kind)).heard().startswith(b"HTTP/1.1 503 ")


class TestCors:
    """Requests from pages of other origins."""

    def test_preflight(self, mesh: Any) -> None:
        """Answered here, without the route's headers; nothing is mirrored."""
        mesh.route(cors=CORS, response=X_A, mirrors=("a",))
        client = mesh.client(asking(b"OPTIONS", ORIGIN, b"access-control-request-method: PUT"))
        assert client.heard() == (
            b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://o\r\naccess-control-allow-credentials: true\r\n"
            b"access-control-allow-methods: GET\r\naccess-control-expose-headers: x-e\r\n" + TAIL + b"content-length: 0\r\n\r\n"
        )
        assert mesh.log.lines == [(200, "-", "cors_response")] and mesh.log.records[0].cluster == "a"
        assert not mesh.loop.dials

    def test_simple(self, mesh: Any) -> None:
        """The answer gets its headers; the application's own word on the origin is replaced where it stands."""
        mesh.route(cors=CORS)
        client = mesh.client(asking())
        mesh.say(mesh.accept(), OK.replace(b"content", b"access-control-allow-origin: *\r\nserver: x\r\ncontent", 1))
        assert (
            client.heard()
            .partition(b"\r\n")[2]
            .startswith(
                b"access-control-allow-origin: https://o\r\nserver: meshcar\r\ncontent-length: 2\r\nx-envoy-upstream-service-time: 0\r\n"
                b"access-control-allow-credentials: true\r\naccess-control-expose-headers: x-e\r\ndate: "
            )
        )

    @pytest.mark.parametrize(
        "said", [asking(origin=b"https://evil"), GET, asking(b"OPTIONS", b"https://evil", b"access-control-request-method: PUT")]
    )
    def test_not_allowed(self, mesh: Any, said: bytes) -> None:
        """Another origin, or none: the request goes on, and the answer says nothing."""
        mesh.route(cors=CORS)
        client = mesh.client(said)
        mesh.say(mesh.accept(), OK)
        assert b"access-control" not in client.heard()

    def test_on_a_local_answer(self, mesh: Any) -> None:
        """A page may read why its request failed."""
        mesh.cluster("empty")
        mesh.route(b"a", "empty", cors=CORS)
        heard = mesh.client(asking()).heard()
        assert b"content-type: text/plain\r\naccess-control-allow-origin: https://o\r\n" in heard and heard.endswith(b"no healthy upstream")


def test_another_endpoint(mesh: Any) -> None:
    """A further try prefers who has not been tried."""
    cluster = mesh.cluster("two", 80, 81)
    first, second = cluster.endpoints
    mesh.rolls[:] = [0.0]
    assert cluster.choose() is first
    mesh.rolls[:] = [0.0, 0.0, 0.9]
    assert cluster.choose((first.name,)) is second
    mesh.rolls[:] = [0.0] * 9
    assert cluster.choose((first.name,)) is first and len(mesh.rolls) == 3
