"""gRPC as HTTP has it: who speaks it, and how an answer of our own says its status."""

from meshcar.wire.head import RequestHead

GRPC = b"application/grpc"
_STATUSES = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2


def speaks_grpc(head: RequestHead) -> bool:
    """Whether a request is gRPC by its Content-Type (gRPC over HTTP2, requests; gRPC-Web is not)."""
    kind = head.noted.get(b"content-type")
    return kind is not None and kind.startswith(GRPC) and kind[len(GRPC) :][:1] in (b"", b"+")


def grpc_status(status: int) -> int:
    """What stands for an HTTP status. Source: Envoy's Grpc::Utility::httpToGrpcStatus."""
    return _STATUSES.get(status, _UNKNOWN)
