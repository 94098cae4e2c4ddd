"""Requests that say themselves which endpoint they get."""

from typing import Any

import attrs
import pytest

from meshcar.net.address import Address
from meshcar.rules.balancing import Balancing, Cookie, HashOn
from meshcar.rules.policies import RetryPolicy
from meshcar.rules.snapshot import EndpointConfig

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RING = Balancing("RING_HASH", 16384)
USER = HashOn("header", b"x-user")
SESSION = HashOn("cookie", b"s", Cookie(b"/", 60))
PASSES: dict[str, Any] = {"balance": Balancing("PASSTHROUGH"), "elsewhere": EndpointConfig("", 0)}
REFUSED = RetryPolicy(attempts=4, conditions=frozenset({"connect-failure"}))


def get(*lines: bytes, host: bytes = b"a") -> bytes:
    return b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def refuse(mesh: Any, times: int) -> list[int]:
    """Refuses so many tries; the ports that they went to."""
    ports = []
    for _ in range(times):
        (dial,) = mesh.loop.dials
        ports.append(dial.address.port)
        dial.refuse()
        mesh.loop.turn(1)
    return ports


def test_the_same_endpoint(mesh: Any) -> None:
    """One header, one endpoint, whatever chance says; without it chance decides."""
    mesh.cluster("a", *range(80, 90), balance=RING)
    mesh.route(hashes=(USER,))
    mesh.rolls[:] = [number / 60 for number in range(60)]
    assert len(_ports(mesh, get(b"x-user: ann"))) == 1
    assert len(_ports(mesh, get())) > 1


def _ports(mesh: Any, request: bytes) -> set[int]:
    """Where five clients' connections were opened to."""
    for _ in range(5):
        mesh.client(request)
    found = {dial.address.port for dial in mesh.loop.dials}
    mesh.loop.dials.clear()
    return found


@pytest.mark.parametrize(("spread", "same"), [(False, True), (True, False)])
def test_a_further_try(mesh: Any, spread: bool, same: bool) -> None:
    """It goes to the same endpoint, unless tried ones are to be avoided."""
    mesh.cluster("a", *range(80, 90), balance=RING)
    mesh.route(hashes=(USER,), retries=attrs.evolve(REFUSED, spread=spread))
    mesh.client(get(b"x-user: ann"))
    first, second, third = refuse(mesh, 3)
    assert (first == second == third) is same and (len({first, second, third}) == 3) is not same


def test_a_cookie_is_made(mesh: Any) -> None:
    """It comes with the endpoint's answer, which is told nothing of it; who brings it gets no other."""
    mesh.cluster("a", 80, 81, balance=RING)
    mesh.route(hashes=(SESSION,))
    client = mesh.client(get())
    upstream = mesh.accept()
    assert b"cookie" not in upstream.heard()
    mesh.say(upstream, OK)
    answer = client.heard()
    assert b'\r\nset-cookie: s="' in answer and b'"; Max-Age=60; Path=/; HttpOnly\r\n' in answer
    client = mesh.client(get(b'cookie: s="' + answer.split(b's="')[1][:16] + b'"'))
    mesh.say(upstream, OK)
    assert client.heard().startswith(b"HTTP/1.1 200") and b"set-cookie" not in client.heard()
    mesh.at_rest()


def test_a_local_reply_has_no_cookie(mesh: Any) -> None:
    """As with Envoy."""
    mesh.cluster("a", 80, 81, balance=RING)
    mesh.route(hashes=(SESSION,))
    client = mesh.client(get())
    refuse(mesh, 1)
    answer = client.heard()
    assert answer.startswith(b"HTTP/1.1 503") and b"set-cookie" not in answer


def test_a_cluster_that_does_not_hash(mesh: Any) -> None:
    """A route may hash for one of its clusters; requests to another get no cookie."""
    mesh.cluster("a", 80, 81)
    mesh.route(hashes=(SESSION,))
    client = mesh.client(get())
    mesh.say(mesh.accept(), OK)
    assert b"set-cookie" not in client.heard()


