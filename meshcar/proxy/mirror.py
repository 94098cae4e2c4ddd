"""Copies of requests, sent through treq: bounded, counted, and never in the primary's way."""

from typing import TYPE_CHECKING, Any, ClassVar

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from meshcar.errors import NoHealthyUpstream, Overflow, TryFailed
from meshcar.net.timeouts import Timeout
from meshcar.observe.counters import Counter, Counters
from meshcar.observe.names import MIRROR_DROPPED, MIRRORED, Metric
from meshcar.rules.policies import Destination, Mirror
from meshcar.upstream.agent import Answer, BatchAgent
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.for_treq import NO_HEADERS, NoCookies, OneUrl
from meshcar.upstream.sink import Sink, Stream
from meshcar.wire.head import Header
from meshcar.wire.hops import frame, put, shadow_authority
from meshcar.wire.http1_write import LAST_CHUNK, chunk, field_lines, request_head, with_more

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange
    from meshcar.proxy.side import Side

SECONDS = 60.0
"""For a copy whose route has no timeout of its own: from its request's end to its answer's."""
DOWN_SECONDS = 1.0
"""How long nobody tries to reach a mirror that refused a connection."""
ANSWER_BYTES = 32 << 20
"""Of a copy's answer; the rest is cut off. Source: Envoy's limit for shadow responses since 1.30.2."""
_CLASSES = tuple(f"{digit}xx" for digit in range(10))


class Mirrors:
    """What copies share. `limit` of them run at a time for a cluster; each may lag `window` bytes behind its primary."""

    def __init__(self, side: "Side", limit: int, window: int) -> None:
        self.side = side
        self.limit = limit
        self.window = window
        self.agent = BatchAgent(side.clock)
        self._targets: dict[str, Target] = {}
        self._cookies = NoCookies()
        self._url = OneUrl.from_text("http://mirror/")
        self._client = HTTPClient(self.agent, self._cookies, lambda answer: answer)  # type: ignore[arg-type]

    @property
    def running(self) -> int:
        """How many copies are on their way."""
        return sum(target.running for target in self._targets.values())

    def target(self, mirror: Mirror) -> "Target":
        """Where a mirror leads; the same for all that lead to one cluster."""
        found = self._targets.get(mirror.cluster)
        if found is None:
            found = self._targets[mirror.cluster] = Target(self.side.parts.counters, mirror.destination)
        return found

    def obstacle(self, target: "Target", cluster: Cluster | None, upgrade: bool) -> str | None:
        """Why a copy is not sent now, as it is counted; None: it may be.

        A mirror whose endpoints all refused within the last second is not asked again: a failed connection per request would cost
        the primary as much as a copy. What else can be foreseen is, too: to drop a copy costs 0.2 to 1 µs, to have one refused 32.
        """
        if upgrade:
            return "upgrade"
        if cluster is None:
            return "no_cluster"
        if target.running >= self.limit:
            return "limit"
        for endpoint in cluster.endpoints:
            if endpoint.failed_at is None or self.side.now() - endpoint.failed_at >= DOWN_SECONDS:
                break
        else:
            return "unreachable" if cluster.endpoints else "no_endpoint"
        full = cluster.full()
        if full is None:
            return None
        cluster.overflow(full)
        return "overflow"

    def head(self, exchange: "Exchange") -> bytes:
        """The routed request, but for Host, x-envoy-internal, x-forwarded-for and the trace's span. Source: Envoy's shadow writer."""
        head, parts = exchange.head, self.side.parts
        authority = shadow_authority(head.authority) if parts.manner.shadow_suffix else head.authority
        own: list[Header] = [(b"x-envoy-internal", b"true")]
        client = exchange.session.remote.host.encode()
        known = head.noted.get(b"x-forwarded-for")
        if known is None:
            shared = exchange.lines or field_lines(head.headers)  # the primary's, if that is on its way already
            own.append((b"x-forwarded-for", client))
        else:
            headers = head.headers.copy()
            put(headers, b"x-forwarded-for", b"%b,%b" % (known, client))
            shared = field_lines(headers)
        if exchange.trace is not None:
            own += exchange.trace.child(parts.ids).headers()
        frame(own, head)
        return request_head(head.method, head.target, authority, with_more(shared, own))

    def ask(self, method: bytes, answer: Answer) -> "Deferred[Any]":
        """What treq makes of an answer that is to come."""
        return self._client.request(
            method.decode("ascii"), self._url, headers=NO_HEADERS, data=answer, cookies=self._cookies,  # type: ignore[arg-type]
            allow_redirects=False, unbuffered=True, reactor=self.side.clock,
        )  # fmt: skip


