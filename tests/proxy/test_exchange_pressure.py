"""The slowest side sets the pace: nothing is held whole, and nobody is held for ever."""

from typing import Any

import pytest

from meshcar.net.transport import HIGH_WATER

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"


def begun(mesh: Any, request: bytes = GET) -> tuple[Any, Any]:
    """A request that has reached its endpoint."""
    mesh.route()
    client = mesh.client(request)
    return client, mesh.accept()


class TestBackPressure:
    """Nothing is held whole."""

    def test_slow_client(self, mesh: Any) -> None:
        """A client that does not read stops the endpoint; when it reads, the rest comes."""
        client, server = begun(mesh)
        client.room = 1000
        mesh.say(server, b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        total = 0
        while mesh.loop.reads(server):
            mesh.say(server, bytes(50_000))
            total += 50_000
        assert total <= HIGH_WATER + 100_000
        read = len(mesh.drain(client, 10_000)) + len(mesh.drain(client))
        assert read >= total and mesh.loop.reads(server)

    @pytest.mark.parametrize("framing", [b"content-length: 65500", b"transfer-encoding: chunked"])
    def test_slow_at_the_end(self, mesh: Any, framing: bytes) -> None:
        """The last bytes of an answer do not stop a connection that is free for others by then."""
        client, server = begun(mesh)
        client.room = 0
        mesh.say(server, b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        body = bytes(65_500)
        mesh.say(server, body if b"length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert mesh.loop.reads(server)
        other = mesh.client(GET)
        mesh.say(server, OK)
        assert other.heard().endswith(b"ok") and len(mesh.drain(client)) > 65_500
        mesh.at_rest()

    def test_slow_endpoint(self, mesh: Any) -> None:
        """An endpoint that does not read stops the client; when it reads, the client goes on."""
        mesh.route()
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n")
        server = mesh.accept(room=1000)
        total = 0
        while mesh.loop.reads(client):
            mesh.say(client, bytes(50_000))
            total += 50_000
        assert total <= HIGH_WATER + 100_000
        mesh.drain(server)
        assert mesh.loop.reads(client)

    def test_waits_for_a_connection(self, mesh: Any) -> None:
        """While there is no connection yet, a body stays with its client."""
        mesh.route()
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n")
        mesh.say(client, bytes(50_000))
        assert not mesh.loop.reads(client)
        server = mesh.accept()
        assert mesh.loop.reads(client) and len(server.sent) > 50_000

    def test_endpoint_dies_in_pause(self, mesh: Any) -> None:
        """An endpoint that breaks while it holds the client back is a 503, and the connection ends."""
        mesh.route()
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n")
        server = mesh.accept(room=10)
        mesh.say(client, bytes(200_000))
        mesh.reset(server)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and client.ended
        mesh.at_rest()

    def test_client_dies_in_pause(self, mesh: Any) -> None:
        """A client that breaks while it holds the endpoint back ends the request."""
        client, server = begun(mesh)
        client.room = 0
        mesh.say(server, b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n")
        mesh.say(server, bytes(200_000))
        mesh.reset(client)
        assert server.was_reset and mesh.log.lines == [(200, "DC", "downstream_remote_disconnect")]
        mesh.at_rest()
