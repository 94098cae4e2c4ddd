"""Heads in any pieces, any bytes for heads, and floods."""

import time
import tracemalloc
from collections.abc import Callable

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import BadMessage
from meshcar.wire.http1_body import request_body
from meshcar.wire.http1_read import MAX_HEAD, RequestReader, ResponseReader
from tests.wire.heads import GET, OK, Reader, events, singly

CUT_REQUESTS = GET + b"\r\n" + GET.replace(b"Accept", b"Connection: close\r\nUser-Agent") + b"CONNECT b:1 HTTP/1.0\r\n\r\n"


@pytest.mark.parametrize("make, data", [(RequestReader, CUT_REQUESTS), (ResponseReader, OK + b"HTTP/1.1 204 X\r\n\r\n" + OK)])
def test_any_cut(make: Callable[[], Reader], data: bytes) -> None:
    """The heads do not depend on where the bytes are cut."""
    whole = events(make(), [data])
    assert len(whole) == 3 and BadMessage not in whole
    for cut in range(len(data)):
        assert events(make(), [data[:cut], data[cut:]]) == whole
    assert events(make(), singly(data)) == whole


TOKENS = [
    b"GET", b"POST", b"CONNECT", b"OPTIONS", b" ", b" ", b"/", b"*", b"http://", b"a:1", b"HTTP/1.1", b"HTTP/1.0",
    b"RTSP/1.0", b"HTTP/2.0", b"\r\n", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b"\t", b"\0", b"\x80", b":", b": ", b"Host: a\r\n", b"X", b"1", b", ", b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: ", b"upgrade", b"Upgrade: x\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b"204", b"chunked", b"close",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
]  # fmt: skip
messages = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=14).map(b"".join))
heads = st.lists(st.sampled_from(TOKENS), max_size=8).map(lambda parts: b"GET / HTTP/1.1\r\n" + b"".join(parts) + b"\r\n\r\n")


@given(st.one_of(messages, heads), st.integers(0, 120))
def test_any_bytes(data: bytes, cut: int) -> None:
    """Only BadMessage is raised, and a cut changes neither heads nor verdict."""
    for make in (RequestReader, ResponseReader):
        assert events(make(), [data]) == events(make(), [data[:cut], data[cut:]]) == events(make(), singly(data))


@pytest.mark.parametrize("data", [b"\r\n\r\n\n", b"\r\r\n\r\n", b"GET /\r\n\r\n", b"GET HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b" \r\n\r\n"])
def test_ends_without_heads(data: bytes) -> None:
    """An end of a head with no head before it is refused, cut or not."""
    for make in (RequestReader, ResponseReader):
        assert events(make(), [data]) == events(make(), singly(data)) == [BadMessage]


class Oracle:
    """Hears all that httptools says of some bytes."""

    def __init__(self) -> None:
        self.url, self.headers, self.completed = b"", list[tuple[bytes, bytes]](), 0

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        self.url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line."""
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self.completed += 1


@given(st.one_of(messages, heads))
def test_one_head_is_one_head(data: bytes) -> None:
    """What is taken for a head is exactly one to the parser too, with its end at the same byte: nothing rides along."""
    reader = RequestReader()
    try:
        head = reader.feed(data)
    except BadMessage:
        return
    if head is None:
        return
    consumed = data[: len(data) - len(reader.rest)].lstrip(b"\r\n")
    oracle = Oracle()
    parser = httptools.HttpRequestParser(oracle)
    for piece, complete in ((consumed[:-1], 0), (consumed[-1:], 1)):
        try:
            parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass
        assert oracle.completed == complete
    assert consumed.startswith(head.method + b" " + oracle.url + b" HTTP/1.")
    assert [header for header in oracle.headers if header[0] != b"host"] == head.headers
    if head.target[:1] == b"/" and oracle.url[:1] == b"/":
        assert head.target == oracle.url
    request_body(head)


def test_refused_early() -> None:
    """A bare LF, or a first line that is none, is not waited for: no end of a head would come."""
    for data in (b"GET / HTTP/1.1\nhost: a\n\n", b"GET / HTTP/1.1\r\nhost: a\n", b"FOO\r\n", b"GET / HTTP/1.1\r\nx: 1\r\ny: 2\n"):
        for pieces in ([data], singly(data)):
            assert events(RequestReader(), pieces) == [BadMessage]


def test_empty_lines() -> None:
    """Empty lines before a request are passed over, however many and however cut, and kept nowhere (RFC 9112, section 2.2)."""
    reader = RequestReader()
    assert events(reader, [b"\r\n" * 100_000]) == [] and not reader.begun
    assert events(reader, singly(b"\r\n" * 10_000)) == [] and not reader.begun
    data = b"\r\n\r\n\r\n" + GET + b"\r\n" + GET
    assert events(reader, [data]) == events(reader, singly(data)) == events(RequestReader(), [GET, GET])
    assert events(RequestReader(), [b"\r\nGET / HTTP/1.2\r\n"]) == [BadMessage]


def test_slow_large_head() -> None:
    """60 KiB byte by byte, as one line or as many, cost time and memory in proportion."""
    for unit in (b"x", b"x:\r\n"):
        head = b"GET /" + b"x" * 30_000 + b" HTTP/1.1\r\nx: " + unit * ((MAX_HEAD - 30_100) // len(unit))
        reader = RequestReader()
        began = time.process_time()
        tracemalloc.start()
        assert events(reader, singly(head)) == []
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * MAX_HEAD
        assert time.process_time() - began < 5


def test_many_requests_in_one_read() -> None:
    """A full read of the smallest requests is taken apart in time."""
    data = b"GET / HTTP/1.1\r\nhost:\r\n\r\n" * 10_000
    began = time.process_time()
    assert len(events(RequestReader(), [data])) == 10_000
    assert time.process_time() - began < 10
