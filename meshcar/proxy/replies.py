"""Answers of our own, in Envoy's shape."""

from collections.abc import Sequence
from urllib.parse import quote_from_bytes

from meshcar.errors import BadMessage
from meshcar.wire.grpc import GRPC
from meshcar.wire.grpc import grpc_status as status_of
from meshcar.wire.head import Header
from meshcar.wire.hops import put, remove
from meshcar.wire.http1_write import response_head

SERVER = (b"server", b"meshcar")
_BODILESS = (204, 304)
_PRINTABLE = bytes(range(0x20, 0x7E)).replace(b"%", b"")


def local_reply(
    status: int, body: bytes, date: bytes, extra: Sequence[Header] = (), grants: Sequence[Header] = (), *, close: bool,
    bodiless: bool = False, version: str = "1.1",
) -> bytes:  # fmt: skip
    """A whole response. `extra` headers come first, `grants` (CORS) behind those of the body, in the place of ones of the same name.

    `bodiless` keeps the body back but tells its length, for HEAD. A 204 or 304 has neither. `version` is the client's HTTP version.
    """
    headers: list[Header] = [*extra]
    if body:
        put(headers, b"content-length", b"%d" % len(body))
        if not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", b"text/plain"))
    else:
        remove(headers, b"content-length")
        remove(headers, b"content-type")
    _finish(headers, date, grants, close)
    if not body and status not in _BODILESS:
        if not bodiless:
            headers.append((b"content-length", b"0"))
        elif version == "1.1":
            headers.append((b"transfer-encoding", b"chunked"))
    return response_head(status, headers) + (b"" if bodiless else body)


def grpc_reply(
    status: int, body: bytes, date: bytes, extra: Sequence[Header] = (), grants: Sequence[Header] = (), *, close: bool,
    bodiless: bool = False, grpc_status: int | None = None,
) -> bytes:  # fmt: skip
    """The same for a client that speaks gRPC: status and text stand in headers. Source: Envoy's prepareLocalReply."""
    headers: list[Header] = [*extra]
    remove(headers, b"content-length")
    put(headers, b"content-type", GRPC)
    number = status_of(status) if grpc_status is None else grpc_status
    headers.append((b"grpc-status", b"%d" % number))
    if body and not bodiless:
        headers.append((b"grpc-message", quote_from_bytes(body.removesuffix(b"\n"), safe=_PRINTABLE).encode()))
    _finish(headers, date, grants, close)
    headers.append((b"transfer-encoding", b"chunked") if bodiless else (b"content-length", b"0"))
    return response_head(200, headers)


def refusal(error: BadMessage, date: bytes) -> bytes:
    """The answer to bytes that are no request; the connection ends with it."""
    return local_reply(error.status, error.body, date, close=True)


def _finish(headers: list[Header], date: bytes, grants: Sequence[Header], close: bool) -> None:
    """What every answer has, in Envoy's order."""
    for header in grants:
        put(headers, *header)
    if not any(name == b"date" for name, _ in headers):
        headers.append((b"date", date))
    put(headers, *SERVER)
    if close:
        headers.append((b"connection", b"close"))