@pytest.mark.parametrize("forwarded", [b"10.1.1.1", b"9.9.9.9, 10.1.1.1"])
def test_source(mesh: Any, forwarded: bytes) -> None:
    """The last address of x-forwarded-for counts as the client's."""
    mesh.cluster("a", *range(80, 90), balance=RING)
    mesh.route(hashes=(HashOn("source_ip"),))
    mesh.client(get(b"x-forwarded-for: 10.1.1.1"))
    mesh.client(get(b"x-forwarded-for: " + forwarded))
    mesh.client(get())
    ports = [dial.address.port for dial in mesh.loop.dials]
    assert ports[0] == ports[1] != ports[2]


def test_passthrough(make_mesh: Any) -> None:
    """A captured request goes where it was meant to go, whoever else is declared."""
    mesh = make_mesh(intercept="redirect")
    client = mesh.session()
    local = client.transport.local
    mesh.cluster("a", 81, **PASSES)
    mesh.route()
    mesh.snapshot.swap(attrs.evolve(mesh.snapshot.get(), hosts={local.port: mesh.snapshot.get().hosts[80]}))
    mesh.say(client, get())
    assert [dial.address for dial in mesh.loop.dials] == [local]
    mesh.say(mesh.accept(), OK)
    assert client.heard().startswith(b"HTTP/1.1 200") and mesh.log.records[0].cluster == "a"


def test_passthrough_by_address(make_mesh: Any) -> None:
    """Without interception the Host says where."""
    mesh = make_mesh(intercept="none")
    mesh.cluster("a", 81, **PASSES)
    mesh.route(b"10.1.2.3")
    mesh.client(get(host=b"10.1.2.3"))
    assert [dial.address for dial in mesh.loop.dials] == [Address("10.1.2.3", 80)]


def test_passthrough_by_name(make_mesh: Any) -> None:
    """A name of which no endpoints are known is looked up first; the request, and its copies, wait for that."""
    mesh = make_mesh(intercept="none")
    mesh.cluster("a", **PASSES)
    mesh.cluster("m", 90)
    mesh.route(mirrors=["m"])
    names = mesh.loop.nameResolver
    names.known["a"] = ["10.9.9.1"]
    mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc")
    assert mesh.loop.dials == []
    names.answer()
    mesh.loop.turn()
    assert [dial.address for dial in mesh.loop.dials] == [Address("10.9.9.1", 80), Address("10.0.0.9", 90)]
    assert [mesh.accept().heard().endswith(b"\r\n\r\nabc") for _ in range(2)] == [True, True]


def test_passthrough_by_known_name(make_mesh: Any) -> None:
    """Of a name whose endpoints are known any will do."""
    mesh = make_mesh(intercept="none")
    mesh.cluster("a", 81, **PASSES)
    mesh.route()
    mesh.client(get())
    assert [dial.address for dial in mesh.loop.dials] == [Address("10.0.0.9", 81)]


def test_passthrough_to_nowhere(make_mesh: Any) -> None:
    """A name that nobody knows ends in a local reply."""
    mesh = make_mesh(intercept="none")
    mesh.cluster("a", **PASSES)
    mesh.route()
    client = mesh.client(get())
    mesh.loop.nameResolver.answer()
    assert client.heard().startswith(b"HTTP/1.1 503")


def test_remote_localities(mesh: Any) -> None:
    """After two tries the priorities of both are left out, after four those of all, unless there are no others."""
    mesh.cluster("a", 80, 81)
    first, second = mesh._configs["a"].endpoints
    mesh._configs["a"] = attrs.evolve(mesh._configs["a"], endpoints=(first, attrs.evolve(second, priority=1)))
    mesh.route(retries=attrs.evolve(REFUSED, remote=True))
    mesh.client(get())
    assert refuse(mesh, 5) == [80, 80, 81, 81, 80]
