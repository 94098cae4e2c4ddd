"""One HTTP/1.1 connection to an endpoint: one request at a time."""

from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from meshcar.errors import BadMessage, TryFailed
from meshcar.policy.outliers import Standing
from meshcar.upstream.sink import Sink
from meshcar.wire.head import ResponseHead
from meshcar.wire.hops import connection_tokens
from meshcar.wire.http1_body import Body, CloseBody, response_body
from meshcar.wire.http1_read import PERSISTENT, ResponseReader
from meshcar.wire.http1_write import LAST_CHUNK, chunk

MAX_INTERIMS = 100
"""1xx heads before an answer; nobody holds back who sends them, so there must be an end."""


class Owner(Protocol):
    """Whose connection it is: the pool's endpoint."""

    name: str
    standing: Standing | None

    def now(self) -> float:
        """Seconds."""

    def release(self, connection: "Connection") -> None:
        """The request is over and the connection can take another."""

    def lost(self, connection: "Connection") -> None:
        """The connection is gone. Called once."""


class Connection:
    """The protocol of an upstream transport, and the Stream of the request that runs on it.

    `age` is the owner's timer for the longest time it may live, `worn` says that this is over, `idle_since` is in seconds.
    It begins idle, belongs to a request from `send` to the response's end, and then goes back to its owner or closes.
    """

    __slots__ = (
        "_body", "_chunked", "_closing", "_interims", "_local_name", "_method", "_reader", "_requested", "_sink", "age", "busy",
        "idle_since", "owner", "peer", "served", "transport", "upgrade", "worn",
    )  # fmt: skip

    def __init__(self, transport: Any, owner: Owner) -> None:
        self.transport = transport
        self.owner = owner
        self.peer: Any = None
        self.served = 0
        self.upgrade = False
        self.busy = False
        self.worn = False
        self.age: Any = None
        self.idle_since = 0.0
        self._reader = ResponseReader()
        self._body: Body | None = None
        self._sink: Sink | None = None
        self._method = b""
        self._local_name = ""
        self._chunked = False
        self._requested = True
        self._closing = False
        self._interims = 0

    # -- the Stream

    def send(self, head: bytes, sink: Sink, method: bytes, chunked: bool, source: Any, upgrade: bool = False) -> None:
        """See Stream."""
        self._sink = sink
        self._method = method
        self._chunked = chunked
        self._requested = source is None
        self._closing = False
        self._interims = 0
        self.served += 1
        self.upgrade = upgrade
        self.transport.write(head)
        if source is not None:
            self.transport.registerProducer(source, True)

    def write(self, data: bytes, ended: bool) -> None:
        """See Stream."""
        if self._chunked:
            data = chunk(data) if data else b""
            if ended:
                data += LAST_CHUNK
        if ended:
            self._let_go()
        self.transport.write(data)

    def _let_go(self) -> None:
        """The request's body is complete, or nobody wants it any more."""
        if not self._requested:
            self._requested = True
            self.transport.unregisterProducer()

    @property
    def requested(self) -> bool:
        """Whether the whole request has been written."""
        return self._requested

    def abort(self) -> None:
        """See Stream."""
        self._sink = None
        self._let_go()
        self.transport.abortConnection()

    def overdue(self) -> None:
        """See Stream."""
        self._broke()

    def _broke(self) -> None:
        standing = self.owner.standing
        if standing is not None:
            standing.broke(self.owner.now())

    def close(self) -> None:
        """An idle connection is not needed any more."""
        self._sink = None
        self.transport.loseConnection()

    def end_writing(self) -> None:
        """Half-closes, behind an upgrade."""
        self._let_go()
        self.transport.loseWriteConnection()

    def give_away(self) -> None:
        """The transport goes to somebody else, who calls `over` when it is closed."""
        self._sink = None

    def over(self) -> None:
        """A transport that was given away is closed."""
        self.owner.lost(self)

    @property
    def local_name(self) -> str:
        """Our address on this connection."""
        if not self._local_name:
            self._local_name = str(self.transport.local)
        return self._local_name

    def pauseProducing(self) -> None:
        """See Stream."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """See Stream."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The sink's connection is gone; its sink says so itself."""

    # -- the protocol

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the response."""
        sink = self._sink
        if sink is None:
            self.transport.abortConnection()
        elif self._body is not None:
            self._on_body(sink, data)
        else:
            self._on_head(sink, data)

    def _on_head(self, sink: Sink, data: bytes) -> None:
        try:
            head = self._reader.feed(data)
            while head is not None and head.status < 200 and head.status != 101:
                self._interims += 1
                if self._interims > MAX_INTERIMS:
                    raise BadMessage("1xx without end")
                sink.on_interim(head)
                if self._sink is not sink:
                    return
                head = self._reader.feed(self._reader.rest) if self._reader.rest else None
            if head is None:
                return
            self._begin(sink, head, self._reader.rest)
        except BadMessage as e:
            self._broken(sink, str(e))

    def _begin(self, sink: Sink, head: ResponseHead, rest: bytes) -> None:
        standing = self.owner.standing
        if standing is not None:
            standing.answered(head.status, self.owner.now())
        if head.status == 101:
            self._switch(sink, head, rest)
            return
        body = response_body(head, self._method)
        said = head.noted.get(b"connection", b"keep-alive")
        self._closing = (said not in PERSISTENT and b"close" in connection_tokens(head.noted)) or head.version != b"1.1"
        if body is None:
            self._complete(rest)
            sink.on_head(head, b"", True)
            return
        try:
            payload, ended, extra = body.feed(rest) if rest else (b"", False, b"")
        except BadMessage as e:  # the head was right, and is passed on
            self._body = body
            sink.on_head(head, b"", False)
            if self._sink is sink:
                self._broken(sink, str(e))
            return
        if ended:
            self._complete(extra)
        else:
            self._body = body
        sink.on_head(head, payload, ended)

    def _on_body(self, sink: Sink, data: bytes) -> None:
        assert self._body is not None
        try:
            payload, ended, extra = self._body.feed(data)
        except BadMessage as e:
            self._broken(sink, str(e))
            return
        if ended:
            self._complete(extra)
        if payload or ended:
            sink.on_data(payload, ended)

    def _switch(self, sink: Sink, head: ResponseHead, rest: bytes) -> None:
        """The protocol changes: all that follows is opaque (RFC 9110, section 7.8). Without having been asked, it is the end."""
        self._closing = True
        if not self.upgrade:
            self._complete(b"x")
            sink.on_head(head, b"", True)
            return
        self._body = CloseBody()
        sink.on_head(head, rest, False)

    def _complete(self, extra: bytes) -> None:
        """The response is whole. Bytes behind it, or a request still unsent, spoil the connection (RFC 9112, section 9.6)."""
        self._body = None
        self._sink = None
        if self._closing or extra or not self._requested:
            self._let_go()
            self.transport.loseConnection()
        else:
            self.owner.release(self)

    def _broken(self, sink: Sink, why: str) -> None:
        self._broke()
        self.abort()
        sink.on_failed(TryFailed("protocol error", "UPE", "reset", status=502, endpoint=self.owner.name))

    def makeConnection(self, transport: Any) -> None:
        """The transport is attached."""

    def connectionLost(self, reason: Failure) -> None:
        """The endpoint hung up, or we did."""
        sink, self._sink = self._sink, None
        body, self._body = self._body, None
        self.owner.lost(self)
        if sink is None:
            return
        if isinstance(body, CloseBody) and (self.upgrade or reason.check(ConnectionDone)):
            sink.on_data(b"", True)
            return
        self._broke()
        if body is not None:
            sink.on_failed(TryFailed("protocol error", "UPE", "none", status=502, endpoint=self.owner.name))
        else:
            sink.on_failed(TryFailed("connection termination", "UC", "reset", endpoint=self.owner.name))
