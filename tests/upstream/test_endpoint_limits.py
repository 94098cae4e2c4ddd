"""How long connections live, what goes over them first, and for which Host they are."""

import socket
from typing import Any

import pytest

from meshcar.errors import Overflow
from meshcar.net.address import Address
from meshcar.rules.policies import Keepalive, RetryBudget, UpstreamTls
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.endpoint import MAX_APART, named
from tests.upstream.conftest import Waiting


def served(upstream: Any, cluster: Any) -> Any:
    """The wire of a connection that has served a request."""
    waiting = upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept() if waiting.connection is None else waiting.connection.transport.socket
    upstream.get(waiting)
    upstream.answer(waiting)
    return wire


def test_idle(upstream: Any) -> None:
    """A connection that serves nothing for the idle timeout is closed; a request begins the time anew."""
    cluster = upstream.cluster(idle_timeout=10.0)
    wire = served(upstream, cluster)
    upstream.loop.turn(9.0)
    assert served(upstream, cluster) is wire
    upstream.loop.turn(9.0)
    assert not wire.ended
    upstream.loop.turn(1.0)
    assert wire.ended and cluster.endpoints[0].open == 0


def test_idle_one_after_the_other(upstream: Any) -> None:
    """Each has its own time; one that is in use has none."""
    cluster = upstream.cluster(idle_timeout=10.0)
    one, two = upstream.acquire(cluster), upstream.acquire(cluster)
    first, second = upstream.loop.dials[0].accept(), upstream.loop.dials[0].accept()
    for each in (one, two):
        upstream.get(each)
    upstream.answer(one)
    upstream.loop.turn(4.0)
    upstream.answer(two)
    upstream.loop.turn(6.0)
    assert first.ended and not second.ended
    busy = upstream.acquire(cluster)
    upstream.get(busy)
    upstream.loop.turn(60.0)
    assert busy.connection.transport.socket is second and not second.ended


def test_hour(upstream: Any) -> None:
    """Where nothing is said it is an hour, as with Envoy; None is for ever."""
    usual, none = upstream.cluster(), upstream.cluster(idle_timeout=None)
    wire, other = served(upstream, usual), served(upstream, none)
    upstream.loop.turn(3600.0)
    assert wire.ended and not other.ended


def test_longest(upstream: Any) -> None:
    """maxConnectionDuration: an idle connection is closed then, one in use when its request has ended."""
    cluster = upstream.cluster(max_connection_duration=10.0)
    one, two = upstream.acquire(cluster), upstream.acquire(cluster)
    idle, busy = upstream.loop.dials[0].accept(), upstream.loop.dials[0].accept()
    for each in (one, two):
        upstream.get(each)
    upstream.answer(one)
    upstream.loop.turn(10.0)
    assert idle.ended and not busy.ended
    upstream.answer(two)
    assert busy.ended and upstream.acquire(cluster).connection is None


def test_retired(upstream: Any) -> None:
    """No timer outlives the cluster and its connections."""
    cluster = upstream.cluster(idle_timeout=10.0, max_connection_duration=10.0)
    served(upstream, cluster)
    endpoint = cluster.endpoints[0]
    cluster.retire()
    upstream.loop.turn(2.0)
    assert endpoint.open == 0
    upstream.loop.turn(8.0)
    assert upstream.loop.getDelayedCalls() == []


