"""The head of a request or a response, as the rest of the program sees it."""

import attrs

Header = tuple[bytes, bytes]
"""Name in lower case, value without surrounding blanks."""


@attrs.define(eq=False)
class RequestHead:
    """A request without its body.

    `target` is path and query in origin form (normalised), or `*`; `authority` the Host, or that of an absolute target, in the
    client's own spelling. `headers` keep order and duplicates and hold everything but Host. `noted` has the headers that a proxy
    acts on (the last line of each), so that nobody searches for them. `has_host` tells an empty Host from none.
    """

    method: bytes
    target: bytes
    authority: bytes
    headers: list[Header]
    noted: dict[bytes, bytes] = attrs.field(factory=dict)
    has_host: bool = True

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


@attrs.define(eq=False)
class ResponseHead:
    """A response without its body; `headers` and `noted` as in RequestHead."""

    status: int
    headers: list[Header]
    noted: dict[bytes, bytes] = attrs.field(factory=dict)
    version: bytes = b"1.1"
