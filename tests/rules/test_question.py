"""URLs and JSON become requests."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import BadMessage
from meshcar.rules.question import from_json, header, question


@pytest.mark.parametrize(
    ("url", "authority", "target", "port"),
    [
        ("http://httpbin:8000/headers?a=1&b", "httpbin:8000", "/headers?a=1&b", 8000),
        ("httpbin:8000/x", "httpbin:8000", "/x", 8000),
        ("httpbin", "httpbin", "/", 80),
        ("HTTP://HttpBin", "HttpBin", "/", 80),
        ("http://httpbin:/x", "httpbin:", "/x", 80),
        ("https://httpbin/x", "httpbin", "/x", 443),
        ("http://[fd00::1]/x", "[fd00::1]", "/x", 80),
        ("http://[fd00::1]:8000/x", "[fd00::1]:8000", "/x", 8000),
        ("http://10.0.0.1:1", "10.0.0.1:1", "/", 1),
        ("http://u:p@httpbin/x", "httpbin", "/x", 80),
        ("http://a@b@httpbin", "httpbin", "/", 80),
        ("http://httpbin?q", "httpbin", "/?q", 80),
        ("http://httpbin#f", "httpbin", "/", 80),
        ("http://httpbin/a%20b/../%61#f?no", "httpbin", "/a%20b/../%61", 80),
        ("http://httpbin//x@y:8", "httpbin", "//x@y:8", 80),
        ("httpbin./x", "httpbin.", "/x", 80),
    ],
)
def test_url(url: str, authority: str, target: str, port: int) -> None:
    """A URL as curl takes it: no scheme is http, no port the scheme's, userinfo and fragment stay with the client."""
    asked = question(url)
    head = asked.head()
    assert (head.authority.decode(), head.target.decode(), asked.port, head.method) == (authority, target, port, b"GET")
    assert head.scheme == (b"https" if url.startswith("https") else b"http")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "url is missing"), ("/x", "names no host"), ("http://", "names no host"), ("http://u@/x", "names no host"),
        ("ftp://a/", "ftp is neither http nor https"), ("http://a:b/", "no host, or host:port"), ("http://a:70000/", "port 70000"),
        ("http://a:0/", "port 0"), ("http://fd00::1/", "an IPv6 address stands in brackets"), ("http://a/b c", "write %20"),
        ("http://a/\n", "write %20"),
    ],
)  # fmt: skip
def test_no_url(url: str, words: str) -> None:
    """What is wrong is said."""
    with pytest.raises(ValueError, match=words):
        question(url)


def test_host_header() -> None:
    """Counts instead of the URL's; the port stays the URL's, and is the header's where there is no other."""
    asked = question("http://10.0.0.1:8000/x", headers=[("Host", "httpbin:9")])
    assert (asked.head().authority, asked.port) == (b"httpbin:9", 8000)
    asked = question("/x", headers=[("host", "httpbin:9")])
    assert (asked.head().authority, asked.port) == (b"httpbin:9", 9)


def test_the_readers_own_judgement() -> None:
    """What the data path's reader refuses is refused here, by the same words."""
    for asked in (
        question("http://a/", headers=[("Host", "a"), ("Host", "b")]), question("http://a/", method="get"),
        question("http://a/", headers=[("Content-Length", "x")]), question("http://a/", headers=[("x" * 70_000, "")]),
    ):  # fmt: skip
        with pytest.raises(BadMessage):
            asked.head()


def test_connect() -> None:
    """Asks for host and port."""
    assert question("http://a/x", "CONNECT").head().target == b"a:80"
    assert question("http://a:1/x", "CONNECT").head().target == b"a:1"


@pytest.mark.parametrize(("name", "value"), [("a b", "1"), ("a:b", "1"), ("", "1"), ("a", "1\r\nb: 2"), ("a", "\0")])
def test_no_header(name: str, value: str) -> None:
    """A header cannot smuggle in another."""
    with pytest.raises(ValueError, match="no header that can be sent"):
        question("http://a/", headers=[(name, value)])


@pytest.mark.parametrize("method", ["", "A B", "GET\r\n"])
def test_no_method(method: str) -> None:
    """Nor can a method."""
    with pytest.raises(ValueError, match="no method"):
        question("http://a/", method)


def test_header_text() -> None:
    """As curl's -H; one without a colon is refused."""
    assert [header("a: b:c "), header("a:")] == [("a", "b:c"), ("a", "")]
    for text in ("a", ": b", ""):
        with pytest.raises(ValueError, match="no 'name: value'"):
            header(text)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        ({"url": "http://a/"}, []),
        ({"url": "http://a/", "method": None, "headers": None, "labels": None}, []),
        ({"url": "a", "method": "POST", "headers": {"X": "1", "y": ["2", "3"]}, "labels": {"app": "z"}},
         [(b"x", b"1"), (b"y", b"2"), (b"y", b"3")]),
        ({"headers": ["Host: a", "x: 1", ["y", "2"]]}, [(b"x", b"1"), (b"y", b"2")]),
    ],
)  # fmt: skip
def test_json(value: Any, headers: list[tuple[bytes, bytes]]) -> None:
    """Every part may be missing, but one must tell the host."""
    asked = from_json(value)
    head = asked.head()
    assert (head.authority, head.headers, head.method.decode()) == (b"a", headers, value.get("method") or "GET")
    assert asked.labels == value.get("labels")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "a question is an object"), ({}, "url is missing, and no Host header says the host"),
        ({"uri": "http://a"}, "'uri' is none of headers, labels, method, url"),
        ({"url": 1}, "url and method are texts"), ({"url": "a", "method": {}}, "url and method are texts"),
        ({"url": "a", "labels": []}, "labels is an object of texts"), ({"url": "a", "labels": {"a": 1}}, "labels is an object of texts"),
        ({"url": "a", "headers": "x: 1"}, "headers is an object"), ({"url": "a", "headers": {"x": 1}}, "the value of header x is a text"),
        ({"url": "a", "headers": {"x": [None]}}, "the value of header x"), ({"url": "a", "headers": ["x"]}, "no 'name: value'"),
        ({"url": "a", "headers": [1]}, "a header in a list"), ({"url": "a", "headers": [["a"]]}, "a header in a list"),
        ({"url": "a", "headers": [["a", 1]]}, "a header in a list"),
    ],
)  # fmt: skip
def test_no_json(value: Any, words: str) -> None:
    """What is wrong is said."""
    with pytest.raises(ValueError, match=words):
        from_json(value)


@given(st.text(max_size=40), st.text(max_size=6), st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=3))
def test_anything(url: str, method: str, headers: list[tuple[str, str]]) -> None:
    """There is a request, or one of two errors."""
    try:
        asked = question(f"http://{url}", method, headers)
        head = asked.head()
    except (ValueError, BadMessage):
        return
    assert head.authority and 0 <= asked.port < 65536
