"""The accounts of one endpoint: who is active, who waits, which connections live; and how connections are opened."""

from typing import Any

import pytest

from meshcar.errors import IdentityMismatch, SettingsError
from meshcar.observe.names import REFUSED
from meshcar.rules.policies import UpstreamTls
from meshcar.upstream import endpoint as endpoint_module
from meshcar.upstream.opener import Opener
from tests.upstream.conftest import Waiting

MUTUAL = UpstreamTls("ISTIO_MUTUAL")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def accounts(cluster: Any) -> list[tuple[int, int, int]]:
    return accounts_of(cluster.endpoints)


def accounts_of(endpoints: Any) -> list[tuple[int, int, int]]:
    return [(each.active, each.connections, each.waiting) for each in endpoints]


def test_used_again(upstream: Any) -> None:
    """A connection whose request ended serves the next, the one used last first."""
    cluster = upstream.cluster()
    first, second = upstream.acquire(cluster), upstream.acquire(cluster)
    for dial in list(upstream.loop.dials):
        dial.accept()
    for each in (first, second):
        upstream.get(each)
        upstream.answer(each)
    assert accounts(cluster) == [(0, 2, 0)]
    assert upstream.acquire(cluster).connection is second.connection
    assert cluster.counts.connections == 2 and cluster.connections == 2


def test_in_order_of_waiting(upstream: Any) -> None:
    """A connection goes to who has waited longest, whoever's opening it was."""
    cluster = upstream.cluster()
    first, second = upstream.acquire(cluster), upstream.acquire(cluster)
    upstream.loop.dials[1].accept()
    assert first.connection is not None and second.connection is None
    upstream.get(first)
    upstream.answer(first)
    assert second.connection is first.connection
    upstream.loop.dials[0].accept()
    assert accounts(cluster) == [(1, 2, 0)]


def test_withdrawn(upstream: Any) -> None:
    """Who withdraws is not told; the connection that comes for it idles. Withdrawing twice is once."""
    cluster = upstream.cluster()
    waiting = upstream.acquire(cluster)
    cluster.endpoints[0].withdraw(waiting)
    cluster.endpoints[0].withdraw(waiting)
    upstream.loop.dials[0].accept()
    assert waiting.connection is None and accounts(cluster) == [(0, 1, 0)]
    assert upstream.acquire(cluster).connection is not None


def test_idle_lost(upstream: Any) -> None:
    """An idle connection that the endpoint closes is not handed out."""
    cluster = upstream.cluster()
    waiting = upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept()
    upstream.get(waiting)
    upstream.answer(waiting)
    wire.transport.abortConnection()
    assert upstream.acquire(cluster).connection is None
    upstream.loop.turn()
    assert accounts(cluster) == [(1, 1, 1)]


def test_requests_per_connection(upstream: Any) -> None:
    """After maxRequestsPerConnection requests a connection closes; who waits gets a new one."""
    cluster = upstream.cluster(max_requests_per_connection=2, max_connections=1)
    waiting = upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept()
    upstream.get(waiting)
    upstream.answer(waiting)
    again, third = upstream.acquire(cluster), upstream.acquire(cluster)
    assert again.connection is waiting.connection and third.connection is None
    upstream.get(again)
    upstream.answer(again)
    assert wire.ended and third.connection is None
    upstream.loop.dials[0].accept()
    assert third.connection is not None and accounts(cluster) == [(1, 1, 0)]


def test_refused(upstream: Any) -> None:
    """A refused connection fails who waits, with Envoy's words; the cluster counts it."""
    cluster = upstream.cluster()
    waiting = upstream.acquire(cluster)
    upstream.loop.dials[0].refuse()
    error = waiting.error
    assert (error.flag, error.condition, error.reason) == ("UF", "connect-failure", "remote connection failure")
    assert error.cause == "delayed_connect_error:_Connection_refused" and error.endpoint == "10.0.0.9:80"
    assert accounts(cluster) == [(0, 0, 0)] and cluster.counts.connect_fail == 1 and cluster.connections == 0


def test_too_slow(upstream: Any) -> None:
    """The cluster's connectTimeout is the connection's."""
    cluster = upstream.cluster(connect_timeout=3.0)
    waiting = upstream.acquire(cluster)
    assert upstream.loop.dials[0].timeout == 3.0
    upstream.loop.dials[0].time_out()
    assert (waiting.error.reason, waiting.error.cause) == ("connection timeout", "")


def test_nobody_waits_for_ever(upstream: Any) -> None:
    """When the only connection that a limit allows cannot be had, all who wait are told, as with Envoy."""
    cluster = upstream.cluster(max_connections=1)
    waiting = [upstream.acquire(cluster) for _ in range(3)]
    assert len(upstream.loop.dials) == 1
    upstream.loop.dials[0].refuse()
    assert all(each.error is not None for each in waiting) and accounts(cluster) == [(0, 0, 0)]


