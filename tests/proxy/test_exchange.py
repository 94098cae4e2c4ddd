"""One request and its answer, phase by phase."""

from typing import Any

import pytest

from meshcar.proxy.session import TRUNCATE_SECONDS
from meshcar.rules.policies import Fault, HeaderChange
from meshcar.wire.formats import parse

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
WEBSOCKET = b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def begun(mesh: Any, request: bytes = GET, **route: Any) -> tuple[Any, Any]:
    """A request that has reached its endpoint."""
    mesh.route(**route)
    client = mesh.client(request)
    return client, mesh.accept()


class TestRequest:
    """What goes to the endpoint."""

    def test_head(self, mesh: Any) -> None:
        """Host first, the client's headers in their order and spelling of values, then ours."""
        _, server = begun(mesh, b"GET /1?q HTTP/1.1\r\nX-B: Two\r\nHost: a\r\nX-A: one\r\nx-b: \r\nConnection: x-a\r\n\r\n")
        assert server.heard() == (
            b"GET /1?q HTTP/1.1\r\nhost: a\r\nx-b: Two\r\nx-b: \r\nx-forwarded-proto: http\r\n"
            b"x-request-id: 00000000-0000-4000-8000-000000000000\r\nx-envoy-attempt-count: 1\r\n\r\n"
        )

    @pytest.mark.parametrize(
        ("framing", "body", "sent"),
        [
            (b"content-length: 4", b"body", b"body"),
            (b"transfer-encoding: chunked", b"2;ext=1\r\nbo\r\n2\r\ndy\r\n0\r\ntrailer: dropped\r\n\r\n", b"4\r\nbody\r\n0\r\n\r\n"),
        ],
    )
    def test_body(self, mesh: Any, framing: bytes, body: bytes, sent: bytes) -> None:
        """Whole bodies leave with their head; extensions and trailers of chunks are dropped."""
        _, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n%b" % (framing, body))
        assert server.heard().partition(b"\r\n\r\n")[2] == sent

    def test_streamed(self, mesh: Any) -> None:
        """A body that comes in pieces leaves in pieces."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        server.heard()
        for piece, sent in ((b"2\r\nbo", b"2\r\nbo\r\n"), (b"\r\n2\r\ndy\r\n", b"2\r\ndy\r\n"), (b"0\r\n\r\n", b"0\r\n\r\n")):
            mesh.say(client, piece)
            assert server.heard() == sent
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_expect(self, mesh: Any) -> None:
        """Expect and 100 pass through: only the application may say it (Istio's proxy_100_continue)."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        assert b"\r\nexpect: 100-continue\r\n" in server.heard() and client.heard() == b""
        mesh.say(server, b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.heard() == b"HTTP/1.1 100 Continue\r\n\r\n"
        mesh.say(client, b"body")
        assert server.heard() == b"body"
        mesh.say(server, OK)
        assert client.heard().startswith(b"HTTP/1.1 200 ") and not client.ended

    def test_expectation_failed(self, mesh: Any) -> None:
        """A refusal before the body ends the connection."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        mesh.say(server, b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
        answer = client.heard()
        assert answer.startswith(b"HTTP/1.1 417 ") and b"connection: close" in answer and client.ended and server.ended
        assert b"x-envoy-upstream-service-time" not in answer
        mesh.at_rest()


class TestAnswer:
    """What comes back."""

    @pytest.mark.parametrize("own", [b"", b"date: app\r\nserver: app\r\n"])
    def test_date_and_server_of_a_rule(self, mesh: Any, own: bytes) -> None:
        """A rule may write the Date, once; who serves is not its matter."""
        mesh.route(response=HeaderChange((("set", b"date", (b"then",)), ("set", b"server", (b"mine",)))))
        client = mesh.client(GET)
        mesh.say(mesh.accept(), b"HTTP/1.1 200 OK\r\n%bcontent-length: 0\r\n\r\n" % own)
        heard = client.heard()
        assert heard.count(b"date: ") == heard.count(b"server: ") == 1 and b"date: then\r\n" in heard and b"server: meshcar\r\n" in heard

    def test_head(self, mesh: Any) -> None:
        """The endpoint's headers in their order, then ours; its reason, its server and its hop are not the client's business."""
        client, server = begun(mesh)
        mesh.loop.turn(0.25)
        mesh.say(server, b"HTTP/1.1 200 Fine\r\nServer: gunicorn\r\nx-a: 1\r\nKeep-Alive: 5\r\ncontent-length: 2\r\nx-a: 2\r\n\r\nok")
        assert client.heard() == (
            b"HTTP/1.1 200 OK\r\nserver: meshcar\r\nx-a: 1\r\ncontent-length: 2\r\nx-a: 2\r\n"
            b"x-envoy-upstream-service-time: 250\r\ndate: Sun, 09 Sep 2001 01:46:40 GMT\r\n\r\nok"
        )
        assert mesh.log.lines == [(200, "-", "via_upstream")] and mesh.requests() == {("200", "-"): 1}

    @pytest.mark.parametrize(
        ("method", "answer", "has", "lacks", "body"),
        [
            (
                b"GET", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"transfer-encoding: chunked", b"content-l",
                b"2\r\nok\r\n0\r\n\r\n",
            ),
            (b"GET", b"200 OK\r\ncontent-length: 0\r\n\r\n", b"content-length: 0", b"chunked", b""),
            (b"HEAD", b"200 OK\r\ncontent-length: 9\r\n\r\n", b"content-length: 9", b"chunked", b""),
            (b"HEAD", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"transfer-encoding: chunked", b"content-l", b""),
            (b"HEAD", b"200 OK\r\n\r\n", b"transfer-encoding: chunked", b"content-l", b""),
            (b"GET", b"204 No Content\r\n\r\n", b"204 No Content", b"chunked", b""),
            (b"GET", b"304 Not Modified\r\ncontent-length: 9\r\n\r\n", b"content-length: 9", b"chunked", b""),
            (b"GET", b"304 Not Modified\r\n\r\n", b"304 Not", b"chunked", b""),
            (b"GET", b"101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", b"101 Switching", b"chunked", b""),
            (
                b"GET", b"200 OK\r\nx-envoy-upstream-service-time: 77\r\ndate: then\r\ncontent-length: 0\r\n\r\n",
                b"upstream-service-time: 0\r\ndate: then", b"77", b"",
            ),
        ],
    )  # fmt: skip
    def test_framing(self, mesh: Any, method: bytes, answer: bytes, has: bytes, lacks: bytes, body: bytes) -> None:
        """Bodies are framed as they were, or chunked; those that cannot be have no framing (RFC 9112, section 6)."""
        client, server = begun(mesh, GET.replace(b"GET", method))
        mesh.say(server, b"HTTP/1.1 " + answer)
        head, _, rest = client.heard().partition(b"\r\n\r\n")
        assert has in head and lacks not in head and rest == body and not client.ended
        mesh.at_rest()

    def test_until_close(self, mesh: Any) -> None:
        """A body that ends with the endpoint's connection becomes chunked; the client's connection stays."""
        client, server = begun(mesh)
        mesh.say(server, b"HTTP/1.0 200 OK\r\n\r\none")
        mesh.say(server, b"two")
        mesh.hang_up(server)
        assert client.heard().endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") and not client.ended

    def test_interim(self, mesh: Any) -> None:
        """Heads before the head pass, without their hop."""
        client, server = begun(mesh)
        mesh.say(server, b"HTTP/1.1 103 Early Hints\r\nlink: x\r\nconnection: close\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
        assert client.heard().startswith(b"HTTP/1.1 103 Unknown\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")

    @pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"])
    def test_old_client(self, mesh: Any, answer: bytes) -> None:
        """A client of HTTP/1.0 gets no chunk and no 1xx, and its connection ends with the answer."""
        client, server = begun(mesh, b"GET /1 HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")
        mesh.say(server, b"HTTP/1.1 100 Continue\r\n\r\n" + answer)
        head, _, body = client.heard().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and b"connection: close" in head and b"chunked" not in head and body == b"ok"
        assert client.ended and mesh.log.records[0].protocol == "HTTP/1.0"

    def test_early(self, mesh: Any) -> None:
        """An answer that is whole before the request is passes at once; the rest of the request goes nowhere."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok") and client.ended and not client.was_reset and server.ended
        sent = server.heard()
        mesh.say(client, b"other" + GET)
        assert server.heard() == b"" and sent.endswith(b"half") and client.heard() == b""
        mesh.at_rest()

    def test_begins_early(self, mesh: Any) -> None:
        """One that only begins before lets the request go on; the connection ends with it."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo")
        mesh.say(server, OK[:-1])
        mesh.say(client, b"dy")
        assert server.heard().endswith(b"body")
        mesh.say(server, b"k")
        assert client.heard().endswith(b"ok") and client.ended
        mesh.at_rest()

    def test_changed(self, mesh: Any) -> None:
        """The route's changes to the answer, to those of our own too."""
        change = HeaderChange((("set", b"x-by", parse("%ROUTE_NAME%")), ("remove", b"x-a", ())))
        client, server = begun(mesh, response=change)
        mesh.say(server, OK.replace(b"\r\n", b"\r\nx-a: 1\r\n", 1))
        answer = client.heard()
        assert b"\r\nx-by: default\r\n" in answer and b"x-a" not in answer
        mesh.say(client, GET)
        mesh.reset(server)
        assert b"\r\nx-by: default\r\n" in client.heard()


class TestClientGone:
    """A client that breaks off, in each phase."""

    def test_while_connecting(self, mesh: Any) -> None:
        """Before there is a connection: nothing is sent when one comes."""
        mesh.route()
        client = mesh.client(GET)
        mesh.reset(client)
        assert mesh.log.lines == [(0, "DC", "downstream_remote_disconnect")]
        assert mesh.accept().heard() == b""
        mesh.at_rest()

    @pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"])
    def test_while_answered(self, mesh: Any, said: bytes) -> None:
        """Before or in the answer: the endpoint's connection is reset."""
        client, server = begun(mesh, timeout=5.0)
        mesh.say(server, said)
        mesh.reset(client)
        assert server.was_reset and mesh.log.records[0].flags == "DC" and mesh.outbound.sessions == set()
        mesh.loop.turn(10)
        assert len(mesh.log.records) == 1
        mesh.at_rest()

    def test_in_its_body(self, mesh: Any) -> None:
        """In its own body."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx")
        mesh.reset(client)
        assert server.was_reset
        mesh.at_rest()


class TestEndpointGone:
    """An endpoint that breaks off, in each phase."""

    @pytest.mark.parametrize("how", ["hang_up", "reset"])
    def test_before_the_head(self, mesh: Any, how: str) -> None:
        """503 with Envoy's words; the client's connection stays."""
        client, server = begun(mesh)
        getattr(mesh, how)(server)
        head, _, body = client.heard().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and not client.ended
        assert body == b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        assert mesh.log.lines == [(503, "UC", "upstream_reset_before_response_started{connection_termination}")]
        mesh.at_rest()

    @pytest.mark.parametrize("how", ["hang_up", "reset"])
    def test_in_the_body(self, mesh: Any, how: str) -> None:
        """What came is passed on, and a second later the connection ends without the body's end."""
        client, server = begun(mesh)
        mesh.say(server, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        getattr(mesh, how)(server)
        mesh.say(client, GET)
        assert client.heard().endswith(b"\r\n\r\n2\r\nok\r\n") and not client.ended
        mesh.loop.turn(TRUNCATE_SECONDS)
        assert client.ended and client.heard() == b""
        assert mesh.log.lines == [(200, "UPE", "upstream_reset_after_response_started{protocol_error}")]
        mesh.at_rest()

    def test_garbage(self, mesh: Any) -> None:
        """What is no HTTP is 502."""
        client, server = begun(mesh)
        mesh.say(server, b"SSH-2.0-OpenSSH\r\n\r\n")
        assert client.heard().startswith(b"HTTP/1.1 502 ") and server.was_reset
        assert mesh.log.lines[0][:2] == (502, "UPE")


class TestTimeout:
    """The route's timeout: from the request's end to the answer's (Envoy: timeout of a route)."""

    def test_before_the_head(self, mesh: Any) -> None:
        """504 with Envoy's words."""
        client, server = begun(mesh, timeout=2.0)
        mesh.loop.turn(1.9)
        assert client.heard() == b""
        mesh.loop.turn(0.2)
        assert client.heard().endswith(b"\r\n\r\nupstream request timeout") and server.was_reset and not client.ended
        assert mesh.log.lines == [(504, "UT", "response_timeout")]
        mesh.at_rest()

    def test_in_the_body(self, mesh: Any) -> None:
        """The answer is cut."""
        client, server = begun(mesh, timeout=2.0)
        mesh.say(server, OK[:-1])
        mesh.loop.turn(2)
        mesh.loop.turn(1)
        assert client.ended and server.was_reset and mesh.log.lines == [(200, "UT", "response_timeout")]
        mesh.at_rest()

    def test_slow_upload(self, mesh: Any) -> None:
        """The client's own slowness does not count."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n", timeout=2.0)
        mesh.loop.turn(100)
        mesh.say(client, b"ok")
        mesh.loop.turn(1.9)
        mesh.say(server, OK)
        assert client.heard().startswith(b"HTTP/1.1 200 ")
        mesh.at_rest()

    def test_upload_after_the_answer(self, mesh: Any) -> None:
        """A request that ends behind a whole answer starts no timer."""
        client, server = begun(mesh, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n", timeout=2.0)
        mesh.say(server, OK)
        mesh.say(client, b"ok")
        mesh.at_rest()
        mesh.loop.turn(3.0)
        assert mesh.log.lines == [(200, "-", "via_upstream")]

    def test_tunnel(self, mesh: Any) -> None:
        """An upgraded connection has none: its request never ends."""
        client, server = begun(mesh, WEBSOCKET, timeout=2.0)
        mesh.say(server, SWITCH)
        mesh.loop.turn(100)
        mesh.say(server, b"frame")
        assert client.heard().endswith(b"frame")


class TestBadBody:
    """A request whose body's framing breaks when it is on its way."""

    BEGUN = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"

    def test_before_the_answer(self, mesh: Any) -> None:
        """400, and the endpoint's connection is reset."""
        client, server = begun(mesh, self.BEGUN)
        mesh.say(client, b"zz\r\n")
        assert client.heard().startswith(b"HTTP/1.1 400 ") and client.ended and server.was_reset
        assert mesh.log.lines == [(400, "DPE", "http1.codec_error")]
        mesh.at_rest()

    def test_in_the_answer(self, mesh: Any) -> None:
        """Both connections are reset."""
        client, server = begun(mesh, self.BEGUN)
        mesh.say(server, OK[:-1])
        mesh.say(client, b"zz\r\n")
        assert client.was_reset and server.was_reset and mesh.log.records[0].flags == "DPE"
        mesh.at_rest()


class TestDelay:
    """A request that an injected fault holds back before its first try."""

    DELAY = Fault(delay_percent=100.0, delay_seconds=2.0)

    def test_waits(self, mesh: Any) -> None:
        """It goes on after the time, with what of its body came meanwhile; the rest stays with its client."""
        mesh.cluster("b", 81)
        mesh.route(fault=self.DELAY, mirrors=["b"])
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")
        assert mesh.loop.dials == [] and not mesh.loop.reads(client)
        client.say(b"more")
        mesh.loop.turn(2)
        for wire in (mesh.accept(), mesh.accept()):
            assert wire.heard().endswith(b"\r\n\r\nhalfmore")

    def test_not_counted(self, mesh: Any) -> None:
        """Neither the route's timeout nor the endpoint's time begins before."""
        mesh.route(fault=self.DELAY, timeout=1.0)
        client = mesh.client(GET)
        mesh.loop.turn(2)
        server = mesh.accept()
        mesh.loop.turn(0.5)
        mesh.say(server, OK)
        assert b"x-envoy-upstream-service-time: 500" in client.heard() and mesh.log.lines == [(200, "DI", "via_upstream")]
        mesh.at_rest()

    def test_then_nobody(self, mesh: Any) -> None:
        """What goes wrong after it is answered."""
        mesh.cluster("a")
        mesh.route(fault=self.DELAY)
        client = mesh.client(GET)
        mesh.loop.turn(2)
        assert client.heard().endswith(b"no healthy upstream") and mesh.log.records[0].flags == "DI,UH"
        mesh.at_rest()

    def test_client_gone(self, mesh: Any) -> None:
        """A client that leaves meanwhile ends it."""
        mesh.route(fault=self.DELAY)
        client = mesh.client(GET)
        mesh.reset(client)
        mesh.loop.turn(2)
        assert mesh.loop.dials == [] and mesh.log.records[0].flags == "DI,DC"
        mesh.at_rest()
