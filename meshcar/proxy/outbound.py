"""The outbound side: what the application sends, from the captured connection to the cluster."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure

from meshcar.errors import MeshError
from meshcar.net.address import Address
from meshcar.net.lookup import LookUps
from meshcar.net.transport import Transport
from meshcar.observe.traffic import Party, Service, Traffic
from meshcar.policy.balance_hash import Hashing
from meshcar.policy.deadline import grpc_timeout, within
from meshcar.policy.retry import asked, milliseconds
from meshcar.proxy.actions import act
from meshcar.proxy.arrival import Arrival, destination_of, refuse
from meshcar.proxy.departure import depart
from meshcar.proxy.mirror import Copy, Mirrors
from meshcar.proxy.parts import Parts
from meshcar.proxy.session import IDLE_SECONDS, Session
from meshcar.proxy.side import Side, client_of
from meshcar.rules.host_names import is_address
from meshcar.rules.rewrites import rewrite
from meshcar.rules.snapshot import Route, WeightedCluster, without_port
from meshcar.upstream.cluster import Cluster
from meshcar.wire.grpc import speaks_grpc
from meshcar.wire.hops import FROM_APPLICATION, ROUTER_CONTROL, frame, put, put_noted
from meshcar.wire.sniff import Guess

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange

_ATTEMPT = (b"x-envoy-attempt-count", b"1")
_OBEYED = ROUTER_CONTROL - {b"x-envoy-expected-rq-timeout-ms"}
"""What an internal caller says to this router; how long it waits itself is for the endpoint."""


class Outbound(Side):
    """Listens for the application's connections. Made and ended by the process."""

    reporter = "source"
    counts_attempts = True

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._traffic: dict[str, Traffic] = {}
        self._look_ups = LookUps(parts.reactor)
        self.mirrors = Mirrors(self, parts.manner.mirror_limit, parts.manner.mirror_window)

    @property
    def copies(self) -> int:
        """See Side."""
        return self.mirrors.running

    # -- connections

    def accept(self, transport: Transport) -> Any:
        """The protocol for an accepted connection, or None: it was not captured, or leads to ourselves."""
        parts = self.parts
        if parts.manner.intercept == "none":
            return self._uncaptured(transport)
        destination = destination_of(transport, parts, "outbound")
        if destination is None:
            return None
        return depart(self, transport, destination)

    def _uncaptured(self, transport: Transport) -> Arrival:
        """Only HTTP says itself where it wants to go; anything else is closed."""

        def known(guess: Guess) -> None:
            if guess is Guess.HTTP1:
                transport.attach(Session(self, transport.local, transport.peer))
            else:
                refuse(transport, self.parts, "outbound", "not_http")
                transport.loseConnection()

        return Arrival.sniffing(transport, self.timeouts, known, (IDLE_SECONDS, transport.loseConnection))

    # -- requests

    def route(self, exchange: "Exchange") -> None:
        """See Side."""
        if not self.receive(exchange, FROM_APPLICATION, False):
            return
        head, session = exchange.head, exchange.session
        snapshot = self.parts.snapshot.get()
        port = session.local.port if self.parts.manner.intercept != "none" else port_of(head.authority)
        host = snapshot.virtual_host(session.service or head.authority, port)
        if host is None:
            self._unknown_host(exchange, port)
            return
        route = host.route(head)
        if route is None:
            exchange.add_flag("NR")
            exchange.reply(404, b"", "route_not_found")
            return
        exchange.route_name = route.name
        if not route.plain:
            act(self, exchange, route)
            return
        weighted = route.pick(self.roll())
        exchange.cluster = self.parts.clusters.get(weighted.cluster)
        self.take(exchange, route, weighted)

    def take(self, exchange: "Exchange", route: Route, weighted: WeightedCluster) -> None:
        """Makes the request what a route says; its cluster is set already, or there is none."""
        exchange.response_change = weighted.response
        if exchange.cluster is None:
            exchange.add_flag("NC")
            exchange.reply(route.no_cluster_status, b"", "cluster_not_found")
            return
        exchange.mirrored = route.mirrors
        exchange.retries = route.retries
        exchange.timeout = route.timeout
        if b"grpc-timeout" in exchange.head.noted and speaks_grpc(exchange.head):
            exchange.timeout = within(route.timeout, exchange.head.noted[b"grpc-timeout"])
        if not exchange.cluster.plain:
            self._direct(exchange, route, exchange.cluster)
        self._mark(exchange, route.operation)
        if weighted.request is not None:
            self.change(exchange, exchange.head.headers, weighted.request)
        if route.rewrite is not None:
            rewrite(exchange.head, route.rewrite)
        frame(exchange.tail, exchange.head)

    def _direct(self, exchange: "Exchange", route: Route, cluster: Cluster) -> None:
        """Notes by what the request's endpoint is chosen; waits where its address must be looked up first.

        Where nobody captures connections the Host says which address is meant; a name there, of which endpoints are known, any of them.
        """
        session = exchange.session
        host, port = host_of(exchange.head.authority), port_of(exchange.head.authority)
        captured = self.parts.manner.intercept != "none" and cluster.config.discovery != "DYNAMIC_DNS"
        passes = cluster.config.elsewhere is not None
        if passes and (captured or is_address(host)):
            exchange.original = (session.local.host, session.local.port) if captured else (host, port)
            return
        if not passes or cluster.endpoints:
            name = f"{session.remote_name}{session.local_name}"
            exchange.hashing = Hashing(route.hashes, _client(exchange.head.noted, session.remote.host), name)
            return

        def found(address: str) -> None:
            exchange.original, exchange.cluster = (address, port), self.parts.clusters.get(cluster.name) or cluster
            exchange.proceed(exchange.early)

        exchange.cluster = None
        self._look_up(exchange, host, found)

    def allows_any(self) -> bool:
        """Whether what nobody knows may be called: as the Sidecar in force says, else the option."""
        told = self.parts.snapshot.get().allow_any
        return self.parts.manner.outbound_allow_any if told is None else told

    def _mark(self, exchange: "Exchange", operation: bytes) -> None:
        """The headers that Envoy's router adds."""
        head = exchange.head
        headers = head.headers
        if self.parts.manner.tracing != "off":
            self.begin_trace(exchange)
            headers = head.headers
            if operation:
                headers.append((b"x-envoy-decorator-operation", operation))
        if b"x-envoy-internal" in head.noted:
            self._obey(exchange)
        limit = exchange.timeout
        if exchange.retries is not None and exchange.retries.per_try_timeout:
            limit = min(limit or exchange.retries.per_try_timeout, exchange.retries.per_try_timeout)
        if limit:
            put_noted(headers, head.noted, b"x-envoy-expected-rq-timeout-ms", b"%d" % round(limit * 1000))
            if speaks_grpc(head):
                put(headers, b"grpc-timeout", grpc_timeout(limit))
        if b"x-envoy-attempt-count" in head.noted:
            put(headers, *_ATTEMPT)
        else:
            headers.append(_ATTEMPT)

    def _obey(self, exchange: "Exchange") -> None:
        """An internal caller may set time limits and say when to try again. Source: Envoy's x-envoy-upstream-rq-timeout-ms ..."""
        head = exchange.head
        limit = milliseconds(head.noted, b"x-envoy-upstream-rq-timeout-ms")
        if limit is not None:
            exchange.timeout = limit or None
        exchange.retries = asked(exchange.retries, head.noted)
        head.headers[:] = [header for header in head.headers if header[0] not in _OBEYED]

    def _unknown_host(self, exchange: "Exchange", port: int) -> None:
        """No rule and no service knows the host."""
        parts = self.parts
        if not self.allows_any():
            exchange.route_name = "block_all"
            exchange.reply(502, b"", "direct_response")
            return
        exchange.route_name = "allow_any"
        local = exchange.session.local
        if parts.manner.intercept != "none":
            self._pass_on(exchange, local.host, local.port)
            return
        host = host_of(exchange.head.authority)
        if is_address(host):
            self._pass_on(exchange, host, port)
            return

        def found(address: str) -> None:
            self._pass_on(exchange, address, port)
            exchange.proceed(b"")

        self._look_up(exchange, host, found)

    def _pass_on(self, exchange: "Exchange", host: str, port: int) -> None:
        """To an address as it stands."""
        exchange.cluster = self.parts.clusters.original("PassthroughCluster", host, port)
        self._mark(exchange, b"")
        frame(exchange.tail, exchange.head)

    def _look_up(self, exchange: "Exchange", host: str, then: Callable[[str], None]) -> None:
        """A name's address, where nobody has looked it up for us: the request waits meanwhile."""

        def found(address: str) -> None:
            if not exchange.finished:
                exchange.session.release_for_upstream()
                then(address)

        def failed(failure: Failure) -> None:
            error = failure.value
            if not exchange.finished:
                exchange.session.release_for_upstream()
                exchange.fail(error if isinstance(error, MeshError) else MeshError(str(error)))

        exchange.session.hold_for_upstream()
        self._look_ups.first(host).addCallback(found).addErrback(failed)

    # -- counting

    def traffic(self, cluster: Cluster | None, local: Address, peer: Any) -> Traffic:
        """See Side."""
        host = cluster.config.destination.host if cluster is not None else ""
        found = self._traffic.get(host)
        if found is None:
            found = self._traffic[host] = Traffic(self.parts.counters, "source", self.parts.manner.party(), Party(), Service(host), False)
        return found

    # -- copies

    def mirror(self, exchange: "Exchange", data: bytes, ended: bool) -> None:
        """See Side."""
        for mirror in exchange.mirrored:
            if mirror.percent < 100 and self.roll() * 100 >= mirror.percent:
                continue
            target = self.mirrors.target(mirror)
            cluster = self.parts.clusters.get(mirror.cluster)
            obstacle = self.mirrors.obstacle(target, cluster, exchange.upgrade)
            if cluster is None or obstacle is not None:
                target.drop(obstacle or "no_cluster")
            else:
                exchange.copies = (*exchange.copies, Copy(self.mirrors, target, cluster, exchange, data, ended))


def _client(noted: Mapping[bytes, bytes], remote: str) -> Callable[[], str]:
    """Says whom a request comes from, when that is asked; it knows no exchange, which would know it."""
    return lambda: client_of(noted, remote)


def port_of(authority: bytes) -> int:
    """The port of an authority, or 80; 0 is one that cannot be."""
    port = authority.rpartition(b":")[2]
    if not port.isdigit() or authority[-len(port) - 1 : -len(port)] != b":":
        return 80
    return int(port) if len(port) < 6 and int(port) < 65536 else 0


def host_of(authority: bytes) -> str:
    """The host of an authority, without brackets."""
    return without_port(authority).decode("latin-1").removeprefix("[").removesuffix("]")
