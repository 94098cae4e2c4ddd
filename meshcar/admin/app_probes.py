"""The application's probes, asked by the agent in the kubelet's place.

Source: pilot-agent's status server, which asks as the kubelet does: the pod's own address, no certificate checked, redirects
followed as long as they stay on the host.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

import attrs
from OpenSSL import SSL
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from meshcar.admin.http import Answer, Answering, as_text, refusal
from meshcar.errors import BadMessage, MeshError
from meshcar.manifests.probes import HttpProbe, Probe
from meshcar.net.connect import connect
from meshcar.net.tls import failure_text
from meshcar.net.transport import Transport
from meshcar.wire.head import Header, ResponseHead
from meshcar.wire.http1_body import Body, response_body
from meshcar.wire.http1_read import ResponseReader
from meshcar.wire.http1_write import field_lines, request_head

T = TypeVar("T")

MAX_RUNNING = 100
"""Probes of one caller at a time, so that nobody else keeps the kubelet's from running; more are answered 503."""
MAX_BODY = 10 << 10
"""Bytes of the application's answer that are passed on."""
MAX_REDIRECTS = 10
_FOLLOWED = (301, 302, 303, 307, 308)
_SOURCES = {4: "127.0.0.6", 6: "::6"}
"""Where the sidecar comes from when it calls its own application: capture rules let it through."""
_HOP_BY_HOP = (
    "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip


class ProbeFailed(MeshError):
    """The application did not answer; the message says what happened instead."""


class AppProbes:
    """Answers `/app-health/...` and `/app-lifecycle/...`. Made once by the process.

    `app_address` is where the application is asked; None: at the address that the kubelet came to, the pod's. `is_own` tells the
    sidecar's own listeners, which are never called. `opened` opens connections as net.connect.connect does.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, probes: Mapping[str, Probe], app_address: str | None, is_own: Callable[[str, int], bool],
        opened: Callable[..., Any] = connect,
    ) -> None:  # fmt: skip
        self._reactor = reactor
        self._probes = probes
        self._app_address = app_address
        self._is_own = is_own
        self._opened = opened
        self._running: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._tls: SSL.Context | None = None

    def answer(self, request: Request) -> Answering:
        """The application's own status, 200 for a redirect that leads elsewhere and for a connection, 500 where there is no answer."""
        path = request.path.decode("latin-1")
        probe = self._probes.get(path)
        if probe is None:
            return refusal(400, f"there is no probe {path}")
        caller = str(getattr(request.getClientAddress(), "host", ""))
        if self._running[caller] >= MAX_RUNNING:
            return refusal(503, f"{MAX_RUNNING} probes of yours are running")
        self._running[caller] += 1
        asked = self._ask_http(request, probe) if isinstance(probe, HttpProbe) else self._ask_tcp(request, probe)
        answered = Deferred.fromCoroutine(asked).addTimeout(probe.seconds, self._reactor)
        # in the next turn: the Site has to learn first that nobody waits any more
        request.notifyFinish().addErrback(lambda _: self._reactor.callLater(0, answered.cancel))
        answered.addBoth(self._left, caller)
        return answered.addCallbacks(lambda answer: self._ended(path, answer), lambda failure: self._failed(path, probe, failure))

    async def _ask_tcp(self, request: Request, probe: Probe) -> Answer:
        transport = await self._open(self._address(request), probe)
        transport.attach(Protocol())
        transport.loseConnection()
        return as_text("")

    async def _ask_http(self, request: Request, probe: HttpProbe) -> Answer:
        """A GET, and those that its answer redirects to."""
        address = self._address(request)
        host = f"[{address}]" if ":" in address else address
        url = first = urlsplit(f"{'https' if probe.secure else 'http'}://{host}:{probe.port}{probe.path}")
        authority, headers = _question(request, probe, first)
        for _ in range(MAX_REDIRECTS):
            reply = await self._get(address, url, authority, headers, probe)
            location = _location(reply.head) if reply.head.status in _FOLLOWED else None
            if location is None:
                return _passed_on(reply)
            absolute = bool(urlsplit(location).scheme)
            url = urlsplit(urljoin(url.geturl(), location))
            if url.hostname != first.hostname:
                return as_text("")
            if url.scheme not in ("http", "https"):
                raise ProbeFailed(f"redirected to {url.scheme}:")
            authority = url.netloc.encode("latin-1", "replace") if absolute else authority
        raise ProbeFailed(f"redirected more than {MAX_REDIRECTS - 1} times")

    async def _get(self, address: str, url: SplitResult, authority: bytes, headers: list[Header], probe: HttpProbe) -> "_Reply":
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        transport = await self._open(address, attrs.evolve(probe, port=url.port or (443 if url.scheme == "https" else 80)))
        if url.scheme == "https":
            await self._encrypt(transport)
        exchange = _Exchange(request_head(b"GET", _encoded(target), authority, field_lines(headers)))
        transport.attach(exchange)
        return await exchange.reply

    def _open(self, address: str, probe: Probe) -> "Deferred[Transport]":
        if self._is_own(address, probe.port):
            raise ProbeFailed(f"port {probe.port} is the sidecar's own")
        begun: Deferred[Transport] = Deferred(lambda _: connecting.cancel())
        connecting = self._opened(
            self._reactor, address, probe.port, connected=begun.callback, failed=begun.errback, timeout=probe.seconds,
            source=_SOURCES[6 if ":" in address else 4],
        )  # fmt: skip
        return begun

    def _encrypt(self, transport: Transport) -> "Deferred[None]":
        """As the kubelet: whoever answers is believed."""
        if self._tls is None:
            self._tls = SSL.Context(SSL.TLS_METHOD)
        done: Deferred[None] = Deferred(lambda _: transport.abortConnection())

        def failed(error: Exception) -> None:
            if not done.called:
                done.errback(ProbeFailed(failure_text(error)))

        transport.start_tls(SSL.Connection(self._tls, transport.socket), lambda: done.callback(None), failed, server=False)
        return done

    def _address(self, request: Request) -> str:
        return self._app_address or str(request.getHost().host).removeprefix("::ffff:")

    def _left(self, result: T, caller: str) -> T:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        return result

    def _ended(self, path: str, answer: Answer) -> Answer:
        if not 200 <= answer.status < 400:
            self._note(path, f"status {answer.status}")
        elif path in self._failing:
            self._failing.discard(path)
            self._log.info("probe {path}: well again", path=path)
        return answer

    def _failed(self, path: str, probe: Probe, failure: Failure) -> Answer:
        if failure.check(defer.TimeoutError):
            why = f"no answer within {probe.seconds:g} s"
        elif failure.check(CancelledError):
            why = "no answer before the caller left"
        else:
            why = failure.getErrorMessage()
            if not failure.check(MeshError):
                self._log.failure("probe {path}", failure, path=path)
        self._note(path, why)
        return as_text(f"{why}\n", 500)

    def _note(self, path: str, why: str) -> None:
        """One line when a probe begins to fail, not one for each time."""
        if path not in self._failing:
            self._failing.add(path)
            self._log.warn("probe {path}: {why}", path=path, why=why)


@attrs.frozen
class _Reply:
    head: ResponseHead
    body: bytes


class _Exchange(Protocol):
    """One GET on a connection of its own. `reply` fires with what came, MAX_BODY bytes at most, or fails."""

    transport: Any

    def __init__(self, head: bytes) -> None:
        self.reply: Deferred[_Reply] = Deferred(lambda _: self.transport.abortConnection())
        self._request = head
        self._reader = ResponseReader()
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        self._taken = b""

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self.reply.called:
            return
        try:
            self._take(data)
        except BadMessage as e:
            self._end(f"the answer is no HTTP: {e}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.reply.called:
            self._end("the connection was closed without an answer")

    def _take(self, data: bytes) -> None:
        while self._head is None:
            head = self._reader.feed(data)
            if head is None:
                return
            data = self._reader.rest
            if head.status >= 200 or head.status == 101:
                self._head, self._body = head, response_body(head, b"GET") if head.status != 101 else None
        part, ended, _ = self._body.feed(data) if self._body is not None else (b"", True, b"")
        self._taken += part[: MAX_BODY - len(self._taken)]
        if ended or len(self._taken) >= MAX_BODY:
            self._end("")

    def _end(self, why: str) -> None:
        """With a head, what came of the body is good enough; without, it says why."""
        self.transport.loseConnection()
        if self._head is not None:
            self.reply.callback(_Reply(self._head, self._taken))
        else:
            self.reply.errback(ProbeFailed(why))


def _question(request: Request, probe: HttpProbe, url: SplitResult) -> tuple[bytes, list[Header]]:
    """Host and headers: the kubelet's own, those of the probe in the place of any of that name, no connection kept.

    The kubelet's Host names the agent's port; the application sees its own there.
    """
    said = {name.lower() for name, _ in probe.headers}
    headers: list[Header] = [
        (name.lower(), value)
        for name, values in request.requestHeaders.getAllRawHeaders() for value in values
        if (lower := name.lower().decode("latin-1")) not in _HOP_BY_HOP and lower not in said
    ]  # fmt: skip
    headers += [(name.lower().encode(), value.encode()) for name, value in probe.headers if name.lower() not in _HOP_BY_HOP]
    host, colon, port = (request.getHeader("host") or url.netloc).rpartition(":")
    authority = f"{host}:{probe.port}" if colon and port == str(request.getHost().port) else f"{host}{colon}{port}"
    for name, value in probe.headers:
        if name.lower() == "host":
            authority = value
    return authority.encode("latin-1", "replace"), [*headers, (b"connection", b"close")]


def _location(head: ResponseHead) -> str | None:
    """Where a redirect leads; without a Location it is an answer as any other."""
    value = dict(head.headers).get(b"location")
    if not value:
        return None
    try:
        text = value.decode()
        _ = urlsplit(text).port  # a property that raises, too
    except ValueError:
        raise ProbeFailed("redirected to what is no URL") from None
    return text


def _encoded(target: str) -> bytes:
    """A request's target as bytes; what may not stand in one is written in percent."""
    return b"".join(bytes([byte]) if 0x20 < byte < 0x7F else b"%%%02X" % byte for byte in target.encode())


def _passed_on(reply: _Reply) -> Answer:
    status = reply.head.status
    if 300 <= status < 400:
        return as_text("")
    return attrs.evolve(as_text("", status if status >= 200 else 500), body=reply.body)
