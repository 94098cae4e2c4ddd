"""The inbound side: what comes for the application, from the captured connection, through mTLS, to the application's port."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcar.errors import MeshError
from meshcar.identity.peer import PeerIdentity
from meshcar.identity.xfcc import element, forward
from meshcar.net.address import Address
from meshcar.net.tls import TlsContexts, refusal
from meshcar.net.transport import Transport
from meshcar.observe.names import HANDSHAKES, REFUSED
from meshcar.observe.operators import word
from meshcar.observe.traffic import Party, Service, Traffic
from meshcar.proxy.arrival import Arrival, Tasting, destination_of
from meshcar.proxy.parts import Parts
from meshcar.proxy.passthrough import relay
from meshcar.proxy.session import Session
from meshcar.proxy.side import Side
from meshcar.rules.policies import RetryPolicy
from meshcar.rules.snapshot import InboundListener
from meshcar.upstream.cluster import Cluster
from meshcar.wire.clienthello import ClientHello, parse
from meshcar.wire.head import Header
from meshcar.wire.hops import FROM_MESH, FROM_STRANGER, frame, put, remove
from meshcar.wire.sniff import Guess, sniff

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange

HANDSHAKE_SECONDS = 15.0
"""For a whole handshake. Source: Istio's transport_socket_connect_timeout."""
MESH_ALPN = frozenset((b"istio", b"istio-peer-exchange", b"istio-http/1.0", b"istio-http/1.1", b"istio-h2"))
"""By one of these a PERMISSIVE port knows TLS that is meant for the sidecar from TLS that is the application's."""
RETRIES = RetryPolicy(attempts=2, conditions=frozenset({"reset-before-request"}))
"""Istio's policy of inbound routes."""


