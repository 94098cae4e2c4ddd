"""Who gets the next request."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random as Dice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.policy.balance import Choice, LeastRequest, Random, RoundRobin, Turns, choice, warmth
from meshcar.policy.balance_hash import Slots
from meshcar.rules.balancing import Balancing, Warmup
from meshcar.rules.snapshot import EndpointConfig

rolls = st.floats(0, 1, exclude_max=True)
sizes = st.integers(1, 300)
PICKS = 10_000


class Endpoint:
    """Runs `active` requests."""

    ejected = False

    def __init__(self, active: int = 0, weight: int = 1, joined: float = 0.0, name: str = "") -> None:
        self.active = active
        self.joined = joined
        self.name = name
        self.config = EndpointConfig(name, 80, weight=weight)


def weighted(*weights: int) -> list[Endpoint]:
    return [Endpoint(weight=weight, name=f"10.0.0.{index}:80") for index, weight in enumerate(weights)]


def counts(pick: Choice[Endpoint], endpoints: Sequence[Endpoint], now: float = 0.0, picks: int = PICKS) -> list[int]:
    """How often each is picked by fair chance."""
    dice = Dice(7)
    found = Counter(id(pick(dice.random(), None, now)) for _ in range(picks))
    return [found[id(one)] for one in endpoints]


def near(found: Sequence[int], weights: Sequence[float]) -> bool:
    """Whether counts lie within four sigma of what the weights say."""
    total, picks = sum(weights), sum(found)
    return all(
        abs(count - picks * weight / total) <= 4 * (picks * weight / total * (1 - weight / total)) ** 0.5
        for count, weight in zip(found, weights, strict=True)
    )


def test_random_is_even_whatever_the_weights() -> None:
    """Envoy's random balancer does not look at weights."""
    endpoints = weighted(1, 2, 5)
    assert near(counts(choice(endpoints, Balancing("RANDOM"), 0.0, 0.0), endpoints), [1, 1, 1])


@given(rolls, sizes)
def test_any_roll_picks_somebody(roll: float, size: int) -> None:
    """A roll just below 1 stays inside, however many there are."""
    endpoints = [Endpoint(index) for index in range(size)]
    for pick in (Random(endpoints), LeastRequest(endpoints), RoundRobin(endpoints, roll)):
        assert pick(roll, None, 0.0) in endpoints


def test_least_request() -> None:
    """Of any two different endpoints the less busy one; with equal load each is picked as often."""
    endpoints = [Endpoint(active) for active in (3, 1, 2)]
    pick = LeastRequest(endpoints)
    assert [pick((roll + 0.5) / 6, None, 0.0).active for roll in range(6)] == [1, 2, 1, 1, 2, 1]
    idle = [Endpoint() for _ in range(3)]
    assert near(counts(LeastRequest(idle), idle), [1, 1, 1])


def test_least_request_of_one() -> None:
    """One endpoint is the one."""
    only = Endpoint(9)
    assert LeastRequest([only])(0.999, None, 0.0) is only


