"""Who gets the next request."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.policy.balance import Pick, RoundRobin, balancer, least_request, random

rolls = st.floats(0, 1, exclude_max=True)
sizes = st.integers(1, 300)


class Endpoint:
    """Runs `active` requests."""

    def __init__(self, active: int = 0) -> None:
        self.active = active


def test_random_is_even() -> None:
    """Every endpoint has the same share of the rolls."""
    endpoints = [Endpoint() for _ in range(4)]
    shares = Counter(endpoints.index(random(endpoints, roll / 1000)) for roll in range(1000))
    assert shares == {0: 250, 1: 250, 2: 250, 3: 250}


@given(rolls, sizes)
def test_any_roll_picks_somebody(roll: float, size: int) -> None:
    """A roll just below 1 stays inside, however many there are."""
    endpoints = [Endpoint(index) for index in range(size)]
    assert random(endpoints, roll) in endpoints
    assert least_request(endpoints, roll) in endpoints


def test_least_request() -> None:
    """Of any two different endpoints the less busy one; with equal load each is picked as often."""
    endpoints = [Endpoint(active) for active in (3, 1, 2)]
    assert [least_request(endpoints, (roll + 0.5) / 6).active for roll in range(6)] == [1, 2, 1, 1, 2, 1]
    idle = [Endpoint() for _ in range(3)]
    assert Counter(idle.index(least_request(idle, (roll + 0.5) / 6)) for roll in range(6)) == {0: 2, 1: 2, 2: 2}


def test_least_request_of_one() -> None:
    """One endpoint is the one."""
    only = Endpoint(9)
    assert least_request([only], 0.999) is only


def test_round_robin() -> None:
    """In turn, whatever the roll, also when the endpoints become fewer."""
    endpoints = [Endpoint(index) for index in range(3)]
    turn = RoundRobin()
    picked = [turn(endpoints, 0.5).active for _ in range(6)]
    assert sorted(picked[:3]) == [0, 1, 2] and picked[:3] == picked[3:]
    assert {turn(endpoints[:2], 0.0).active for _ in range(2)} == {0, 1}


@pytest.mark.parametrize("name, pick", [("RANDOM", random), ("LEAST_REQUEST", least_request), ("UNSPECIFIED", least_request)])
def test_names(name: str, pick: object) -> None:
    """Istio's names; the default is least request, as Istio's."""
    assert balancer(name) is pick


def test_each_cluster_has_its_own_turn() -> None:
    """Two round robins do not share their place."""
    one: Pick[Endpoint] = balancer("ROUND_ROBIN")
    other: Pick[Endpoint] = balancer("ROUND_ROBIN")
    endpoints = [Endpoint(), Endpoint()]
    assert one(endpoints, 0.0) is other(endpoints, 0.0)
