"""The inbound side: what comes for the application, from the captured connection, through mTLS, to the application's port."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from meshcar.errors import MeshError
from meshcar.identity.peer import PeerIdentity
from meshcar.identity.xfcc import element, forward
from meshcar.net.address import Address
from meshcar.net.tls import TlsContexts, refusal
from meshcar.net.transport import Transport
from meshcar.observe.names import HANDSHAKES, REFUSED
from meshcar.observe.operators import word
from meshcar.observe.traffic import Party, Service, Traffic
from meshcar.proxy.arrival import PATIENT_SECONDS, SNIFF_SECONDS, Arrival, Silence, Tasting, client_hello, destination_of
from meshcar.proxy.authorization import Authorizer
from meshcar.proxy.parts import Parts
from meshcar.proxy.passthrough import relay
from meshcar.proxy.session import Session
from meshcar.proxy.side import Side
from meshcar.rules.policies import RetryPolicy
from meshcar.rules.snapshot import InboundListener
from meshcar.upstream.cluster import Cluster
from meshcar.wire.clienthello import ClientHello
from meshcar.wire.head import Header
from meshcar.wire.hops import FROM_MESH, FROM_STRANGER, frame, put, remove
from meshcar.wire.sniff import Guess, sniff

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange

HANDSHAKE_SECONDS = 15.0
"""For a whole handshake. Source: Istio's transport_socket_connect_timeout."""
MESH_ALPN = frozenset((b"istio", b"istio-peer-exchange", b"istio-http/1.0", b"istio-http/1.1", b"istio-h2"))
"""By one of these a PERMISSIVE port knows TLS that is meant for the sidecar from TLS that is the application's."""
HTTP_ALPN = frozenset((b"http/1.1", b"istio-http/1.0", b"istio-http/1.1"))
"""By one of these a client says that it will speak HTTP, if it has not said anything else yet."""
RETRIES = RetryPolicy(attempts=2, conditions=frozenset({"reset-before-request"}))
"""Istio's policy of inbound routes."""


@attrs.define
class Visit:
    """A connection on its way to the application: where it was meant to go, how that port is served, and who it turned out to be.

    `says_http`: its ALPN names HTTP.
    """

    transport: Transport
    local: Address
    listener: InboundListener
    peer: PeerIdentity | None = None
    sni: str = ""
    says_http: bool = False


