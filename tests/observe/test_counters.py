"""Tests of meshcar.observe.counters."""

import pytest

from meshcar.observe.counters import Counters, Histogram
from meshcar.observe.names import ACTIVE, BUCKETS, DURATION, GENERATION


def test_bound_once() -> None:
    """The same labels give the same slot, other labels another one."""
    counters = Counters()
    slot = counters.counter(ACTIVE, "a")
    slot.value += 1
    assert counters.counter(ACTIVE, "a") is slot
    assert counters.counter(ACTIVE, "b") is not slot
    assert [labels for labels, _ in counters.slots(ACTIVE)] == [("a",), ("b",)]


def test_measured() -> None:
    """A measure may be put in another's place."""
    counters = Counters()
    counters.measure(GENERATION, lambda: 1)
    counters.measure(GENERATION, lambda: 2)
    ((labels, read),) = counters.slots(GENERATION)
    assert labels == () and callable(read) and read() == 2


def test_wrong_use() -> None:
    """A slot of the wrong kind, or with labels missing, is our own mistake."""
    counters = Counters()
    for wrong in (lambda: counters.counter(DURATION), lambda: counters.histogram(ACTIVE, "a"), lambda: counters.counter(ACTIVE)):
        with pytest.raises(AssertionError):
            wrong()


def test_histogram_bounds() -> None:
    """A value on a bound belongs to it; what is beyond all has a place too."""
    slot = Histogram()
    for bound in (-1, *BUCKETS[1:]):  # the first is no whole number; a clock that was set back makes a negative one
        slot.observe(int(bound))
    slot.observe(int(BUCKETS[-1]) + 1)
    assert slot.counts == [1] * (len(BUCKETS) + 1)
    for bound in BUCKETS[1:-1]:
        slot.observe(int(bound) + 1)
    assert slot.counts == [1, 1, *[2] * (len(BUCKETS) - 2), 1]
