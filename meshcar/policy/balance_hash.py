"""Consistent hashing: the same key finds the same endpoint, and one that comes or goes moves only its own share of keys.

A table has a number of slots; a key falls into one, and an endpoint owns it: the one that scores highest for it (rendezvous hashing,
Thaler and Ravishankar 1998). Owners are found when somebody asks, so no table is ever built at once; an endpoint that leaves takes
no key from others. Ring hash and Maglev differ in their number of slots alone.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from math import log
from typing import Generic, TypeVar

from meshcar.rules.balancing import HashOn
from meshcar.rules.matchers import first_query_value
from meshcar.wire.head import PSEUDO_HEADERS, RequestHead

T = TypeVar("T")
_MASK = (1 << 64) - 1


class Slots(Generic[T]):
    """The table of a cluster: two bytes a slot, four where it has over 65,000 endpoints. `names` are what endpoints score by."""

    def __init__(self, endpoints: Sequence[T], names: Sequence[str], weights: Sequence[float], count: int) -> None:
        self._endpoints = endpoints
        self._seeds = [hash_of(name.encode()) for name in names]
        self._weights = None if len(set(weights)) == 1 else weights
        self._count = count
        self._owners = array("H" if len(endpoints) < 0xFFFF else "I", bytes(count * (2 if len(endpoints) < 0xFFFF else 4)))

    def __call__(self, roll: float, key: int | None, now: float) -> T:
        """The endpoint of a key; of a request without one any, as Envoy."""
        slot = (int(roll * (1 << 53)) if key is None else key) % self._count
        owner = self._owners[slot]
        if not owner:
            owner = self._owners[slot] = 1 + self._owner(slot)
        return self._endpoints[owner - 1]

    def _owner(self, slot: int) -> int:
        base = slot * 0x9E3779B97F4A7C15
        scores = [_mixed(seed, base) for seed in self._seeds]
        if self._weights is not None:
            weighed = [weight / -log((score + 0.5) / (1 << 64)) for score, weight in zip(scores, self._weights, strict=True)]
            return weighed.index(max(weighed))
        return scores.index(max(scores))


def _mixed(seed: int, base: int) -> int:
    """64 bits that depend on all bits of both. Source: the finalizer of SplitMix64."""
    z = (seed + base) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def hash_of(value: bytes) -> int:
    """64 bits, the same in every process."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")


class Hashing:
    """Computes the key of one request by what its route hashes, and notes the cookies that it makes for the answer.

    `client` is the address that the request came from; `connection` names it, so that requests of one connection that race get the
    same cookie.
    """

    def __init__(self, wanted: Iterable[HashOn], client: Callable[[], str], connection: str) -> None:
        self._wanted, self._client, self._connection = wanted, client, connection
        self._key: int | None = None
        self._known = False
        self.cookies: list[bytes] = []

    def key(self, head: RequestHead) -> int | None:
        """The hash of all that the request has, the same for each of its tries; None if it has nothing.

        Source: Envoy's HashPolicyImpl.
        """
        if not self._known:
            self._known, self._key = True, self._compute(head)
        return self._key

    def _compute(self, head: RequestHead) -> int | None:
        key: int | None = None
        for one in self._wanted:
            value = self._value(one, head)
            if value is not None:
                found = hash_of(value)
                key = found if key is None else ((key << 1 | key >> 63) & _MASK) ^ found
        return key

    def _value(self, one: HashOn, head: RequestHead) -> bytes | None:
        if one.kind == "header":
            return _header(head, one.name)
        if one.kind == "query":
            return first_query_value(head.query, one.name)
        if one.kind == "source_ip":
            return self._client().encode()
        found = next(_cookie_values(head, one.name), None)
        if found is None and one.cookie is not None and one.cookie.ttl is not None:
            found = b"%016x" % hash_of(self._connection.encode())
            self.cookies.append(set_cookie(one, found))
        return found


def set_cookie(wanted: HashOn, value: bytes) -> bytes:
    """The value of a Set-Cookie header, in Envoy's words and order."""
    cookie = wanted.cookie
    assert cookie is not None
    parts = [b'%b="%b"' % (wanted.name, value)]
    if cookie.ttl:
        parts.append(b"Max-Age=%d" % cookie.ttl)
    if cookie.path:
        parts.append(b"Path=" + cookie.path)
    parts += [b"%b=%b" % (name, text) if text else name for name, text in cookie.attributes]
    return b"; ".join((*parts, b"HttpOnly"))


def _header(head: RequestHead, name: bytes) -> bytes | None:
    """A header's value; of several lines all, in any order. Envoy knows the request line as pseudo-headers."""
    pseudo = PSEUDO_HEADERS.get(name)
    if pseudo is not None:
        return pseudo(head)
    values = head.get_all(name)
    return b"\0".join(sorted(values)) if values else None


def _cookie_values(head: RequestHead, name: bytes) -> Iterator[bytes]:
    """The values of a cookie that are not empty, without quotes (RFC 6265, section 4.2.1)."""
    for line in head.get_all(b"cookie"):
        for part in line.split(b";"):
            key, _, value = part.strip().partition(b"=")
            value = value.strip(b'"')
            if key == name and value:
                yield value
