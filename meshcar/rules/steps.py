"""Work that can pause: done in one go by a command, in slices by a process that has traffic to serve meanwhile."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work that pauses at each `yield`, after a millisecond or less, and returns its result in the end."""


def finish(steps: Generator[object, None, T]) -> T:
    """The result, without a pause."""
    while True:
        try:
            assert next(steps) is None, "nobody waits here"
        except StopIteration as done:
            result: T = done.value
            return result


def discarded(things: list[object]) -> Steps[None]:
    """Lets go of things one by one: to free a whole generation of rules in one go takes a tenth of a second."""
    while things:
        things.pop()
        yield
