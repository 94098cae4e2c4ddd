"""The live clusters and the rules they come from."""

import gc
from typing import Any

import attrs
import pytest

from meshcar.observe.names import EJECTIONS_ENFORCED, EJECTIONS_TOTAL
from meshcar.rules.balancing import Balancing
from meshcar.rules.policies import OutlierPolicy, UpstreamTls
from meshcar.upstream import clusters as clusters_module
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.ejections import Ejections
from tests.upstream.conftest import Waiting


def idle(upstream: Any, cluster: Any, number: int = 0) -> Any:
    """An idle connection of a cluster."""
    waiting = upstream.acquire(cluster, number)
    wire = upstream.loop.dials[-1].accept()
    upstream.get(waiting)
    upstream.answer(waiting)
    return wire


def test_kept(upstream: Any) -> None:
    """A cluster whose configuration is equal stays, with its connections; another takes the place of one that changed."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"a": upstream.config(80), "b": upstream.config(81)})
    a, b = clusters.get("a"), clusters.get("b")
    wires = [idle(upstream, a), idle(upstream, b)]
    clusters.reconcile({"a": upstream.config(80), "b": upstream.config(81, max_connections=9)})
    upstream.loop.turn()
    assert clusters.get("a") is a and clusters.get("b") is not b
    assert [wire.ended for wire in wires] == [False, True]


def test_other_endpoints(upstream: Any) -> None:
    """When only endpoints differ, the cluster stays, and so do the connections of those that stay; who leaves gets nothing new."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"a": upstream.config(80, 81)})
    a = clusters.get("a")
    first, second = a.endpoints
    wires = [idle(upstream, a, number) for number in (0, 1)]
    opaque = clusters.opaque("a")
    clusters.reconcile({"a": upstream.config(81, 82, balance=Balancing("RING_HASH", 16384))})
    upstream.loop.turn()
    assert clusters.get("a") is a and a.endpoints[0] is second and not a.plain and clusters.opaque("a") is opaque
    assert [one.config.port for one in opaque.endpoints] == [81, 82]
    assert first.retired and [wire.ended for wire in wires] == [True, False]


def test_gone(upstream: Any) -> None:
    """A cluster that no rule names any more is not found, and its idle connections close."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"a": upstream.config()})
    wire = idle(upstream, clusters.get("a"))
    clusters.reconcile({})
    upstream.loop.turn()
    assert clusters.get("a") is None and clusters.opaque("a") is None and wire.ended and clusters.all() == []


def test_opaque(upstream: Any) -> None:
    """Bytes that are not HTTP have connections of their own, to the same endpoints, which follow the rules."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"a": upstream.config(80)})
    opaque = clusters.opaque("a")
    assert opaque is clusters.opaque("a") and opaque is not clusters.get("a") and opaque.opaque
    clusters.reconcile({"a": upstream.config(81)})
    assert clusters.opaque("a").config.endpoints[0].port == 81
    clusters.reconcile({})
    assert clusters.opaque("a") is None


def test_original(upstream: Any) -> None:
    """The cluster of an address is made once; opaque bytes have another."""
    clusters = Clusters(upstream.opener)
    one = clusters.original("PassthroughCluster", "10.0.0.1", 80)
    assert clusters.original("PassthroughCluster", "10.0.0.1", 80) is one and clusters.all() == [one]
    assert clusters.original("PassthroughCluster", "10.0.0.1", 80, opaque=True) is not one
    assert clusters.original("inbound|80||", "10.0.0.1", 80, "127.0.0.6").source == "127.0.0.6"


