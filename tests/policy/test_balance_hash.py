"""Consistent hashing: stable, even, and moved as little as can be."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.policy.balance_hash import Hashing, Slots, hash_of, set_cookie
from meshcar.rules.balancing import Cookie, HashOn
from meshcar.wire.head import RequestHead

KEYS = [hash_of(b"user-%d" % number) for number in range(10_000)]


def table(names: list[str], count: int = 65537, weights: list[float] | None = None) -> Slots[str]:
    return Slots(names, names, weights or [1.0] * len(names), count)


def owners(slots: Slots[str]) -> list[str]:
    return [slots(0.0, key, 0.0) for key in KEYS]


NAMES = [f"10.0.0.{number}:8000" for number in range(5)]


@pytest.mark.parametrize("count", [16384, 65537])
def test_even(count: int) -> None:
    """Each of n endpoints gets 1/n of the keys, within four sigma of the keys and of the slots."""
    found = Counter(owners(table(NAMES, count)))
    share = len(KEYS) / 5
    sigma = (share * 0.8) ** 0.5 + share * (4 / count) ** 0.5
    assert all(abs(found[name] - share) < 4 * sigma for name in NAMES)


def test_weights() -> None:
    """Keys follow the weights."""
    found = Counter(owners(table(NAMES[:3], weights=[1.0, 2.0, 5.0])))
    for name, part in zip(NAMES, (1 / 8, 2 / 8, 5 / 8), strict=False):
        assert abs(found[name] - len(KEYS) * part) < 4 * (len(KEYS) * part * (1 - part)) ** 0.5 * 1.5


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 12), st.data())
def test_one_leaves(size: int, data: st.DataObject) -> None:
    """The keys of who left move, and no others; about 1/n of all."""
    names = [f"10.1.0.{number}:80" for number in range(size)]
    gone = data.draw(st.sampled_from(names))
    before, after = owners(table(names)), owners(table([name for name in names if name != gone]))
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) <= {gone} and abs(len(moved) - len(KEYS) / size) < 5 * (len(KEYS) / size) ** 0.5


def test_one_comes() -> None:
    """Keys move only to who is new."""
    before, after = owners(table(NAMES[:4])), owners(table(NAMES))
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {NAMES[4]}


def test_one_weighs_more() -> None:
    """Keys move only to who gained."""
    before, after = owners(table(NAMES, weights=[1, 1, 1, 1, 1.0])), owners(table(NAMES, weights=[1, 1, 1, 1, 2.0]))
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {NAMES[4]}


def test_order_does_not_matter() -> None:
    """Nor does the process: two sidecars agree."""
    assert owners(table(NAMES)) == owners(table(NAMES[::-1]))
    assert hash_of(b"istio") == 0x21DE5B7F2B777AA5


def test_without_a_key() -> None:
    """A request that has nothing to hash goes anywhere."""
    slots = table(NAMES)
    found = Counter(slots(number / 1000, None, 0.0) for number in range(1000))
    assert set(found) == set(NAMES)


# -- what of a request is hashed


def head(*headers: tuple[bytes, bytes], target: bytes = b"/") -> RequestHead:
    return RequestHead(b"GET", target, b"shop:80", list(headers))


def hashing(*wanted: HashOn) -> Hashing:
    return Hashing(wanted, lambda: "10.0.0.1", "10.0.0.1:5:10.0.0.2:80")


def key(request: RequestHead, *wanted: HashOn) -> int | None:
    return hashing(*wanted).key(request)


USER, SESSION, QUERY = HashOn("header", b"x-user"), HashOn("cookie", b"s", Cookie()), HashOn("query", b"q")


def test_header() -> None:
    """The value counts; of several lines all of them, in any order; an empty one is a value, a missing one none."""
    assert key(head((b"x-user", b"a")), USER) == key(head((b"x-user", b"a"), (b"y", b"z")), USER) == hash_of(b"a")
    assert key(head((b"x-user", b"a"), (b"x-user", b"b")), USER) == key(head((b"x-user", b"b"), (b"x-user", b"a")), USER)
    assert key(head((b"x-user", b"a"), (b"x-user", b"b")), USER) != key(head((b"x-user", b"a")), USER)
    assert key(head((b"x-user", b"")), USER) == hash_of(b"") and key(head(), USER) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [(b":authority", b"shop:80"), (b":path", b"/a?b"), (b":method", b"GET"), (b":scheme", b"http"), (b"host", b"shop:80")],
)
def test_request_line(name: bytes, value: bytes) -> None:
    """Pseudo-headers are what Envoy calls the parts of a request line."""
    assert key(head(target=b"/a?b"), HashOn("header", name)) == hash_of(value)


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/?q=a", b"a"),
        (b"/?p=1&q=a%20b", b"a%20b"),
        (b"/?q=a&q=b", b"a"),
        (b"/?q=", b""),
        (b"/?q", b""),
        (b"/?Q=a", None),
        (b"/", None),
        (b"/q=a", None),
    ],
)
def test_query(target: bytes, value: bytes | None) -> None:
    """The first of that name, not decoded; as a real Envoy 1.40 does."""
    assert key(head(target=target), QUERY) == (None if value is None else hash_of(value))


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ([b"s=a"], b"a"),
        ([b"x=1; s=a; s=b"], b"a"),
        ([b"x=1", b's="a"'], b"a"),
        ([b"s="], None),
        ([b"ss=a"], None),
        ([], None),
    ],
)
def test_cookie(cookies: list[bytes], value: bytes | None) -> None:
    """The first of that name, without quotes; an empty one is none."""
    made = hashing(SESSION)
    assert made.key(head(*((b"cookie", one) for one in cookies))) == (None if value is None else hash_of(value))
    assert made.cookies == []


def test_a_cookie_is_made() -> None:
    """With a ttl, once for a request, whatever the number of its tries; the same for all requests of a connection."""
    wanted = HashOn("cookie", b"s", Cookie(b"/a", 60))
    one, other = hashing(wanted), hashing(wanted)
    assert one.key(head()) == one.key(head()) == other.key(head()) is not None
    assert one.cookies == other.cookies and len(one.cookies) == 1
    value = one.cookies[0].split(b'"')[1]
    assert len(value) == 16 and one.key(head()) == hash_of(value)
    assert hashing(wanted).key(head((b"cookie", b"s=" + value))) == hash_of(value)


@pytest.mark.parametrize(
    ("cookie", "text"),
    [
        (Cookie(b"/a", 60), b's="v"; Max-Age=60; Path=/a; HttpOnly'),
        (Cookie(b"", 0), b's="v"; HttpOnly'),
        (
            Cookie(b"/", 3600, ((b"SameSite", b"Strict"), (b"Secure", b""), (b"Domain", b"a.b"))),
            b's="v"; Max-Age=3600; Path=/; SameSite=Strict; Secure; Domain=a.b; HttpOnly',
        ),
    ],
)
def test_set_cookie(cookie: Cookie, text: bytes) -> None:
    """Byte for byte what a real Envoy 1.40 wrote for these, but for the value."""
    assert set_cookie(HashOn("cookie", b"s", cookie), b"v") == text


def test_source() -> None:
    """The client's address, without its port."""
    assert key(head(), HashOn("source_ip")) == hash_of(b"10.0.0.1")


def test_several() -> None:
    """A route with several hashes combines what the request has of them; the order counts."""
    both = head((b"x-user", b"a"), target=b"/?q=b")
    assert key(both, USER, QUERY) not in (None, hash_of(b"a"), hash_of(b"b"), key(both, QUERY, USER))
    assert key(head((b"x-user", b"a")), USER, QUERY) == hash_of(b"a")
    assert key(head(), USER, QUERY) is None
