"""Which of several endpoints gets the next request. Chance comes as an argument, in [0, 1), and so does time, in seconds.

A choice is made anew whenever endpoints come, go, or change their health; between two such moments it may remember its turn.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import Generic, Protocol, TypeVar

from meshcar.policy.balance_hash import Slots
from meshcar.rules.balancing import Balancing, Warmup
from meshcar.rules.snapshot import EndpointConfig


class Candidate(Protocol):
    """An endpoint that may be chosen: `active` requests run there, and it `joined` its cluster at a time in seconds."""

    active: int
    joined: float
    name: str
    config: EndpointConfig


E = TypeVar("E", bound=Candidate)
T = TypeVar("T")
Choice = Callable[[float, int | None, float], E]
"""Chooses, given chance, the request's hash (None: it has none) and the time."""


def choice(endpoints: Sequence[E], balancing: Balancing, roll: float, now: float, scale: Callable[[E], float] | None = None) -> Choice[E]:
    """How to choose among at least one endpoints. `scale`, for hashing only, multiplies their weights."""
    if balancing.hashed:
        weights = [one.config.weight * (scale(one) if scale else 1.0) for one in endpoints]
        return Slots(endpoints, [one.name for one in endpoints], weights, balancing.slots)
    if balancing.policy == "RANDOM":
        return Random(endpoints)
    busy, warmup = balancing.policy == "LEAST_REQUEST", balancing.warmup
    warming = warmup is not None and any(now - one.joined < warmup.seconds for one in endpoints)
    if warming or len({one.config.weight for one in endpoints}) > 1:
        return Turns(endpoints, _weigher(busy, warmup if warming else None), now, roll)
    return LeastRequest(endpoints) if busy else RoundRobin(endpoints, roll)


class Random(Generic[T]):
    """Any, with equal chance, whatever the weights, as Envoy."""

    def __init__(self, endpoints: Sequence[T]) -> None:
        self._endpoints = endpoints

    def __call__(self, roll: float, key: int | None, now: float) -> T:
        """See Choice."""
        return self._endpoints[int(roll * len(self._endpoints))]


class LeastRequest(Generic[E]):
    """The less busy of two chosen at random: Envoy's power of two choices."""

    def __init__(self, endpoints: Sequence[E]) -> None:
        self._endpoints = endpoints
        self._others = len(endpoints) - 1
        self._pairs = len(endpoints) * self._others

    def __call__(self, roll: float, key: int | None, now: float) -> E:
        """See Choice."""
        endpoints, others = self._endpoints, self._others
        if not others:
            return endpoints[0]
        first, second = divmod(int(roll * self._pairs), others)
        one, other = endpoints[first], endpoints[second + 1 if second >= first else second]
        return one if one.active <= other.active else other


class RoundRobin(Generic[T]):
    """One after the other, from a place that chance gives, so that many sidecars do not begin with the same one."""

    def __init__(self, endpoints: Sequence[T], roll: float = 0.0) -> None:
        self._endpoints = endpoints
        self._next = int(roll * len(endpoints))

    def __call__(self, roll: float, key: int | None, now: float) -> T:
        """See Choice."""
        at = self._next
        self._next = at + 1 if at + 1 < len(self._endpoints) else 0
        return self._endpoints[at]


class Turns(Generic[T]):
    """In turn by weight, as evenly mixed as can be: who has the earliest deadline is next, and waits 1 / weight for its next turn.

    Chance says how many turns are over already, so that many sidecars do not begin with the same one. A weight may change with time
    and load; it counts from its owner's next turn on. Source: Envoy's EDF scheduler.
    """

    def __init__(self, items: Sequence[T], weigh: Callable[[T, float], float], now: float, roll: float = 0.0) -> None:
        self._weigh = weigh
        self._queue = [(1 / weigh(item, now), index, item) for index, item in enumerate(items)]
        heapify(self._queue)
        for _ in range(int(roll * len(items))):
            self(roll, None, now)

    def __call__(self, roll: float, key: int | None, now: float) -> T:
        """See Choice."""
        deadline, index, item = self._queue[0]
        heapreplace(self._queue, (deadline + 1 / self._weigh(item, now), index, item))
        return item


def warmth(warmup: Warmup, age: float) -> float:
    """Which part of its weight an endpoint of `age` seconds has. Source: Envoy, "Slow start mode"."""
    if age >= warmup.seconds:
        return 1.0
    passed = max(age, 0.001) / warmup.seconds
    return float(max(passed ** (1 / warmup.aggression), warmup.minimum, 1e-6))


def _weigher(busy: bool, warmup: Warmup | None) -> Callable[[E, float], float]:
    """The weight of an endpoint now; with `busy`, less the more requests it runs (Envoy's active_request_bias 1)."""

    def weigh(one: E, now: float) -> float:
        weight = one.config.weight / (one.active + 1) if busy else one.config.weight
        return weight if warmup is None else weight * warmth(warmup, now - one.joined)

    return weigh
