"""How many retries are allowed."""

from meshcar.policy.breakers import Recent, most_retries
from meshcar.rules.policies import RetryBudget


def test_fixed() -> None:
    """Without a budget the limit counts, or there is none."""
    assert most_retries(7, None, 1000) == 7 and most_retries(None, None, 1000) is None


def test_budget() -> None:
    """A share of what is active, rounded down, but never less than its least; the fixed limit does not count."""
    assert [most_retries(1, RetryBudget(20.0, 3), active) for active in (0, 15, 19, 20, 25)] == [3, 3, 3, 4, 5]
    assert most_retries(None, RetryBudget(0.0, 0), 100) == 0


def test_recent() -> None:
    """Requests count for the interval, to a tenth of it."""
    recent = Recent(10.0)
    for now in (100.0, 100.5, 105.0):
        recent.begun(now)
    assert [recent.count(now) for now in (105.0, 109.9, 110.0, 114.9, 115.0)] == [3, 3, 1, 1, 0]


def test_memory() -> None:
    """However many, they are kept as ten numbers."""
    recent = Recent(1.0)
    for number in range(1000):
        recent.begun(number / 100)
    assert recent.count(9.99) == 100 and len(recent._parts) <= 10
