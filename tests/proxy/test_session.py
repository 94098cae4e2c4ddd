"""One client's connection: requests in order, time, and how it ends."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from meshcar.net.transport import HIGH_WATER
from meshcar.proxy.session import HEAD_SECONDS, IDLE_SECONDS, MAX_AHEAD

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def get(path: int | bytes = 1, *headers: bytes) -> bytes:
    return b"GET /%b HTTP/1.1\r\nhost: a\r\n%b\r\n" % (str(path).encode(), b"".join(header + b"\r\n" for header in headers))


def post(body: bytes, length: int | None = None) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body) if length is None else length, body)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def bodies(answer: bytes) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]


class TestKeepAlive:
    """One request after the other."""

    def test_two(self, mesh: Any) -> None:
        """Two requests share the client's connection and the endpoint's."""
        mesh.route()
        client = mesh.client(get(1))
        server = mesh.accept()
        mesh.say(server, OK)
        assert bodies(client.heard()) == [b"ok"]
        mesh.say(client, get(2))
        mesh.say(server, OK)
        assert bodies(client.heard()) == [b"ok"] and server.heard().count(b"host: a") == 2 and len(mesh.loop.wires) == 2
        mesh.at_rest()

    def test_any_cut(self, mesh: Any) -> None:
        """Requests may come in any pieces."""
        mesh.route()
        whole = post(b"body") + get(2)
        client = mesh.client(get(0))
        server = mesh.accept()
        mesh.say(server, OK)
        for cut in range(1, len(whole)):
            mesh.say(client, whole[:cut])
            mesh.say(client, whole[cut:])
            mesh.say(server, OK)
            mesh.say(server, OK)
            assert statuses(client.heard()) == [200, 200, 200][: 3 if cut == 1 else 2]
        mesh.at_rest()

    def test_close(self, mesh: Any) -> None:
        """A client that says close gets it, and nothing it says behind counts (RFC 9112, section 9.6)."""
        mesh.route()
        client = mesh.client(get(1, b"connection: close") + get(2))
        server = mesh.accept()
        mesh.say(server, OK)
        assert b"\r\nconnection: close\r\n" in client.sent and client.ended and not client.was_reset
        assert server.heard().count(b"host: a") == 1
        mesh.at_rest()

    def test_close_and_end(self, mesh: Any) -> None:
        """The same for one that ends its direction, too."""
        mesh.route()
        client = mesh.client(get(1, b"connection: close") + get(2))
        client.hang_up()
        server = mesh.accept()
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200] and client.ended and server.heard().count(b"host: a") == 1


class TestPipelining:
    """Requests before the answers to earlier ones (RFC 9112, section 9.3.2)."""

    def test_first_slow(self, mesh: Any) -> None:
        """Answers keep the order of the requests; the next request waits for the first answer."""
        mesh.route()
        client = mesh.client(get(1) + get(2) + get(3))
        server = mesh.accept()
        assert server.heard().count(b"host: a") == 1
        for number in (b"1", b"2", b"3"):
            mesh.say(server, OK.replace(b"ok", b"a" + number))
        assert bodies(client.heard()) == [b"a1", b"a2", b"a3"]
        mesh.at_rest()

    def test_first_slow_then_local(self, mesh: Any) -> None:
        """An answer of our own waits behind one of the endpoint's."""
        mesh.route()
        client = mesh.client(get(1) + b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n" + get(3))
        assert client.heard() == b""
        server = mesh.accept()
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200, 404]
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200]

    def test_thousands(self, make_mesh: Any) -> None:
        """Thousands at once are answered in a loop, not one within the other."""
        mesh = make_mesh(outbound_allow_any=False)
        client = mesh.client(get(1) * 5000)
        assert statuses(client.heard()) == [502] * 5000
        mesh.at_rest()

    def test_thousands_through(self, mesh: Any) -> None:
        """The same with an endpoint that answers each."""
        mesh.route()
        client = mesh.client(get(1) * 2000)
        server = mesh.accept()
        for _ in range(2000):
            mesh.say(server, OK)
        assert statuses(client.heard()) == [200] * 2000
        mesh.at_rest()

    def test_bounded(self, mesh: Any) -> None:
        """What comes ahead is left in the socket, but for some KiB."""
        mesh.route()
        client = mesh.client(get(1) + get(2) * (MAX_AHEAD // 20))
        assert not mesh.loop.reads(client)
        server = mesh.accept()
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200]

    def test_answers_not_read(self, make_mesh: Any) -> None:
        """A client that asks and does not read gets no further answer before it does (CVE-2020-8661), and then all, in order."""
        mesh = make_mesh(outbound_allow_any=False)
        client = mesh.client(room=1000)
        for _ in range(20):
            mesh.say(client, get(1) * 1000)
        assert not mesh.loop.reads(client)
        assert len(client.transport._unsent) < HIGH_WATER + 1000
        assert statuses(mesh.drain(client)) == [502] * 20_000
        mesh.at_rest()

    def test_large_answers_not_read(self, mesh: Any) -> None:
        """So with whole answers of endpoints, too."""
        mesh.route()
        client = mesh.client(get(1) * 100, room=0)
        server = mesh.accept()
        large = b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + bytes(60_000)
        for _ in range(2):
            mesh.say(server, large)
        assert server.heard().count(b"host: a") == 2
        mesh.drain(client)
        assert server.heard().count(b"host: a") == 1

    def test_not_read_and_gone(self, make_mesh: Any) -> None:
        """Such a client may leave."""
        mesh = make_mesh(outbound_allow_any=False)
        client = mesh.client(get(1) * 3000, room=0)
        mesh.reset(client)
        assert client.closed and mesh.outbound.sessions == set()

    def test_behind_a_body(self, mesh: Any) -> None:
        """A request behind a body that came in pieces."""
        mesh.route()
        client = mesh.client(post(b"", 4))
        server = mesh.accept()
        mesh.say(client, b"body" + get(2))
        mesh.say(server, OK)
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200, 200]
        mesh.at_rest()


