"""Answers of our own, byte by byte as Envoy's."""

from typing import Any

import pytest

from meshcar.errors import BadMessage
from meshcar.proxy.replies import grpc_reply, local_reply, refusal

DATE = b"Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            local_reply(503, b"no healthy upstream", DATE, close=False),
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 19\r\ncontent-type: text/plain\r\n"
            b"date: %b\r\nserver: meshcar\r\n\r\nno healthy upstream" % DATE,
        ),
        (
            local_reply(404, b"", DATE, close=False),
            b"HTTP/1.1 404 Not Found\r\ndate: %b\r\nserver: meshcar\r\ncontent-length: 0\r\n\r\n" % DATE,
        ),
        (
            local_reply(404, b"", DATE, close=True),
            b"HTTP/1.1 404 Not Found\r\ndate: %b\r\nserver: meshcar\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % DATE,
        ),
        (
            local_reply(503, b"body", DATE, [(b"x-envoy-overloaded", b"true")], close=False, bodiless=True),
            b"HTTP/1.1 503 Service Unavailable\r\nx-envoy-overloaded: true\r\ncontent-length: 4\r\ncontent-type: text/plain\r\n"
            b"date: %b\r\nserver: meshcar\r\n\r\n" % DATE,
        ),
        (
            refusal(BadMessage("why"), DATE),
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\ncontent-type: text/plain\r\n"
            b"date: %b\r\nserver: meshcar\r\nconnection: close\r\n\r\nBad Request" % DATE,
        ),
        (
            local_reply(418, b"", DATE, close=False),
            b"HTTP/1.1 418 Unknown\r\ndate: %b\r\nserver: meshcar\r\ncontent-length: 0\r\n\r\n" % DATE,
        ),
    ],
    ids=["text", "empty", "closing", "HEAD", "refusal", "no reason known"],
)
def test_bytes(reply: bytes, expected: bytes) -> None:
    """Header for header, in Envoy's order."""
    assert reply == expected


@pytest.mark.parametrize(
    ("kind", "grpc"),
    [(b"application/grpc", True), (b"application/grpc+proto", True), (b"application/grpc-web", False), (b"text/plain", False)],
)
def test_grpc(mesh: Any, kind: bytes, grpc: bool) -> None:
    """A gRPC client gets 200 and its own kind of status (gRPC over HTTP/2, responses)."""
    mesh.cluster("a")
    mesh.route()
    answer = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-type: %b\r\n\r\n" % kind).heard()
    if grpc:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"content-length: 0\r\n\r\n")
        assert b"\r\ngrpc-status: 14\r\n" in answer and b"\r\ngrpc-message: no healthy upstream\r\n" in answer
    else:
        assert answer.startswith(b"HTTP/1.1 503 ")


def test_grpc_head() -> None:
    """A HEAD by gRPC's content type has no length to tell."""
    assert b"transfer-encoding: chunked\r\n\r\n" in grpc_reply(404, b"", b"D", close=False, bodiless=True)
    assert b"content-length: 0\r\n\r\n" in grpc_reply(404, b"", b"D", close=False)
    assert b"grpc-message" not in grpc_reply(503, b"no", b"D", close=False, bodiless=True)
