"""How long opaque connections may last, and be idle."""

from typing import Any

import pytest

from meshcar.net.address import Address
from meshcar.proxy.passthrough import relay


def joined(mesh: Any, **limits: Any) -> tuple[Any, Any]:
    """Both wires of a connection."""
    mesh.cluster("db", 5432, **limits)
    client = mesh.loop.wire(Address("10.0.0.7", 40000))
    relay(mesh.outbound, client.transport, mesh.clusters.opaque("db"), Address("10.0.0.5", 5432))
    return client, mesh.accept()


def test_idle(mesh: Any) -> None:
    """When nothing has moved for so long, both ends are closed in order; any byte begins the time anew, to an eighth of it."""
    client, server = joined(mesh, relay_idle_timeout=8.0)
    for wire in (client, server):
        mesh.loop.turn(7.0)
        mesh.say(wire, b"x")
    for _ in range(8):
        assert not client.ended
        mesh.loop.turn(1.0)
    mesh.loop.turn(1.0)
    assert client.ended and server.ended and not client.was_reset and mesh.log.records[0].flags == "-"


def test_duration(mesh: Any) -> None:
    """After so long it ends, busy or not: DT."""
    client, server = joined(mesh, relay_max_duration=5.0)
    mesh.say(client, b"x")
    mesh.loop.turn(5.0)
    assert client.ended and server.ended and mesh.log.records[0].flags == "DT"


@pytest.mark.parametrize("side", [0, 1])
def test_over(mesh: Any, side: int) -> None:
    """A connection that ended before has no timers."""
    wires = joined(mesh, relay_idle_timeout=80.0, relay_max_duration=50.0)
    mesh.reset(wires[side])
    mesh.loop.turn(100.0)
    assert len(mesh.log.records) == 1 and mesh.log.records[0].flags != "DT"
    mesh.at_rest()


def test_no_limit(mesh: Any) -> None:
    """None is none."""
    client, _ = joined(mesh, relay_idle_timeout=None)
    mesh.loop.turn(1e6)
    assert not client.ended
