"""The head of a request or a response, as the rest of the program sees it."""

from collections.abc import Callable, Mapping

Header = tuple[bytes, bytes]
"""Name in lower case, value without surrounding blanks."""


class RequestHead:
    """A request without its body.

    `target` is path and query in origin form (normalised), or `*`; `authority` the Host, or that of an absolute target, in the
    client's own spelling. `headers` keep order and duplicates and hold everything but Host. `noted` has their values by name as they
    came (several lines of one joined by commas), so that nobody searches for what a proxy acts on. `has_host` tells an empty Host from
    none; `given_scheme` is that of a target in absolute form, in lower case, or empty.
    """

    __slots__ = ("authority", "given_scheme", "has_host", "headers", "method", "noted", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        headers: list[Header],
        noted: dict[bytes, bytes] | None = None,
        has_host: bool = True,
        given_scheme: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.authority = authority
        self.headers = headers
        self.noted = {} if noted is None else noted
        self.has_host = has_host
        self.given_scheme = given_scheme

    def with_headers(self, headers: list[Header]) -> "RequestHead":
        """The same request with other headers."""
        return RequestHead(self.method, self.target, self.authority, headers, self.noted, self.has_host, self.given_scheme)

    @property
    def scheme(self) -> bytes:
        """http or https: the target's own, else what X-Forwarded-Proto says, else http. Source: Envoy's `:scheme`."""
        if self.given_scheme:
            return self.given_scheme
        forwarded = (self.get(b"x-forwarded-proto") or b"").lower()
        return forwarded if forwarded in (b"http", b"https") else b"http"

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What stands behind the first `?`, or nothing."""
        return self.target.partition(b"?")[2]

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header (name in lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key == name]


PSEUDO_HEADERS: Mapping[bytes, Callable[[RequestHead], bytes]] = {
    b":authority": lambda head: head.authority,
    b"host": lambda head: head.authority,
    b":method": lambda head: head.method,
    b":path": lambda head: head.target,
    b":scheme": lambda head: head.scheme,
}
"""What HTTP/2 has as headers of a request (RFC 9113, section 8.3.1), as rules name it; these are always there."""


class ResponseHead:
    """A response without its body; `headers` and `noted` as in RequestHead."""

    __slots__ = ("headers", "noted", "status", "version")

    def __init__(
        self, status: int, headers: list[Header], noted: dict[bytes, bytes] | None = None, version: bytes = b"1.1"
    ) -> None:
        self.status = status
        self.headers = headers
        self.noted = {} if noted is None else noted
        self.version = version
