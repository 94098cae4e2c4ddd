"""gRPC as HTTP has it."""

import pytest

from meshcar.wire.grpc import grpc_status, speaks_grpc
from meshcar.wire.head import RequestHead


@pytest.mark.parametrize(
    ("kind", "speaks"),
    [(b"application/grpc", True), (b"application/grpc+proto", True), (b"application/grpc-web", False), (b"application/grpc;x", False),
     (b"text/plain", False), (b"", False)],
)  # fmt: skip
def test_who_speaks(kind: bytes, speaks: bool) -> None:
    """By the Content-Type alone; gRPC-Web is not gRPC."""
    assert speaks_grpc(RequestHead(b"POST", b"/", b"a", [], {b"content-type": kind})) is speaks
    assert not speaks_grpc(RequestHead(b"POST", b"/", b"a", []))


def test_statuses() -> None:
    """Each HTTP status has one of gRPC, most of them Unknown."""
    assert [grpc_status(one) for one in (400, 401, 403, 404, 429, 503, 418, 301)] == [13, 16, 7, 12, 14, 14, 2, 2]
