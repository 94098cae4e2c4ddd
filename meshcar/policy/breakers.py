"""How many retries a cluster allows, by a fixed number or by a share of its requests. Source: Envoy's circuit breakers."""

from collections import deque

from meshcar.rules.policies import RetryBudget

_SLICES = 10
"""An interval is counted in so many parts: requests leave it part by part."""


class Recent:
    """How many requests began within the last `interval` seconds, in bounded memory. `now` in seconds."""

    def __init__(self, interval: float) -> None:
        self._width = interval / _SLICES
        self._parts: deque[list[int]] = deque()  # [which part of time, how many]

    def begun(self, now: float) -> None:
        """One more."""
        part = int(now / self._width)
        if not self._parts or self._parts[-1][0] != part:
            self._forget(part)
            self._parts.append([part, 0])
        self._parts[-1][1] += 1

    def count(self, now: float) -> int:
        """How many there are."""
        self._forget(int(now / self._width))
        return sum(many for _, many in self._parts)

    def _forget(self, part: int) -> None:
        while self._parts and self._parts[0][0] <= part - _SLICES:
            self._parts.popleft()


def most_retries(limit: int | None, budget: RetryBudget | None, active: int) -> int | None:
    """How many requests may be in a further try at a time; None is any number. `active` are all that count for a budget."""
    if budget is None:
        return limit
    return max(int(budget.percent / 100.0 * active), budget.least)