class TestEnds:
    """A client that ends its direction (RFC 9112, section 9.6)."""

    def test_idle(self, mesh: Any) -> None:
        """Without a request the connection ends."""
        client = mesh.session()
        mesh.hang_up(client)
        assert client.ended and mesh.log.records == [] and mesh.outbound.sessions == set()

    def test_in_a_head(self, mesh: Any) -> None:
        """In the middle of a head it is logged, as a client that left."""
        client = mesh.client(b"GET / HT")
        mesh.hang_up(client)
        assert client.ended and mesh.log.lines == [(0, "DC", "downstream_remote_disconnect")]

    def test_before_the_answer(self, mesh: Any) -> None:
        """It gets its answer, and then the end."""
        mesh.route()
        client = mesh.client(get(1))
        server = mesh.accept()
        mesh.hang_up(client)
        mesh.say(server, OK)
        assert bodies(client.heard()) == [b"ok"] and client.ended and not client.was_reset

    def test_with_requests_ahead(self, mesh: Any) -> None:
        """It gets the answers to all requests it sent before, of whoever gives them."""
        mesh.route()
        client = mesh.client(get(1) + b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n" + get(3))
        server = mesh.accept()
        mesh.hang_up(client)
        mesh.say(server, OK)
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200, 404, 200] and client.ended

    def test_with_half_a_request_ahead(self, mesh: Any) -> None:
        """A request that will not become whole is not waited for."""
        mesh.route()
        client = mesh.client(get(1) + b"GET / HT")
        server = mesh.accept()
        mesh.hang_up(client)
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200] and client.ended
        assert mesh.log.lines == [(200, "-", "via_upstream"), (0, "DC", "downstream_remote_disconnect")]

    def test_in_a_body(self, mesh: Any) -> None:
        """In the middle of a body it has given up."""
        mesh.route()
        client = mesh.client(post(b"ha", 4))
        server = mesh.accept()
        mesh.hang_up(client)
        assert server.was_reset and client.closed and mesh.log.lines == [(0, "DC", "downstream_remote_disconnect")]
        mesh.at_rest()

    def test_under_tls(self, mesh: Any) -> None:
        """Under TLS the peer is a sidecar, and has given up."""
        mesh.route()
        client = mesh.client(get(1))
        server = mesh.accept()
        client.transport.tls = SimpleNamespace(
            setsockopt=lambda *option: None, shutdown=lambda: None, set_shutdown=lambda mode: None, get_app_data=lambda: None
        )
        client.transport.protocol.readConnectionLost()
        mesh.loop.turn()
        assert server.was_reset


class TestRefusals:
    """Bytes that are no request."""

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: a\r\nbad\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 70_000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
            (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 426),
            (b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ],
    )
    def test_answered(self, mesh: Any, data: bytes, status: int) -> None:
        """Each gets its status and the end, once; what follows is not looked at."""
        client = mesh.client(data + get(2))
        assert statuses(client.heard()) == [status] and client.ended and not client.was_reset
        assert [record.status for record in mesh.log.records] == [status]
        mesh.say(client, get(3))
        assert client.heard() == b""

    def test_behind_a_good_one(self, mesh: Any) -> None:
        """The good one before it is answered first."""
        mesh.route()
        client = mesh.client(get(1) + b"nonsense\r\n\r\n")
        server = mesh.accept()
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200, 400] and client.ended

    @pytest.mark.parametrize("pieces", [1, 2])
    def test_bad_body(self, mesh: Any, pieces: int) -> None:
        """Broken framing of a body is one 400 and one line in the log, wherever TCP cuts."""
        mesh.route()
        head, body = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b"xyz\r\n"
        client = mesh.client(head + body if pieces == 1 else head)
        if pieces == 2:
            mesh.accept()
            mesh.say(client, body)
        assert statuses(client.heard()) == [400] and client.ended
        assert mesh.log.lines == [(400, "DPE", "http1.codec_error")]
        mesh.loop.turn(100)
        assert len(mesh.log.records) == 1 and client.closed
        mesh.at_rest()


