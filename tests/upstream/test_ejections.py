"""Endpoints that fail are not chosen for a while: through real clusters, on the clock."""

from typing import Any

import pytest

from meshcar.errors import NoHealthyUpstream
from meshcar.observe.names import EJECTIONS_ACTIVE, EJECTIONS_DETECTED, EJECTIONS_ENFORCED, EJECTIONS_OVERFLOW, EJECTIONS_TOTAL
from meshcar.policy.outliers import ERRORS, GATEWAY, LOCAL
from meshcar.rules.balancing import Balancing
from meshcar.rules.policies import OutlierPolicy
from meshcar.upstream.cluster import Cluster
from tests.upstream.conftest import Upstream

BROKEN = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"
POLICY = OutlierPolicy(errors=2, max_percent=100, interval=10.0, ejection=30.0)


def failing(upstream: Upstream, *ports: int, policy: OutlierPolicy = POLICY, panic: float = 0.0) -> Cluster:
    cluster: Cluster = upstream.cluster(*ports, outliers=policy, balance=Balancing(panic=panic))
    return cluster


def answer(upstream: Upstream, cluster: Cluster, number: int, data: bytes = BROKEN) -> None:
    """One request to an endpoint, and what it says."""
    waiting = upstream.acquire(cluster, number)
    if waiting.connection is None:
        upstream.loop.dials[0].accept()
    upstream.get(waiting)
    upstream.answer(waiting, data)


def measured(upstream: Upstream, cluster: Cluster) -> dict[str, float]:
    """The metrics of ejections."""
    metrics = (EJECTIONS_ACTIVE, EJECTIONS_TOTAL, EJECTIONS_OVERFLOW, *EJECTIONS_ENFORCED.values(), *EJECTIONS_DETECTED.values())
    prefix = "envoy_cluster_outlier_detection_ejections_"
    found = {one.name.removeprefix(prefix): slot() for one in metrics for labels, slot in upstream.counters.slots(one)}  # type: ignore[operator]
    return {name: value for name, value in found.items() if value}


def test_out_and_back(upstream: Any) -> None:
    """Two 503s in a row: nobody chooses the endpoint until its time is over, and then everybody may."""
    cluster = failing(upstream, 80, 81)
    answer(upstream, cluster, 0)
    answer(upstream, cluster, 0)
    first, second = cluster.endpoints
    assert first.ejected and {cluster.choose() for _ in range(9)} == {second}
    assert measured(upstream, cluster) == {"active": 1, "enforced_total": 1, f"enforced_{ERRORS}": 1, f"detected_{ERRORS}": 1}
    for seconds in (10.0, 10.0, 9.9):
        upstream.loop.turn(seconds)
    assert first.ejected
    upstream.loop.turn(0.1)
    assert not first.ejected and "active" not in measured(upstream, cluster)
    upstream.loop.turn(10.0)
    upstream.loop.turn(10.0)
    assert not [call for call in upstream.loop.getDelayedCalls() if call.getTime() - upstream.loop.seconds() < 60]


def test_all_out(upstream: Any) -> None:
    """With nobody left there is no healthy upstream; with minHealthPercent all are used again."""
    cluster = failing(upstream, 80)
    answer(upstream, cluster, 0)
    answer(upstream, cluster, 0)
    with pytest.raises(NoHealthyUpstream):
        cluster.choose()
    panicking = failing(upstream, 80, panic=50)
    answer(upstream, panicking, 0)
    answer(upstream, panicking, 0)
    assert panicking.endpoints[0].ejected and panicking.choose() is panicking.endpoints[0]


