"""What the data path asks of a snapshot."""

import time
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.policies import Destination
from meshcar.rules.snapshot import Route, Snapshot, VirtualHost, WeightedCluster, without_port
from meshcar.wire.head import RequestHead
from tests.rules.conftest import Compile, virtual_service

DESTINATION = Destination("a", "", 80)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"a", b"a"), (b"a:80", b"a"), (b"a:", b"a"), (b"[::1]", b"[::1]"), (b"[::1]:80", b"[::1]"), (b"::1", b"::1"), (b"a:x", b"a:x"),
        (b"", b""), (b":80", b""), (b"a:1:2", b"a:1:2"),
    ],
)
def test_without_port(authority: bytes, host: bytes) -> None:
    """Only a port goes."""
    assert without_port(authority) == host


@given(st.binary(max_size=40), st.integers(0, 70000))
def test_any_authority(authority: bytes, port: int) -> None:
    """A peer's bytes never raise."""
    host = VirtualHost("*.a", ())
    snapshot = Snapshot(generation=1, clusters={}, hosts={80: {b".a": host}})
    found = snapshot.virtual_host(authority, port)
    assert found is None or (found is host and port == 80 and b".a" in authority.lower())


def test_many_dots_are_quick() -> None:
    """A host longer than DNS names are is found exactly, or under `*`, at once."""
    snapshot = Snapshot(generation=1, clusters={}, hosts={80: {b".a": VirtualHost("*.a", ()), b"*": VirtualHost("*", ())}})
    before = time.process_time()
    found = snapshot.virtual_host(b"x." * 30_000 + b"a", 80)
    assert found is not None and found.name == "*"
    assert time.process_time() - before < 0.05


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_pick(weights: list[int], roll: float) -> None:
    """Every roll falls on some destination."""
    clusters = tuple(WeightedCluster(str(index), DESTINATION, weight) for index, weight in enumerate(weights))
    total, sums = sum(weights), [sum(weights[: index + 1]) for index in range(len(weights))]
    route = Route("r", None, None, clusters, (*(part / total for part in sums[:-1]), 1.0))
    assert route.pick(roll) in clusters


@pytest.mark.parametrize("weights", [(90, 10), (1, 1, 1), (1, 999), (550, 500)])
def test_shares(compiled: Compile, mesh: str, weights: tuple[int, ...]) -> None:
    """Of 10,000 draws each destination gets its share, within four sigma."""
    targets = ", ".join(f"{{destination: {{host: httpbin, port: {{number: {n + 1}}}}}, weight: {w}}}" for n, w in enumerate(weights))
    host = compiled(mesh, virtual_service(f"[{{route: [{targets}]}}]")).snapshot.virtual_host(b"httpbin", 8000)
    assert host is not None
    dice = Random(4)
    drawn = Counter(host.routes[0].pick(dice.random()).weight for _ in range(10_000))
    for weight in set(weights):
        share = weight * weights.count(weight) / sum(weights)
        assert abs(drawn[weight] - 10_000 * share) <= 4 * (10_000 * share * (1 - share)) ** 0.5


def test_first_match() -> None:
    """The first route that matches takes the request; none is None."""
    clusters = (WeightedCluster("c", DESTINATION, 1),)
    first = Route("first", None, lambda head: head.target == b"/a", clusters, (1.0,))
    second = Route("second", None, lambda head: head.target != b"/c", clusters, (1.0,))
    host = VirtualHost("h", (first, second))
    found = [host.route(RequestHead(b"GET", target, b"", [])) for target in (b"/a", b"/b", b"/c")]
    assert found == [first, second, None]
