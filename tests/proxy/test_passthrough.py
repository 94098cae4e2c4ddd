"""Opaque connections."""

from typing import Any

import pytest

from meshcar.net.address import Address
from meshcar.observe.names import TCP_CLOSED, TCP_OPENED, TCP_RECEIVED, TCP_SENT
from meshcar.proxy.passthrough import relay

LOCAL = Address("10.0.0.5", 5432)


def begun(mesh: Any, cluster: Any, **options: Any) -> Any:
    """A client's connection, to be joined."""
    wire = mesh.loop.wire(Address("10.0.0.7", 40000))
    relay(mesh.outbound, wire.transport, cluster, LOCAL, **options)
    return wire


@pytest.fixture
def cluster(mesh: Any) -> Any:
    return mesh.clusters.original("PassthroughCluster", "10.0.0.5", 5432, opaque=True)


def test_joined(mesh: Any, cluster: Any) -> None:
    """Bytes pass both ways, what was read before comes first; a half-close is kept; the log has one line with the counts."""
    client = begun(mesh, cluster, first=b"first ")
    mesh.say(client, b"second")
    server = mesh.accept()
    mesh.say(server, b"back")
    mesh.hang_up(client)
    assert server.heard() == b"first second" and client.heard() == b"back" and server.ended and not client.ended
    mesh.say(server, b" more")
    mesh.hang_up(server)
    mesh.loop.turn(2)
    assert client.heard() == b" more" and client.ended
    (record,) = mesh.log.records
    assert (record.received, record.sent, record.cluster, record.upstream_host) == (12, 9, "PassthroughCluster", "10.0.0.5:5432")
    assert (record.downstream_local, record.downstream_remote) == ("10.0.0.5:5432", "10.0.0.7:40000")
    assert cluster.endpoints[0].connections == 0
    mesh.at_rest()


@pytest.mark.parametrize("side", ["client", "server"])
def test_reset(mesh: Any, cluster: Any, side: str) -> None:
    """A reset on either side resets the other; the accounts close."""
    client = begun(mesh, cluster)
    server = mesh.accept()
    broken, other = (client, server) if side == "client" else (server, client)
    mesh.reset(broken)
    assert other.was_reset and len(mesh.log.records) == 1 and cluster.endpoints[0].connections == 0
    mesh.at_rest()


def test_refused(mesh: Any, cluster: Any) -> None:
    """A refused connection resets the client, with Envoy's flags."""
    client = begun(mesh, cluster)
    mesh.loop.dials[0].refuse()
    mesh.loop.turn()
    assert client.was_reset and mesh.log.records[0].flags == "UF,URX" and len(mesh.log.records) == 1
    assert mesh.log.records[0].failure == "delayed_connect_error:_Connection_refused"
    mesh.at_rest()


def test_no_cluster(mesh: Any) -> None:
    """Without a cluster it is reset; Envoy's log names none then."""
    client = begun(mesh, None)
    mesh.loop.turn()
    assert client.was_reset and (mesh.log.records[0].flags, mesh.log.records[0].cluster) == ("NC", "-")


def test_nowhere(mesh: Any) -> None:
    """What may go nowhere is reset, and counts for what Istio's dashboards call BlackHoleCluster."""
    client = begun(mesh, mesh.clusters.black_hole)
    mesh.loop.turn()
    assert client.was_reset and (mesh.log.records[0].flags, mesh.log.records[0].cluster) == ("UH", "BlackHoleCluster")
    assert list(mesh.outbound._traffic) == ["BlackHoleCluster"]


def test_no_endpoint(mesh: Any) -> None:
    """So with a cluster that has nobody."""
    mesh.cluster("db")
    client = begun(mesh, mesh.clusters.opaque("db"))
    mesh.loop.turn()
    assert client.was_reset and mesh.log.records[0].flags == "UH"


def test_client_gone(mesh: Any, cluster: Any) -> None:
    """A client that leaves while it waits is logged once; the connection that comes is nobody's."""
    client = begun(mesh, cluster)
    client.transport.abortConnection()
    mesh.loop.turn()
    assert [record.flags for record in mesh.log.records] == ["DC"]
    assert mesh.accept().heard() == b""
    mesh.at_rest()


def test_bytes_meanwhile(mesh: Any, cluster: Any) -> None:
    """Bytes that come through TLS before there is a connection are kept."""
    client = begun(mesh, cluster)
    client.transport.protocol.makeConnection(client.transport)
    client.transport.protocol.dataReceived(b"early")
    assert mesh.accept().heard() == b"early"


def counted(mesh: Any) -> dict[str, tuple[float, str, str]]:
    """Istio's TCP metrics: value, destination service and flags, by name."""
    found = {}
    for metric in (TCP_OPENED, TCP_CLOSED, TCP_SENT, TCP_RECEIVED):
        for labels, slot in mesh.counters.slots(metric):
            known = dict(zip(metric.labels, labels, strict=True))
            found[metric.name] = (slot.value, known["destination_service"], known["response_flags"])
    return found


def test_counted(mesh: Any) -> None:
    """As opened when it comes, as closed with its bytes, as the client sees them, when it ends; by the service it goes to."""
    mesh.cluster("db", 5432)
    client = begun(mesh, mesh.clusters.opaque("db"), first=b"first ")
    service = "db.default.svc.cluster.local"
    assert counted(mesh) == {"istio_tcp_connections_opened_total": (1, service, "-")}
    server = mesh.accept()
    mesh.say(client, b"second")
    mesh.say(server, b"back")
    mesh.hang_up(client)
    mesh.hang_up(server)
    mesh.loop.turn(2)
    assert counted(mesh) == {
        "istio_tcp_connections_opened_total": (1, service, "-"),
        "istio_tcp_connections_closed_total": (1, service, "-"),
        "istio_tcp_sent_bytes_total": (4, service, "-"),
        "istio_tcp_received_bytes_total": (12, service, "-"),
    }


def test_failure_is_counted(mesh: Any, cluster: Any) -> None:
    """One that finds nobody is closed with its flags."""
    begun(mesh, cluster)
    mesh.loop.dials[0].refuse()
    mesh.loop.turn()
    assert counted(mesh)["istio_tcp_connections_closed_total"] == (1, "PassthroughCluster", "UF,URX")
