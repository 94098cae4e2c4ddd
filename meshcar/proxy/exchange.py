"""One request and its answer: the phases, in order."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger

from meshcar.errors import BadMessage, MeshError, TryFailed
from meshcar.net.timeouts import Timeout
from meshcar.policy.retry import retries_response
from meshcar.proxy.replies import SERVER, grpc_reply, local_reply
from meshcar.proxy.tries import Tries
from meshcar.rules.policies import HeaderChange, Mirror
from meshcar.wire.grpc import speaks_grpc
from meshcar.wire.head import Header, RequestHead, ResponseHead
from meshcar.wire.hops import NO_TOKENS, connection_tokens, put, remove, strip_response, websocket
from meshcar.wire.http1_write import LAST_CHUNK, chunk, response_head
from meshcar.wire.trace import TraceContext

if TYPE_CHECKING:
    from meshcar.proxy.mirror import Copy
    from meshcar.proxy.session import Session

TUNNEL_BYTES = 65536
"""How much of a client's stream waits for the endpoint to switch protocols."""
_TELLING = frozenset((b"grpc-status", b"x-envoy-ratelimited"))
"""Headers of an answer that may be a reason to try again whatever its status."""


class Exchange(Tries):
    """Made by a Session for each request; the Sink of its answer. Ends with `_finish`, and then tells the session.

    The side's routing fills in cluster, retries, timeout, response_change and the rest, replies at once, or lets it wait. `grants` are
    headers that CORS puts on whatever the answer is.
    """

    _log: ClassVar[Logger] = Logger(__name__)
    tokens: frozenset[bytes] = NO_TOKENS
    copies: "Sequence[Copy]" = ()
    mirrored: Sequence[Mirror] = ()
    response_change: HeaderChange | None = None
    grants: Sequence[Header] = ()
    delayed = 0.0
    route_name = "-"
    trace: TraceContext | None = None
    response: ResponseHead | None = None
    status = 0
    details = "-"
    sent = 0
    service_ms: int | None = None
    _timeout: Timeout | None = None
    _producing = False
    _chunked = False
    _close = False
    _unread = False  # a body has come, but nobody has looked at it: as Envoy does, an answer at once ends the connection

    def __init__(self, session: "Session", head: RequestHead, version: str) -> None:
        super().__init__(session, head)
        self.version = version
        self.started = self.side.now()
        noted = head.noted
        if b"connection" in noted:
            self.tokens = connection_tokens(noted)
            self._close = b"close" in self.tokens
            if b"upgrade" in noted and version == "1.1":
                self.upgrade = websocket(head, self.tokens)
        if version != "1.1":
            self._close = True

    # -- the request

    def begin(self, data: bytes, ended: bool) -> None:
        """Routes the request and sends it on. `data` is what of its body came with the head; `ended`: all of it."""
        self.received = len(data)
        self.request_ended = ended and not self.upgrade
        self._early = data
        if data:
            self._unread = True
        try:
            self.side.route(self)
            if self.cluster is not None and not self.finished and self._pause is None:
                self.proceed(data)
        except Exception as e:
            self._not_routed(e)
        if data:
            self._unread = False

    def _not_routed(self, error: Exception) -> None:
        """Answers what was raised on purpose, and, with 500, what was not; called while it is handled."""
        if isinstance(error, MeshError):
            self.fail(error)
            return
        self._log.failure("a request could not be routed")
        if self.finished:
            raise error
        self.reply(500, b"", "internal_error")

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        """Holds the request back before its first try; `then` decides what becomes of it."""
        self._pause = self.side.clock.callLater(seconds, self._waited, then)
        if not self.request_ended:
            self.session.hold_for_upstream()

    def _waited(self, then: Callable[[], None]) -> None:
        self._pause = None
        self.delayed = self.side.now() - self.started
        self.session.release_for_upstream()
        try:
            then()
            if self.cluster is not None and not self.finished:
                self.proceed(self._early)
        except Exception as e:
            self._not_routed(e)

    def proceed(self, data: bytes) -> None:
        """The request has its cluster; `data` is what has come of its body. Raises MeshError."""
        self.start_try()
        self.side.mirror(self, data, self.request_ended)
        if self.request_ended and self.timeout:
            self._timeout = self.side.timeouts.after(self.timeout, self._timed_out)

    def request_data(self, data: bytes, ended: bool) -> None:
        """More of the request's body; through a tunnel, of the client's stream."""
        if self.finished:
            return
        self.received += len(data)
        for copy in self.copies:
            copy.write(data, ended)
        if self.upgrade:
            self._into_tunnel(data, ended)
            return
        self.send_body(data, ended)
        if ended and self.timeout:
            self._timeout = self.side.timeouts.after(self.timeout, self._timed_out)

    def _into_tunnel(self, data: bytes, ended: bool) -> None:
        connection = self._connection
        if self.responded and self.status != 101:
            return  # the endpoint did not switch: what follows is nobody's
        if not self.responded or connection is None:
            self._early += data
            if len(self._early) > TUNNEL_BYTES:
                self.session.hold_for_upstream()
        elif data:
            connection.transport.write(data)
        if ended and connection is not None:
            connection.end_writing()

    def client_gone(self) -> None:
        """The client hung up before its answer was complete."""
        if self.finished:
            return
        if not self.request_ended:
            self._cut_copies("client")
        self.drop_try()
        self.add_flag("DC")
        self.details = "downstream_remote_disconnect"
        self._finish()

    def broken(self, error: BadMessage) -> None:
        """The request's body is badly framed."""
        if self.finished:
            return
        self._cut_copies("client")
        self._close = True
        if not self.responded:
            self.fail(error)
            return
        self.drop_try()
        self.add_flag("DPE")
        self._finish()
        self.session.transport.abortConnection()

    # -- the answer

    def on_interim(self, head: ResponseHead) -> None:
        """See Sink."""
        if self.version == "1.1":
            strip_response(head, False)
            self.session.transport.write(response_head(head.status, head.headers))

    def on_head(self, head: ResponseHead, data: bytes, ended: bool) -> None:
        """See Sink."""
        policy = self.retries
        if (
            policy is not None
            and (head.status >= 400 or policy.curious or not _TELLING.isdisjoint(head.noted))
            and retries_response(policy, head)
            and self.try_again()
        ):
            self._leave_connection(ended)
            return
        self.responded = True
        self.forget_body()
        self.status = head.status
        self.details = "via_upstream"
        self.response = head
        if self.upgrade and head.status < 400:
            self._on_upgrade(head, data, ended)
            return
        self.side.answer(self, head)
        data = self._frame(head, data, ended)
        self.session.transport.write(response_head(head.status, head.headers) + data)
        if ended:
            self._answered()
        else:
            self._stream()

    def _frame(self, head: ResponseHead, data: bytes, ended: bool) -> bytes:
        """Puts the framing headers last, and gives the framed beginning of the body."""
        headers, noted = head.headers, head.noted
        self.sent += len(data)
        if not self.request_ended or self.side.draining:
            self._close = True
        if self._close:
            headers.append((b"connection", b"close"))
        if (b"content-length" in noted and b"transfer-encoding" not in noted) or head.status in (204, 304) or self.version != "1.1":
            return data
        if head.status == 101:
            return data
        headers.append((b"transfer-encoding", b"chunked"))
        if self.head.method == b"HEAD":
            return data
        self._chunked = True
        return (chunk(data) if data else b"") + (LAST_CHUNK if ended else b"")

    def on_data(self, data: bytes, ended: bool) -> None:
        """See Sink."""
        self.sent += len(data)
        if self._chunked:
            data = chunk(data) if data else b""
            if ended:
                data += LAST_CHUNK
        if ended:
            self._stop_producing()  # first: what is written now must not pause a connection that may serve another already
        if data:
            self.session.transport.write(data)
        if ended:
            self._answered()

    def on_failed(self, error: TryFailed) -> None:
        """See Sink."""
        self._connection = None
        if not self.responded:
            self.try_failed(error)
            return
        self.failure = error.cause
        self.add_flag(error.flag)
        self.details = f"upstream_reset_after_response_started{{{error.reason.replace(' ', '_')}}}"
        self._truncate()

    def _stream(self) -> None:
        """The rest of the body follows: from now on a slow client holds the upstream connection back."""
        self._producing = True
        self.session.transport.registerProducer(self._connection, True)

    def _answered(self) -> None:
        self._connection = None
        self._finish()
        if self.upgrade and self.status == 101:
            self.session.end_tunnel()
        else:
            self.session.done(self._close)

    def _truncate(self) -> None:
        """The answer cannot be completed; the client sees that by the missing end (RFC 9112, section 8)."""
        self.drop_try()
        self._stop_producing()
        self._finish()
        self.session.truncate(self.version == "1.1")

    def _stop_producing(self) -> None:
        if self._producing:
            self._producing = False
            self.session.transport.unregisterProducer()

    # -- an upgrade's answer

    def _on_upgrade(self, head: ResponseHead, data: bytes, ended: bool) -> None:
        if head.status != 101:
            self._refused_upgrade(head, ended)
            return
        self.side.answer(self, head)
        self.sent += len(data)
        self.session.begin_tunnel()
        self.session.transport.write(response_head(101, head.headers) + data)
        early, self._early = self._early, b""
        if early:
            self._connection.transport.write(early)
            self.session.release_for_upstream()
        self._stream()

    def _refused_upgrade(self, head: ResponseHead, ended: bool) -> None:
        """The endpoint did not switch, and has no error to tell: the client gets its status without the body, and the connection ends,
        as with Envoy."""
        self.details = "websocket_handshake_unsuccessful"
        strip_response(head, False)
        headers = head.headers
        remove(headers, b"content-length")
        if b"date" not in head.noted:
            headers.append((b"date", self.side.date()))
        put(headers, *SERVER)
        headers += [(b"connection", b"close"), (b"content-length", b"0")]
        self.session.transport.write(response_head(head.status, headers))
        self._leave_connection(ended)
        self._finish()
        self.session.done(True)

    def _leave_connection(self, ended: bool) -> None:
        """The answer is not wanted; a connection on which it has not ended is of no use."""
        connection, self._connection = self._connection, None
        if not ended:
            connection.abort()

    # -- local answers

    def fail(self, error: MeshError) -> None:
        """See Tries."""
        body, extra = error.body, []
        if isinstance(error, TryFailed):
            body = error.text(self.attempts > 1)
            self.failure = error.cause
            if error.flag == "UO":
                extra, self.upstream_name = [(b"x-envoy-overloaded", b"true")], error.endpoint
        elif isinstance(error, BadMessage):
            self._close = True
        self.add_flag(error.flag)
        self.reply(error.status, body, error.details, extra)

    def time_out(self, details: str) -> None:
        """See Tries."""
        self.add_flag("UT")
        self.reply(504, b"upstream request timeout", details)

    def reply(
        self, status: int, body: bytes, details: str, extra: Sequence[Header] = (), *, grpc_status: int | None = None
    ) -> None:
        """Sends a local reply and ends the exchange. A gRPC client gets 200 and the status that `grpc_status` or HTTP's stands for."""
        self.drop_try()
        self.responded = True
        self.details = details
        close = self._close or self._unread or not self.request_ended or self.side.draining
        headers: list[Header] = []
        if self.response_change is not None:
            self.side.change(self, headers, self.response_change)
        headers += extra
        date, bodiless, grpc = self.side.date(), self.head.method == b"HEAD", speaks_grpc(self.head)
        self.status = 200 if grpc else status  # only now: for the operators of rules there is none yet, as with Envoy
        if grpc:
            answer = grpc_reply(status, body, date, headers, self.grants, close=close, bodiless=bodiless, grpc_status=grpc_status)
        else:
            answer = local_reply(status, body, date, headers, self.grants, close=close, bodiless=bodiless, version=self.version)
            self.sent += 0 if bodiless else len(body)
        self.session.transport.write(answer)
        self._finish()
        self.session.done(close)

    def _timed_out(self) -> None:
        if self.finished:
            return
        if not self.responded:
            self.blame_endpoint()
            self.time_out("response_timeout")
            return
        self.add_flag("UT")
        self.details = "response_timeout"
        self._truncate()

    # -- the end

    def _cut_copies(self, why: str) -> None:
        """The rest of the request, for which its copies wait, will not come."""
        for copy in self.copies:
            copy.cut(why)

    def _finish(self) -> None:
        self.finished = True
        if self._timeout is not None:
            self._timeout.cancel()
        self.end_tries()
        if not self.request_ended:
            self._cut_copies("primary_ended")
        self.side.finished(self)
