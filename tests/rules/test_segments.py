"""Paths by segments."""

import pytest

from meshcar.rules.schema_gateway import PathMatch
from meshcar.rules.segments import on_path, path_condition, replaced_prefix
from meshcar.wire.head import RequestHead


def holds(kind: str, value: str, target: bytes) -> bool:
    condition = path_condition(PathMatch(kind, value))  # type: ignore[arg-type]
    return condition is None or condition.holds(RequestHead(b"GET", target, b"a", []))


@pytest.mark.parametrize(
    ("prefix", "yes", "no"),
    [
        ("/", b"/ /a /a/b?c", b""),
        ("/foo", b"/foo /foo/ /foo/bar /foo?x=1 /foo/?x /foo//", b"/foobar /fo /Foo / /x/foo /foo%2Fbar /?/foo"),
        ("/foo/", b"/foo /foo/ /foo/bar", b"/foobar"),
        ("/a/b", b"/a/b /a/b/c", b"/a /a/bc"),
    ],
)
def test_prefix(prefix: str, yes: bytes, no: bytes) -> None:
    """It ends where a segment does; a slash at its own end does not count."""
    assert [target for target in yes.split() if not holds("PathPrefix", prefix, target)] == []
    assert [target for target in no.split() if holds("PathPrefix", prefix, target)] == []


def test_exact_and_pattern() -> None:
    """The whole path, without the query."""
    assert holds("Exact", "/a/", b"/a/?b") and not holds("Exact", "/a", b"/a/") and not holds("Exact", "/a", b"/A")
    assert holds("RegularExpression", "/a[0-9]+", b"/a12?b") and not holds("RegularExpression", "/a", b"/a/b")


def test_words() -> None:
    """For people."""
    found = [path_condition(PathMatch(kind, "/a/")) for kind in ("Exact", "PathPrefix", "RegularExpression")]  # type: ignore[arg-type]
    assert [(one.field, one.wanted) for one in found if one] == [("path", 'exact "/a/"'), ("path", 'prefix "/a"'), ("path", 'regex "/a/"')]
    assert [one.found(RequestHead(b"GET", b"/b?c", b"a", [])) for one in found if one] == [b"/b"] * 3


@pytest.mark.parametrize(
    ("path", "prefix", "new", "wanted"),
    [
        (b"/foo/bar", "/foo", "/xyz", b"/xyz/bar"),
        (b"/foo/bar", "/foo", "/xyz/", b"/xyz/bar"),
        (b"/foo/bar", "/foo/", "/xyz", b"/xyz/bar"),
        (b"/foo/bar", "/foo/", "/xyz/", b"/xyz/bar"),
        (b"/foo", "/foo", "/xyz", b"/xyz"),
        (b"/foo/", "/foo", "/xyz", b"/xyz/"),
        (b"/foo/bar", "/foo", "", b"/bar"),
        (b"/foo/", "/foo", "", b"/"),
        (b"/foo", "/foo", "", b"/"),
        (b"/foo/", "/foo", "/", b"/"),
        (b"/foo", "/foo", "/", b"/"),
        (b"/foo/bar", "/foo", "/", b"/bar"),
        (b"/bar", "/", "/xyz", b"/xyz/bar"),
        (b"/", "/", "/xyz", b"/xyz/"),
        (b"/bar", "/", "/", b"/bar"),
    ],
)
def test_replaced_prefix(path: bytes, prefix: str, new: str, wanted: bytes) -> None:
    """The table of HTTPPathModifier, and what follows from it for `/`."""
    assert replaced_prefix(prefix, new)(path) == wanted
    assert on_path(replaced_prefix(prefix, new))(path + b"?q=/foo") == wanted + b"?q=/foo"
