"""Clusters whose endpoints have DNS names: when names are looked up, and what becomes of the answers."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from meshcar.errors import NoHealthyUpstream, TryFailed
from meshcar.rules.policies import Destination
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.resolve import MAX_BACK_OFF, MOST_AT_ONCE, REFRESH_SECONDS


class Resolver:
    """Answers when the test says so; `asked` are the names, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._open: dict[str, Deferred[tuple[str, ...]]] = {}

    def __call__(self, name: str) -> "Deferred[tuple[str, ...]]":
        self.asked.append(name)
        self._open[name] = Deferred()
        return self._open[name]

    def answer(self, name: str, *addresses: str) -> None:
        self._open.pop(name).callback(addresses)

    def fail(self, name: str) -> None:
        self._open.pop(name).errback(TryFailed("no address", "UF", "none"))


class Names:
    """Clusters on a loop, and their resolver."""

    def __init__(self, upstream: Any) -> None:
        self.upstream, self.loop, self.resolver = upstream, upstream.loop, Resolver()
        self.clusters = Clusters(upstream.opener, self.resolver)

    def cluster(self, *addresses: str, discovery: str = "STRICT_DNS", name: str = "a", **more: Any) -> Any:
        endpoints = tuple(EndpointConfig(address, 80) for address in addresses)
        self.clusters.reconcile({name: ClusterConfig(name, Destination("a", "", 80), endpoints, discovery=discovery, **more)})
        self.loop.turn()
        return self.clusters.get(name)

    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.loop.turn()


@pytest.fixture
def names(upstream: Any) -> Names:
    """No clusters yet."""
    return Names(upstream)


def where(cluster: Any) -> list[str]:
    """The names of a cluster's endpoints."""
    return [one.name for one in cluster.endpoints]


def test_every_address(names: Names) -> None:
    """STRICT_DNS: each address is an endpoint, beside those that are given as addresses; one that two names share is one."""
    cluster = names.cluster("a.b", "10.0.0.1", "c.d")
    names.resolver.answer("a.b", "1.1.1.1", "1.1.1.2")
    names.resolver.answer("c.d", "1.1.1.2")
    assert where(cluster) == ["1.1.1.1:80", "1.1.1.2:80", "10.0.0.1:80"]


def test_who_asks_early_waits(names: Names) -> None:
    """A request that comes before the first answer gets its connection after it."""
    cluster = names.cluster("a.b")
    waiting = names.upstream.acquire(cluster)
    names.loop.turn()
    assert names.loop.dials == [] and waiting.error is None
    names.resolver.answer("a.b", "1.1.1.1", "1.1.1.2")
    assert [dial.address.host for dial in names.loop.dials] == ["1.1.1.1"]
    names.loop.dials[0].accept()
    names.loop.turn()
    assert waiting.connection is not None


def test_no_first_answer(names: Names) -> None:
    """Who waits for a name that has no address is told, and after that there is nobody to send to."""
    cluster = names.cluster("a.b")
    waiting = names.upstream.acquire(cluster)
    names.resolver.fail("a.b")
    assert (waiting.error.flag, waiting.error.cause) == ("UF", "no_address_for_a.b")
    with pytest.raises(NoHealthyUpstream):
        cluster.choose()
    names.wait(2 * REFRESH_SECONDS)
    names.resolver.answer("a.b", "1.1.1.1")
    assert where(cluster) == ["1.1.1.1:80"]


def test_late_first_answer(names: Names) -> None:
    """Who waits longer than the connect timeout is told."""
    waiting = names.upstream.acquire(names.cluster("a.b", connect_timeout=2.0))
    names.wait(2)
    assert waiting.error.reason == "connection timeout"
    names.resolver.answer("a.b", "1.1.1.1")
    assert names.loop.dials == []


def test_refresh(names: Names) -> None:
    """A name is looked up again; connections to addresses that stay are kept."""
    cluster = names.cluster("a.b")
    names.resolver.answer("a.b", "1.1.1.1", "1.1.1.2")
    stays = cluster.endpoints[0]
    names.wait(REFRESH_SECONDS)
    names.resolver.answer("a.b", "1.1.1.3", "1.1.1.1")
    assert where(cluster) == ["1.1.1.3:80", "1.1.1.1:80"]
    assert cluster.endpoints[1] is stays


def test_failures(names: Names) -> None:
    """A failure leaves the last addresses; the wait grows, and is short again after an answer."""
    cluster = names.cluster("a.b")
    names.resolver.answer("a.b", "1.1.1.1")
    names.wait(REFRESH_SECONDS)
    for wait in (5, 10, 20, 40, MAX_BACK_OFF, MAX_BACK_OFF):
        names.resolver.fail("a.b")
        assert where(cluster) == ["1.1.1.1:80"]
        asked = len(names.resolver.asked)
        names.wait(wait - 0.1)
        assert len(names.resolver.asked) == asked
        names.wait(0.1)
        assert len(names.resolver.asked) == asked + 1
    names.resolver.answer("a.b", "1.1.1.2")
    names.wait(REFRESH_SECONDS)
    assert len(names.resolver.asked) == asked + 2


