"""What the operator's three ports share: bounded requests, whole answers, a quiet Site."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from meshcar.net.slices import in_slices
from meshcar.rules.steps import Steps

BODY_LIMIT = 1 << 20
"""Bytes of a request's body; a longer one is answered 413."""
DRAIN_LIMIT = 16 << 20
"""Bytes that are read away after that, so that the answer arrives; then the connection is closed."""
TEXT = "text/plain; charset=utf-8"
IDLE = 60.0
"""Seconds without a byte after which a connection is closed."""


@attrs.frozen
class Answer:
    """A whole response. `headers` besides Content-Type and Content-Length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Answering = Answer | Deferred[Answer] | Steps[Answer]
"""An answer, now or later, or the work that makes it, which is done in slices."""


def as_json(value: Any, status: int = 200) -> Answer:
    """A value as indented JSON."""
    return Answer(status, json.dumps(value, indent=1, default=str).encode() + b"\n")


def in_pieces(parts: Iterable[str], content_type: str) -> Steps[Answer]:
    """A 200 made of many parts, with a pause after each: what there may be ten thousand of must not hold up traffic."""
    found = []
    for part in parts:
        found.append(part.encode(errors="backslashreplace"))
        yield
    return Answer(200, b"".join(found), content_type)


def json_object(head: Mapping[str, Any], name: str, values: Iterable[Any]) -> Iterator[str]:
    """The parts of a JSON object: `head`, and under `name` a list with each of `values` on a line of its own."""
    yield json.dumps({**head, name: []}, indent=1, default=str).removesuffix("]\n}")
    before = "\n  "
    for value in values:
        yield before + json.dumps(value, default=str)
        before = ",\n  "
    yield "\n ]\n}\n"


def as_text(text: str, status: int = 200) -> Answer:
    """Lines of plain text."""
    return Answer(status, text.encode(), TEXT)


def refusal(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    """Why a call is not answered, as `{"error": why}`."""
    return attrs.evolve(as_json({"error": why}, status), headers=headers)


def rfc3339(seconds: float) -> str:
    """A time since the epoch, in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def query(request: Request) -> dict[str, str]:
    """The query's parameters; one without a value has an empty one. Of several of one name the first counts, as with Envoy."""
    text = request.uri.partition(b"?")[2].decode("utf-8", "replace")
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, value)
    return found


def body_of(request: Request) -> "Body":
    """What a request carries."""
    assert isinstance(request.content, Body)
    return request.content


class Body(BytesIO):
    """Keeps the first BODY_LIMIT bytes of what is written to it and knows whether there were more."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def write(self, data: Any) -> int:
        self.length += len(data)
        return super().write(data[: max(0, BODY_LIMIT - self.tell())])

    @property
    def too_long(self) -> bool:
        """Whether something was dropped."""
        return self.length > BODY_LIMIT


class BoundedRequest(Request):
    """A request of which at most BODY_LIMIT bytes are held, and at most DRAIN_LIMIT are read."""

    _is_cut = False

    def gotLength(self, length: int | None) -> None:
        self.content = Body()
        if length is not None and length > DRAIN_LIMIT:
            self._cut()

    def handleContentChunk(self, data: bytes) -> None:
        body_of(self).write(data)
        if body_of(self).length > DRAIN_LIMIT:
            self._cut()

    def _cut(self) -> None:
        if self._is_cut:
            return
        self._is_cut = True
        transport: Any = self.channel.transport
        transport.write(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.channel.loseConnection()


class QuietSite(Site):
    """A Site that answers every path by `respond`, logs no traffic, shows no traceback and no version."""

    noisy = False

    def __init__(self, respond: Callable[[Request], Answering], reactor: Any) -> None:
        everything = _Everything(respond, reactor)
        super().__init__(everything, requestFactory=BoundedRequest, timeout=IDLE, reactor=reactor, parsePOSTFormSubmission=False)

    def log(self, request: Any) -> None:
        """Nothing: traffic is not logged."""


class _Everything(Resource):
    isLeaf = True
    _log = Logger()

    def __init__(self, respond: Callable[[Request], Answering], reactor: Any) -> None:
        super().__init__()
        self._respond, self._reactor = respond, reactor

    def render(self, request: Request) -> Any:
        if body_of(request).too_long:
            return _head(request, refusal(413, f"the body is longer than {BODY_LIMIT} bytes"))
        answer = self._respond(request)
        if isinstance(answer, Answer):
            return _head(request, answer)
        later = answer if isinstance(answer, Deferred) else in_slices(answer, self._reactor)
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)
        later.addErrback(self._failed)
        later.addCallback(lambda late: None if gone else _finish(request, late))
        return NOT_DONE_YET

    def _failed(self, failure: Failure) -> Answer:
        self._log.failure("a call could not be answered", failure)
        return refusal(500, "it failed; the log says why")


def _head(request: Request, answer: Answer) -> bytes:
    """Sets status and headers; what is left to be written is the body."""
    request.setResponseCode(answer.status)
    for name, value in (("server", "meshcar"), ("content-type", answer.content_type), ("x-content-type-options", "nosniff"),
                        ("cache-control", "no-cache, max-age=0"), *answer.headers):
        request.setHeader(name.encode(), value.encode())
    return answer.body


def _finish(request: Request, answer: Answer) -> None:
    body = _head(request, answer)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()