def test_bounded(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are kept up to a limit; the one unused longest is retired."""
    monkeypatch.setattr(clusters_module, "MAX_ORIGINAL", 2)
    clusters = Clusters(upstream.opener)
    first, second = clusters.original("a", "10.0.0.1", 80), clusters.original("a", "10.0.0.2", 80)
    wires = [idle(upstream, first), idle(upstream, second)]
    clusters.original("a", "10.0.0.1", 80)
    clusters.original("a", "10.0.0.3", 80)
    upstream.loop.turn()
    assert [wire.ended for wire in wires] == [False, True]
    assert clusters.original("a", "10.0.0.1", 80) is first and clusters.original("a", "10.0.0.2", 80) is not second


def test_renewed(upstream: Any, handshakes: Any) -> None:
    """New certificates reach every cluster."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"tls": upstream.config(tls=UpstreamTls("ISTIO_MUTUAL")), "plain": upstream.config()})
    waiting = upstream.acquire(clusters.get("tls"))
    wire = upstream.loop.dials[0].accept()
    handshakes[0][0]()
    upstream.get(waiting)
    upstream.answer(waiting)
    plain = idle(upstream, clusters.get("plain"))
    upstream.contexts.swap(object())
    clusters.renew()
    upstream.loop.turn()
    assert wire.ended and not plain.ended


def test_twice_the_same(upstream: Any) -> None:
    """An endpoint that stands there twice is let go of twice."""
    clusters = Clusters(upstream.opener)
    clusters.reconcile({"a": upstream.config(80, 80)})
    wires = [idle(upstream, clusters.get("a"), number) for number in (0, 1)]
    clusters.reconcile({"a": upstream.config(81)})
    upstream.loop.turn()
    assert [wire.ended for wire in wires] == [True, True]


def test_nothing_piles_up(upstream: Any) -> None:
    """Of a thousand generations of clusters, each with another name, metrics and timers know the last."""
    clusters, policy = Clusters(upstream.opener), OutlierPolicy(errors=1, max_percent=100)
    for number in range(1000):
        config = upstream.config(80 + number % 9, outliers=policy, idle_timeout=50.0)
        clusters.reconcile({f"a{number}": attrs.evolve(config, name=f"a{number}")})
        if number % 100 == 0:
            idle(upstream, clusters.get(f"a{number}"))
            clusters.get(f"a{number}").endpoints[0].standing.answered(503, upstream.loop.seconds())
    for _ in range(2):
        upstream.loop.turn(5)  # sockets linger
    slots = [labels for metric in (EJECTIONS_TOTAL, *EJECTIONS_ENFORCED.values()) for labels, _ in upstream.counters.slots(metric)]
    assert slots == [("a999",)] * 4
    assert upstream.loop.getDelayedCalls() == []


def test_measured_by_the_new_one(upstream: Any) -> None:
    """A cluster that takes the place of one of its name keeps its metrics when that ends."""
    clusters, policy = Clusters(upstream.opener), OutlierPolicy(errors=1)
    clusters.reconcile({"a": upstream.config(outliers=policy)})
    clusters.reconcile({"a": upstream.config(outliers=policy, max_connections=9)})
    assert [labels for labels, _ in upstream.counters.slots(EJECTIONS_TOTAL)] == [("outbound|80||a",)]


def alive(ids: list[int]) -> list[Any]:
    """Which clusters and ejections of those are still there."""
    return [one for one in gc.get_objects() if isinstance(one, (Cluster, Ejections)) and id(one) in ids]


def test_no_cycles_are_left(upstream: Any, handshakes: Any) -> None:
    """Of clusters that ended nothing waits for the collector, which does not look at what a reload froze: nor of one that ran when
    it ended, after a later change."""
    clusters = Clusters(upstream.opener)
    options = {"tls": UpstreamTls("SIMPLE", by_host=True), "outliers": OutlierPolicy(errors=1), "balance": Balancing("RING_HASH", slots=99)}
    clusters.reconcile({name: attrs.evolve(upstream.config(80, 81, **options), name=name) for name in ("a", "b")})
    for name in ("a", "b"):
        clusters.get(name).choose()
        clusters.opaque(name).choose()
    waiting = Waiting()
    clusters.get("b").acquire(clusters.get("b").endpoints[0].apart(b"h", None), waiting)
    of_a = [id(one) for one in (clusters.get("a"), clusters.opaque("a"), clusters.get("a").ejections)]
    of_b = [id(one) for one in (clusters.get("b"), clusters.opaque("b"), clusters.get("b").ejections)]
    gc.collect()
    gc.disable()
    try:
        clusters.reconcile({})
        assert not alive(of_a) and len(alive(of_b)) == 3
        upstream.loop.dials[0].refuse()
        assert waiting.error is not None
        del waiting
        clusters.reconcile({})
        assert not alive(of_b)
    finally:
        gc.enable()
