"""What the tests of copies share."""

from typing import Any

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /1 HTTP/1.1\r\nhost: a:80\r\ncookie: c=1\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"


def both(mesh: Any, request: bytes = GET) -> tuple[Any, Any, Any]:
    """A client, its endpoint, and the mirror, all connected."""
    client = mesh.client(request)
    primary = mesh.accept()
    return client, primary, mesh.accept()