class TestTime:
    """Deadlines of the connection."""

    def test_idle(self, mesh: Any) -> None:
        """A connection without a request ends after an hour, counted from its last answer."""
        mesh.route()
        client = mesh.session()
        mesh.loop.turn(IDLE_SECONDS - 1)
        mesh.say(client, get(1))
        mesh.say(mesh.accept(), OK)
        mesh.loop.turn(IDLE_SECONDS - 1)
        assert not client.ended
        mesh.loop.turn(IDLE_SECONDS)
        assert client.ended and mesh.log.records[1:] == []

    def test_idle_while_answered(self, mesh: Any) -> None:
        """One that is being answered is not idle."""
        mesh.route()
        client = mesh.client(get(1))
        mesh.loop.turn(IDLE_SECONDS + 1)
        assert not client.ended

    def test_slow_head(self, mesh: Any) -> None:
        """A head has 30 s from its first byte, however often a byte comes; then it is 408."""
        client = mesh.session()
        mesh.loop.turn(1000)
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\nx: "[: int(HEAD_SECONDS)]:
            mesh.say(client, bytes((byte,)))
            mesh.loop.turn(1)
        mesh.loop.turn(2)
        assert statuses(client.heard()) == [408] and client.ended
        assert mesh.log.lines == [(408, "DPE", "request_header_timeout")]

    def test_whole_in_time(self, mesh: Any) -> None:
        """A head that came whole has no deadline any more; the next one has its own."""
        mesh.route()
        client = mesh.client(get(1)[:5])
        mesh.loop.turn(HEAD_SECONDS - 1)
        mesh.say(client, get(1)[5:])
        server = mesh.accept()
        mesh.loop.turn(HEAD_SECONDS)
        mesh.say(server, OK)
        mesh.say(client, get(2)[:5])
        mesh.loop.turn(HEAD_SECONDS - 1)
        mesh.say(client, get(2)[5:])
        mesh.say(server, OK)
        assert statuses(client.heard()) == [200, 200]

    def test_gone_in_a_head(self, mesh: Any) -> None:
        """A client that leaves in a head takes the deadline with it."""
        client = mesh.client(b"GET")
        mesh.reset(client)
        mesh.loop.turn(100)
        assert client.heard() == b"" and mesh.outbound.sessions == set()
        mesh.at_rest()


class TestDrain:
    """The process ends."""

    def test_idle(self, mesh: Any) -> None:
        """An idle connection may bring one more request, whose answer says that it is the last."""
        mesh.route()
        client = mesh.session()
        mesh.outbound.draining = True
        mesh.loop.turn()
        assert not client.ended
        mesh.say(client, get(1))
        mesh.say(mesh.accept(), OK)
        assert b"\r\nconnection: close\r\n" in client.sent and client.ended

    def test_idle_for_long(self, mesh: Any) -> None:
        """Where none comes, it ends."""
        client = mesh.session()
        mesh.loop.turn(1.0)
        mesh.outbound.close_idle(1.0)
        mesh.loop.turn()
        assert client.ended and mesh.outbound.sessions == set()

    def test_running(self, mesh: Any) -> None:
        """What runs is answered, and told to close."""
        mesh.route()
        client = mesh.client(get(1))
        server = mesh.accept()
        mesh.outbound.draining = True
        mesh.say(server, OK)
        assert b"\r\nconnection: close\r\n" in client.sent and client.ended

    def test_head_was_sent(self, mesh: Any) -> None:
        """An answer whose head went before is completed; the connection, which it did not call the last, is idle then."""
        mesh.route()
        client = mesh.client(get(1))
        server = mesh.accept()
        mesh.say(server, OK[:-1])
        mesh.outbound.draining = True
        mesh.say(server, b"k")
        assert bodies(client.heard()) == [b"ok"] and not client.ended
        mesh.outbound.close_idle(0.0)
        mesh.loop.turn()
        assert client.ended

    def test_half_a_head(self, mesh: Any) -> None:
        """A request that has begun may come whole, and be answered."""
        client = mesh.client(b"OPTIONS * HTTP/1.1\r\n")
        mesh.outbound.draining = True
        mesh.outbound.close_idle(0.0)
        mesh.loop.turn()
        assert not client.ended
        mesh.say(client, b"host: a\r\n\r\n")
        assert statuses(client.heard()) == [404] and client.ended
