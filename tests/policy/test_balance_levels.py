"""Priorities, localities, panic."""

from collections import Counter
from random import Random as Dice

import pytest

from meshcar.policy.balance_levels import arrange, levels
from meshcar.rules.balancing import Balancing
from meshcar.rules.snapshot import EndpointConfig


class Endpoint:
    """One at a locality, in a priority."""

    active = 0
    joined = 0.0

    def __init__(self, name: str, priority: int = 0, locality: str = "", weight: int = 1, ejected: bool = False) -> None:
        self.name = name
        self.ejected = ejected
        self.config = EndpointConfig(name, 80, weight=weight, locality=locality, priority=priority)


def tier(priority: int, healthy: int, ejected: int = 0) -> list[Endpoint]:
    return [Endpoint(f"{priority}-{index}", priority, ejected=index >= healthy) for index in range(healthy + ejected)]


@pytest.mark.parametrize(
    ("tiers", "shares"),
    [
        ([(4, 0), (4, 0)], [100]),
        ([(3, 1), (4, 0)], [100]),  # 75 % * 1.4 > 100 %
        ([(5, 5), (1, 0)], [70, 30]),
        ([(1, 3), (4, 0)], [35, 65]),
        ([(0, 4), (4, 0)], [100]),
        ([(1, 3), (1, 3), (4, 0)], [35, 35, 30]),
        ([(0, 4), (1, 3)], [100]),  # nobody else: all that is left
        ([(1, 3), (1, 3)], [50, 50]),
        ([(0, 1)], []),
        ([(0, 4), (0, 4)], []),
    ],
)
def test_spill(tiers: list[tuple[int, int]], shares: list[int]) -> None:
    """A priority takes what 1.4 times its healthy part allows, the next ones the rest. Source: Envoy, "Priority levels"."""
    endpoints = [one for priority, counts in enumerate(tiers) for one in tier(priority, *counts)]
    found = levels(endpoints, 0.0)
    assert [level.share for level in found] == shares
    assert not any(one.ejected for level in found for one in level.usable)


@pytest.mark.parametrize(
    ("tiers", "panic", "usable"),
    [
        ([(1, 3)], 50.0, [4]),
        ([(2, 2)], 50.0, [2]),
        ([(0, 4)], 1.0, [4]),
        ([(1, 3), (4, 0)], 50.0, [1, 4]),  # others have room: no panic
        ([(0, 4), (0, 2)], 10.0, [4, 2]),
    ],
)
def test_panic(tiers: list[tuple[int, int]], panic: float, usable: list[int]) -> None:
    """When too few are healthy and no other priority has room, the ejected ones count as healthy."""
    endpoints = [one for priority, counts in enumerate(tiers) for one in tier(priority, *counts)]
    assert [len(level.usable) for level in levels(endpoints, panic)] == usable


def test_panic_everywhere() -> None:
    """Then priorities share by their sizes."""
    endpoints = [*tier(0, 0, 3), *tier(1, 0, 1)]
    assert [level.share for level in levels(endpoints, 50.0)] == [75, 25]


def test_without() -> None:
    """A further try elsewhere leaves out priorities that were tried, unless none is left."""
    endpoints = [*tier(0, 2), *tier(1, 2)]
    assert [one.name for one in levels(endpoints, 0.0, {0})[0].usable] == ["1-0", "1-1"]
    assert [one.name for one in levels(endpoints, 0.0, {0, 1})[0].usable] == ["0-0", "0-1"]


def picked(endpoints: list[Endpoint], balancing: Balancing, picks: int = 10_000, keyed: bool = False) -> Counter[str]:
    dice = Dice(3)
    pick = arrange(levels(endpoints, balancing.panic), balancing, 0.5, 0.0)
    return Counter(pick(dice.random(), dice.getrandbits(64) if keyed else None, 0.0).name for _ in range(picks))


@pytest.mark.parametrize("policy", [Balancing(), Balancing("ROUND_ROBIN"), Balancing("RANDOM"), Balancing("RING_HASH", 16384)])
def test_requests_follow_the_shares(policy: Balancing) -> None:
    """Whatever the policy within a priority."""
    found = picked([*tier(0, 1, 3), *tier(1, 4)], policy, keyed=policy.hashed)
    assert abs(found["0-0"] - 3500) < 4 * 48
    assert all(abs(found[f"1-{index}"] - 1625) < 6 * 37 for index in range(4))


@pytest.mark.parametrize("policy", ["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "RING_HASH"])
def test_localities(policy: str) -> None:
    """70, 20 and 10 percent, within one by the policy. Envoy gave 560, 160 and 80 of 800."""
    endpoints = [Endpoint("a1", 0, "a"), Endpoint("a2", 0, "a"), Endpoint("b", 0, "b"), Endpoint("c", 0, "c")]
    slots = 65537 if policy == "RING_HASH" else 0
    found = picked(endpoints, Balancing(policy, slots, localities=((0, "a", 70), (0, "b", 20), (0, "c", 10))), keyed=slots > 0)
    for name, part in {"a1": 0.35, "a2": 0.35, "b": 0.2, "c": 0.1}.items():
        assert abs(found[name] - 10_000 * part) < 5 * (10_000 * part * (1 - part)) ** 0.5


def test_a_locality_falls_ill() -> None:
    """Its weight shrinks by 1.4 times its healthy part; without a healthy endpoint it gets nothing."""
    half = [Endpoint("a1", 0, "a"), Endpoint("a2", 0, "a", ejected=True), Endpoint("b", 0, "b")]
    weights = ((0, "a", 50), (0, "b", 50))
    found = picked(half, Balancing("ROUND_ROBIN", localities=weights))
    assert abs(found["a1"] / 10_000 - 0.7 / 1.7) < 0.01
    half[0].ejected = True
    assert picked(half, Balancing("ROUND_ROBIN", localities=weights)) == {"b": 10_000}
