"""Copies of requests, sent through treq: bounded, counted, and never in the primary's way."""

from collections import Counter
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from meshcar.errors import NoHealthyUpstream, Overflow, TryFailed
from meshcar.net.timeouts import Timeout
from meshcar.observe.names import MIRROR_DROPPED, MIRRORED
from meshcar.rules.policies import Mirror
from meshcar.upstream.agent import ClusterAgent
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.sink import Sink, Stream
from meshcar.wire.http1_write import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange
    from meshcar.proxy.side import Side

SECONDS = 60.0
"""For a copy whose route has no timeout of its own: from its request's end to its answer's."""
DOWN_SECONDS = 1.0
"""How long nobody tries to reach a mirror that refused a connection."""
ANSWER_BYTES = 32 << 20
"""Of a copy's answer; the rest is cut off. Source: Envoy's limit for shadow responses since 1.30.2."""


class NoCookies(CookieJar):
    """Remembers nothing, so no user's cookie goes out with another's copy."""

    def add_cookie_header(self, request: Any) -> None:
        """Adds none."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Takes none."""


class OneUrl(EncodedURL):
    """The URL that treq asks for, made once: the agent holds the true target, and to build a URL costs 36 us."""

    def to_uri(self) -> "OneUrl":
        """It is one."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Always the same."""
        return "http://mirror/"


class Mirrors:
    """What copies share. `limit` of them run at a time for a cluster; each may lag `window` bytes behind its primary."""

    def __init__(self, side: "Side", limit: int, window: int) -> None:
        self.side = side
        self._counters = side.parts.counters
        self.limit = limit
        self.window = window
        self.running: Counter[str] = Counter()
        self.cookies = NoCookies()
        self.url = OneUrl.from_text("http://mirror/")

    def obstacle(self, mirror: Mirror, cluster: Cluster | None) -> str | None:
        """Why a copy is not sent now, as it is counted; None: it may be.

        A mirror whose endpoints all refused within the last second is not asked again: a failed connection per request would cost
        the primary as much as a copy.
        """
        if cluster is None:
            return "no_cluster"
        if self.running[mirror.cluster] >= self.limit:
            return "limit"
        now = self.side.now()
        down = cluster.endpoints and all(end.failed_at is not None and now - end.failed_at < DOWN_SECONDS for end in cluster.endpoints)
        return "unreachable" if down else None

    def drop(self, mirror: Mirror, reason: str) -> None:
        """Counts a copy that is not sent."""
        where = mirror.destination
        self._counters.counter(MIRROR_DROPPED, where.host, where.subset, reason).value += 1

    def ended(self, mirror: Mirror, outcome: str) -> None:
        """Counts a copy that was sent."""
        where = mirror.destination
        self._counters.counter(MIRRORED, where.host, where.subset, outcome).value += 1


