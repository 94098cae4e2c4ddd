"""Connections before anybody knows what they speak."""

from typing import Any

import pytest

from meshcar.net.address import Address
from meshcar.proxy import arrival as arrival_module
from meshcar.proxy.arrival import PATIENT_SECONDS, Arrival, Tasting, destination_of
from meshcar.proxy.session import IDLE_SECONDS
from meshcar.wire.sniff import Guess

CLIENT = Address("10.0.0.7", 40000)
SERVICE = Address("10.96.0.100", 8000)
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[Address | None]:
    """The original destination that the kernel tells."""
    known: list[Address | None] = [SERVICE]
    monkeypatch.setattr(arrival_module, "original_destination", lambda sock: known[0])
    return known


class TestDestination:
    """Where a connection was meant to go."""

    def test_captured(self, make_mesh: Any, captured: Any) -> None:
        """The kernel knows."""
        mesh = make_mesh(intercept="redirect")
        assert destination_of(mesh.loop.wire(CLIENT).transport, mesh.parts, "outbound") == SERVICE and mesh.refusals() == {}

    @pytest.mark.parametrize(("where", "reason"), [(None, "not_captured"), (Address("127.0.0.1", 15000), "loop")])
    def test_refused(self, make_mesh: Any, captured: Any, where: Any, reason: str) -> None:
        """One that was not captured, or leads to a listener of ours, is refused, counted and logged."""
        mesh = make_mesh(intercept="redirect")
        mesh.own.add(("127.0.0.1", 15000))
        captured[0] = where
        for side, name in ((mesh.outbound, "outbound"), (mesh.inbound, "inbound")):
            client = mesh.client(GET, side)
            assert client.was_reset and client.heard() == b"" and mesh.refusals()[name, reason] == 1
        assert mesh.log.records[0].cluster == "BlackHoleCluster" and mesh.loop.dials == []

    def test_transparent(self, make_mesh: Any, captured: Any) -> None:
        """With tproxy an inbound socket's own address is the destination, unless the kernel redirected it after all, as what goes out."""
        mesh = make_mesh(intercept="tproxy")
        wire = mesh.loop.wire(CLIENT)
        assert [destination_of(wire.transport, mesh.parts, side) for side in ("inbound", "outbound")] == [SERVICE, SERVICE]
        captured[0] = None
        assert [destination_of(wire.transport, mesh.parts, side) for side in ("inbound", "outbound")] == [wire.transport.local, None]


class TestSniffing:
    """What the first bytes are."""

    def sniff(self, mesh: Any) -> tuple[Any, list[Any]]:
        wire, seen = mesh.loop.wire(CLIENT), []

        def known(guess: Any) -> None:
            seen.append(guess)
            wire.transport.pauseProducing()

        silence = 0.5, lambda: known("silent")
        wire.transport.attach(Arrival.sniffing(wire.transport, mesh.timeouts, known, silence))
        return wire, seen

    @pytest.mark.parametrize(
        ("data", "guess"),
        [
            (GET, Guess.HTTP1), (b"\x16\x03\x01\x02\x00\x01", Guess.TLS), (b"\0\0\0\x08", Guess.OPAQUE),
            (b"SSH-2.0-x\r\n", Guess.OPAQUE),
        ],
    )  # fmt: skip
    def test_byte_by_byte(self, mesh: Any, data: bytes, guess: Guess) -> None:
        """One byte at a time is enough, and the bytes stay in the socket."""
        wire, seen = self.sniff(mesh)
        for at in range(len(data)):
            mesh.say(wire, data[at : at + 1])
        assert seen == [guess]
        mesh.loop.turn(10)
        assert seen == [guess] and wire.transport.peek(100) == data

    def test_silent(self, mesh: Any) -> None:
        """A client that says nothing lets the server speak first."""
        _, seen = self.sniff(mesh)
        mesh.loop.turn(0.5)
        assert seen == ["silent"]

    def test_incomplete(self, mesh: Any) -> None:
        """What ends before it is known is opaque."""
        wire, seen = self.sniff(mesh)
        mesh.say(wire, b"GE")
        mesh.hang_up(wire)
        assert seen == [Guess.OPAQUE]

    def test_gone(self, mesh: Any) -> None:
        """A client that leaves takes the deadline with it."""
        wire, seen = self.sniff(mesh)
        mesh.reset(wire)
        wire.transport.connectionLost(None)
        mesh.loop.turn(1)
        assert seen in ([], [Guess.OPAQUE]) and wire.closed