def test_told_one_by_one(upstream: Any) -> None:
    """Who is told of a failure may make another withdraw, who is then not told."""
    cluster = upstream.cluster(max_connections=1)
    first, second = Waiting(), Waiting()
    endpoint = cluster.endpoints[0]
    first.on_connect_failed = lambda error: endpoint.withdraw(second)  # type: ignore[method-assign]
    for each in (first, second):
        cluster.acquire(endpoint, each)
    upstream.loop.dials[0].refuse()
    assert second.error is None and accounts(cluster) == [(0, 0, 0)]


def test_others_use_up_the_limit(upstream: Any) -> None:
    """An endpoint may always have one connection, though others hold all that maxConnections allows, as with Envoy."""
    cluster = upstream.cluster(80, 81, max_connections=1)
    upstream.acquire(cluster, 0)
    other = upstream.acquire(cluster, 1)
    assert len(upstream.loop.dials) == 2
    upstream.loop.dials[1].accept()
    assert other.connection is not None


def test_a_place_becomes_free(upstream: Any) -> None:
    """When a connection is lost, who waits gets a new one."""
    cluster = upstream.cluster(max_connections=1)
    first, second = upstream.acquire(cluster), upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept()
    upstream.get(first)
    wire.reset()
    upstream.loop.turn()
    assert len(upstream.loop.dials) == 1
    upstream.loop.dials[0].accept()
    assert second.connection is not None and accounts(cluster) == [(1, 1, 0)]


def test_own_listener(upstream: Any) -> None:
    """A connection to a listener of this sidecar is refused, later and counted, and never dialled."""
    upstream.own.add(("10.0.0.9", 80))
    cluster = upstream.cluster()
    waiting = upstream.acquire(cluster)
    assert waiting.error is None and upstream.loop.dials == []
    upstream.loop.turn()
    assert (waiting.error.flag, waiting.error.condition, waiting.error.cause) == ("UF", "none", "loop_to_own_listener")
    assert upstream.counters.counter(REFUSED, "upstream", "loop").value == 1 and accounts(cluster) == [(0, 0, 0)]


def test_source(upstream: Any) -> None:
    """Connections come from the cluster's source address; names of IPv6 endpoints have brackets."""
    config = endpoint_module.EndpointConfig("fd00::1", 80)
    cluster = upstream.cluster()
    cluster.source = "::6"
    endpoint_module.Endpoint(config, cluster).wait(Waiting(), True)
    assert upstream.loop.dials[0].source == "::6"
    assert endpoint_module.Endpoint(config, cluster).name == "[fd00::1]:80"


class TestRetired:
    """A cluster that no rule names any more."""

    def test_idle(self, upstream: Any) -> None:
        """Its idle connections close at once."""
        cluster = upstream.cluster()
        waiting = upstream.acquire(cluster)
        wire = upstream.loop.dials[0].accept()
        upstream.get(waiting)
        upstream.answer(waiting)
        endpoints = cluster.endpoints
        assert cluster.retire() and cluster.endpoints == []
        upstream.loop.turn()
        assert wire.ended and accounts_of(endpoints) == [(0, 0, 0)]

    def test_busy(self, upstream: Any) -> None:
        """What runs may finish; then its connection closes."""
        cluster = upstream.cluster()
        waiting = upstream.acquire(cluster)
        wire = upstream.loop.dials[0].accept()
        upstream.get(waiting)
        assert not cluster.retire()
        upstream.answer(waiting)
        upstream.loop.turn()
        assert waiting.events == [("head", 200, b"", True)] and wire.ended and accounts(cluster) == [(0, 0, 0)]
        assert cluster.retire() and cluster.endpoints == []

    def test_waiting(self, upstream: Any) -> None:
        """Who waits already is still served."""
        cluster = upstream.cluster(max_connections=1)
        first, second = upstream.acquire(cluster), upstream.acquire(cluster)
        cluster.retire()
        upstream.loop.dials[0].accept()
        upstream.get(first)
        upstream.answer(first)
        upstream.loop.dials[0].accept()
        assert second.connection is not None

    def test_on_its_way(self, upstream: Any) -> None:
        """A connection that comes when nobody wants it any more is closed, not kept for ever."""
        cluster = upstream.cluster()
        waiting = upstream.acquire(cluster)
        cluster.endpoints[0].withdraw(waiting)
        endpoints = cluster.endpoints
        assert cluster.retire() and cluster.endpoints == []
        wire = upstream.loop.dials[0].accept()
        upstream.loop.turn()
        assert wire.ended and accounts_of(endpoints) == [(0, 0, 0)]


