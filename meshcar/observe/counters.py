"""Slots that the data path adds to; labels are bound once, long before."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from meshcar.observe.names import BUCKETS, COUNTER, GAUGE, HISTOGRAM, Metric

_PLACES = bytes(bisect_left(BUCKETS, value) for value in range(1001))
"""The places of small numbers, which most are; to look one up costs 0.05 µs, to search for it 0.24 (perf, between requests)."""


class Counter:
    """A number to add to: `counter.value += 1`. As a gauge it may also be set or go down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0.0


class Histogram:
    """How many observations fell into each of `BUCKETS` and beyond, and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum: float = 0.0

    def observe(self, value: int) -> None:
        """Counts one value under the smallest bound that is not below it."""
        self.counts[_PLACES[value] if 0 <= value < len(_PLACES) else bisect_left(BUCKETS, value)] += 1
        self.sum += value


Slot = Counter | Histogram | Callable[[], float]


class Slots(Protocol):
    """What is shown to people: the slots of one process, or of several."""

    def slots(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], Slot]]:
        """What was bound for a metric until now: label values and slot."""


class Counters:
    """All slots of a process, by metric and label values, in the order in which they were bound. A counter is never taken back."""

    def __init__(self) -> None:
        self._slots: dict[Metric, dict[tuple[str, ...], Slot]] = {}

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """The slot of a counter or gauge, always the same for the same labels."""
        assert metric.kind in (COUNTER, GAUGE), metric.name
        slot = self._of(metric, labels).setdefault(labels, Counter())
        assert isinstance(slot, Counter)
        return slot

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The slot of a histogram."""
        assert metric.kind == HISTOGRAM, metric.name
        slot = self._of(metric, labels).setdefault(labels, Histogram())
        assert isinstance(slot, Histogram)
        return slot

    def measure(self, metric: Metric, read: Callable[[], float], *labels: str) -> None:
        """A value that is asked for when somebody looks, instead of kept here."""
        self._of(metric, labels)[labels] = read

    def forget(self, metric: Metric, read: Callable[[], float], *labels: str) -> None:
        """There is nobody left to ask; unless another is asked since."""
        slots = self._of(metric, labels)
        if slots.get(labels) is read:
            del slots[labels]

    def slots(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], Slot]]:
        """What was bound for a metric until now: label values and slot. More may be bound meanwhile."""
        return iter(list(self._slots.get(metric, {}).items()))

    def _of(self, metric: Metric, labels: Sequence[str]) -> dict[tuple[str, ...], Slot]:
        assert len(labels) == len(metric.labels), (metric.name, labels)
        return self._slots.setdefault(metric, {})
