"""Heads, and what readers make of them, for the tests."""

from collections.abc import Sequence
from typing import Any

from meshcar.errors import BadMessage
from meshcar.wire.head import RequestHead, ResponseHead
from meshcar.wire.http1_read import RequestReader, ResponseReader

GET = b"GET /r?q HTTP/1.1\r\nHost: reviews:9080\r\nAccept: */*\r\nX-Empty:\r\nX-Two: 1\r\nx-two: \t2 \r\n\r\n"
OK = b"HTTP/1.1 200 Fine\r\nServer: app\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 3\r\n\r\n"
Reader = RequestReader | ResponseReader


def events(reader: Reader, pieces: Sequence[bytes]) -> list[Any]:
    """What comes out of pieces, one head after the other; BadMessage where reading ends with it."""
    found: list[Any] = []
    for piece in pieces:
        try:
            head = reader.feed(piece)
            while head is not None:
                found.append(seen(head))
                head = reader.feed(reader.rest) if reader.rest else None
        except BadMessage:
            return [*found, BadMessage]
    return found


def seen(head: RequestHead | ResponseHead) -> object:
    """A head as a value."""
    if isinstance(head, ResponseHead):
        return head.status, head.headers, head.noted, head.version
    return head.method, head.target, head.authority, head.has_host, head.headers, head.noted


def singly(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[i : i + 1] for i in range(len(data))]
