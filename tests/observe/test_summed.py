"""What several processes counted, as one."""

import json

import pytest

from meshcar.observe.counters import Counter, Counters, Histogram
from meshcar.observe.names import ACTIVE, CONNECTIONS, DURATION, HANDSHAKES, METRICS, MIRRORED
from meshcar.observe.prometheus import exposition
from meshcar.observe.stats import stats
from meshcar.observe.summed import Row, Summed, Teller, hear, keep

LABELS = ["x"] * len(DURATION.labels)


def process(connections: int, active: int, *durations: float) -> Counters:
    """What one process counted."""
    counters = Counters()
    counters.counter(CONNECTIONS, "outbound").value = connections
    counters.measure(ACTIVE, lambda: active, "outbound")
    for duration in durations:
        counters.histogram(DURATION, *LABELS).observe(duration)
    return counters


def told(teller: Teller) -> list[Row]:
    """As it comes over a channel."""
    return [*json.loads(json.dumps([row for row in teller.changes() if row is not None]))]


def heard(*tables: Counters) -> list[Counters]:
    """What others know of them."""
    found = [Counters() for _ in tables]
    for table, known in zip(tables, found, strict=True):
        hear(known, told(Teller(table)))
    return found


def value(slots: Summed | Counters, metric: object, *labels: str) -> object:
    ((_, slot),) = [one for one in slots.slots(metric) if one[0] == labels]  # type: ignore[arg-type]
    if isinstance(slot, Histogram):
        return slot.counts, slot.sum
    return slot.value if isinstance(slot, Counter) else slot()


def test_sum() -> None:
    """Counters, gauges and histograms add up; a slot that one process alone has is shown as it is there."""
    one, other = process(3, 1, 4, 600), process(4, 2, 4)
    other.counter(MIRRORED, "a", "", "2xx").value = 9
    whole = Summed(heard(one, other))
    assert (value(whole, CONNECTIONS, "outbound"), value(whole, ACTIVE, "outbound")) == (7, 3)
    assert value(whole, MIRRORED, "a", "", "2xx") == 9
    counts, total = value(whole, DURATION, *LABELS)  # type: ignore[misc]
    assert (sum(counts), total) == (3, 608)
    assert value(Summed([one]), DURATION, *LABELS) == ([0, 0, 1, 0, 0, 0, 0, 0, 0, 1, *[0] * 10], 604)


def test_shown_as_one_process() -> None:
    """The text of two processes that share the work is that of one that does all of it."""
    parts, whole = [process(3, 1, 4), process(4, 2, 600)], process(7, 3, 4, 600)
    assert exposition(Summed(parts)) == exposition(whole)
    assert [(stat.name, stat.kind) for stat in stats(Summed(parts))] == [(stat.name, stat.kind) for stat in stats(whole)]


def test_only_changes_are_told() -> None:
    """And what did not change is a place to pause."""
    counters = process(3, 1, 4)
    teller = Teller(counters)
    assert len(told(teller)) == 3
    assert list(teller.changes()) == [None] * 3
    counters.counter(CONNECTIONS, "outbound").value += 1
    assert told(teller) == [[CONNECTIONS.name, ["outbound"], 4]]


def test_bound_while_told() -> None:
    """The data path goes on binding slots between two steps."""
    counters = process(3, 1)
    changes = Teller(counters).changes()
    next(changes)
    counters.counter(CONNECTIONS, "inbound").value = 1
    assert len(list(changes)) == 1


def test_gone() -> None:
    """What a process that ended had counted stays in the sums, once; what it had open does not."""
    departed, known = Counters(), heard(process(3, 1, 4))[0]
    keep(departed, known)
    keep(departed, heard(process(1, 1, 5))[0])
    whole = Summed([departed, process(10, 5)])
    assert (value(whole, CONNECTIONS, "outbound"), value(whole, ACTIVE, "outbound")) == (14, 5)
    assert value(whole, DURATION, *LABELS)[1] == 9  # type: ignore[index]


@pytest.mark.parametrize("row", [["no_such_metric", [], 1], [HANDSHAKES.name, ["inbound"], 1]])
def test_not_told_so(row: Row) -> None:
    """A metric that there is not, or with other labels: a process of another version."""
    with pytest.raises(ValueError, match="no metric"):
        hear(Counters(), [row])


def test_names_differ() -> None:
    """Rows go by the metric's name alone."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