class TestTasting:
    """The same where bytes cannot be left in the socket."""

    def taste(self, mesh: Any) -> tuple[Any, list[Any]]:
        wire, seen = mesh.loop.wire(CLIENT), []
        wire.transport.attach(Tasting(lambda guess, data: seen.append((guess, data)), mesh.timeouts))
        return wire, seen

    def test_own_silence(self, mesh: Any) -> None:
        """Whoever knows more of the client may wait longer for it."""
        seen: list[Any] = []
        wire = mesh.loop.wire(CLIENT)
        silence = 60.0, lambda: seen.append("late")
        wire.transport.attach(Tasting(lambda guess, data: seen.append((guess, data)), mesh.timeouts, silence))
        mesh.loop.turn(59)
        assert seen == []
        mesh.loop.turn(1)
        assert seen == ["late"]

    def test_known(self, mesh: Any) -> None:
        """The bytes are handed on with what they are."""
        wire, seen = self.taste(mesh)
        mesh.say(wire, b"GE")
        assert seen == []
        mesh.say(wire, b"T / HTTP/1.1\r\n")
        mesh.loop.turn(10)
        assert seen == [(Guess.HTTP1, b"GET / HTTP/1.1\r\n")]

    def test_silent(self, mesh: Any) -> None:
        """Silence is opaque."""
        _, seen = self.taste(mesh)
        mesh.loop.turn(0.5)
        assert seen == [(Guess.OPAQUE, b"")]

    def test_gone(self, mesh: Any) -> None:
        """Who leaves is nothing."""
        wire, seen = self.taste(mesh)
        mesh.hang_up(wire)
        mesh.loop.turn(1)
        assert seen == []


class TestOutbound:
    """What becomes of captured connections of the application."""

    @pytest.fixture
    def mesh(self, make_mesh: Any, captured: Any) -> Any:
        made = make_mesh(intercept="redirect")
        made.cluster("a", 80)
        return made

    def test_unknown(self, mesh: Any) -> None:
        """An address that no rule knows is joined as it is."""
        mesh.client(GET)
        assert (mesh.loop.dials[0].address, mesh.loop.dials[0].source) == (SERVICE, None)

    def test_unknown_forbidden(self, make_mesh: Any, captured: Any) -> None:
        """Or not, with registry_only."""
        mesh = make_mesh(intercept="redirect", outbound_allow_any=False)
        assert mesh.client(GET).was_reset and mesh.log.records[0].flags == "UH" and mesh.loop.dials == []

    def test_tcp(self, mesh: Any) -> None:
        """A port declared as TCP goes to its service, whatever it speaks, at once."""
        mesh.listener("10.96.0.100", 8000, "tcp", "a")
        mesh.client()
        assert mesh.loop.dials[0].address == Address("10.0.0.9", 80)

    @pytest.mark.parametrize("protocol", ["http", "auto"])
    def test_http(self, mesh: Any, protocol: str) -> None:
        """HTTP is routed."""
        mesh.listener("10.96.0.100", 8000, protocol, "a")
        client = mesh.client(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.heard().startswith(b"HTTP/1.1 404 ")

    def test_http_to_an_unknown_host(self, mesh: Any) -> None:
        """To a host that nobody knows it goes where it was meant to go."""
        mesh.listener("10.96.0.100", 8000, "http")
        mesh.client(GET.replace(b"host: a", b"host: other"))
        assert mesh.loop.dials[0].address == SERVICE

    @pytest.mark.parametrize(("protocol", "where"), [("http", SERVICE), ("auto", Address("10.0.0.9", 80))])
    def test_not_http(self, mesh: Any, protocol: str, where: Address) -> None:
        """Other bytes go to the address where HTTP is declared, to the service where it is not, as with Istio."""
        mesh.listener("10.96.0.100", 8000, protocol, "a")
        mesh.client(b"\0\0\0\0")
        assert mesh.loop.dials[0].address == where

    def test_silent(self, mesh: Any) -> None:
        """A silent client's server may speak first, after a while."""
        mesh.listener("10.96.0.100", 8000, "auto", "a")
        mesh.client()
        assert mesh.loop.dials == []
        mesh.loop.turn(0.5)
        assert mesh.loop.dials[0].address == Address("10.0.0.9", 80)

    def test_silent_where_http_is_declared(self, mesh: Any) -> None:
        """A connection opened in advance never gets past the rules; after an idle time it is closed."""
        mesh.listener("10.96.0.100", 8000, "http", "a")
        client = mesh.client()
        mesh.loop.turn(PATIENT_SECONDS - 1)
        assert not client.ended
        mesh.loop.turn(1)
        assert client.ended and mesh.loop.dials == []


class TestUncaptured:
    """The same without capture, where only HTTP says where it wants to go."""

    @pytest.mark.parametrize("data", [b"\0\0\0\0", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
    def test_not_http(self, mesh: Any, data: bytes) -> None:
        """Other bytes get no answer but the end; they are counted and logged."""
        client = mesh.client(data)
        mesh.loop.turn(1)
        assert client.heard() == b"" and client.closed and not client.was_reset
        assert mesh.refusals() == {("outbound", "not_http"): 1} and [record.flags for record in mesh.log.records] == ["UH"]

    def test_byte_by_byte(self, mesh: Any) -> None:
        """HTTP is known by its first bytes, however slowly they come."""
        mesh.route()
        client = mesh.client()
        for at in range(len(GET)):
            mesh.say(client, GET[at : at + 1])
        assert mesh.accept().heard().startswith(GET[:-2])

    def test_silent(self, mesh: Any) -> None:
        """A client may open its connection long before it asks, but not for ever."""
        mesh.route()
        early, late = mesh.client(), mesh.client()
        mesh.loop.turn(IDLE_SECONDS - 1)
        mesh.say(early, GET)
        assert len(mesh.loop.dials) == 1
        mesh.loop.turn(1)
        assert late.ended and not early.ended
