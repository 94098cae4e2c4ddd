"""A cluster's choice, limits and counts."""

from typing import Any

import attrs
import pytest

from meshcar.errors import NoHealthyUpstream, Overflow
from meshcar.observe.names import ACTIVE_OVERFLOW, CONNECTION_OVERFLOW, PENDING_OVERFLOW
from meshcar.policy.outliers import Outliers
from meshcar.rules.balancing import Balancing, Warmup
from meshcar.rules.policies import OutlierPolicy
from meshcar.rules.snapshot import EndpointConfig
from meshcar.upstream.cluster import Cluster
from tests.upstream.conftest import MUTUAL
from tests.upstream.test_endpoint import accounts


def test_nobody(upstream: Any) -> None:
    """A cluster without endpoints has nobody to send to: UH."""
    cluster = upstream.cluster(80)
    cluster.endpoints.clear()
    with pytest.raises(NoHealthyUpstream) as raised:
        cluster.choose()
    assert (raised.value.flag, raised.value.status, raised.value.body) == ("UH", 503, b"no healthy upstream")


def test_one(upstream: Any) -> None:
    """The only endpoint needs no choice."""
    cluster = upstream.cluster(80)
    assert cluster.choose() is cluster.endpoints[0]


def test_least_request(upstream: Any) -> None:
    """Of two, the one with fewer requests."""
    cluster = upstream.cluster(80, 81)
    upstream.acquire(cluster, 0)
    assert cluster.choose() is cluster.endpoints[1]


def test_round_robin(upstream: Any) -> None:
    """In turn."""
    cluster = upstream.cluster(80, 81, balance=Balancing("ROUND_ROBIN"))
    chosen = [cluster.endpoints.index(cluster.choose()) for _ in range(4)]
    assert chosen in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_pending(upstream: Any) -> None:
    """No more than http1MaxPendingRequests wait; the next overflows, and is counted (Envoy: upstream_rq_pending_overflow)."""
    cluster = upstream.cluster(max_pending_requests=2)
    for _ in range(2):
        upstream.acquire(cluster)
    with pytest.raises(Overflow) as raised:
        upstream.acquire(cluster)
    assert (raised.value.flag, raised.value.status) == ("UO", 503) and cluster.counts.pending_overflow == 1
    assert raised.value.text(False).endswith(b"reset reason: overflow")


def test_pending_of_all_endpoints(upstream: Any) -> None:
    """The limit is the cluster's, not an endpoint's."""
    cluster = upstream.cluster(80, 81, max_pending_requests=2)
    upstream.acquire(cluster, 0)
    upstream.acquire(cluster, 1)
    with pytest.raises(Overflow):
        upstream.acquire(cluster, 0)


def test_full_of_waiting(upstream: Any) -> None:
    """It can be known before: full with as many waiting as may, and not while any endpoint has a connection to spare."""
    cluster = upstream.cluster(80, 81, max_pending_requests=1)
    assert cluster.full() is None and upstream.cluster(80).full() is None
    upstream.acquire(cluster, 0)
    assert cluster.full() is PENDING_OVERFLOW and cluster.counts.pending_overflow == 0
    upstream.loop.dials[0].accept()
    assert cluster.full() is None


def test_full_of_running(upstream: Any) -> None:
    """So with as many running as may; where one endpoint has a connection to spare and another has not, the choice decides."""
    cluster = upstream.cluster(80, 81, max_requests=1)
    first = upstream.acquire(cluster, 0)
    upstream.loop.dials[0].accept()
    assert not cluster.may_run() and cluster.full() is None
    one = upstream.cluster(82, max_requests=1)
    upstream.get(first), upstream.answer(first)
    assert cluster.full() is None and one.full() is None
    for _ in range(2):
        upstream.acquire(one)
    for dial in list(upstream.loop.dials):
        dial.accept()
    assert one.full() is ACTIVE_OVERFLOW


def test_full_is_not_known(upstream: Any) -> None:
    """Without an endpoint, and where connections are kept apart, it cannot be known."""
    cluster = upstream.cluster(80, max_pending_requests=0)
    assert cluster.full() is PENDING_OVERFLOW
    cluster.apart = True
    assert cluster.full() is None
    cluster.apart = False
    cluster.update(())
    assert cluster.full() is None


def test_connections(upstream: Any) -> None:
    """Beyond maxConnections requests wait, any number of them if nothing else is said, as Istio sets it; each is counted once."""
    cluster = upstream.cluster(max_connections=1)
    for _ in range(2000):
        upstream.acquire(cluster)
    assert len(upstream.loop.dials) == 1 and cluster.counts.connections_overflow == 1999
    assert upstream.counters.counter(CONNECTION_OVERFLOW, cluster.name).value == 1999


def test_requests(upstream: Any) -> None:
    """No more than http2MaxRequests run, at all endpoints together; the next overflows, though a connection is idle."""
    cluster = upstream.cluster(80, 81, max_requests=2)
    first, second = upstream.acquire(cluster, 0), upstream.acquire(cluster, 1)
    for dial in list(upstream.loop.dials):
        dial.accept()
    third = upstream.acquire(cluster, 1)
    assert third.connection is None and third.error is None
    upstream.loop.dials[0].accept()
    assert third.error.flag == "UO" and cluster.counts.overflow == 1 and cluster.counts.pending_overflow == 0
    upstream.get(first)
    upstream.answer(first)
    assert upstream.acquire(cluster, 0).connection is first.connection
    with pytest.raises(Overflow):
        upstream.acquire(cluster, 1)
    assert second.connection is not None and accounts(cluster) == [(1, 1, 0), (1, 2, 0)]


