"""What the operator's three ports share: bounded requests, whole answers, a quiet Site."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from meshcar.net.slices import Work, in_slices
from meshcar.rules.steps import Steps

BODY_LIMIT = 1 << 20
"""Bytes of a request's body; a longer one is answered 413."""
DRAIN_LIMIT = 16 << 20
"""Bytes that are read away after that, so that the answer arrives; then the connection is closed."""
TEXT = "text/plain; charset=utf-8"
IDLE = 60.0
"""Seconds without a byte after which a connection is closed."""
MOST_WAITING = 200
"""Calls of a port that wait for their answer to be made; the next is answered 503."""
MOST_UNREAD = 64 << 20
"""Bytes of answers that callers of a port have not read yet; who would get more is answered 503."""
_PIECE = 65536


@attrs.frozen
class Answer:
    """A whole response. `headers` besides Content-Type and Content-Length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Answering = Answer | Deferred[Answer] | Work[Answer]
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
    """One answer that is made in slices at a time, so that many do not hold up traffic together; who hung up gets none."""

    isLeaf = True
    _log = Logger()

    def __init__(self, respond: Callable[[Request], Answering], reactor: Any) -> None:
        super().__init__()
        self._respond, self._reactor = respond, reactor
        self._turn = DeferredLock()
        self._waiting = self._unread = 0

    def render(self, request: Request) -> Any:
        if body_of(request).too_long:
            return self._finish(request, refusal(413, f"the body is longer than {BODY_LIMIT} bytes"))
        if self._waiting >= MOST_WAITING:
            return self._finish(request, refusal(503, f"{MOST_WAITING} calls wait already"))
        answer = self._respond(request)
        if isinstance(answer, Answer):
            return self._finish(request, answer)
        later, left = self._later(answer), list[Failure]()
        if not isinstance(answer, Deferred):  # else it changes something, and is carried out all the same
            request.notifyFinish().addErrback(lambda _: later.cancel())
        request.notifyFinish().addErrback(left.append)
        later.addErrback(lambda failure: None if left else self._failed(failure))
        later.addCallback(lambda late: None if left or late is None else self._finish(request, late))
        return NOT_DONE_YET

    def _later(self, answer: Deferred[Answer] | Work[Answer]) -> Deferred[Any]:
        later: Deferred[Any] = answer if isinstance(answer, Deferred) else self._turn.run(in_slices, answer, self._reactor)
        self._waiting += 1
        return later.addBoth(self._over)

    def _over(self, result: Any) -> Any:
        self._waiting -= 1
        return result

    def _failed(self, failure: Failure) -> Answer:
        self._log.failure("a call could not be answered", failure)
        return refusal(500, "it failed; the log says why")

    def _finish(self, request: Request, answer: Answer) -> Any:
        if self._unread + len(answer.body) > MOST_UNREAD and self._unread:
            answer = refusal(503, "other callers have not read their answers yet")
        self._unread += len(answer.body)
        request.notifyFinish().addBoth(self._read, len(answer.body))
        request.setResponseCode(answer.status)
        for name, value in (("server", "meshcar"), ("content-type", answer.content_type), ("x-content-type-options", "nosniff"),
                            ("cache-control", "no-cache, max-age=0"), *answer.headers):
            request.setHeader(name.encode(), value.encode())
        request.setHeader(b"content-length", b"%d" % len(answer.body))
        _Sending(request, answer.body, self._reactor)
        return NOT_DONE_YET

    def _read(self, _: object, size: int) -> None:
        self._unread -= size


@implementer(IPushProducer)
class _Sending:
    """A body on its way, piece by piece as the caller takes it. Who takes nothing for IDLE seconds is cut off."""

    def __init__(self, request: Request, body: bytes, reactor: Any) -> None:
        self._request, self._body, self._at = request, body, 0
        self._paused: bool = request.channel._waitingForTransport  # an earlier answer has not been read, and nobody will tell us
        self._late = reactor.callLater(IDLE, self._cut)
        request.notifyFinish().addBoth(lambda _: self._late.active() and self._late.cancel())
        request.registerProducer(self, True)
        if not self._paused:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        """There is room."""
        self._paused = False
        self._late.reset(IDLE)
        while not self._paused and self._at < len(self._body):
            self._at += _PIECE
            self._request.write(self._body[self._at - _PIECE : self._at])
        if self._at >= len(self._body) and self._late.active():
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """There is none."""
        self._paused = True

    def stopProducing(self) -> None:
        """The caller is gone, and the request's own news say so."""
        self._paused = True

    def _cut(self) -> None:
        transport: Any = self._request.channel.transport
        transport.abortConnection()
