"""Deadlines that share a timer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from meshcar.net.timeouts import MOST_QUEUES, Timeout, Timeouts


def test_in_order() -> None:
    """Each expires when its own time is up, whatever the others do, and one timer serves a duration."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    timeouts.after(2.0, lambda: seen.append("first"))
    clock.advance(1)
    timeouts.after(2.0, lambda: seen.append("second"))
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(1)
    assert seen == ["first"]
    clock.advance(1)
    assert seen == ["first", "second"]
    assert clock.getDelayedCalls() == []


def test_cancelled() -> None:
    """What was cancelled does not expire; cancelling twice, or what has expired, is nothing."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    cancelled, other = timeouts.after(1.0, lambda: seen.append("no")), timeouts.after(1.0, lambda: seen.append("yes"))
    cancelled.cancel()
    cancelled.cancel()
    clock.advance(1)
    other.cancel()
    assert seen == ["yes"]


def test_cancelled_by_another() -> None:
    """One that expires may cancel one that would expire in the same moment."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    victims: list[Timeout] = []
    timeouts.after(1.0, lambda: victims.pop().cancel())
    victims.append(timeouts.after(1.0, lambda: seen.append("victim")))
    clock.advance(1)
    assert seen == []


def test_begun_by_another() -> None:
    """One begun by a callback of the same duration does not delay those that were there before."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    timeouts.after(10.0, lambda: timeouts.after(10.0, lambda: seen.append("late")))
    clock.advance(1)
    timeouts.after(10.0, lambda: seen.append("early"))
    clock.advance(9)
    clock.advance(1)
    assert seen == ["early"]
    clock.advance(9)
    assert seen == ["early", "late"]


def test_a_callback_raises() -> None:
    """The others still expire."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    timeouts.after(1.0, lambda: 1 // 0)
    timeouts.after(1.0, lambda: seen.append("other"))
    with pytest.raises(ZeroDivisionError):
        clock.advance(1)
    clock.advance(0)
    assert seen == ["other"]


def test_nothing_is_kept() -> None:
    """Durations that are not in use cost nothing."""
    clock = Clock()
    timeouts = Timeouts(clock)
    for milliseconds in range(100):
        timeouts.after(milliseconds / 1000, lambda: None).cancel()
    clock.advance(1)
    assert timeouts._queues == {} and clock.getDelayedCalls() == []


@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 2), st.booleans()), max_size=30))
def test_every_one_at_its_time(plan: list[tuple[float, int, bool]]) -> None:
    """Whatever begins and is cancelled in whatever order, each of the others expires exactly when due."""
    clock, seen, due = Clock(), [], []
    timeouts = Timeouts(clock)
    for seconds, halves, cancelled in plan:
        moment = clock.seconds() + seconds
        timeout = timeouts.after(seconds, lambda moment=moment: seen.append((moment, clock.seconds())))
        if cancelled:
            timeout.cancel()
        else:
            due.append(moment)
        clock.pump([0.5] * halves)
    clock.pump([0.5] * 8)
    assert [moment for moment, _ in seen] == sorted(due)
    assert all(moment == now for moment, now in seen)


def test_any_number_of_durations() -> None:
    """Whatever durations clients ask for, nothing is kept of deadlines that are over; those of their own expire and end like others."""
    clock, seen = Clock(), []
    timeouts = Timeouts(clock)
    for number in range(1, 1000):
        timeouts.after(3000 + number / 1000, lambda: seen.append("no")).cancel()
    timeouts.after(1e12, lambda: seen.append("no")).cancel()
    assert len(timeouts._queues) == MOST_QUEUES and len(clock.getDelayedCalls()) == MOST_QUEUES
    alone = timeouts.after(1.5, lambda: seen.append("yes"))
    clock.advance(2)
    alone.cancel()
    assert seen == ["yes"]
