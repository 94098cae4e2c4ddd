"""Values that are kept while they are asked for."""

from collections import OrderedDict
from collections.abc import Hashable, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Latest(Generic[K, V]):
    """At most `most` values by key; whoever was not asked for longest goes first."""

    __slots__ = ("_held", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as asked for."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> V | None:
        """Keeps a value under a new key. Gives the one that has to go for it, if any."""
        self._held[key] = value
        return self._held.popitem(last=False)[1] if len(self._held) > self._most else None

    def values(self) -> ValuesView[V]:
        """All of them, the one that goes next first."""
        return self._held.values()
