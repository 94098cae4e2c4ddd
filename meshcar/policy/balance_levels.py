"""Priorities and localities: which endpoints take part at all, and how requests are divided between groups of them.

Source: Envoy, "Priority levels", "Locality weighted load balancing", "Panic threshold".
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import attrs

from meshcar.policy.balance import Candidate, Choice, Turns, choice
from meshcar.rules.balancing import Balancing

_OVERPROVISIONED = 140
"""Percent: a priority takes all requests while 1 / 1.4 of it is healthy."""


class Ejectable(Candidate, Protocol):
    """A candidate that may be out for some time."""

    @property
    def ejected(self) -> bool:
        """Whether it is out."""


E = TypeVar("E", bound=Ejectable)


@attrs.frozen
class Level(Generic[E]):
    """A priority that gets `share` percent of the requests. `usable` are who gets them; of `everybody` some may be ejected."""

    share: int
    usable: Sequence[E]
    everybody: Sequence[E]
    panics: bool = False


def levels(endpoints: Iterable[E], panic: float, without: Collection[int] = ()) -> list[Level[E]]:
    """The priorities that get requests, the first one first; those of `without` only if there are no others."""
    tiers: dict[int, list[E]] = {}
    for one in endpoints:
        tiers.setdefault(one.config.priority, []).append(one)
    chosen = [tiers[priority] for priority in sorted(tiers) if priority not in without]
    groups = chosen or [tiers[priority] for priority in sorted(tiers)]
    healthy = [[one for one in group if not one.ejected] for group in groups]
    reach = [min(100, _OVERPROVISIONED * len(fit) // len(group)) for fit, group in zip(healthy, groups, strict=True)]
    lacking = sum(reach) < 100
    panics = [lacking and 100 * len(fit) < panic * len(group) for fit, group in zip(healthy, groups, strict=True)]
    shares = _portions([len(group) for group in groups]) if groups and all(panics) else _shares(reach)
    parts = zip(shares, healthy, groups, panics, strict=True)
    return [Level(share, group if wild else fit, group, wild) for share, fit, group, wild in parts if share and (wild or fit)]


def arrange(found: Sequence[Level[E]], balancing: Balancing, roll: float, now: float) -> Choice[E]:
    """How to choose among the endpoints of at least one level."""
    choices = [_within(level, balancing, roll, now) for level in found]
    return choices[0] if len(found) == 1 else Levels([level.share for level in found], choices)


class Levels(Generic[E]):
    """Divides requests between priorities, by chance or by their hash."""

    def __init__(self, shares: Sequence[int], choices: Sequence[Choice[E]]) -> None:
        self._parts = tuple(zip(shares, choices, strict=True))
        self._total = sum(shares)

    def __call__(self, roll: float, key: int | None, now: float) -> E:
        """See Choice."""
        at = roll * self._total if key is None else (key >> 40) % self._total
        for share, chosen in self._parts:
            if at < share:
                return chosen(at / share if key is None else roll, key, now)
            at -= share
        raise AssertionError("a roll lies below 1")


def _within(level: Level[E], balancing: Balancing, roll: float, now: float) -> Choice[E]:
    """Among the endpoints of one level; by locality where localities have weights, unless it is in panic."""
    if not balancing.localities or level.panics:
        return choice(level.usable, balancing, roll, now)
    priority = level.everybody[0].config.priority
    weights = {locality: weight for rank, locality, weight in balancing.localities if rank == priority}
    groups: dict[str, list[E]] = {}
    for one in level.usable:
        groups.setdefault(one.config.locality, []).append(one)
    sizes = {name: sum(one.config.locality == name for one in level.everybody) for name in groups}
    parts = {
        name: weights.get(name, 0) * min(1.0, _OVERPROVISIONED / 100 * len(group) / sizes[name]) for name, group in groups.items()
    }
    taking = [name for name in groups if parts[name] > 0]
    if not taking:
        return choice(level.usable, balancing, roll, now)
    if balancing.hashed:
        sums = {name: sum(one.config.weight for one in groups[name]) for name in taking}
        members = [one for one in level.usable if parts[one.config.locality] > 0]
        return choice(members, balancing, roll, now, lambda one: parts[one.config.locality] / sums[one.config.locality])
    if len(taking) == 1:
        return choice(groups[taking[0]], balancing, roll, now)
    return Localities([(parts[name], choice(groups[name], balancing, roll, now)) for name in taking], now, roll)


class Localities(Generic[E]):
    """Localities in turn by their weights; within one by the cluster's policy."""

    def __init__(self, parts: Sequence[tuple[float, Choice[E]]], now: float, roll: float) -> None:
        self._turns = Turns(parts, lambda part, _: part[0], now, roll)

    def __call__(self, roll: float, key: int | None, now: float) -> E:
        """See Choice."""
        return self._turns(roll, key, now)[1](roll, key, now)


def _shares(reach: Sequence[int]) -> list[int]:
    """Percent of the requests for each priority: as much as it can take, from the first on."""
    available, left, shares = min(100, sum(reach)), 100, []
    if not available:
        return [100, *(0 for _ in reach[1:])] if reach else []
    for one in reach:
        share = min(left, one * 100 // available)
        left -= share
        shares.append(share)
    first = next(index for index, one in enumerate(reach) if one)
    shares[first] += left
    return shares


def _portions(sizes: Sequence[int]) -> list[int]:
    """Percent by size, where every priority is in panic."""
    total = sum(sizes)
    shares = [100 * size // total for size in sizes]
    shares[0] += 100 - sum(shares)
    return shares