def test_keepalive(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is told to probe; what is not given stays as the kernel has it."""
    told: list[tuple[int, int, Any]] = []
    monkeypatch.setattr("tests.fakes.Wire.setsockopt", lambda self, *option: told.append(option))
    upstream.acquire(upstream.cluster(keepalive=Keepalive(probes=3, time=60)))
    upstream.loop.dials[0].accept()
    tcp = socket.IPPROTO_TCP
    wanted = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (tcp, socket.TCP_KEEPCNT, 3), (tcp, socket.TCP_KEEPIDLE, 60)]
    assert [option for option in told if option in wanted] == wanted
    assert all(option[1] != socket.TCP_KEEPINTVL for option in told)


def test_proxy_header(upstream: Any) -> None:
    """A request that no client sent, as a copy is, has the PROXY header say our own ends of the connection, once."""
    cluster = upstream.cluster(proxy_protocol="V1")
    waiting = upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept()
    local = waiting.connection.transport.local
    upstream.get(waiting)
    assert wire.heard() == f"PROXY TCP4 {local.host} 10.0.0.9 {local.port} 80\r\nGET / HTTP/1.1\r\n\r\n".encode()


def test_proxy_header_of_requests(upstream: Any) -> None:
    """The header tells a client's connection and its own address, so that only this client's requests share the connection."""
    cluster = upstream.cluster(proxy_protocol="V1")
    endpoint, one, other = cluster.endpoints[0], (Address("10.1.1.1", 1), Address("10.2.2.2", 2)), (Address("::1", 1), Address("::2", 2))
    waiting = Waiting()
    assert cluster.apart and cluster.acquire(endpoint.apart(b"a", one), waiting) is None
    assert upstream.loop.dials[0].accept().heard() == b"PROXY TCP4 10.1.1.1 10.2.2.2 1 2\r\n"
    upstream.get(waiting)
    upstream.answer(waiting)
    assert cluster.acquire(endpoint.apart(b"b", one), Waiting()) is waiting.connection
    assert cluster.acquire(endpoint.apart(b"a", other), Waiting()) is None


def test_proxy_header_before_tls(upstream: Any, handshakes: Any) -> None:
    """It goes before TLS, in plain."""
    upstream.acquire(upstream.cluster(proxy_protocol="V2", tls=UpstreamTls("SIMPLE")))
    assert upstream.loop.dials[0].accept().heard().startswith(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11") and len(handshakes) == 1


class Client(Waiting):
    """Who wants an opaque connection."""

    ends = Address("10.1.1.1", 1), Address("10.2.2.2", 2)


def test_proxy_header_of_opaque_bytes(upstream: Any) -> None:
    """An opaque connection is its client's alone, and says so."""
    cluster = Cluster(upstream.config(proxy_protocol="V1"), upstream.opener, opaque=True)
    client = Client()
    cluster.join(cluster.endpoints[0], client)
    assert upstream.loop.dials[0].accept().heard() == b"PROXY TCP4 10.1.1.1 10.2.2.2 1 2\r\n" and client.connection is not None


def test_each_its_own(upstream: Any) -> None:
    """An opaque connection goes to whom it was opened for, or is closed if that one has left."""
    cluster = Cluster(upstream.config(), upstream.opener, opaque=True)
    one, two, three = Client(), Client(), Client()
    for each in (one, two, three):
        cluster.join(cluster.endpoints[0], each)
    first, second, third = list(upstream.loop.dials)
    second.accept()
    assert one.connection is None and two.connection is not None
    cluster.endpoints[0].withdraw(one)
    wire = first.accept()
    upstream.loop.turn()
    assert wire.closed or wire.ended
    assert one.connection is None
    third.refuse()
    assert three.error is not None and cluster.connections == 1


def test_limit_of_both(upstream: Any) -> None:
    """maxConnections counts HTTP and opaque connections together; an opaque one does not wait for a place."""
    cluster = upstream.cluster(max_connections=2)
    opaque = Cluster(cluster.config, upstream.opener, opaque=True, twin=cluster)
    upstream.acquire(cluster)
    opaque.join(opaque.endpoints[0], Client())
    with pytest.raises(Overflow):
        opaque.join(opaque.endpoints[0], Client())
    assert cluster.counts.connections_overflow == 1 and upstream.acquire(cluster).connection is None and len(upstream.loop.dials) == 2


def test_retry_budget(upstream: Any) -> None:
    """A share of the requests there are, and never less than the least; it takes the place of maxRetries."""
    cluster = upstream.cluster(max_retries=1, retry_budget=RetryBudget(50.0, 1))
    assert [cluster.begin_retry() for _ in range(2)] == [True, False]
    for _ in range(6):
        upstream.acquire(cluster)
    assert [cluster.begin_retry() for _ in range(3)] == [True, True, False]


def test_retry_budget_of_an_interval(upstream: Any) -> None:
    """With budgetInterval requests count after their end, too, but not for ever."""
    cluster = upstream.cluster(retry_budget=RetryBudget(100.0, 0, 10.0))
    served(upstream, cluster)
    assert cluster.begin_retry() and not cluster.begin_retry()
    cluster.end_retry()
    upstream.loop.turn(10.0)
    assert not cluster.begin_retry()


TLS = UpstreamTls("SIMPLE", b"a", name="a", by_host=True, named=True)


@pytest.mark.parametrize(
    ("host", "sni", "name"),
    [(b"b.example", b"b.example", "b.example"), (b"10.0.0.1", b"", "10.0.0.1"), (b"[fd00::1]", b"", "fd00::1")],
)
def test_named(host: bytes, sni: bytes, name: str) -> None:
    """The Host is the server name, and what the certificate must be for; an address is no server name."""
    assert named(TLS, host) == UpstreamTls("SIMPLE", sni, name=name, by_host=True, named=True)
    assert named(UpstreamTls("SIMPLE", b"a", by_host=True), host).name == ""


def test_by_host(upstream: Any, handshakes: Any) -> None:
    """A connection serves requests of the Host it was opened for, whatever its case and port; the endpoint's accounts hold all."""
    cluster = upstream.cluster(tls=TLS)
    endpoint = cluster.endpoints[0]
    assert cluster.apart and not Cluster(cluster.config, upstream.opener, opaque=True).apart
    waiting = Waiting()
    assert cluster.acquire(endpoint.apart(b"b.example:443", None), waiting) is None
    upstream.loop.dials[0].accept()
    assert (endpoint.active, endpoint.waiting, endpoint.open) == (1, 1, 1)
    handshakes[0][0]()
    upstream.get(waiting)
    upstream.answer(waiting)
    assert (endpoint.active, endpoint.waiting, endpoint.open) == (0, 0, 1)
    again = cluster.acquire(endpoint.apart(b"B.example", None), Waiting())
    assert again is waiting.connection and cluster.acquire(endpoint.apart(b"c.example", None), Waiting()) is None
    assert endpoint.active == 2
    cluster.retire()


def test_many_hosts(upstream: Any, handshakes: Any) -> None:
    """Only so many Hosts are kept apart; the connections of the one unused longest are closed."""
    cluster = upstream.cluster(tls=TLS)
    endpoint = cluster.endpoints[0]
    waiting = Waiting()
    cluster.acquire(endpoint.apart(b"first", None), waiting)
    wire = upstream.loop.dials[0].accept()
    handshakes[0][0]()
    upstream.get(waiting)
    upstream.answer(waiting)
    for number in range(MAX_APART):
        endpoint.apart(b"%d" % number, None)
    upstream.loop.turn()
    assert wire.ended and endpoint.open == 0


def test_gone_before_the_proxy_header(upstream: Any) -> None:
    """An endpoint that resets the connection before the header is sent fails the request that waits, as later."""
    waiting = upstream.acquire(upstream.cluster(proxy_protocol="V2"))
    wire = upstream.loop.wire(upstream.loop.dials[0].address)
    wire.reset()
    upstream.loop.dials.pop()._connected(wire.transport)
    upstream.get(waiting)
    upstream.loop.turn()
    assert waiting.events == [("failed", "UC", "reset")]
