"""One downstream HTTP/1.1 connection: requests in, answers out, in order; keep-alive, idle time, and a deadline for heads."""

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from meshcar.errors import BadMessage
from meshcar.net.address import Address
from meshcar.net.timeouts import Timeout
from meshcar.net.transport import Transport
from meshcar.proxy.exchange import Exchange
from meshcar.proxy.side import Side
from meshcar.wire.http1_body import Body, request_body
from meshcar.wire.http1_read import RequestReader

HEAD_SECONDS = 30.0
"""For a whole head, from its first byte."""
IDLE_SECONDS = 3600.0
"""Without a request, as Envoy's idle_timeout."""
TRUNCATE_SECONDS = 1.0
"""Between the last bytes of an answer that cannot be completed and the end of its connection, as Envoy's delayed_close_timeout."""
MAX_AHEAD = 65536
"""Bytes of later requests that are kept while one is answered; more is left in the socket."""

# why reading is held
_UPSTREAM_SLOW, _NOT_CONNECTED, _AHEAD, _UNREAD = 1, 2, 4, 8


class Session:
    """Made for a connection that speaks HTTP/1.1; ends with connectionLost. `side` answers its requests.

    `local` is the original destination, `remote` the peer; `peer` its identity, or None; `sni` the server name it asked for.
    `service` is the host that routes its requests, whatever they say, or empty.
    """

    __slots__ = (
        "_ahead", "_body", "_deadline", "_ended", "_held", "_idle_since", "_idle_timer", "_reader", "_running", "_state", "exchange",
        "local", "local_name", "peer", "remote", "remote_name", "service", "side", "sni", "transport", "tunnel", "xfcc",
    )  # fmt: skip

    def __init__(self, side: Side, local: Address, remote: Address, peer: Any = None, sni: str = "", service: bytes = b"") -> None:
        self.side = side
        self.local = local
        self.remote = remote
        self.local_name = str(local)
        self.remote_name = str(remote)
        self.peer = peer
        self.sni = sni
        self.service = service
        self.transport: Transport = None  # type: ignore[assignment]
        self.exchange: Exchange | None = None
        self.tunnel = False
        self.xfcc: bytes | None = None  # our element about the peer, once it was asked for
        self._reader = RequestReader()
        self._body: Body | None = None
        self._ahead = b""
        self._held = 0
        self._ended = False  # the client sends no more
        self._state = "open"
        self._running = False
        self._deadline: Timeout | None = None
        self._idle_since = 0.0
        self._idle_timer: Timeout | None = None

    # -- the protocol

    def makeConnection(self, transport: Transport) -> None:
        """The connection is ours."""
        self.transport = transport
        self._idle_since = self.side.now()
        self._idle_timer = self.side.timeouts.after(IDLE_SECONDS, self._idle)
        self.side.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        exchange = self.exchange
        if exchange is None:
            if self._held:
                self._keep(data)
            elif self._state == "open":
                self._requests(data)
        elif self.tunnel or exchange.upgrade:
            exchange.request_data(data, False)
        elif self._body is not None:
            self._on_body(exchange, data)
        else:
            self._keep(data)

    def readConnectionLost(self) -> None:
        """The client sends no more, but may still read (RFC 9112, section 9.6)."""
        self._ended = True
        exchange = self.exchange
        if exchange is None:
            self.transport.loseConnection()
        elif self.tunnel:
            exchange.request_data(b"", True)
        elif self._body is not None or exchange.upgrade or self.transport.tls is not None:
            self.transport.abortConnection()  # under TLS the peer is a sidecar, and has given up

    def writeConnectionLost(self) -> None:
        """We have said our last word."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        if self.exchange is None and self._reader.begun and self._state == "open":
            self.side.truncated(self)
        self._state = "closed"
        for timeout in (self._deadline, self._idle_timer):
            if timeout is not None:
                timeout.cancel()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.side.disconnected(self)

    # -- reading

    def _requests(self, data: bytes) -> None:
        """Takes requests off `data`, one after the other, as long as each is answered at once."""
        self._running = True
        try:
            while data and self.exchange is None and not self._held and self._state == "open":
                data = self._request(data)
        except BadMessage as e:
            self._refuse(e)
        finally:
            self._running = False
        if data and self._state == "open":
            self.dataReceived(data)

    def _request(self, data: bytes) -> bytes:
        """Begins one request; what is left of `data` belongs to later ones."""
        reader = self._reader
        head = reader.feed(data)
        if head is None:
            if self._deadline is None and reader.begun:
                self._deadline = self.side.timeouts.after(HEAD_SECONDS, self._head_late)
            return b""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if reader.version != "1.1" and not self.side.accepts_1_0:
            raise BadMessage("HTTP/1.0", 426, "low_version")
        rest = reader.rest
        body = request_body(head)
        exchange = self.exchange = Exchange(self, head, reader.version)
        if body is None:
            exchange.begin(b"", True)
            return rest
        try:
            payload, ended, rest = body.feed(rest) if rest else (b"", False, b"")
        except BadMessage as e:
            exchange.broken(e)
            return b""
        self._body = None if ended else body
        exchange.begin(payload, ended)
        return rest

    def _on_body(self, exchange: Exchange, data: bytes) -> None:
        assert self._body is not None
        try:
            payload, ended, rest = self._body.feed(data)
        except BadMessage as e:
            self._body = None
            exchange.broken(e)
            return
        if ended:
            self._body = None
        if payload or ended:
            exchange.request_data(payload, ended)
        if rest:
            self.dataReceived(rest)

    def _keep(self, data: bytes) -> None:
        """Bytes of a later request wait until this one is answered (RFC 9112, section 9.3.2)."""
        self._ahead += data
        if len(self._ahead) > MAX_AHEAD:
            self._hold(_AHEAD)

    def _refuse(self, error: BadMessage) -> None:
        """Answers what is no HTTP request, and hangs up."""
        self.transport.write(self.side.refusal(self, error))
        self.linger()

    # -- what the exchange asks for

    def done(self, close: bool) -> None:
        """The answer is complete; with `close`, or when the client sends no more, so is the connection."""
        self.exchange = None
        self._idle_since = self.side.now()
        if self._state != "open":
            return
        self._release(self._held)
        if close or self._body is not None:
            self.linger()
        elif self.transport.backlogged:
            self._hold(_UNREAD)
            self.transport.registerProducer(_Unread(self), True)
        elif not self._running:
            self._go_on()

    def caught_up(self) -> None:
        """The client has read the answers that it has."""
        self.transport.unregisterProducer()
        self._release(_UNREAD)
        self._go_on()

    def _go_on(self) -> None:
        """Takes the next request, which may be here already."""
        ahead, self._ahead = self._ahead, b""
        if ahead:
            self._requests(ahead)
        if self.exchange is None and not self._held and self._ended:
            self.transport.loseConnection()

    def linger(self) -> None:
        """Hangs up behind the last answer. The transport reads on for a moment: else what the client still sends would reset it away."""
        if self._state == "open":
            self._state = "closed"
            self._body = None
            self._ahead = b""
            self.transport.loseConnection()

    def hold_for_upstream(self) -> None:
        """There is no upstream connection yet."""
        self._hold(_NOT_CONNECTED)

    def release_for_upstream(self) -> None:
        """Now there is."""
        self._release(_NOT_CONNECTED)

    def pauseProducing(self) -> None:
        """The upstream connection is slow to take the request's body."""
        self._hold(_UPSTREAM_SLOW)

    def resumeProducing(self) -> None:
        """It goes on."""
        self._release(_UPSTREAM_SLOW)

    def stopProducing(self) -> None:
        """The upstream connection is gone; the exchange hears of it by itself."""

    def begin_tunnel(self) -> None:
        """The client's bytes are opaque from now on."""
        self.tunnel = True

    def end_tunnel(self) -> None:
        """The endpoint sends no more."""
        self.exchange = None
        self._state = "closed"
        self.transport.loseConnection()

    def truncate(self, delimited: bool) -> None:
        """The answer cannot be completed: the connection ends, a moment later, as with Envoy, so that what was sent is read.

        Where the end of the connection would pass for the end of the answer (not `delimited`), it is reset.
        """
        self.exchange = None
        self._state = "closed"
        end = self.transport.loseConnection if delimited else self.transport.abortConnection
        self.side.timeouts.after(TRUNCATE_SECONDS, end)

    def close_if_idle(self, seconds: float) -> None:
        """For draining: ends a connection on which nothing has run for so long."""
        if self.exchange is None and not self._reader.begun and self.side.now() - self._idle_since >= seconds:
            self.transport.loseConnection()

    def _hold(self, why: int) -> None:
        if not self._held:
            self.transport.pauseProducing()
        self._held |= why

    def _release(self, why: int) -> None:
        if self._held:
            self._held &= ~why
            if not self._held:
                self.transport.resumeProducing()

    # -- time

    def _head_late(self) -> None:
        self._deadline = None
        self._refuse(BadMessage("head took too long", 408, "request_header_timeout", b"Request Timeout"))

    def _idle(self) -> None:
        rest = self._idle_since + IDLE_SECONDS - self.side.now()
        if self.exchange is None and rest <= 0:
            self.transport.loseConnection()
        else:
            self._idle_timer = self.side.timeouts.after(IDLE_SECONDS, self._idle)


classImplements(Session, IHalfCloseableProtocol)


class _Unread:
    """Answers that a client asked for and does not read: it gets no further one before they are sent (CVE-2020-8661)."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def pauseProducing(self) -> None:
        """Nothing is made meanwhile."""

    def resumeProducing(self) -> None:
        """All are sent."""
        self._session.caught_up()

    def stopProducing(self) -> None:
        """The client is gone, and its session hears of it."""
