"""What the outbound and the inbound side share: how a request is received, changed, answered and recorded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from email.utils import formatdate
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from meshcar.errors import BadMessage
from meshcar.net.address import Address
from meshcar.net.transport import Transport
from meshcar.observe.operators import render
from meshcar.observe.record import Record, connection_record
from meshcar.observe.traffic import Traffic
from meshcar.proxy.parts import Parts
from meshcar.proxy.replies import SERVER, local_reply
from meshcar.rules.policies import HeaderChange
from meshcar.wire.head import Header, ResponseHead
from meshcar.wire.hops import admit, is_internal, literal, put, put_noted, remove, strip_response
from meshcar.wire.path import normalise
from meshcar.wire.single import REQUEST_SINGLE, RESPONSE_SINGLE, add
from meshcar.wire.trace import begin_or_continue, decide

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange
    from meshcar.proxy.session import Session
    from meshcar.upstream.cluster import Cluster


_OF_TRACING = frozenset((b"x-envoy-decorator-operation",))
"""Names a span; where there are no spans, it is a header as any other."""
_AUTHORITY = frozenset((b":authority", b"host"))
_VARIANTS = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
"""A digit's last two bits behind those that say who made a UUID's layout."""
_LOGGED = frozenset((b"user-agent", b"x-envoy-original-path", b"x-forwarded-for", b"x-request-id"))
"""Headers that the access log looks up among the noted ones."""


def forwarded_client(forwarded: bytes) -> IPv4Address | IPv6Address | None:
    """The last address of X-Forwarded-For, which the hop before us wrote; None if that is no address. Source: Envoy, with
    use_remote_address off and no trusted hops."""
    return literal(forwarded.rpartition(b",")[2].strip())


def client_of(noted: Mapping[bytes, bytes], remote: str) -> str:
    """Whom a request comes from: who the hop before us says, else the peer."""
    client = forwarded_client(noted[b"x-forwarded-for"]) if b"x-forwarded-for" in noted else None
    return remote if client is None else str(client)


class Side(ABC):
    """One of the two directions. A subclass routes; sessions and exchanges ask it for everything outside of themselves."""

    reporter = ""
    counts_attempts = False
    accepts_1_0 = True

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.clock = parts.reactor
        self.now = parts.reactor.seconds
        self.timeouts = parts.timeouts
        self.roll = parts.roll
        self.log = parts.log
        self.draining = False  # while it is true, answers say `connection: close`
        self.kept = 0  # bytes of bodies, for further tries
        self.sessions: set[Session] = set()
        self._date = b""
        self._date_second = 0

    @property
    def copies(self) -> int:
        """How many copies of requests are on their way."""
        return 0

    # -- routing, by the subclasses

    @abstractmethod
    def accept(self, transport: Transport) -> Any:
        """The protocol of an accepted connection, or None to refuse it."""

    @abstractmethod
    def route(self, exchange: "Exchange") -> None:
        """Says where a request goes, answers it, or holds it until it is known. Raises MeshError."""

    def mirror(self, exchange: "Exchange", data: bytes, ended: bool) -> None:
        """Sends the copies of a request that is on its way."""

    def finish_answer(self, exchange: "Exchange", headers: list[Header]) -> None:
        """The last word on an answer's headers."""

    # -- a request's head

    def receive(self, exchange: "Exchange", drop: frozenset[bytes], secure: bool) -> bool:
        """What Envoy's connection manager does to a head before routing; False: the request has been answered."""
        head, parts = exchange.head, self.parts
        if not head.has_host:
            raise BadMessage("no Host", details="missing_host_header", body=b"", flag="-")
        if head.target[:1] != b"/":
            details = "absolute_path_rejected" if head.target == b"*" else "route_not_found"
            if details == "route_not_found":
                exchange.add_flag("NR")
            exchange.reply(404, b"", details)
            return False
        noted = head.noted
        if head.method == b"QUERY" and b"content-type" not in noted:
            raise BadMessage("QUERY without Content-Type", details="query_missing_content_type", body=b"", flag="-")
        head.target = normalise(head.target, parts.manner.path_normalization)
        networks = parts.manner.internal_addresses
        if parts.manner.tracing == "off":
            drop = drop - _OF_TRACING
        internal = bool(networks) and b"x-forwarded-for" in noted and is_internal(noted[b"x-forwarded-for"], networks)
        admit(head, drop, exchange.tokens, exchange.upgrade, secure, internal)
        if b"x-request-id" not in noted:
            noted[b"x-request-id"] = request_id = self._request_id()
            head.headers.append((b"x-request-id", request_id))
        return True

    def _request_id(self) -> bytes:
        """A random UUID (RFC 9562, section 5.4)."""
        digits = self.parts.ids(32)
        variant = digits[16:17].translate(_VARIANTS)
        return b"%b-%b-4%b-%b%b-%b" % (digits[:8], digits[8:12], digits[13:16], variant, digits[17:20], digits[20:])

    def begin_trace(self, exchange: "Exchange") -> None:
        """Continues or begins the request's trace; its headers stand behind all others."""
        manner = self.parts.manner
        head = exchange.head
        sample, request_id = decide(head.noted, manner.trace_sampling)
        if request_id is not head.noted[b"x-request-id"]:
            put_noted(head.headers, head.noted, b"x-request-id", request_id)
            head.noted[b"x-request-id"] = request_id
        span = begin_or_continue(head, manner.tracing, self.parts.ids, sample)
        if span is None:
            return
        if not span.names.isdisjoint(head.noted):
            head.headers = [header for header in head.headers if header[0] not in span.names]
        exchange.trace = span
        exchange.tail = span.headers()

    def change(self, exchange: "Exchange", headers: list[Header], change: HeaderChange) -> None:
        """Carries out a route's header operations. A value that comes out empty changes nothing."""
        of_request = headers is exchange.head.headers
        noted, single = (exchange.head.noted, REQUEST_SINGLE) if of_request else ({}, RESPONSE_SINGLE)
        for group in change.groups:
            record: Record | None = None
            written: list[tuple[str, bytes, bytes]] = []
            for kind, name, form in group:
                if kind == "remove":
                    remove(headers, name)
                    if name in _LOGGED:
                        noted.pop(name, None)
                elif len(form) == 1 and isinstance(form[0], bytes):
                    written.append((kind, name, form[0]))
                else:
                    record = record or self.record(exchange)
                    value = render(form, record).translate(None, b"\r\n\0")
                    if value:
                        written.append((kind, name, value))
            for kind, name, value in written:
                if name in _AUTHORITY:
                    if name == b":authority":
                        put(headers, b"x-envoy-original-host", exchange.head.authority)
                    exchange.head.authority = value
                    continue
                if kind == "set":
                    remove(headers, name)
                add(headers, name, value, single)
                if name in _LOGGED:
                    noted[name] = value

    # -- the answer

    def answer(self, exchange: "Exchange", head: ResponseHead) -> None:
        """Makes the upstream's headers the client's, all but the framing."""
        strip_response(head, exchange.upgrade and head.status == 101)
        headers, noted = head.headers, head.noted
        if exchange.request_ended:
            exchange.service_ms = int((self.now() - exchange.started - exchange.delayed) * 1000)
            put_noted(headers, noted, b"x-envoy-upstream-service-time", b"%d" % exchange.service_ms)
        if exchange.hashing is not None:
            headers += [(b"set-cookie", cookie) for cookie in exchange.hashing.cookies]
        if exchange.response_change is not None:
            self.change(exchange, headers, exchange.response_change)
            noted = dict(headers)  # a rule may have written or removed what an answer must have
        for name, value in exchange.grants:
            put(headers, name, value)
        if b"date" not in noted:
            headers.append((b"date", self.date()))
        put_noted(headers, noted, *SERVER)
        self.finish_answer(exchange, headers)

    def date(self) -> bytes:
        """For the Date header (RFC 9110, section 6.6.1)."""
        second = int(self.now())
        if second != self._date_second:
            self._date_second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def refusal(self, session: "Session", error: BadMessage) -> bytes:
        """The answer to bytes that are no request; it is logged here."""
        record = self._connection_record(session)
        record.status, record.flags, record.details = error.status, error.flag, error.details
        record.sent = len(error.body)
        self.log.add(record)
        return local_reply(error.status, error.body, self.date(), close=True)

    def truncated(self, session: "Session") -> None:
        """A client left in the middle of a head."""
        record = self._connection_record(session)
        record.flags, record.details = "DC", "downstream_remote_disconnect"
        self.log.add(record)

    # -- the record

    def finished(self, exchange: "Exchange") -> None:
        """An exchange is over: log it, count it."""
        record = self.record(exchange)
        self.log.add(record)
        session = exchange.session
        traffic = self.traffic(exchange.cluster, session.local, session.peer)
        traffic.request(record.status, record.flags, record.duration_ms, record.received, record.sent)

    @abstractmethod
    def traffic(self, cluster: "Cluster | None", local: Address, peer: Any) -> Traffic:
        """Where a request or an opaque connection is counted that came for `local`, from `peer` (None: nobody it proved), to `cluster`."""

    def record(self, exchange: "Exchange") -> Record:
        """What is known of an exchange, for the access log and for header operators."""
        head, session = exchange.head, exchange.session
        record = Record()
        record.start = exchange.started
        record.duration_ms = int((self.now() - exchange.started) * 1000)
        record.service_ms = exchange.service_ms
        record.method = head.method
        record.target = head.target
        record.protocol = "HTTP/1.1" if exchange.version == "1.1" else "HTTP/1.0"
        record.authority = head.authority or b"-"
        record.headers = head.headers
        record.noted = head.noted
        record.request_id = head.noted.get(b"x-request-id", b"-")
        record.status = exchange.status
        record.received = exchange.received
        record.sent = exchange.sent
        record.flags = exchange.flags or "-"
        record.details = exchange.details
        record.failure = exchange.failure or "-"
        record.route = exchange.route_name
        if exchange.cluster is not None:
            record.cluster = exchange.cluster.name
            record.attempts = exchange.attempts or 1
        record.trace = exchange.trace
        record.hostname = self.parts.manner.hostname
        record.upstream_host = exchange.upstream_name or "-"
        record.upstream_local = exchange.upstream_local or "-"
        record.downstream_local = session.local_name
        record.downstream_direct_remote = record.downstream_remote = session.remote_name
        if b"x-forwarded-for" in head.noted:
            client = forwarded_client(head.noted[b"x-forwarded-for"])
            if client is not None:
                record.downstream_remote = f"[{client}]:0" if client.version == 6 else f"{client}:0"
        record.sni = session.sni or "-"
        record.peer = session.peer
        if exchange.response is not None:
            record.response_headers = exchange.response.headers
        return record

    def client_address(self, exchange: "Exchange") -> str:
        """Whom a request comes from: who the hop before us says, else the peer. Source: Envoy's downstream remote address."""
        return client_of(exchange.head.noted, exchange.session.remote.host)

    def _connection_record(self, session: "Session") -> Record:
        record = connection_record(self.now(), session.local_name, session.remote_name, session.sni)
        record.protocol = "HTTP/1.1"
        record.hostname = self.parts.manner.hostname
        return record

    # -- connections

    def connected(self, session: "Session") -> None:
        """A session began."""
        self.sessions.add(session)

    def disconnected(self, session: "Session") -> None:
        """A session ended."""
        self.sessions.discard(session)

    def close_idle(self, seconds: float) -> None:
        """For draining: ends connections on which no request has run for so long."""
        for session in list(self.sessions):
            session.close_if_idle(seconds)