class Inbound(Side):
    """Listens for connections to this workload. Made and ended by the process."""

    reporter = "destination"
    accepts_1_0 = False

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._traffic: dict[tuple[str, str, bool], Traffic] = {}
        self._authorizer = Authorizer(parts.counters)

    # -- connections

    def accept(self, transport: Transport) -> Any:
        """The protocol for an accepted connection, or None: it was not captured, or leads to ourselves."""
        parts = self.parts
        destination: Address | None
        if parts.manner.intercept == "none":
            destination = transport.local
        else:
            destination = destination_of(transport, parts, "inbound")
            if destination is None:
                return None
        visit = Visit(transport, destination, self._listener(destination))
        if visit.listener.mode == "DISABLE":
            return self._plain(visit)
        return Arrival(lambda arrival: transport.sniff(self._look(visit, arrival)), self.timeouts, self._silence(visit))

    def _listener(self, local: Address) -> InboundListener:
        """How the port is served that a connection was meant for."""
        return self.parts.snapshot.get().inbound(self._port(local))

    def _port(self, local: Address) -> int:
        """The workload's own port that a connection was meant for."""
        manner = self.parts.manner
        return manner.app_port if manner.intercept == "none" and manner.app_port else local.port

    def _silence(self, visit: "Visit") -> Silence:
        """What follows when a client says nothing: where plain bytes may pass, its server may speak first."""
        if visit.listener.mode == "STRICT":
            return HANDSHAKE_SECONDS, visit.transport.abortConnection
        if visit.listener.protocol == "http":
            return PATIENT_SECONDS, visit.transport.abortConnection
        return SNIFF_SECONDS, lambda: self._opaque(visit)

    def _look(self, visit: "Visit", arrival: Arrival) -> Callable[[bytes, bool], int]:
        """Tells TLS from plain bytes, and reads the ClientHello."""

        def look(data: bytes, last: bool) -> int:
            guess = sniff(data)
            hello = client_hello(data) if guess is Guess.TLS else 1
            if not last and isinstance(hello, int) and guess in (Guess.MORE, Guess.TLS):
                return len(data) + hello
            arrival.done()
            visit.transport.watch(None)
            if guess is Guess.TLS:
                self._tls(visit, ClientHello() if isinstance(hello, int) else hello)
            elif visit.listener.mode == "STRICT":
                self.refuse("plaintext")
                visit.transport.abortConnection()
            else:
                self._by_guess(visit, guess)
            return 0

        return look

    def _plain(self, visit: "Visit") -> Any:
        """The protocol for a port that knows no TLS."""
        if visit.listener.protocol == "http":
            return self._session(visit)
        if visit.listener.protocol == "tcp":
            return Arrival(lambda _: self._opaque(visit))
        silence = SNIFF_SECONDS, lambda: self._opaque(visit)
        return Arrival.sniffing(visit.transport, self.timeouts, lambda guess: self._by_guess(visit, guess), silence)

    def _by_guess(self, visit: "Visit", guess: Guess, first: bytes = b"") -> None:
        """Serves what the first bytes are; `first` are bytes that were read already."""
        protocol = visit.listener.protocol
        if protocol == "tcp" or (protocol == "auto" and guess is not Guess.HTTP1):
            self._opaque(visit, first)
            return
        session = self._session(visit)
        visit.transport.attach(session)
        if first:
            session.dataReceived(first)

    def _session(self, visit: "Visit") -> Session:
        return Session(self, visit.local, visit.transport.peer, visit.peer, visit.sni)

    def _opaque(self, visit: "Visit", first: bytes = b"") -> None:
        cluster = self._application(visit.local, opaque=True) or self.parts.clusters.black_hole
        policies, denied = self.parts.snapshot.get().authorization, ""
        if policies is not None:
            port = self._port(visit.local)
            denied = self._authorizer.refuses_connection(policies, visit.transport, visit.local.host, port, visit.peer, visit.sni)
        relay(self, visit.transport, cluster, visit.local, first=first, peer=visit.peer, sni=visit.sni, denied=denied)

    # -- TLS

    def _tls(self, visit: "Visit", hello: ClientHello) -> None:
        """Shakes hands, if the TLS is meant for us."""
        transport = visit.transport
        visit.sni = word(hello.sni) if hello.sni else ""
        if visit.listener.mode == "PERMISSIVE" and MESH_ALPN.isdisjoint(hello.alpn):
            self._foreign_tls(visit)
            return
        contexts = self.parts.contexts.get()
        try:
            connection = contexts.server_connection(transport.socket)
        except MeshError:
            self.refuse("no_own_certificate")
            transport.abortConnection()
            return
        visit.says_http = not HTTP_ALPN.isdisjoint(hello.alpn)
        late = self.timeouts.after(HANDSHAKE_SECONDS, transport.abortConnection)

        def failed(error: Exception) -> None:
            late.cancel()
            self._count_handshake(refusal(error, connection))

        def done() -> None:
            late.cancel()
            self._shaken(visit, contexts)

        transport.start_tls(connection, done, failed, server=True)

    def _foreign_tls(self, visit: "Visit") -> None:
        """TLS of the application's own: opaque bytes, unless the port is declared as plain HTTP."""
        if visit.listener.protocol == "http":
            self.refuse("foreign_tls")
            visit.transport.abortConnection()
        else:
            self._opaque(visit)

    def _shaken(self, visit: "Visit", contexts: TlsContexts) -> None:
        """The handshake is done: who is it, and what does it speak?"""
        transport = visit.transport
        assert transport.tls is not None
        try:
            visit.peer = contexts.accept_client(transport.tls)
        except MeshError as e:
            self._count_handshake(refusal(e, transport.tls))
            transport.abortConnection()
            return
        self._count_handshake("ok")
        if visit.listener.protocol == "auto":
            # a sidecar may open its connections long before it uses them; that must not cost them their rules
            silence = (PATIENT_SECONDS, transport.loseConnection) if visit.says_http else None
            transport.attach(Tasting(lambda guess, data: self._by_guess(visit, guess, data), self.timeouts, silence))
        else:
            self._by_guess(visit, Guess.MORE)

    def _count_handshake(self, result: str) -> None:
        self.parts.counters.counter(HANDSHAKES, "inbound", result).value += 1

    def refuse(self, reason: str) -> None:
        """Counts a connection that is not served."""
        self.parts.counters.counter(REFUSED, "inbound", reason).value += 1

    # -- requests

    def route(self, exchange: "Exchange") -> None:
        """See Side."""
        head, session, manner = exchange.head, exchange.session, self.parts.manner
        peer = session.peer
        if not self.receive(exchange, FROM_STRANGER if peer is None else FROM_MESH, session.transport.tls is not None):
            return
        self._forward_certificate(exchange)
        exchange.route_name = "default"
        exchange.retries = RETRIES
        exchange.cluster = self._application(session.local)
        if exchange.cluster is None:
            exchange.add_flag("NC")
            exchange.reply(503, b"", "no_app_port")
            return
        policies = self.parts.snapshot.get().authorization
        if policies is not None:
            listener = self._listener(session.local)
            denied = self._authorizer.refuses_request(policies, exchange, self._port(session.local), listener)
            if denied:
                exchange.received = 0  # nobody has looked at the body, and Envoy's log does not count it then
                exchange.reply(403, b"RBAC: access denied", denied)
                return
        if manner.tracing != "off":
            self.begin_trace(exchange)
        frame(exchange.tail, head)

    def _forward_certificate(self, exchange: "Exchange") -> None:
        """X-Forwarded-Client-Cert: what came is forwarded, replaced or removed; ours says who the peer is."""
        head, session, manner = exchange.head, exchange.session, self.parts.manner
        known = b"x-forwarded-client-cert" in head.noted
        peer = session.peer
        if peer is None:
            if known:
                value = forward(manner.forward_client_cert, head.get_all(b"x-forwarded-client-cert"), None, False)
                _replace(head.headers, value)
            return
        if session.xfcc is None:
            session.xfcc = element(peer, manner.own_uri(), manner.client_cert_details)
        incoming = head.get_all(b"x-forwarded-client-cert") if known else ()
        value = forward(manner.forward_client_cert, incoming, session.xfcc, True)
        if known or value is None:
            _replace(head.headers, value)
        else:
            head.headers.append((b"x-forwarded-client-cert", value))

    def _application(self, local: Address, opaque: bool = False) -> Cluster | None:
        """The cluster of the application's port; None: nobody has said which it is, and this connection's own is the sidecar's."""
        manner, port = self.parts.manner, self._port(local)
        told, target = self._listener(local).endpoint or ("", port)
        host, source = told or local.host, None
        if told:
            pass  # a Sidecar says where
        elif manner.intercept == "none":
            if manner.app_port is None:
                return None
            host = manner.app_address or "127.0.0.1"
        elif manner.app_address is not None:
            host = manner.app_address
        else:
            source = "::6" if local.family is socket.AF_INET6 else "127.0.0.6"
        return self.parts.clusters.original(f"inbound|{port}||", host, target, source, opaque)

    def finish_answer(self, exchange: "Exchange", headers: list[Header]) -> None:
        """Tells a caller that brought no operation of its own what this one is called. Source: Envoy's decorator."""
        if exchange.trace is not None and b"x-envoy-decorator-operation" not in exchange.head.noted:
            service = self._listener(exchange.session.local).service
            if service:
                headers.append((b"x-envoy-decorator-operation", f"{service}/*".encode()))

    # -- counting

    def traffic(self, cluster: Cluster | None, local: Address, peer: PeerIdentity | None) -> Traffic:
        """See Side."""
        principal = peer.uris[0] if peer is not None and peer.spiffe_id is not None else ""
        service = self._listener(local).service.rpartition(":")[0]
        key = (principal, service, peer is not None)
        found = self._traffic.get(key)
        if found is None:
            workload = peer.spiffe_id.workload if peer is not None and peer.spiffe_id is not None else None
            source = Party(workload[0] if workload else "", principal)
            here = self.parts.manner.party()
            found = self._traffic[key] = Traffic(self.parts.counters, "destination", source, here, Service(service), peer is not None)
        return found


def _replace(headers: list[Header], value: bytes | None) -> None:
    if value is None:
        remove(headers, b"x-forwarded-client-cert")
    else:
        put(headers, b"x-forwarded-client-cert", value)
