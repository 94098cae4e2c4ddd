"""Upgrades, from the request to the end of the tunnel."""

from typing import Any

from meshcar.proxy.exchange import TUNNEL_BYTES
from meshcar.rules.policies import RetryPolicy

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
WEBSOCKET = b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def begun(mesh: Any, request: bytes) -> tuple[Any, Any]:
    """A request that has reached its endpoint."""
    mesh.route()
    client = mesh.client(request)
    return client, mesh.accept()


class TestUpgrade:
    """WebSocket (RFC 9110, section 7.8)."""

    def test_frames(self, mesh: Any) -> None:
        """Behind the 101 all bytes pass, both ways, also those that came with the heads; then both ends close."""
        client, server = begun(mesh, WEBSOCKET + b"early")
        assert b"connection: upgrade\r\nupgrade: websocket\r\n" in server.heard()
        mesh.say(server, SWITCH + b"hello")
        assert client.heard().endswith(b"\r\n\r\nhello") and server.heard() == b"early"
        mesh.say(client, GET)
        mesh.say(server, OK)
        assert server.heard() == GET and client.heard() == OK
        mesh.hang_up(server)
        assert client.ended and mesh.log.records[0].status == 101
        mesh.at_rest()

    def test_client_ends(self, mesh: Any) -> None:
        """A client that ends its direction ends the endpoint's, too; what still comes back passes."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.say(server, SWITCH)
        mesh.hang_up(client)
        assert server.ended and not server.closed
        mesh.say(server, b"last")
        mesh.hang_up(server)
        assert client.heard().endswith(b"last") and client.ended
        mesh.at_rest()

    def test_client_ends_early(self, mesh: Any) -> None:
        """One that ends before the 101 has given up."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.hang_up(client)
        assert server.was_reset and mesh.log.records[0].flags == "DC"
        mesh.at_rest()

    def test_refused(self, mesh: Any) -> None:
        """Another answer than 101 passes without its body, and ends the connection, as with Envoy."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.say(server, b"HTTP/1.1 302 Found\r\ncontent-length: 5\r\n\r\nsor")
        assert client.heard() == (
            b"HTTP/1.1 302 Found\r\ndate: Sun, 09 Sep 2001 01:46:40 GMT\r\nserver: meshcar\r\n"
            b"connection: close\r\ncontent-length: 0\r\n\r\n"
        )
        assert client.ended and server.was_reset and mesh.log.lines == [(302, "-", "websocket_handshake_unsuccessful")]
        mesh.at_rest()

    def test_error(self, mesh: Any) -> None:
        """An error passes with its body; what the client sends behind its request goes nowhere, and the connection ends."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.say(server, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nsor")
        heard = len(server.heard())
        mesh.say(client, b"frame")
        mesh.say(server, b"ry")
        assert client.heard() == (
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\ndate: Sun, 09 Sep 2001 01:46:40 GMT\r\nserver: meshcar\r\n"
            b"connection: close\r\n\r\nsorry"
        )
        assert client.ended and server.heard() == b"" and heard and mesh.log.lines == [(403, "-", "via_upstream")]
        mesh.at_rest()

    def test_refused_at_once(self, mesh: Any) -> None:
        """The same with an answer that is whole, and has a date."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.say(server, OK.replace(b"\r\n", b"\r\ndate: then\r\n", 1))
        assert b"\r\ndate: then\r\n" in client.heard() and client.ended
        mesh.at_rest()

    def test_early_bytes(self, mesh: Any) -> None:
        """What a client sends before the 101 is kept up to a limit, and stays with the client beyond it."""
        client, server = begun(mesh, WEBSOCKET)
        total = 0
        while mesh.loop.reads(client):
            mesh.say(client, bytes(20_000))
            total += 20_000
        assert TUNNEL_BYTES <= total < 2 * TUNNEL_BYTES and len(server.heard()) < 1000
        mesh.say(server, SWITCH)
        assert len(server.heard()) == total and mesh.loop.reads(client)

    def test_slow_ends(self, mesh: Any) -> None:
        """A tunnel has back-pressure, both ways."""
        client, server = begun(mesh, WEBSOCKET)
        mesh.say(server, SWITCH)
        client.room = server.room = 0
        mesh.say(client, bytes(100_000))
        mesh.say(server, bytes(100_000))
        assert not mesh.loop.reads(client) and not mesh.loop.reads(server)
        mesh.drain(server)
        mesh.drain(client)
        assert mesh.loop.reads(client) and mesh.loop.reads(server)

    def test_with_a_body(self, mesh: Any) -> None:
        """A request with a body is no upgrade: where its body ends would be a matter of opinion."""
        mesh.route()
        client = mesh.client(WEBSOCKET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 4\r\n\r\n"))
        assert client.heard().startswith(b"HTTP/1.1 403 ") and client.ended and mesh.loop.dials == []

    def test_tried_again(self, mesh: Any) -> None:
        """An upgrade is tried again like any request, and what the client has sent behind it waits."""
        mesh.route(retries=RetryPolicy(attempts=2, conditions=frozenset({"5xx"})))
        client = mesh.client(WEBSOCKET + b"early")
        mesh.loop.dials[0].refuse()
        mesh.loop.turn(1)
        mesh.say(mesh.accept(), b"HTTP/1.1 503 Gone\r\ncontent-length: 0\r\n\r\n")
        mesh.loop.turn(1)
        server = mesh.accept()
        assert b"x-envoy-attempt-count: 3\r\n" in server.heard()
        mesh.say(server, SWITCH)
        assert client.heard().startswith(b"HTTP/1.1 101 ") and server.heard() == b"early"
        mesh.hang_up(server)
        mesh.at_rest()

    def test_connection_fails(self, mesh: Any) -> None:
        """Without an endpoint the client gets the answer to that."""
        mesh.route()
        client = mesh.client(WEBSOCKET)
        mesh.loop.dials[0].refuse()
        mesh.loop.turn()
        assert client.heard().startswith(b"HTTP/1.1 503 ") and client.ended
