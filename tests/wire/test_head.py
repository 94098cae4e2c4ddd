"""What heads tell about themselves."""

import pytest

from meshcar.wire.head import RequestHead, ResponseHead


def test_path_and_query() -> None:
    """The first question mark parts them; without one there is no query."""
    head = RequestHead(b"GET", b"/a/b?c=d?e", b"host", [])
    assert (head.path, head.query) == (b"/a/b", b"c=d?e")
    head.target = b"/a"
    assert (head.path, head.query) == (b"/a", b"")


def test_get() -> None:
    """The first line of a name, every line, or nothing."""
    head = RequestHead(b"GET", b"/", b"host", [(b"x", b"1"), (b"y", b"2"), (b"x", b"3")])
    assert head.get(b"x") == b"1"
    assert head.get(b"z") is None
    assert head.get_all(b"x") == [b"1", b"3"]
    assert head.get_all(b"z") == []


@pytest.mark.parametrize(
    "given, forwarded, scheme",
    [
        (b"", None, b"http"),
        (b"", b"HTTPS", b"https"),
        (b"", b"ftp", b"http"),
        (b"https", None, b"https"),
        (b"http", b"https", b"http"),
    ],
)
def test_scheme(given: bytes, forwarded: bytes | None, scheme: bytes) -> None:
    """The target's own, else X-Forwarded-Proto's, if it is one, else http."""
    headers = [] if forwarded is None else [(b"x-forwarded-proto", forwarded)]
    assert RequestHead(b"GET", b"/", b"host", headers, given_scheme=given).scheme == scheme


def test_defaults_are_not_shared() -> None:
    """Each head has its own `noted`."""
    one, other = ResponseHead(200, []), ResponseHead(200, [])
    one.noted[b"date"] = b"today"
    assert other.noted == {}
    assert other.version == b"1.1"
