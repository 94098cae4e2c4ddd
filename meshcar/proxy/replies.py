"""Answers of our own, in Envoy's shape."""

from collections.abc import Sequence

from meshcar.errors import BadMessage
from meshcar.wire.head import Header
from meshcar.wire.http1_write import response_head


def local_reply(
    status: int, body: bytes, date: bytes, extra: Sequence[Header] = (), *, close: bool, bodiless: bool = False
) -> bytes:
    """A whole response. `extra` headers come first; `bodiless` keeps the body back but tells its length, for HEAD."""
    headers: list[Header] = [*extra]
    if body:
        headers += [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    headers += [(b"date", date), (b"server", b"meshcar")]
    if close:
        headers.append((b"connection", b"close"))
    if not body:
        headers.append((b"content-length", b"0"))
    return response_head(status, headers) + (b"" if bodiless else body)


def refusal(error: BadMessage, date: bytes) -> bytes:
    """The answer to bytes that are no request; the connection ends with it."""
    return local_reply(error.status, error.body, date, close=True)
