"""Heads and chunks as bytes; what is written can be read again."""

import string

from hypothesis import given
from hypothesis import strategies as st

from meshcar.wire.http1_body import ChunkedBody
from meshcar.wire.http1_read import RequestReader, ResponseReader
from meshcar.wire.http1_write import LAST_CHUNK, REASONS, chunk, field_lines, request_head, response_head, status_line, with_more

names = st.text(string.ascii_lowercase + string.digits + "-_.!#$%&'*+^`|~", min_size=1, max_size=20).map("x-{}".format).map(str.encode)
values = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte == 9 or byte >= 32 and byte != 127).strip())
headers = st.lists(st.tuples(names, values), max_size=20)


def test_request_head() -> None:
    """Host is first, the rest in order; no headers, no empty line too many."""
    lines = field_lines([(b"x", b"1"), (b"y", b"")])
    assert request_head(b"GET", b"/a?b", b"h:1", lines) == b"GET /a?b HTTP/1.1\r\nhost: h:1\r\nx: 1\r\ny: \r\n\r\n"
    assert request_head(b"GET", b"/", b"", b"") == b"GET / HTTP/1.1\r\nhost: \r\n\r\n"


def test_more_lines() -> None:
    """Either part may be empty."""
    x, y = [(b"x", b"1")], [(b"y", b"2")]
    assert with_more(field_lines(x), y) == b"x: 1\r\ny: 2"
    assert (with_more(b"", y), with_more(field_lines(x), []), with_more(b"", [])) == (b"y: 2", b"x: 1", b"")


def test_response_head() -> None:
    """The status line and the headers."""
    assert response_head(204, []) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert response_head(200, [(b"x", b"1")]) == b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n"


def test_reasons() -> None:
    """Envoy's reason phrases, `Unknown` for the rest."""
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert [status_line(code)[9:] for code in (103, 418, 999)] == [b"103 Unknown\r\n", b"418 Unknown\r\n", b"999 Unknown\r\n"]
    assert all(status_line(code) == f"HTTP/1.1 {code} {reason}\r\n".encode() for code, reason in REASONS.items())


@given(headers)
def test_requests_are_read_as_written(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever a reader gives can be written and is read as the same."""
    head = RequestReader().feed(request_head(b"PUT", b"/x", b"h", field_lines(fields)))
    assert head is not None
    assert (head.method, head.target, head.authority, head.headers) == (b"PUT", b"/x", b"h", fields)


@given(st.integers(200, 999), headers)
def test_responses_are_read_as_written(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    """The same for responses."""
    head = ResponseReader().feed(response_head(status, fields))
    assert head is not None
    assert (head.status, head.headers) == (status, fields)


@given(st.binary(min_size=1))
def test_chunks(data: bytes) -> None:
    """A chunk and the last one are a chunked body."""
    assert ChunkedBody().feed(chunk(data) + LAST_CHUNK) == (data, True, b"")