class Copy:
    """One copy on its way: a Prepared request for the agent, fed by its exchange, watched by nobody.

    It ends when its answer has ended, when it took too long, or when it fell behind by more than the window. `authority` is the
    primary's Host, without a suffix: a server's certificate knows none.
    """

    __slots__ = (
        "_agent", "_backlog", "_chunked", "_ended", "_head", "_method", "_mirror", "_mirrors", "_over", "_paused", "_read",
        "_seconds", "_size", "_stream", "_timeout", "authority",
    )  # fmt: skip

    def __init__(
        self, mirrors: Mirrors, mirror: Mirror, cluster: Cluster, exchange: "Exchange", head: bytes, data: bytes, ended: bool
    ) -> None:
        self._mirrors = mirrors
        self._mirror = mirror
        self._head = head
        self.authority = exchange.head.authority
        self._method = exchange.head.method
        self._chunked = b"transfer-encoding" in exchange.head.noted
        self._backlog = [data] if data else []
        self._size = len(data)
        self._ended = ended
        self._over = False
        self._paused = False
        self._read = 0
        self._stream: Any = None
        mirrors.running[mirror.cluster] += 1
        self._seconds = exchange.timeout or SECONDS
        self._timeout: Timeout | None = None
        if ended:
            self._begin_timeout()
        self._agent: ClusterAgent | None = ClusterAgent(cluster, self)
        client = HTTPClient(self._agent, mirrors.cookies)  # type: ignore[arg-type]
        answered: Deferred[Any] = client.request(
            self._method.decode("ascii"), mirrors.url, cookies=mirrors.cookies, allow_redirects=False, unbuffered=True,
            reactor=mirrors.side.clock,
        )  # fmt: skip
        answered.addCallback(self._answered)
        answered.addCallbacks(self._done, self._failed)

    # -- what the exchange tells

    def write(self, data: bytes, ended: bool) -> None:
        """More of the primary's body."""
        if self._over:
            return
        if ended:
            self._ended = True
            self._begin_timeout()
        if self._stream is not None and not self._paused:
            self._stream.write(data, ended)
            return
        if data:
            self._backlog.append(data)
            self._size += len(data)
        if self._size > self._mirrors.window:
            self.cut("window")

    def cut(self, outcome: str) -> None:
        """Gives the copy up, whatever its state."""
        if self._over:
            return
        answer = self._agent.answer if self._agent is not None else None
        self._end(outcome)
        if answer is not None:
            answer.abort()

    # -- the Prepared request

    def send(self, stream: Stream, sink: Sink) -> None:
        """See Prepared."""
        self._stream = stream
        first, self._head = self._head, b""
        body = self._take_backlog()
        if self._chunked:
            first += (chunk(body) if body else b"") + (LAST_CHUNK if self._ended else b"")
        else:
            first += body
        stream.send(first, sink, self._method, self._chunked, None if self._ended else self)

    def pauseProducing(self) -> None:
        """The mirror is slow to read: what comes waits in the window."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It goes on."""
        self._paused = False
        if self._over:
            return
        body = self._take_backlog()
        if body or self._ended:
            self._stream.write(body, self._ended)

    def stopProducing(self) -> None:
        """The mirror hung up; its answer's end follows."""

    def _take_backlog(self) -> bytes:
        body = b"".join(self._backlog)
        self._backlog = []
        self._size = 0
        return body

    # -- the answer

    def _answered(self, response: Any) -> "Deferred[IResponse]":
        drained: Deferred[Any] = response.collect(self._drain)
        return drained.addCallback(lambda _: response)

    def _drain(self, data: bytes) -> None:
        self._read += len(data)
        if self._read > ANSWER_BYTES:
            self.cut("answer_too_large")

    def _done(self, response: Any) -> None:
        self._end(f"{response.code // 100}xx")

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, NoHealthyUpstream):
            self._drop("no_endpoint")
        elif isinstance(error, Overflow):
            self._drop("overflow")
        elif isinstance(error, TryFailed):
            self._end(error.reason.replace(" ", "_"))
        else:
            self._end("error")

    def _begin_timeout(self) -> None:
        """Before, the primary's client sets the pace: a copy that falls behind is cut, and one whose request is given up too."""
        self._timeout = self._mirrors.side.timeouts.after(self._seconds, self._late)

    def _late(self) -> None:
        if self._stream is not None and self._agent is not None and self._agent.answer is not None and self._agent.answer.head is None:
            self._stream.overdue()
        self.cut("timeout")

    def _drop(self, reason: str) -> None:
        if not self._over:
            self._mirrors.drop(self._mirror, reason)
            self._leave()

    def _end(self, outcome: str) -> None:
        if not self._over:
            self._mirrors.ended(self._mirror, outcome)
            self._leave()

    def _leave(self) -> None:
        self._over = True
        self._backlog = []
        self._agent = self._stream = None
        if self._timeout is not None:
            self._timeout.cancel()
        self._mirrors.running[self._mirror.cluster] -= 1
