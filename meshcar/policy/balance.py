"""Which endpoint gets the next request. Chance comes as an argument, in [0, 1)."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """An endpoint that knows how many requests it runs."""

    active: int


E = TypeVar("E", bound=Loaded)
Pick = Callable[[Sequence[E], float], E]
"""Picks one of at least one endpoints."""


def random(endpoints: Sequence[E], roll: float) -> E:
    """Any, with equal chance."""
    return endpoints[int(roll * len(endpoints))]


def least_request(endpoints: Sequence[E], roll: float) -> E:
    """The less busy of two chosen at random: Envoy's power of two choices."""
    count = len(endpoints)
    if count == 1:
        return endpoints[0]
    pair = int(roll * count * (count - 1))
    first, second = divmod(pair, count - 1)
    if second >= first:
        second += 1
    one, other = endpoints[first], endpoints[second]
    return one if one.active <= other.active else other


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, endpoints: Sequence[E], roll: float) -> E:
        """The next in turn; `roll` is not used."""
        self._next = (self._next + 1) % len(endpoints)
        return endpoints[self._next]


def balancer(name: str) -> Pick[E]:
    """The function of an Istio LoadBalancerSettings.simple name."""
    if name == "ROUND_ROBIN":
        return RoundRobin()
    return random if name == "RANDOM" else least_request
