"""A value that is replaced whole: readers get it, its one owner swaps it."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Current(Generic[T]):
    """The one live value of something that is compiled first and swapped second.

    Readers call `get()` once per request and keep what they got to its end; nobody edits a live value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def get(self) -> T:
        """The value in force now."""
        return self._value

    def swap(self, value: T) -> T:
        """Puts `value` in force and returns the one it replaced."""
        old, self._value = self._value, value
        return old
