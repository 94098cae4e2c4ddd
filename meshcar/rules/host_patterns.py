"""Host patterns: names, `*` before a domain (`*.example.com`) or before a part of a label (`*-api.example.com`), and `*`, any.

Which pattern covers which host or pattern is said here alone. Source: Istio's host.Name and MostSpecificHostMatch.
"""

from bisect import insort
from collections.abc import Iterator
from operator import neg
from typing import Generic, TypeVar

T = TypeVar("T")

HOW_ENVOY_TAKES_IT = "Envoy refuses a listener where a wildcard for a part of a label is a server name; here it counts as others do"
"""What to warn of where such a wildcard may become the name of a filter chain."""


def covers(pattern: str, host: str) -> bool:
    """Whether a host, wildcard or not, lies within a pattern. Source: Istio's host.Name.SubsetOf."""
    return pattern == host or (pattern.startswith("*") and host.removeprefix("*").endswith(pattern[1:]))


def overlap(one: str, other: str) -> bool:
    """Whether a host may be meant by both of two patterns. Source: Istio's host.Name.Matches."""
    return covers(one, other) or covers(other, one)


def is_partial(host: str) -> bool:
    """Whether a wildcard stands for a part of a label, as in `*-api.example.com`."""
    return host.startswith("*") and host[1:2] not in ("", ".")


class HostTable(Generic[T]):
    """What stands under host patterns.

    A look-up takes a step for each length that a wildcard of the table has, however many wildcards there are; names have 255
    characters at most.
    """

    __slots__ = ("_lengths", "_values")

    def __init__(self) -> None:
        self._values: dict[str, T] = {}
        self._lengths: list[int] = []  # of what wildcards have behind their *, the longest first

    def setdefault(self, pattern: str, value: T) -> T:
        """What stands under a pattern; the value, if nothing did."""
        if pattern.startswith("*") and pattern not in self._values:
            length = len(pattern) - 1
            if length not in self._lengths:
                insort(self._lengths, length, key=neg)
        return self._values.setdefault(pattern, value)

    def get(self, pattern: str) -> T | None:
        """What stands under the very pattern."""
        return self._values.get(pattern)

    def __getitem__(self, pattern: str) -> T:
        return self._values[pattern]

    def covering(self, host: str, least: int = 0) -> Iterator[str]:
        """The patterns that cover a host or a pattern, the nearest first: itself, then the longest wildcard.

        `least` is how many characters a wildcard must stand for.
        """
        if host in self._values:
            yield host
        end = len(host)
        most = end - max(least, host.startswith("*"))
        for length in self._lengths:
            if length <= most:
                pattern = "*" + host[end - length :]
                if pattern in self._values and pattern != host:
                    yield pattern

    def nearest(self, host: str, least: int = 0) -> T | None:
        """What stands under the nearest pattern that covers a host or a pattern."""
        found = self._values.get(host)
        if found is not None or not self._lengths:
            return found
        return next((self._values[pattern] for pattern in self.covering(host, least)), None)
