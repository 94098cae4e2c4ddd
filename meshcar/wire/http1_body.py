"""Bodies of HTTP/1.1 messages, followed by slices: nothing is copied, nothing is kept (RFC 9112, sections 6 and 7)."""

import re
from typing import Protocol

from meshcar.errors import BadMessage
from meshcar.wire.head import RequestHead, ResponseHead

MAX_LINE = 4096
"""Bytes of a chunk's size line or of a trailer line."""
MAX_TRAILERS = 60 * 1024
"""Bytes of all trailers."""

_SIZE_NEXT, _CHUNK_END, _TRAILERS = 0, -1, -2
"""What comes next in a chunked body, when no chunk is at hand."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")


class Body(Protocol):
    """Where a body ends. `feed` gives (payload, whether the body ended, what follows it)."""

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """Raises BadMessage when the framing is broken."""


class LengthBody:
    """A body of `left` bytes, at least one."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Body."""
        size = len(data)
        if size < self.left:
            self.left -= size
            return data, False, b""
        if size == self.left:
            return data, True, b""
        return data[: self.left], True, data[self.left :]


class CloseBody:
    """A response body that ends with its connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Body."""
        return data, False, b""


class ChunkedBody:
    """A chunked body. Extensions and trailers are read past; payload of one read is joined."""

    __slots__ = ("_left", "_line", "_trailers")

    def __init__(self) -> None:
        self._left = _SIZE_NEXT  # bytes of the chunk at hand, or what comes next
        self._line = b""
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """See Body."""
        size = len(data)
        if self._left > size:
            self._left -= size
            return data, False, b""
        payload: list[bytes] = []
        at = 0
        while at < size:
            left = self._left
            if left > 0:
                end = at + left
                payload.append(data[at:end])
                if data[end : end + 2] == b"\r\n":
                    at, self._left = end + 2, _SIZE_NEXT
                else:
                    at, self._left = (end, _CHUNK_END) if end <= size else (size, end - size)
                continue
            at, line = self._take_line(data, at)
            if line is not None and self._on_line(line):
                return b"".join(payload), True, data[at:]
        return payload[0] if len(payload) == 1 else b"".join(payload), False, b""

    def _take_line(self, data: bytes, at: int) -> tuple[int, bytes | None]:
        """The line that begins in `_line` and goes on at `at`, without its CRLF; None while it is incomplete."""
        end = data.find(b"\n", at, at + MAX_LINE) + 1
        part = data[at : end or at + MAX_LINE]
        at += len(part)
        line = self._line + part
        if self._left == _CHUNK_END and line not in (b"\r", b"\r\n"):
            raise BadMessage("chunk longer than its size")
        if len(line) > MAX_LINE:
            raise BadMessage("chunk line too long")
        if not end:
            self._line = line
            return at, None
        self._line = b""
        if line[-2:] != b"\r\n":
            raise BadMessage("chunk line without CR")
        return at, line[:-2]

    def _on_line(self, line: bytes) -> bool:
        """Whether this line ended the body."""
        if self._left == _CHUNK_END:
            self._left = _SIZE_NEXT
        elif self._left == _TRAILERS:
            self._trailers += len(line) + 2
            if self._trailers > MAX_TRAILERS or line and not _TRAILER.fullmatch(line):
                raise BadMessage("bad trailers")
            return not line
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise BadMessage("bad chunk size")
            self._left = int(size[1], 16) or _TRAILERS
        return False


def request_body(head: RequestHead) -> Body | None:
    """How a request's body is framed; None: it has none (RFC 9112, section 6.3)."""
    noted = head.noted
    if b"transfer-encoding" in noted:
        return ChunkedBody()
    length = int(noted.get(b"content-length", b"0"))
    return LengthBody(length) if length else None


def response_body(head: ResponseHead, method: bytes) -> Body | None:
    """How a response's body is framed; None: it has none. 1xx heads have no body and are not asked for here."""
    status = head.status
    if method == b"HEAD" or status in (204, 304):
        return None
    noted = head.noted
    if b"transfer-encoding" in noted:
        return ChunkedBody()
    length = noted.get(b"content-length")
    if length is None:
        return CloseBody()
    size = int(length)
    return LengthBody(size) if size else None
