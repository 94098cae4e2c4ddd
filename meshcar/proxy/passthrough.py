"""Opaque connections: joined to an endpoint, counted, logged."""

from typing import TYPE_CHECKING, Any

from meshcar.errors import MeshError, TryFailed
from meshcar.net.address import Address
from meshcar.net.splice import Joined, join
from meshcar.net.transport import Transport
from meshcar.observe.record import connection_record
from meshcar.observe.traffic import Traffic
from meshcar.policy.balance_hash import hash_of
from meshcar.proxy.time_limits import TimeLimits

if TYPE_CHECKING:
    from meshcar.proxy.side import Side
    from meshcar.upstream.cluster import Cluster
    from meshcar.upstream.endpoint import Endpoint


def relay(
    side: "Side", transport: Transport, cluster: "Cluster | None", local: Address, *,
    first: bytes = b"", peer: Any = None, sni: str = "", denied: str = "",
) -> None:  # fmt: skip
    """Joins a connection to an endpoint of `cluster`; None, which is none that anybody declared, closes it; so does `denied`,
    which says why it must not pass.

    `first` are bytes that were read already.
    """
    passage = Passage(side, transport, local, first, peer, sni, side.traffic(cluster, local, peer))
    transport.protocol = passage
    transport.pauseProducing()
    if cluster is None:
        passage.refused("NC", "-")
    elif denied:
        passage.denied(denied, cluster.name)
    else:
        passage.begin(cluster)


class Passage:
    """One opaque connection on its way through; a Waiter, then a pair of joined transports."""

    def __init__(self, side: "Side", transport: Transport, local: Address, first: bytes, peer: Any, sni: str, traffic: Traffic) -> None:
        self._side = side
        self._traffic = traffic
        self._transport = transport
        self._local = local
        self._first = first
        self._waiting_at: Endpoint | None = None
        self._upstream: Any = None
        self._limits: TimeLimits | None = None
        self._over = False
        self._record = connection_record(side.now(), str(local), str(transport.peer), sni)
        self._record.peer = peer
        traffic.opened()

    @property
    def ends(self) -> tuple[Address, Address]:
        """The client, and what it called."""
        return self._transport.peer, self._local

    def begin(self, cluster: "Cluster") -> None:
        """Asks for a connection of its own."""
        self._record.cluster = cluster.name
        try:
            endpoint = cluster.choose() if cluster.plain else self._directed(cluster)
            cluster.join(endpoint, self)
            self._record.upstream_host = endpoint.name
        except MeshError as e:
            self.refused(e.flag, cluster.name)
            return
        self._waiting_at = endpoint

    def _directed(self, cluster: "Cluster") -> "Endpoint":
        """The endpoint that the connection itself decides on: by the address it was meant for, or by its source."""
        if cluster.config.elsewhere is not None:
            return cluster.at(self._local.host, self._local.port)
        return cluster.choose(key=hash_of(self._transport.peer.host.encode()) if cluster.config.balance.by_source else None)

    def on_connection(self, connection: Any) -> None:
        """See Waiter."""
        self._waiting_at = None
        self._upstream = connection
        upstream = connection.transport
        connection.give_away()
        self._record.upstream_local = str(upstream.local)
        if self._first:
            upstream.write(self._first)
        joined = join(self._transport, upstream, self._side.parts.pipes, self._joined_over)
        config, side = connection.owner.cluster.config, self._side
        if not self._over:
            idle, duration = config.relay_idle_timeout, config.relay_max_duration
            self._limits = TimeLimits(side.timeouts, side.now, joined, idle, duration, self._expired)

    def _expired(self, flag: str) -> None:
        if flag:
            self._record.flags = flag

    def on_connect_failed(self, error: TryFailed) -> None:
        """See Waiter. Opaque connections are reset, and Envoy writes the flags in this order."""
        self._waiting_at = None
        self._record.failure = error.cause or "-"
        self.refused("UF,URX", self._record.cluster)

    def denied(self, details: str, cluster: str) -> None:
        """Nobody may come through here; `details` say why. The connection ends in peace, as with Envoy."""
        self._record.termination = details
        self._record.cluster = cluster
        self._end()
        self._transport.loseConnection()

    def refused(self, flags: str, cluster: str) -> None:
        """There is nobody to join."""
        self._record.flags = flags
        self._record.cluster = cluster
        self._end()
        self._transport.abortConnection()

    def _joined_over(self, joined: Joined) -> None:
        self._record.received = joined.sent + len(self._first)
        self._record.sent = joined.received
        self._upstream.over()
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            if self._limits is not None:
                self._limits.cancel()
                self._limits = None  # it knows us
            record = self._record
            record.duration_ms = int((self._side.now() - record.start) * 1000)
            self._side.log.add(record)
            self._traffic.closed(record.flags, record.received, record.sent)

    # -- the protocol, until there is an upstream

    def makeConnection(self, transport: Transport) -> None:
        """Never called: the connection was made before."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes wait in the socket; none come here."""
        self._first += data

    def connectionLost(self, reason: Any) -> None:
        """The client left before it was joined."""
        if self._waiting_at is not None:
            self._waiting_at.withdraw(self)
            self._waiting_at = None
        if not self._over:
            self._record.flags = "DC"
            self._end()