class TestTls:
    """Endpoints that speak TLS."""

    def test_shaken(self, upstream: Any, handshakes: Any) -> None:
        """Nobody gets a connection before its handshake is done."""
        cluster = upstream.cluster(tls=MUTUAL)
        waiting = upstream.acquire(cluster)
        upstream.loop.dials[0].accept()
        assert waiting.connection is None
        handshakes[0][0]()
        assert waiting.connection is not None
        upstream.loop.turn(100)
        assert waiting.connection.transport.connected

    def test_too_slow(self, upstream: Any, handshakes: Any) -> None:
        """The handshake has the connect timeout too; what it says later does not count."""
        cluster = upstream.cluster(tls=MUTUAL, connect_timeout=2.0)
        waiting = upstream.acquire(cluster)
        wire = upstream.loop.dials[0].accept()
        upstream.loop.turn(2)
        handshakes[0][1](ConnectionError("late"))
        assert waiting.error.reason == "connection timeout" and wire.was_reset and accounts(cluster) == [(0, 0, 0)]

    def test_failed(self, upstream: Any, handshakes: Any) -> None:
        """A failed handshake is a failed connection."""
        cluster = upstream.cluster(tls=MUTUAL)
        waiting = upstream.acquire(cluster)
        upstream.loop.dials[0].accept()
        handshakes[0][1](ConnectionError("cut"))
        upstream.loop.turn(100)
        assert (waiting.error.flag, waiting.error.condition) == ("UF", "connect-failure") and accounts(cluster) == [(0, 0, 0)]

    def test_somebody_else(self, upstream: Any, handshakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A peer that proves another identity than the one expected gets no request."""

        def check(opener: Any, connection: Any, tls: Any) -> None:
            raise IdentityMismatch("it is spiffe://cluster.local/ns/other/sa/other", "bad_identity")

        monkeypatch.setattr(Opener, "check_server", check)
        cluster = upstream.cluster(tls=MUTUAL)
        waiting = upstream.acquire(cluster)
        wire = upstream.loop.dials[0].accept()
        handshakes[0][0]()
        upstream.loop.turn()
        assert waiting.connection is None and waiting.error.flag == "UF" and wire.was_reset and accounts(cluster) == [(0, 0, 0)]

    def test_no_certificate(self, upstream: Any, handshakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a certificate of our own there is no connection; the reason is one word, as logs want it."""

        def none(opener: Any, sock: Any, tls: Any, opaque: bool, peer: str) -> None:
            raise SettingsError("no certificate here")

        monkeypatch.setattr(Opener, "client_tls", none)
        waiting = upstream.acquire(upstream.cluster(tls=MUTUAL))
        wire = upstream.loop.dials[0].accept()
        upstream.loop.turn()
        assert waiting.error.cause == "no_certificate_here" and wire.was_reset

    def test_renewed(self, upstream: Any, handshakes: Any) -> None:
        """New certificates end idle connections of the old ones at once, and busy ones after their request."""
        cluster = upstream.cluster(tls=MUTUAL)
        idle, busy = upstream.acquire(cluster), upstream.acquire(cluster)
        wires = [dial.accept() for dial in list(upstream.loop.dials)]
        for done, _ in handshakes:
            done()
        for each in (idle, busy):
            upstream.get(each)
        upstream.answer(idle)
        upstream.contexts.swap(object())
        cluster.renew()
        upstream.loop.turn()
        assert [wire.ended for wire in wires] == [True, False]
        upstream.answer(busy)
        upstream.loop.turn()
        assert wires[1].ended and accounts(cluster) == [(0, 0, 0)]

    def test_renewed_on_the_way(self, upstream: Any, handshakes: Any) -> None:
        """A handshake begun with the old certificates serves who waits for it, and nobody after."""
        cluster = upstream.cluster(tls=MUTUAL)
        waiting, gone = upstream.acquire(cluster), upstream.acquire(cluster)
        wires = [dial.accept() for dial in list(upstream.loop.dials)]
        cluster.endpoints[0].withdraw(gone)
        upstream.contexts.swap(object())
        cluster.renew()
        for done, _ in handshakes:
            done()
        upstream.loop.turn()
        assert waiting.connection is not None and [wire.ended for wire in wires] == [False, True]

    def test_plain_stays(self, upstream: Any) -> None:
        """Plain connections have no certificates to renew."""
        cluster = upstream.cluster()
        waiting = upstream.acquire(cluster)
        wire = upstream.loop.dials[0].accept()
        upstream.get(waiting)
        upstream.answer(waiting)
        cluster.renew()
        upstream.loop.turn()
        assert not wire.ended