def test_an_answer_between(upstream: Any) -> None:
    """A good answer begins the row anew."""
    cluster = failing(upstream)
    for data in (BROKEN, b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n", BROKEN):
        answer(upstream, cluster, 0, data)
    assert not cluster.endpoints[0].ejected


def test_refused(upstream: Any) -> None:
    """Whoever waited in vain for a connection counts once."""
    cluster = failing(upstream)
    for _ in range(2):
        upstream.acquire(cluster)
        upstream.loop.dials[0].refuse()
    assert cluster.endpoints[0].ejected


def test_withdrawn(upstream: Any) -> None:
    """A connection that nobody waits for any more counts for nothing."""
    cluster = failing(upstream)
    for _ in range(2):
        cluster.endpoints[0].withdraw(upstream.acquire(cluster))
        upstream.loop.dials[0].refuse()
    assert not cluster.endpoints[0].ejected


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"])
def test_broken(upstream: Any, said: bytes) -> None:
    """A connection that breaks, before an answer or within, or says what is no HTTP, counts as a failure."""
    cluster = failing(upstream, policy=OutlierPolicy(errors=1, max_percent=100))
    waiting = upstream.acquire(cluster)
    wire = upstream.loop.dials[0].accept()
    upstream.get(waiting)
    wire.say(said)
    wire.hang_up()
    upstream.loop.turn()
    assert cluster.endpoints[0].ejected


def test_overdue(upstream: Any) -> None:
    """So does one that says nothing in time; one that nobody wants any more does not."""
    cluster = failing(upstream, policy=OutlierPolicy(errors=1, max_percent=100))
    for blamed in (False, True):
        waiting = upstream.acquire(cluster)
        upstream.loop.dials[0].accept()
        upstream.get(waiting)
        if blamed:
            waiting.connection.overdue()
        waiting.connection.abort()
        upstream.loop.turn()
        assert cluster.endpoints[0].ejected == blamed


def test_split(upstream: Any) -> None:
    """With splitExternalLocalOriginErrors refused connections have a row of their own."""
    cluster = failing(upstream, policy=OutlierPolicy(errors=1, local_failures=2, max_percent=100))
    for _ in range(2):
        assert not cluster.endpoints[0].ejected
        upstream.acquire(cluster)
        upstream.loop.dials[0].refuse()
    assert cluster.endpoints[0].ejected and f"enforced_{LOCAL}" in measured(upstream, cluster)


def test_too_many(upstream: Any) -> None:
    """Beyond maxEjectionPercent nobody goes out, which is counted."""
    cluster = failing(upstream, 80, 81, policy=OutlierPolicy(errors=0, gateway_errors=1, max_percent=50))
    answer(upstream, cluster, 0)
    answer(upstream, cluster, 1)
    assert [one.ejected for one in cluster.endpoints] == [True, False]
    assert measured(upstream, cluster)["overflow"] == 1 and measured(upstream, cluster)[f"detected_{GATEWAY}"] == 2


def test_opaque_bytes_and_http(upstream: Any) -> None:
    """Opaque connections and requests have one standing: what refuses the ones is not chosen for the others either."""
    cluster = failing(upstream, 80, 81)
    opaque = Cluster(cluster.config, cluster.opener, opaque=True, twin=cluster)
    for _ in range(2):
        opaque.join(opaque.endpoints[0], type("", (), {"on_connect_failed": lambda self, error: None})())
        upstream.loop.dials[0].refuse()
    assert cluster.choose() is cluster.endpoints[1] and opaque.choose() is opaque.endpoints[1]


def test_endpoints_change(upstream: Any) -> None:
    """Who stays has its standing; who goes is forgotten."""
    cluster = failing(upstream, 80, 81)
    for number in (0, 0, 1, 1):
        answer(upstream, cluster, number)
    cluster.update(upstream.config(81, 82).endpoints)
    assert [one.ejected for one in cluster.endpoints] == [True, False] and measured(upstream, cluster)["active"] == 1


def test_retired(upstream: Any) -> None:
    """A cluster that is no more leaves no timer."""
    cluster = failing(upstream)
    answer(upstream, cluster, 0)
    answer(upstream, cluster, 0)
    cluster.retire()
    upstream.loop.turn()
    upstream.loop.turn(2.0)
    assert upstream.loop.getDelayedCalls() == []


def test_without(upstream: Any) -> None:
    """A cluster without outlierDetection knows no standing and has no timer."""
    cluster = upstream.cluster(idle_timeout=None)
    for _ in range(9):
        answer(upstream, cluster, 0)
    assert cluster.endpoints[0].standing is None and upstream.loop.getDelayedCalls() == []