def test_who_waits_does_not_run(upstream: Any) -> None:
    """Who waits for a connection is no request yet for http2MaxRequests: with room for one, it gets it afterwards, as with Envoy."""
    cluster = upstream.cluster(max_requests=1, max_connections=1)
    first, second = upstream.acquire(cluster), upstream.acquire(cluster)
    upstream.loop.dials[0].accept()
    upstream.get(first)
    assert second.connection is None and second.error is None
    upstream.answer(first)
    assert second.connection is first.connection


def test_retries(upstream: Any) -> None:
    """No more than maxRetries requests are in a further try; without a limit any number."""
    cluster = upstream.cluster(max_retries=1)
    assert [cluster.begin_retry() for _ in range(2)] == [True, False] and cluster.counts.retry_overflow == 1
    cluster.end_retry()
    assert cluster.begin_retry()
    assert all(upstream.cluster().begin_retry() for _ in range(9))


def test_an_idle_one_is_at_hand(upstream: Any) -> None:
    """No limit stands between a request and an idle connection."""
    cluster = upstream.cluster(max_connections=1, max_pending_requests=1)
    waiting = upstream.acquire(cluster)
    upstream.loop.dials[0].accept()
    upstream.get(waiting)
    upstream.answer(waiting)
    assert upstream.acquire(cluster).connection is not None


def test_another_than_before(upstream: Any) -> None:
    """A further try avoids who failed, if chance finds another; an endpoint that is alone is taken again."""
    cluster = upstream.cluster(80, 81, balance=Balancing("ROUND_ROBIN"))
    first, second = cluster.endpoints
    assert [cluster.choose({first.name}) for _ in range(3)] == [second] * 3
    assert cluster.choose({first.name, second.name}) in (first, second)
    assert upstream.cluster(80).choose({first.name}).name == first.name


def test_who_joins_warms_up(upstream: Any) -> None:
    """An endpoint's age counts from when it came; the others keep theirs, and their connections."""
    rolls = iter(number / 97 % 1 for number in range(10_000))
    upstream.opener.roll = lambda: next(rolls)
    balance = Balancing("ROUND_ROBIN", warmup=Warmup(100.0))
    cluster = upstream.cluster(80, 81, balance=balance)
    upstream.loop.turn(200)
    old, other = cluster.endpoints
    cluster.adopt(upstream.config(80, 81, 82, balance=balance))
    assert cluster.endpoints[:2] == [old, other]
    new = cluster.endpoints[2]
    upstream.loop.turn(25)
    assert abs([cluster.choose() for _ in range(900)].count(new) - 100) <= 1  # a quarter of a share beside two whole ones
    upstream.loop.turn(100)
    assert abs([cluster.choose() for _ in range(900)].count(new) - 300) <= 2


def test_spill(upstream: Any) -> None:
    """Requests spill over to the next priority as endpoints are ejected, and come back with them."""
    rolls = iter(number * 0.618034 % 1 for number in range(10_000))
    upstream.opener.roll = lambda: next(rolls)
    config = upstream.config(80, 81, 82, 83, 90, balance=Balancing("RANDOM"))
    first, last = config.endpoints[:4], attrs.evolve(config.endpoints[4], priority=1)
    cluster = Cluster(attrs.evolve(config, endpoints=(*first, last)), upstream.opener)
    outliers = Outliers(OutlierPolicy())
    assert cluster.endpoints[4] not in [cluster.choose() for _ in range(100)]
    for ejected, share in ((3, 0.65), (4, 1.0), (0, 0.0)):
        for number, one in enumerate(cluster.endpoints):
            one.standing = outliers.standing(one.name)
            one.standing.ejected = number < ejected
        cluster.refresh()
        assert abs([cluster.choose() for _ in range(1000)].count(cluster.endpoints[4]) / 1000 - share) < 0.02


def test_elsewhere(upstream: Any) -> None:
    """An address that nobody declares gets an endpoint, which is kept, up to a bound; a declared one is itself."""
    cluster = upstream.cluster(80, balance=Balancing("PASSTHROUGH"), elsewhere=EndpointConfig("", 0, MUTUAL))
    assert cluster.at("10.0.0.9", 80) is cluster.endpoints[0]
    there = cluster.at("10.1.1.1", 99)
    assert there is cluster.at("10.1.1.1", 99) and there.config == EndpointConfig("10.1.1.1", 99, MUTUAL)
    for port in range(1, 1025):
        cluster.at("10.2.2.2", port)
    assert there.retired and len(cluster.everyone()) == 1025


def test_tables_are_kept(upstream: Any) -> None:
    """A further try that leaves a priority out does not make a table of consistent hashing of its own each time."""
    config = upstream.config(80, 81, 90, balance=Balancing("RING_HASH", slots=1 << 16))
    endpoints = (*config.endpoints[:2], attrs.evolve(config.endpoints[2], priority=1))
    cluster = Cluster(attrs.evolve(config, endpoints=endpoints), upstream.opener)
    without = frozenset({0})
    assert cluster.choose((), 7, without).name == "10.0.0.9:90"
    table = cluster._others[without]
    assert cluster.choose((), 8, without).name == "10.0.0.9:90" and cluster._others == {without: table}
    cluster.refresh()
    assert cluster._others == {}