class Target:
    """What is known of the copies that go to one cluster: how many run, and how many ended in which way, or were dropped and why."""

    __slots__ = ("_counters", "_destination", "_dropped", "_ended", "running")

    def __init__(self, counters: Counters, destination: Destination) -> None:
        self._counters = counters
        self._destination = destination
        self._dropped: dict[str, Counter] = {}
        self._ended: dict[str, Counter] = {}
        self.running = 0

    def drop(self, reason: str) -> None:
        """Counts a copy that is not sent."""
        self._slot(self._dropped, MIRROR_DROPPED, reason).value += 1

    def ended(self, outcome: str) -> None:
        """Counts a copy that was sent."""
        self._slot(self._ended, MIRRORED, outcome).value += 1

    def _slot(self, bound: dict[str, Counter], metric: Metric, word: str) -> Counter:
        slot = bound.get(word)
        if slot is None:
            slot = bound[word] = self._counters.counter(metric, self._destination.host, self._destination.subset, word)
        return slot


class Copy:
    """One copy on its way: the Prepared request of an Answer, fed by its exchange, and the protocol that drains the answer's body.

    It ends when its answer has ended, when it took too long, or when it fell behind by more than the window. `authority` is the
    primary's Host, without a suffix: a server's certificate knows none.
    """

    # defaults stand on the class, so that making one costs little
    _log: ClassVar[Logger] = Logger(__name__)
    _paused = False
    _read = 0
    _status = 0
    _stream: Any = None
    _timeout: Timeout | None = None

    def __init__(self, mirrors: Mirrors, target: Target, cluster: Cluster, exchange: "Exchange", data: bytes, ended: bool) -> None:
        self._mirrors = mirrors
        self._target = target
        self._exchange: Exchange | None = exchange
        self._seconds = exchange.timeout or SECONDS
        self._backlog = [data] if data else []
        self._size = len(data)
        self._ended = ended
        self._answer: Answer | None = Answer(cluster, self)
        target.running += 1
        mirrors.agent.soon(self._ask)

    def _ask(self) -> None:
        exchange, self._exchange = self._exchange, None
        if self._answer is None or exchange is None:
            return
        head = exchange.head
        self.authority = head.authority
        self._method = head.method
        self._chunked = b"transfer-encoding" in head.noted
        if self._ended:
            self._begin_timeout()
        try:
            self._head = self._mirrors.head(exchange)
            answered = self._mirrors.ask(head.method, self._answer)
        except Exception:
            self._log.failure("a copy could not be sent")
            self._drop("error")
        else:
            answered.addCallback(self._answered).addErrback(self._failed)

    # -- what the exchange tells

    def write(self, data: bytes, ended: bool) -> None:
        """More of the primary's body."""
        if self._answer is None:
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
        answer = self._answer
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
        elif body:
            first += body
        stream.send(first, sink, self._method, self._chunked, None if self._ended else self)

    def pauseProducing(self) -> None:
        """The mirror is slow to read: what comes waits in the window."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It goes on."""
        self._paused = False
        if self._answer is None:
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

    # -- the answer, and the protocol of its body

    def _answered(self, response: Any) -> None:
        self._status = response.code
        response.deliverBody(self)

    def makeConnection(self, transport: Any) -> None:
        """The body begins."""

    def dataReceived(self, data: bytes) -> None:
        """A piece of the body, thrown away."""
        self._read += len(data)
        if self._read > ANSWER_BYTES:
            self.cut("answer_too_large")

    def connectionLost(self, reason: Failure) -> None:
        """The body has ended."""
        if isinstance(reason.value, ResponseDone):
            self._end(_CLASSES[self._status // 100])
        else:
            self._failed(reason)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, NoHealthyUpstream):
            self._drop("no_endpoint")
        elif isinstance(error, Overflow):
            self._drop("overflow")
        elif isinstance(error, TryFailed):
            self._end(error.reason.replace(" ", "_"))
        elif self._answer is not None:
            self._log.failure("a copy failed", failure)
            self.cut("error")

    # -- the end

    def _begin_timeout(self) -> None:
        """Before, the primary's client sets the pace: a copy that falls behind is cut, and one whose request is given up too."""
        if self._timeout is None:
            self._timeout = self._mirrors.side.timeouts.after(self._seconds, self._late)

    def _late(self) -> None:
        if self._stream is not None and self._answer is not None and not self._answer.code:
            self._stream.overdue()
        self.cut("timeout")

    def _drop(self, reason: str) -> None:
        if self._answer is not None:
            self._target.drop(reason)
            self._leave()

    def _end(self, outcome: str) -> None:
        if self._answer is not None:
            self._target.ended(outcome)
            self._leave()

    def _leave(self) -> None:
        self._backlog = []
        self._answer = self._exchange = self._stream = None
        if self._timeout is not None:
            self._timeout.cancel()
        self._target.running -= 1
