"""The slots of several processes as one table, and how one process tells another what its slots hold."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from meshcar.observe.counters import Counter, Counters, Histogram, Slot
from meshcar.observe.names import GAUGE, METRICS, Metric

Row = list[Any]
"""One slot as JSON can say it: the metric's name, label values, and a number, or the counts of a histogram's buckets and their sum."""

_BY_NAME = {metric.name: metric for metric in METRICS}


class Summed:
    """Reads several tables of slots as one; what is counted is added up when somebody looks."""

    def __init__(self, tables: Sequence[Counters]) -> None:
        self._tables = tables

    def slots(self, metric: Metric) -> Iterator[tuple[tuple[str, ...], Slot]]:
        """As those of Counters. The sums are made one by one, as they are asked for."""
        found = [dict(table.slots(metric)) for table in self._tables]
        for labels in dict.fromkeys(chain.from_iterable(found)):
            same = [one[labels] for one in found if labels in one]
            yield labels, same[0] if len(same) == 1 else _sum(same)


def _sum(slots: Sequence[Slot]) -> Slot:
    if isinstance(slots[0], Histogram):
        whole = Histogram()
        for one in slots:
            assert isinstance(one, Histogram)
            _add(whole, one.counts, one.sum)
        return whole
    total = Counter()
    total.value = sum(_number(slot) for slot in slots)
    return total


class Teller:
    """A process's side: each time the slots that changed since the last."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._told: dict[tuple[str, tuple[str, ...]], Any] = {}

    def changes(self) -> Iterator[Row | None]:
        """Rows, and None for a slot that is as it was: a place to pause."""
        for metric in METRICS:
            seen = self._told
            for labels, slot in self._counters.slots(metric):
                value = [*slot.counts, slot.sum] if isinstance(slot, Histogram) else _number(slot)
                if seen.get((metric.name, labels)) == value:
                    yield None
                else:
                    seen[metric.name, labels] = value
                    yield [metric.name, labels, value]


def hear(counters: Counters, rows: Sequence[Row]) -> None:
    """Puts what a Teller told into a table of its own. Raises ValueError for what no Teller tells."""
    for name, labels, value in rows:
        metric = _BY_NAME.get(name)
        if metric is None or len(labels) != len(metric.labels):
            raise ValueError(f"no metric {name} with {len(labels)} labels")
        if isinstance(value, list):
            histogram = counters.histogram(metric, *labels)
            histogram.counts, histogram.sum = value[:-1], value[-1]
        else:
            counters.counter(metric, *labels).value = value


def keep(counters: Counters, gone: Counters) -> None:
    """Adds what a process that is no more has counted, so that sums never go down. Its gauges went with it."""
    for metric in METRICS:
        if metric.kind == GAUGE:
            continue
        for labels, slot in gone.slots(metric):
            if isinstance(slot, Histogram):
                _add(counters.histogram(metric, *labels), slot.counts, slot.sum)
            else:
                counters.counter(metric, *labels).value += _number(slot)


def _add(whole: Histogram, counts: Sequence[int], total: float) -> None:
    whole.counts = [one + other for one, other in zip(whole.counts, counts, strict=True)]
    whole.sum += total


def _number(slot: Slot) -> float:
    assert not isinstance(slot, Histogram)
    return slot.value if isinstance(slot, Counter) else slot()