def test_round_robin() -> None:
    """In turn, whatever the roll, from where chance says."""
    endpoints = [Endpoint(index) for index in range(3)]
    assert [RoundRobin(endpoints, 0.5)(0.0, None, 0.0).active for _ in range(2)] == [1, 1]
    turn = RoundRobin(endpoints, 0.9)
    assert [turn(0.5, None, 0.0).active for _ in range(6)] == [2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST"])
def test_weights(policy: str) -> None:
    """By weight exactly, as Envoy with weights 1, 2 and 5: 100, 200 and 500 of 800."""
    endpoints = weighted(1, 2, 5)
    assert counts(choice(endpoints, Balancing(policy), 0.0, 0.0), endpoints, picks=800) == [100, 200, 500]


def test_turns_are_smooth() -> None:
    """Who weighs half is never picked twice within three turns, and not left out for four."""
    a, b, c = weighted(2, 1, 1)
    pick = choice([a, b, c], Balancing("ROUND_ROBIN"), 0.0, 0.0)
    picked = [pick(0.0, None, 0.0) for _ in range(40)]
    for one in (b, c):
        places = [index for index, each in enumerate(picked) if each is one]
        assert all(3 <= later - earlier <= 5 for earlier, later in pairwise(places))
    assert picked.count(a) == 20


def test_many_sidecars_begin_at_different_endpoints() -> None:
    """Chance says whose turn is first, with weights too."""
    endpoints = weighted(1, 1, 2)
    firsts = {choice(endpoints, Balancing("ROUND_ROBIN"), roll, 0.0)(0.0, None, 0.0).name for roll in (0.0, 0.4, 0.7)}
    assert len(firsts) > 1


def test_busy_endpoints_weigh_less() -> None:
    """Weighted least request: weight / (requests + 1), as Envoy with active_request_bias 1."""
    busy, idle = weighted(2, 1)
    busy.active = 3
    assert near(counts(choice([busy, idle], Balancing(), 0.0, 0.0), [busy, idle]), [1, 2])


@pytest.mark.parametrize(
    ("policy", "kind"),
    [("RANDOM", Random), ("LEAST_REQUEST", LeastRequest), ("ROUND_ROBIN", RoundRobin)],
)
def test_names(policy: str, kind: type) -> None:
    """Equal weights need no turns kept."""
    assert type(choice(weighted(3, 3), Balancing(policy), 0.0, 0.0)) is kind


def test_hashed() -> None:
    """Both hash policies have a table."""
    assert type(choice(weighted(1, 1), Balancing("MAGLEV", slots=7), 0.0, 0.0)) is Slots


def test_each_cluster_has_its_own_turn() -> None:
    """Two round robins do not share their place."""
    endpoints = weighted(1, 1)
    one, other = (choice(endpoints, Balancing("ROUND_ROBIN"), 0.0, 0.0) for _ in range(2))
    assert one(0.0, None, 0.0) is other(0.0, None, 0.0)


# -- warming up

WARMUP = Warmup(100.0, 0.1)


@pytest.mark.parametrize(
    ("warmup", "age", "part"),
    [
        (WARMUP, 0.0, 0.1),
        (WARMUP, 5.0, 0.1),
        (WARMUP, 50.0, 0.5),
        (WARMUP, 100.0, 1.0),
        (WARMUP, 1e9, 1.0),
        (Warmup(100.0, 0.1, 2.0), 25.0, 0.5),
        (Warmup(100.0, 0.0, 0.5), 50.0, 0.25),
        (Warmup(100.0, 0.3), 20.0, 0.3),
    ],
)
def test_warmth(warmup: Warmup, age: float, part: float) -> None:
    """(age / duration) ** (1 / aggression), but never less than the minimum."""
    assert warmth(warmup, age) == pytest.approx(part)


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST"])
def test_a_new_endpoint_warms_up(policy: str) -> None:
    """At half its time it gets half of what an old one gets; afterwards the same."""
    old, new = Endpoint(joined=0.0), Endpoint(joined=1000.0)
    pick = choice([old, new], Balancing(policy, warmup=WARMUP), 0.0, 1001.0)
    assert near(counts(pick, [old, new], 1050.0), [2, 1])
    assert near(counts(pick, [old, new], 2000.0), [1, 1])


def test_nothing_warms() -> None:
    """When all are old, the plain way of choosing is taken."""
    assert type(choice(weighted(1, 1), Balancing("ROUND_ROBIN", warmup=WARMUP), 0.0, 500.0)) is RoundRobin


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_turns_are_fair(weights: list[int], roll: float) -> None:
    """After any number of turns everybody has had its share, within one turn each."""
    turns = Turns(list(enumerate(weights)), lambda item, now: item[1], 0.0, roll)
    picked = Counter(turns(0.0, None, 0.0)[0] for _ in range(sum(weights) * 3))
    assert all(abs(picked[index] - 3 * weight) <= 2 for index, weight in enumerate(weights))
