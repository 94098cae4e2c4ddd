"""Where bodies end, whatever the cut, and what is refused."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import BadMessage
from meshcar.wire.head import RequestHead, ResponseHead
from meshcar.wire.http1_body import (
    MAX_LINE,
    MAX_TRAILERS,
    Body,
    ChunkedBody,
    CloseBody,
    LengthBody,
    request_body,
    response_body,
)

CHUNKED = b'5\r\nhello\r\n0B;x="y"\r\n, beautiful\r\n0\r\nx-sum: 1\r\n\r\nGET /next'
PIECES = st.lists(
    st.sampled_from([b"0", b"1", b"a", b"ff", b";", b" ", b"\t", b"\r", b"\n", b"\r\n", b"x", b"x:", b"\0", b"+", b"0x", b"-1"])
)


def drain(body: Body, pieces: list[bytes]) -> tuple[bytes, bool, bytes]:
    """Feeds pieces until the body ends; what is left over is joined."""
    payload = b""
    for i, piece in enumerate(pieces):
        data, ended, rest = body.feed(piece)
        payload += data
        if ended:
            return payload, True, rest + b"".join(pieces[i + 1 :])
    return payload, False, b""


def singly(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[i : i + 1] for i in range(len(data))]


def test_chunked() -> None:
    """Payload of one read is joined, extensions and trailers are dropped, what follows comes back."""
    assert ChunkedBody().feed(CHUNKED) == (b"hello, beautiful", True, b"GET /next")


def test_chunked_any_cut() -> None:
    """The payload does not depend on where the bytes are cut."""
    whole = ChunkedBody().feed(CHUNKED)
    for cut in range(len(CHUNKED)):
        assert drain(ChunkedBody(), [CHUNKED[:cut], CHUNKED[cut:]]) == whole
    assert drain(ChunkedBody(), singly(CHUNKED)) == whole


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 50))
def test_chunked_round_trip(chunks: list[bytes], step: int) -> None:
    """What was chunked comes out again."""
    wire = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in chunks) + b"0\r\n\r\nrest"
    pieces = [wire[i : i + step] for i in range(0, len(wire), step)]
    assert drain(ChunkedBody(), pieces) == (b"".join(chunks), True, b"rest")


@given(PIECES.map(b"".join), st.data())
def test_chunked_any_bytes(wire: bytes, data: st.DataObject) -> None:
    """Nothing but BadMessage is raised, and a cut changes neither payload nor verdict."""
    cut = data.draw(st.integers(0, len(wire)))

    def verdict(pieces: list[bytes]) -> object:
        try:
            return drain(ChunkedBody(), pieces)
        except BadMessage:
            return BadMessage

    assert verdict([wire]) == verdict([wire[:cut], wire[cut:]]) == verdict(singly(wire))


@pytest.mark.parametrize(
    "wire",
    [
        b"5\nhello\r\n", b"5\r\nhello\n0\r\n\r\n", b"\r\n", b"+5\r\nhello\r\n", b"-5\r\n", b"0x5\r\nhello\r\n",
        b"5_0\r\n", b" 5\r\nhello\r\n", b"g\r\n", b"5 5\r\nhello\r\n", b"5;a\rb\r\nhello\r\n", b"5;\0\r\nhello\r\n",
        b"11111111111111111\r\n", b"5\r\nhelloX", b"5\r\nhello\rX", b"5\r\nhello!\r\n0\r\n\r\n", b"0\r\nbad\r\n\r\n",
        b"0\r\nx: 1\r\n fold\r\n\r\n", b"0\r\nx : 1\r\n\r\n", b"0\r\n: 1\r\n\r\n", b"0\r\nx: \0\r\n\r\n",
        b"0\r\nx: 1\n\r\n", b"\xb2\r\n",
    ],
)  # fmt: skip
def test_chunked_refused(wire: bytes) -> None:
    """Sizes are bare hexadecimal numbers, lines end with CRLF, a chunk is as long as it said (RFC 9112, section 7.1)."""
    for pieces in ([wire], singly(wire)):
        with pytest.raises(BadMessage) as caught:
            drain(ChunkedBody(), pieces)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    "wire", [b"5  \r\nhello\r\n0\r\n\r\n", b"5\t;a\r\nhello\r\n000\r\n\r\n", b"0000000000000005\r\nhello\r\n0;x\r\n\r\n"]
)
def test_chunked_lenient(wire: bytes) -> None:
    """Blanks behind a size, extensions and leading zeros pass, as with Envoy; none of them is sent on."""
    assert ChunkedBody().feed(wire) == (b"hello", True, b"")


def test_long_lines() -> None:
    """A line without an end and trailers without an end are refused, not kept."""
    for pieces in ([b"1;" + b"x" * MAX_LINE], singly(b"1;" + b"x" * MAX_LINE)):
        with pytest.raises(BadMessage, match="too long"):
            drain(ChunkedBody(), pieces)
    with pytest.raises(BadMessage, match="trailers"):
        ChunkedBody().feed(b"0\r\n" + b"x: 1\r\n" * (MAX_TRAILERS // 6 + 1))


def test_one_byte_chunks() -> None:
    """Many chunks of one byte take time and memory in proportion, in large reads and byte by byte (CVE-2020-12603)."""
    read = b"1\r\nx\r\n" * 40_000  # a quarter of a megabyte, as much as is read at once
    body = ChunkedBody()
    tracemalloc.start()
    payload = len(body.feed(read)[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert payload + sum(len(body.feed(read)[0]) for _ in range(4)) == 200_000
    assert drain(body, [*singly(read), b"0\r\n\r\n"]) == (b"x" * 40_000, True, b"")


def test_length() -> None:
    """A body of known length ends there, and what follows comes back."""
    assert LengthBody(5).feed(b"hello") == (b"hello", True, b"")
    assert LengthBody(5).feed(b"hello!") == (b"hello", True, b"!")
    body = LengthBody(5)
    assert body.feed(b"he") == (b"he", False, b"")
    assert body.feed(b"llo!") == (b"llo", True, b"!")


def test_close() -> None:
    """A body until close never ends by itself."""
    assert CloseBody().feed(b"x") == (b"x", False, b"")


def request(**noted: bytes) -> Body | None:
    """The body of a POST with these headers."""
    names = {name.replace("_", "-").encode(): value for name, value in noted.items()}
    return request_body(RequestHead(b"POST", b"/", b"a", list(names.items()), names))


def response(status: int, method: bytes = b"GET", **noted: bytes) -> Body | None:
    """The body of an answer with these headers."""
    names = {name.replace("_", "-").encode(): value for name, value in noted.items()}
    return response_body(ResponseHead(status, list(names.items()), names), method)


def test_request_framing() -> None:
    """RFC 9112, section 6.3: chunked, a length, or nothing."""
    assert isinstance(request(transfer_encoding=b"chunked"), ChunkedBody)
    body = request(content_length=b"007")
    assert isinstance(body, LengthBody) and body.left == 7
    assert request(content_length=b"0") is None
    assert request() is None


def test_response_framing() -> None:
    """RFC 9112, section 6.3: no body for HEAD, 204 and 304; else chunked, a length, or until close."""
    assert response(200, b"HEAD", content_length=b"5") is None
    assert response(204) is None
    assert response(304, transfer_encoding=b"chunked") is None
    assert isinstance(response(200, transfer_encoding=b"chunked"), ChunkedBody)
    assert isinstance(response(200), CloseBody)
    assert response(200, content_length=b"0") is None
    body = response(200, content_length=b"5")
    assert isinstance(body, LengthBody) and body.left == 5
