"""treq's door to the engine: an IAgent that sends requests which are made already."""

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IResponse
from zope.interface import classImplements

from meshcar.errors import TryFailed
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.endpoint import Endpoint
from meshcar.upstream.for_treq import NO_HEADERS
from meshcar.upstream.sink import Sink, Stream
from meshcar.wire.head import ResponseHead

_DONE = Failure(ResponseDone())
_LOST = Failure(PotentialDataLoss())


class Prepared(Protocol):
    """A request that is made already, whatever is asked of the agent. `authority` is the Host that TLS names, where it names one."""

    authority: bytes

    def send(self, stream: Stream, sink: Sink) -> None:
        """Sends itself on a connection that was given to it."""


class BatchAgent:
    """Works at the end of each turn of the reactor, step by step for all that the turn brought: answers are told, then requests asked
    for, then sent. A step's code stays in the processor's caches meanwhile; mixed with the requests of clients, a copy costs 15 µs more.

    What a request carries as its body is the Answer to come, which has the true request. The other arguments do not matter: treq's
    idea of the request (header names re-cased, gzip added, an empty query dropped) is not the request.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._armed = False
        self._answered: list[Answer] = []
        self._asking: list[Callable[[], None]] = []
        self._asked: list[Answer] = []

    def soon(self, ask: Callable[[], None]) -> None:
        """Calls `ask`, which is to make one request through treq, and to raise nothing, when the turn ends."""
        self._asking.append(ask)
        self._arm()

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> "Deferred[IResponse]":
        """Fires with the Answer some time after its head has come; fails with a MeshError, or what else went wrong."""
        answer: Answer = bodyProducer
        self._asked.append(answer)
        self._arm()
        return answer.awaited(self)

    def answered(self, answer: "Answer") -> None:
        """An answer's head has come."""
        self._answered.append(answer)
        self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._clock.callLater(0, self._work)

    def _work(self) -> None:
        answered, self._answered = self._answered, []
        for answer in answered:
            answer.tell()
        asking, self._asking = self._asking, []
        for ask in asking:
            ask()
        asked, self._asked = self._asked, []
        for answer in asked:
            answer.begin()
        self._armed = False  # only now: what was asked for on the way has been sent
        if self._answered or self._asking or self._asked:
            self._arm()


classImplements(BatchAgent, IAgent)


class Answer:
    """The response to a prepared request: a Sink on one side, an IResponse on the other, a Waiter before.

    Its agent says when it begins, and when it may tell that its head has come. What is over is let go of at once: a cycle per copy
    would keep the collector busy.
    """

    # defaults stand on the class, so that making one costs little
    version = (b"HTTP", 1, 1)
    phrase = b""
    headers = NO_HEADERS
    length = UNKNOWN_LENGTH
    previousResponse = None
    request = None
    code = 0
    """The status; 0 before there is one."""
    _begun: "Deferred[IResponse] | None" = None
    _ended: Failure | None = None
    _protocol: Any = None
    _stream: Stream | None = None
    _waiting_at: Endpoint | None = None

    def __init__(self, cluster: Cluster, prepared: Prepared) -> None:
        self._cluster = cluster
        self._prepared = prepared
        self._buffer: list[bytes] = []

    # -- what the agent tells

    def awaited(self, agent: BatchAgent) -> "Deferred[IResponse]":
        """Fires with this Answer, or fails."""
        self._agent = agent
        begun: Deferred[IResponse] = Deferred(self._cancelled)
        self._begun = begun
        return begun

    def begin(self) -> None:
        """Sends the request, now or when there is a connection; unless nobody waits for it any more."""
        if self._begun is None:
            return
        cluster = self._cluster
        try:
            endpoint = cluster.choose()
            if cluster.apart:
                endpoint = endpoint.apart(self._prepared.authority, None)
            connection = cluster.acquire(endpoint, self)
            if connection is not None:
                self.on_connection(connection)
            else:
                self._waiting_at = endpoint
        except Exception as e:  # even an error of our own is this answer's alone
            if self._stream is not None:
                self._stream.abort()
            self._fail_to_begin(e)

    def tell(self) -> None:
        """Fires what waits for the head; unless it was given up since."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.callback(self)  # type: ignore[arg-type]

    # -- the response

    def setPreviousResponse(self, response: Any) -> None:
        """There are no redirects to remember."""

    def deliverBody(self, protocol: Any) -> None:
        """Gives the body, as it comes, to an IProtocol."""
        protocol.makeConnection(self)
        for data in self._buffer:
            protocol.dataReceived(data)
        self._buffer = []
        if self._ended is None:
            self._protocol = protocol
        else:
            protocol.connectionLost(self._ended)

    def abort(self) -> None:
        """Nobody wants the rest."""
        if self._waiting_at is not None:
            self._waiting_at.withdraw(self)
            self._waiting_at = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        if self._begun is not None:
            self._fail_to_begin(ConnectionDone())
        elif self._ended is None:
            self._end(_LOST)

    # -- the Waiter

    def on_connection(self, connection: Stream) -> None:
        """See Waiter."""
        self._waiting_at = None
        self._stream = connection
        self._prepared.send(connection, self)

    def on_connect_failed(self, error: TryFailed) -> None:
        """See Waiter."""
        self._waiting_at = None
        self._fail_to_begin(error)

    # -- the Sink

    def on_interim(self, head: ResponseHead) -> None:
        """See Sink."""

    def on_head(self, head: ResponseHead, data: bytes, ended: bool) -> None:
        """See Sink."""
        self.code = head.status
        if data:
            self._buffer.append(data)
        if ended:
            self._stream = None
            self._ended = _DONE
        self._agent.answered(self)

    def on_data(self, data: bytes, ended: bool) -> None:
        """See Sink."""
        if self._protocol is None:
            self._buffer.append(data)
        elif data:
            self._protocol.dataReceived(data)
        if ended:
            self._stream = None
            self._end(_DONE)

    def on_failed(self, error: TryFailed) -> None:
        """See Sink."""
        self._stream = None
        if self.code:
            self._end(Failure(error))
        else:
            self._fail_to_begin(error)

    def _fail_to_begin(self, error: Exception) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.errback(Failure(error))

    def _end(self, why: Failure) -> None:
        self._ended = why
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(why)

    def _cancelled(self, _: Any) -> None:
        self.abort()

    # -- a transport, for the protocol that takes the body

    def loseConnection(self) -> None:
        """The protocol has seen enough."""
        self.abort()

    def stopProducing(self) -> None:
        """The same."""
        self.abort()

    def pauseProducing(self) -> None:
        """The protocol is slow."""
        if self._stream is not None:
            self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """It goes on."""
        if self._stream is not None:
            self._stream.resumeProducing()


classImplements(Answer, IResponse)