def test_reload(names: Names) -> None:
    """A name that a reload keeps is not looked up anew; the new cluster knows its addresses at once."""
    names.cluster("a.b")
    names.resolver.answer("a.b", "1.1.1.1")
    changed = names.cluster("a.b", connect_timeout=3.0)
    assert where(changed) == ["1.1.1.1:80"]
    assert names.cluster("a.b", name="b") is not changed
    assert names.resolver.asked == ["a.b"]


def test_forgotten(names: Names) -> None:
    """A name that nobody needs any more is not looked up."""
    names.cluster("a.b")
    names.resolver.answer("a.b", "1.1.1.1")
    names.clusters.reconcile({})
    names.wait(10 * REFRESH_SECONDS)
    assert names.resolver.asked == ["a.b"]
    names.cluster("a.b")
    assert names.resolver.asked == ["a.b", "a.b"]


def test_many_names(names: Names) -> None:
    """With many names each is looked up less often, at most twenty a second, eight at a time."""
    cluster = names.cluster(*(f"n{number}.b" for number in range(400)))
    assert len(names.resolver.asked) == MOST_AT_ONCE
    for number in range(400):
        name = names.resolver.asked[number]
        names.resolver.answer(name, f"10.1.{number // 200}.{number % 200}")
        names.loop.turn()
    assert len(cluster.endpoints) == 400 == len(set(names.resolver.asked))
    names.wait(19.9)
    assert len(names.resolver.asked) == 400
    names.wait(0.2)
    assert len(names.resolver.asked) == 400 + MOST_AT_ONCE


def test_one_address_at_a_time(names: Names) -> None:
    """LOGICAL_DNS: the name is the endpoint; a new connection goes to its first address, old ones stay."""
    cluster = names.cluster("a.b", discovery="LOGICAL_DNS")
    names.resolver.answer("a.b", "1.1.1.1", "1.1.1.2")
    first = names.upstream.acquire(cluster)
    assert [dial.address.host for dial in names.loop.dials] == ["1.1.1.1"]
    names.loop.dials[0].accept()
    names.loop.turn()
    names.wait(REFRESH_SECONDS)
    names.resolver.answer("a.b", "1.1.1.3")
    names.upstream.acquire(cluster)
    assert [dial.address.host for dial in names.loop.dials] == ["1.1.1.3"]
    assert where(cluster) == ["a.b:80"]
    assert first.connection.transport.connected


def test_opaque_connections(names: Names) -> None:
    """The cluster for bytes that are not HTTP has the same addresses, and is not left behind."""
    names.cluster("a.b")
    opaque = names.clusters.opaque("a")
    assert opaque is not None
    names.resolver.answer("a.b", "1.1.1.1")
    assert where(opaque) == ["1.1.1.1:80"]
    names.clusters.reconcile({})
    names.wait(10 * REFRESH_SECONDS)
    assert names.resolver.asked == ["a.b"]


def test_never_ourselves(names: Names) -> None:
    """A name that leads to a listener of ours is refused like its address."""
    names.upstream.own.add(("127.0.0.1", 80))
    cluster = names.cluster("a.b")
    names.resolver.answer("a.b", "127.0.0.1")
    waiting = names.upstream.acquire(cluster)
    names.loop.turn()
    assert waiting.error.cause == "loop_to_own_listener"


def test_other_endpoints(names: Names) -> None:
    """A reload that only changes who answers keeps the cluster, its connections, and what is known of names."""
    cluster = names.cluster("a.b", "c.d")
    names.resolver.answer("a.b", "1.1.1.1")
    names.resolver.answer("c.d", "1.1.1.2")
    stays = cluster.endpoints[0]
    assert names.cluster("a.b", "e.f") is cluster
    assert where(cluster) == ["1.1.1.1:80", "e.f:80"] and cluster.endpoints[0] is stays
    names.resolver.answer("e.f", "1.1.1.3")
    assert where(cluster) == ["1.1.1.1:80", "1.1.1.3:80"]
    names.wait(REFRESH_SECONDS)
    assert names.resolver.asked[3:] == ["a.b", "e.f"]


def test_forgotten_but_wanted(names: Names) -> None:
    """A request that is tried again after a reload took its cluster away is told so; a socket that is given a name would look it up,
    and hold up everything."""
    cluster = names.cluster("a.b", discovery="LOGICAL_DNS")
    names.resolver.answer("a.b", "1.1.1.1")
    assert cluster.begin_retry()
    names.clusters.reconcile({})
    names.wait(10 * REFRESH_SECONDS)
    waiting = names.upstream.acquire(cluster)
    names.wait(0)
    assert names.loop.dials == [] and waiting.error.cause == "no_address_for_a.b"