class Inbound(Side):
    """Listens for connections to this workload. Made and ended by the process."""

    reporter = "destination"
    accepts_1_0 = False

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._traffic: dict[tuple[str, str, bool], Traffic] = {}

    # -- connections

    def accept(self, transport: Transport) -> Any:
        """The protocol for an accepted connection, or None: it was not captured, or leads to ourselves."""
        parts = self.parts
        destination: Address | None
        if parts.manner.intercept == "none":
            destination = transport.local
            port = parts.manner.app_port or destination.port
        else:
            destination = destination_of(transport, parts, "inbound")
            if destination is None:
                return None
            port = destination.port
        listener = parts.snapshot.get().inbound(port)
        local = destination
        if listener.mode == "DISABLE":
            return self._plain(transport, local, listener)
        return Arrival(lambda arrival: transport.sniff(self._look(transport, local, listener, arrival)), self.timeouts, self._silence(transport, local, listener))

    def _silence(self, transport: Transport, local: Address, listener: InboundListener) -> tuple[float, Callable[[], None]]:
        """What follows when a client says nothing: where plain bytes may pass, its server may speak first."""
        if listener.mode == "STRICT" or listener.protocol == "http":
            return HANDSHAKE_SECONDS if listener.mode == "STRICT" else 60.0, transport.abortConnection
        return 0.5, lambda: self._opaque(transport, local)

    def _look(self, transport: Transport, local: Address, listener: InboundListener, arrival: Arrival) -> Callable[[bytes, bool], int]:
        """Tells TLS that is ours from plain bytes and from TLS that is not."""

        def look(data: bytes, last: bool) -> int:
            guess = sniff(data)
            if guess is Guess.MORE and not last:
                return len(data) + 1
            if guess is Guess.TLS:
                try:
                    hello = parse(data)
                except ValueError:
                    hello = ClientHello()
                if hello is None and not last:
                    return len(data) + 1
                arrival.done()
                self._tls(transport, local, listener, hello or ClientHello())
                return 0
            arrival.done()
            transport.watch(None)
            if listener.mode == "STRICT":
                self.refuse("plaintext")
                transport.abortConnection()
            else:
                self._by_guess(transport, local, listener, guess)
            return 0

        return look

    def _plain(self, transport: Transport, local: Address, listener: InboundListener) -> Any:
        """The protocol for a port that knows no TLS."""
        if listener.protocol == "http":
            return Session(self, local, transport.peer)
        if listener.protocol == "tcp":
            return Arrival(lambda _: self._opaque(transport, local))
        return Arrival.sniffing(
            transport, self.timeouts, lambda guess: self._by_guess(transport, local, listener, guess), lambda: self._opaque(transport, local)
        )

    def _by_guess(self, transport: Transport, local: Address, listener: InboundListener, guess: Guess) -> None:
        if listener.protocol == "http" or (listener.protocol == "auto" and guess is Guess.HTTP1):
            transport.attach(Session(self, local, transport.peer))
        else:
            self._opaque(transport, local)

    def _opaque(self, transport: Transport, local: Address, first: bytes = b"", peer: Any = None, sni: str = "") -> None:
        relay(self, transport, self._application(local, opaque=True), local, first=first, peer=peer, sni=sni)

    # -- TLS

    def _tls(self, transport: Transport, local: Address, listener: InboundListener, hello: ClientHello) -> None:
        """Shakes hands, if the TLS is meant for us."""
        if listener.mode == "PERMISSIVE" and MESH_ALPN.isdisjoint(hello.alpn):
            transport.watch(None)
            if listener.protocol == "http":
                self.refuse("foreign_tls")
                transport.abortConnection()
            else:
                self._opaque(transport, local)
            return
        contexts = self.parts.contexts.get()
        try:
            connection = contexts.server_connection(transport.socket)
        except MeshError:
            self.refuse("no_own_certificate")
            transport.abortConnection()
            return
        late = self.timeouts.after(HANDSHAKE_SECONDS, transport.abortConnection)

        def failed(error: Exception) -> None:
            late.cancel()
            self._count_handshake(refusal(error, connection))

        def done() -> None:
            late.cancel()
            self._shaken(transport, contexts, local, listener, hello)

        transport.start_tls(connection, done, failed, server=True)

    def _shaken(self, transport: Transport, contexts: TlsContexts, local: Address, listener: InboundListener, hello: ClientHello) -> None:
        """The handshake is done: who is it, and what does it speak?"""
        assert transport.tls is not None
        try:
            peer = contexts.accept_client(transport.tls)
        except MeshError as e:
            self._count_handshake(refusal(e, transport.tls))
            transport.abortConnection()
            return
        self._count_handshake("ok")
        sni = word(hello.sni) if hello.sni else ""
        if listener.protocol == "http":
            transport.attach(Session(self, local, transport.peer, peer, sni))
        elif listener.protocol == "tcp":
            self._opaque(transport, local, peer=peer, sni=sni)
        else:
            transport.attach(Tasting(lambda guess, data: self._tasted(transport, local, peer, sni, guess, data), self.timeouts))

    def _tasted(self, transport: Transport, local: Address, peer: PeerIdentity, sni: str, guess: Guess, data: bytes) -> None:
        if guess is Guess.HTTP1:
            session = Session(self, local, transport.peer, peer, sni)
            transport.attach(session)
            session.dataReceived(data)
        else:
            self._opaque(transport, local, data, peer, sni)

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
        if manner.tracing != "off":
            self.begin_trace(exchange)
        exchange.route_name = "default"
        exchange.retries = RETRIES
        exchange.cluster = self._application(session.local)
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

    def _application(self, local: Address, opaque: bool = False) -> Cluster:
        """The cluster of the application's port."""
        manner = self.parts.manner
        port = local.port
        host, source = local.host, None
        if manner.intercept == "none":
            port = manner.app_port or port
            host = manner.app_address or "127.0.0.1"
        elif manner.app_address is not None:
            host = manner.app_address
        else:
            source = "::6" if local.family is socket.AF_INET6 else "127.0.0.6"
        return self.parts.clusters.original(f"inbound|{port}||", host, port, source, opaque)

    def finish_answer(self, exchange: "Exchange", headers: list[Header]) -> None:
        """Tells a caller that brought no operation of its own what this one is called. Source: Envoy's decorator."""
        if exchange.trace is not None and b"x-envoy-decorator-operation" not in exchange.head.noted:
            service = self.parts.snapshot.get().inbound(exchange.session.local.port).service
            if service:
                headers.append((b"x-envoy-decorator-operation", f"{service}/*".encode()))

    # -- counting

    def traffic(self, exchange: "Exchange") -> Traffic:
        """See Side."""
        session, manner = exchange.session, self.parts.manner
        peer: PeerIdentity | None = session.peer
        principal = str(peer.spiffe_id) if peer is not None and peer.spiffe_id is not None else ""
        service = self.parts.snapshot.get().inbound(session.local.port).service.rpartition(":")[0]
        key = (principal, service, peer is not None)
        found = self._traffic.get(key)
        if found is None:
            workload = peer.spiffe_id.workload if peer is not None and peer.spiffe_id is not None else None
            source = Party(workload[0] if workload else "", principal)
            found = self._traffic[key] = Traffic(self.parts.counters, "destination", source, manner.party(), Service(service), peer is not None)
        return found


def _replace(headers: list[Header], value: bytes | None) -> None:
    if value is None:
        remove(headers, b"x-forwarded-client-cert")
    else:
        put(headers, b"x-forwarded-client-cert", value)
