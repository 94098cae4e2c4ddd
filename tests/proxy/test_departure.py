"""Captured outgoing connections: by the first bytes, or without them, to the cluster of a chain."""

import ssl
from typing import Any

import attrs
import pytest

from meshcar.net.address import Address
from meshcar.proxy import arrival as arrival_module
from meshcar.proxy.arrival import PATIENT_SECONDS
from meshcar.rules.listeners import Chain, OpaqueRoute

PLACE = Address("10.96.0.100", 443)
A, B = Chain(OpaqueRoute(("a",)), names=("a.example",)), Chain(OpaqueRoute(("b",)), names=("*.b.example",))
ANY = Chain(OpaqueRoute(("any",)))


@pytest.fixture
def mesh(make_mesh: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Everything is captured on its way to PLACE; the clusters' ports tell them apart."""
    monkeypatch.setattr(arrival_module, "original_destination", lambda sock: PLACE)
    made = make_mesh(intercept="redirect")
    for port, name in enumerate(("a", "b", "any"), 1):
        made.cluster(name, port)
    return made


def hello(name: str | None) -> bytes:
    """A ClientHello as OpenSSL sends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(came, goes, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return goes.read()


def in_pieces(message: bytes, size: int) -> bytes:
    """The same ClientHello over many records (RFC 8446, section 5.1)."""
    body = message[5:]
    return b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for at in range(0, len(body), size) for part in [body[at : at + size]]
    )


def ports(mesh: Any) -> list[int]:
    return [dial.address.port for dial in mesh.loop.dials]


@pytest.mark.parametrize(
    ("name", "port"), [("a.example", 1), ("A.EXAMPLE", 1), ("x.b.example", 2), ("x.y.b.example", 2), ("b.example", 3), ("c", 3), (None, 3)]
)
def test_by_name(mesh: Any, name: str | None, port: int) -> None:
    """The server sees the whole ClientHello; the log tells the name, and the counters the service."""
    mesh.chains("10.96.0.100", 443, A, B, default=ANY)
    said = hello(name)
    client = mesh.client(said)
    assert ports(mesh) == [port]
    server = mesh.accept()
    assert server.heard() == said
    mesh.say(server, b"back")
    mesh.hang_up(server)
    mesh.hang_up(client)
    (record,) = mesh.log.records
    assert (record.cluster, record.sni) == ({1: "a", 2: "b", 3: "any"}[port], (name or "-").lower())
    assert (record.received, record.sent, record.flags, record.route) == (len(said), 4, "-", "-")
    mesh.at_rest()


@pytest.mark.parametrize("said", [hello("a.example"), in_pieces(hello("a.example"), 20)])
def test_byte_by_byte(mesh: Any, said: bytes) -> None:
    """However the ClientHello comes; nobody is called before it is whole."""
    mesh.chains("10.96.0.100", 443, A, default=ANY)
    client = mesh.client()
    for at in range(len(said) - 1):
        mesh.say(client, said[at : at + 1])
    assert mesh.loop.dials == []
    mesh.say(client, said[-1:] + b"early data")
    assert ports(mesh) == [1] and mesh.accept().heard() == said + b"early data"


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\0\1\2", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x16garbage", b"plain", b"G"]
)
def test_no_hello(mesh: Any, said: bytes) -> None:
    """What asks for no name goes the way of what no name is told of, HTTP too where no chain serves it."""
    mesh.chains("10.96.0.100", 443, A, default=ANY)
    mesh.client(said)
    assert ports(mesh) == [3]


def test_too_long(mesh: Any) -> None:
    """A ClientHello beyond what Envoy reads asks for no name."""
    mesh.chains("10.96.0.100", 443, A)
    mesh.client(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(1000))
    assert mesh.loop.dials[0].address == PLACE


def test_ends_too_early(mesh: Any) -> None:
    """Half a ClientHello and no more goes nowhere."""
    mesh.chains("10.96.0.100", 443, A, default=ANY)
    client = mesh.client(hello("a.example")[:50])
    mesh.hang_up(client)
    mesh.loop.turn(1)
    assert client.closed and mesh.loop.dials == []


def test_silent(mesh: Any) -> None:
    """Who says nothing where names decide waits long, and gets past no rule by that."""
    mesh.chains("10.96.0.100", 443, A, Chain(), default=ANY)
    client, slow = mesh.client(), mesh.client(hello("a.example")[:50])
    mesh.loop.turn(PATIENT_SECONDS - 1)
    assert not client.ended and not slow.ended
    mesh.loop.turn(1)
    assert client.ended and slow.ended and mesh.loop.dials == []


def test_at_once(mesh: Any) -> None:
    """Where neither names nor HTTP count nobody waits for the client."""
    mesh.chains("10.96.0.100", 443, Chain(ANY.route, subnets=("10.0.0.0/8",)))
    client = mesh.client()
    assert ports(mesh) == [3]
    mesh.say(mesh.accept(), b"220 ready\r\n")
    assert client.heard() == b"220 ready\r\n"


def test_silent_in_a_range(mesh: Any) -> None:
    """HTTP on the same port does not keep the servers of a range from speaking first."""
    mesh.chains("10.96.0.100", 443, Chain(), Chain(ANY.route, subnets=("10.96.0.0/16",)))
    mesh.client()
    mesh.loop.turn(0.5)
    assert ports(mesh) == [3]


def test_shares(mesh: Any) -> None:
    """The roll falls once a connection."""
    mesh.chains("10.96.0.100", 443, default=Chain(OpaqueRoute.weighted([("a", 1), ("b", 3)])))
    mesh.rolls[:] = [0.0, 0.24, 0.25, 0.99]
    for _ in range(4):
        mesh.client()
    assert ports(mesh) == [1, 1, 2, 2]


def test_http_or_tls(mesh: Any) -> None:
    """Both on one port: requests are routed, TLS goes by name, the rest to the address itself."""
    mesh.route(b"a", "a")
    mesh.chains("10.96.0.100", 443, Chain(), B)
    client = mesh.client(b"GET / HTTP/1.1\r\nhost: none\r\n\r\n")
    mesh.client(hello("x.b.example"))
    mesh.client(b"\0")
    assert [dial.address.port for dial in mesh.loop.dials] == [443, 2, 443] and client.heard() == b""
    assert [record.route for record in mesh.log.records] == []


def test_service_of_the_address(mesh: Any) -> None:
    """Requests to the address of a service that declares no protocol are that service's, whatever their Host says."""
    mesh.route(b"a.default.svc.cluster.local", "a")
    mesh.listener("10.96.0.100", 443, "auto", "any", b"a.default.svc.cluster.local")
    now = mesh.snapshot.get()
    mesh.snapshot.swap(attrs.evolve(now, hosts={443: now.hosts[80]}))
    mesh.client(b"GET / HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n")
    assert ports(mesh) == [1] and b"host: elsewhere.example" in mesh.accept().heard()


def test_forbidden(make_mesh: Any, mesh: Any) -> None:
    """With registry_only a name that nobody knows goes nowhere."""
    strict = make_mesh(intercept="redirect", outbound_allow_any=False)
    strict.chains("10.96.0.100", 443, A)
    client = strict.client(hello("b.example"))
    (record,) = strict.log.records
    assert client.was_reset and (record.flags, record.cluster, record.sni) == ("UH", "BlackHoleCluster", "b.example")
    assert strict.loop.dials == []


def test_unknown_cluster(mesh: Any) -> None:
    """A rule may name what nobody declares: NC."""
    mesh.chains("10.96.0.100", 443, default=Chain(OpaqueRoute(("nobody",))))
    assert mesh.client().was_reset and mesh.log.records[0].flags == "NC"


def test_own_listener(mesh: Any) -> None:
    """A rule that leads to the sidecar's own port is refused, as everywhere."""
    mesh.own.add(("10.0.0.9", 3))
    mesh.chains("10.96.0.100", 443, default=ANY)
    client = mesh.client()
    mesh.loop.turn()
    assert client.was_reset and mesh.loop.dials == []
