"""What ends is gone at once: the collector finds nothing of requests and connections, however they went.

It runs seldom in a sidecar, and never looks at what was there when a reload ended; a cycle for each connection would add up.
"""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from meshcar.proxy.passthrough import relay
from meshcar.rules.balancing import Balancing, HashOn
from meshcar.rules.policies import RetryPolicy
from tests.proxy.conftest import CLIENT

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
RETRIES = RetryPolicy(conditions=frozenset({"5xx", "reset", "connect-failure"}), per_try_timeout=1.0)


def answered(mesh: Any) -> None:
    client = mesh.client(GET)
    for _ in range(len(mesh.loop.dials)):
        mesh.say(mesh.accept(), OK)
    mesh.hang_up(client)


def refused(mesh: Any) -> None:
    client = mesh.client(GET)
    while mesh.loop.dials:
        mesh.loop.dials[0].refuse()
        mesh.loop.turn(1)
    mesh.hang_up(client)


def broken(mesh: Any) -> None:
    client = mesh.client(GET)
    while mesh.loop.dials:
        mesh.reset(mesh.accept())
        mesh.loop.turn(1)
    mesh.hang_up(client)


def left(mesh: Any) -> None:
    client = mesh.client(GET)
    for _ in range(len(mesh.loop.dials)):
        mesh.accept()
    mesh.reset(client)


def left_early(mesh: Any) -> None:
    mesh.reset(mesh.client(GET))
    while mesh.loop.dials:
        mesh.loop.dials[0].refuse()


def nonsense(mesh: Any) -> None:
    mesh.hang_up(mesh.client(b"nonsense\r\n\r\n"))
    mesh.hang_up(mesh.client(b"GET / HT"))


def opaque(mesh: Any) -> None:
    client = mesh.loop.wire(CLIENT)
    relay(mesh.outbound, client.transport, mesh.clusters.opaque("a"), CLIENT)
    client.say(b"bytes")
    server = mesh.accept()
    mesh.hang_up(client)
    mesh.hang_up(server)


@pytest.mark.parametrize("play", [answered, refused, broken, left, left_early, nonsense, opaque])
@pytest.mark.parametrize("route", [{}, {"retries": RETRIES, "timeout": 5.0}, {"mirrors": ["b"]}, {"hashes": (HashOn("source_ip"),)}])
def test_nothing_for_the_collector(make_mesh: Any, play: Callable[[Any], None], route: dict[str, Any]) -> None:
    """After the connections of such a play are closed, reference counts have freed all of it."""
    mesh = make_mesh()
    mesh.cluster("b", 81)
    hashed = "hashes" in route
    mesh.cluster("a", 80, *([82] if hashed else []), balance=Balancing("RING_HASH", slots=9) if hashed else Balancing())
    mesh.route(**route)
    gc.collect()
    gc.disable()
    try:
        play(mesh)
        for cluster in mesh.clusters.all():
            for endpoint in cluster.endpoints:
                endpoint.close_idle()
        for _ in range(3):
            mesh.loop.turn(6)
        for wire in mesh.loop.wires:
            wire.transport = None
        mesh.loop.wires.clear()
        mesh.loop._by_number.clear()
        mesh.log.records.clear()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left_over = sorted({type(one).__name__ for one in gc.garbage if str(type(one).__module__).startswith("meshcar")})
        assert ",".join(left_over) == ""
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
