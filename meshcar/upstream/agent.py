"""treq's door to the engine: an IAgent that sends one prepared request to one cluster."""

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IResponse
from zope.interface import implementer

from meshcar.errors import MeshError, TryFailed
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.endpoint import Endpoint
from meshcar.upstream.sink import Sink, Stream
from meshcar.wire.head import ResponseHead

_DONE = Failure(ResponseDone())
_LOST = Failure(PotentialDataLoss())


class Prepared(Protocol):
    """A request that is made already, whatever is asked of the agent. `authority` is the Host that TLS names, where it names one."""

    authority: bytes

    def send(self, stream: Stream, sink: Sink) -> None:
        """Sends itself on a connection that was given to it."""


@implementer(IAgent)
class ClusterAgent:
    """Made for one request. The arguments of `request` do not matter: treq's idea of the request (header names re-cased, gzip
    added, an empty query dropped) is not the request."""

    __slots__ = ("_cluster", "_prepared", "answer")

    def __init__(self, cluster: Cluster, prepared: Prepared) -> None:
        self._cluster = cluster
        self._prepared = prepared
        self.answer: Answer | None = None

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None) -> "Deferred[IResponse]":
        """Fires with an Answer when the head has come; fails with a MeshError."""
        self.answer = answer = Answer(self._prepared)
        begun = answer.begun
        assert begun is not None
        try:
            endpoint = self._cluster.choose()
            if self._cluster.apart:
                endpoint = endpoint.apart(self._prepared.authority, None)
            connection = self._cluster.acquire(endpoint, answer)
        except MeshError:
            begun.errback()
            return begun
        if connection is not None:
            answer.on_connection(connection)
        else:
            answer.waiting_at = endpoint
        return begun


@implementer(IResponse)
class Answer:
    """The response to a prepared request: a Sink on one side, an IResponse on the other, a Waiter before.

    `headers` are left out: treq would decode by them, and whoever wants them has `head`. What is over is let go of at once:
    a cycle per copy would keep the collector busy.
    """

    __slots__ = (
        "_buffer", "_ended", "_prepared", "_protocol", "_stream", "begun", "head", "headers", "length", "previousResponse", "request",
        "waiting_at",
    )  # fmt: skip

    version = (b"HTTP", 1, 1)
    phrase = b""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared: Prepared | None = prepared
        self._protocol: Any = None
        self._stream: Stream | None = None
        self._buffer: list[bytes] = []
        self._ended: Failure | None = None
        self.begun: Deferred[IResponse] | None = Deferred(self._cancelled)
        self.head: ResponseHead | None = None
        self.headers = Headers()
        self.length = UNKNOWN_LENGTH
        self.previousResponse = None
        self.request = None
        self.waiting_at: Endpoint | None = None

    @property
    def code(self) -> int:
        """The status."""
        return self.head.status if self.head is not None else 0

    def setPreviousResponse(self, response: Any) -> None:
        """There are no redirects to remember."""

    def deliverBody(self, protocol: Any) -> None:
        """Gives the body, as it comes, to an IProtocol."""
        protocol.makeConnection(self)
        for data in self._buffer:
            protocol.dataReceived(data)
        self._buffer = []
        self._protocol = protocol
        if self._ended is not None:
            self._end(self._ended)

    def abort(self) -> None:
        """Nobody wants the rest."""
        if self.waiting_at is not None:
            self.waiting_at.withdraw(self)
            self.waiting_at = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
        begun, self.begun = self.begun, None
        if begun is not None:
            begun.errback(Failure(ConnectionDone()))
        elif self._ended is None:
            self._end(_LOST)

    # -- the Waiter

    def on_connection(self, connection: Stream) -> None:
        """See Waiter."""
        self.waiting_at = None
        self._stream = connection
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        prepared.send(connection, self)

    def on_connect_failed(self, error: TryFailed) -> None:
        """See Waiter."""
        self.waiting_at = None
        self._fail_to_begin(error)

    # -- the Sink

    def on_interim(self, head: ResponseHead) -> None:
        """See Sink."""

    def on_head(self, head: ResponseHead, data: bytes, ended: bool) -> None:
        """See Sink."""
        self.head = head
        if data:
            self._buffer.append(data)
        if ended:
            self._stream = None
            self._ended = _DONE
        begun, self.begun = self.begun, None
        assert begun is not None
        begun.callback(self)  # type: ignore[arg-type]

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
        if self.begun is not None:
            self._fail_to_begin(error)
        else:
            self._end(Failure(error))

    def _fail_to_begin(self, error: TryFailed) -> None:
        begun, self.begun = self.begun, None
        assert begun is not None
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
