"""One endpoint of a cluster, live: its idle connections, and who waits for one."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from meshcar.errors import Overflow, TryFailed
from meshcar.latest import Latest
from meshcar.net.address import Address
from meshcar.net.tls_sessions import keep
from meshcar.observe.names import ACTIVE_OVERFLOW
from meshcar.rules.policies import UpstreamTls
from meshcar.rules.snapshot import EndpointConfig, without_port
from meshcar.upstream.h1 import Connection
from meshcar.upstream.opening import Opening
from meshcar.upstream.sink import Waiter

if TYPE_CHECKING:
    from meshcar.upstream.cluster import Cluster


Ends = tuple[Address, Address]
"""Who called, and what it called."""

MAX_APART = 64
"""For so many Hosts and clients an endpoint keeps connections apart."""
_SOON = 0.001


class Endpoint:
    """Made with its cluster; ends with it. `active` counts connections that belong to a request, or to one that waits.

    `standing` is what outlier detection knows of it, or None. `ends` are of the connection for which alone its connections are, if any.
    """

    ends: Ends | None = None

    __slots__ = ("_apart", "_idle", "_opening", "_sweep", "_waiters", "active", "address", "cluster", "config", "connections",
                 "failed_at", "joined", "name", "retired", "standing")

    def __init__(self, config: EndpointConfig, cluster: "Cluster") -> None:
        self.config = config
        self.cluster = cluster
        host = f"[{config.address}]" if ":" in config.address else config.address
        self.name = f"{host}:{config.port}"
        self.joined: float = cluster.opener.reactor.seconds()
        self.active = 0
        self.connections = 0
        self.retired = False
        self.standing = cluster.ejections.outliers.standing(self.name) if cluster.ejections is not None else None
        self._idle: list[Connection] = []  # the one that has been idle for longest is first
        self._opening: set[Opening] = set()
        self._waiters: deque[Waiter] = deque()
        self._sweep: Any = None
        self._apart: Latest[tuple[bytes, Ends | None], ApartEndpoint] | None = None
        self.failed_at: float | None = None  # seconds, when the last connection could not be had

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return len(self._waiters) + sum(each.waiting for each in self._others())

    @property
    def open(self) -> int:
        """How many connections are open, or on their way."""
        return self.connections + sum(each.connections for each in self._others())

    @property
    def ejected(self) -> bool:
        """Whether outlier detection has put it out."""
        return self.standing is not None and self.standing.ejected

    @property
    def idles(self) -> bool:
        """Whether a connection is there for a request."""
        return bool(self._idle)

    def now(self) -> float:
        """Seconds."""
        seconds: float = self.cluster.opener.reactor.seconds()
        return seconds

    def apart(self, authority: bytes, ends: Ends | None) -> "ApartEndpoint":
        """The connections of this endpoint that were opened for a request's Host, which TLS names as server name, or for the two ends
        of its client's connection, which the PROXY header tells."""
        if self._apart is None:
            self._apart = Latest(MAX_APART)
        tls = self.config.tls
        host = without_port(authority).lower() if tls is not None and tls.by_host else b""
        key = host, ends if self.cluster.config.proxy_protocol else None
        found = self._apart.get(key)
        if found is None:
            found = ApartEndpoint(self, *key)
            gone = self._apart.put(key, found)
            if gone is not None:
                gone.retire()
        return found

    def _load(self, change: int) -> None:
        """One request more, or less."""
        self.active += change

    def take(self) -> Connection | None:
        """An idle connection, now; the caller owns it until its request ends."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.connected:
                self._load(1)
                connection.busy = True
                return connection
        return None

    def wait(self, waiter: Waiter, open_one: bool) -> None:
        """Puts `waiter` in the queue; with `open_one` a connection is opened on its behalf."""
        self._load(1)
        self._waiters.append(waiter)
        if open_one:
            self._open(waiter if self.cluster.opaque else None)

    def withdraw(self, waiter: Waiter) -> None:
        """`waiter` does not want a connection any more."""
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return
        self._load(-1)

    def release(self, connection: Connection) -> None:
        """A request ended in order."""
        self._load(-1)
        connection.busy = False
        if connection.served == 1 and connection.transport.tls is not None:
            keep(connection.transport.tls)  # now, as what is opened beside it may resume its session
        limit = self.cluster.config.max_requests_per_connection
        if not self._current(connection) or (limit is not None and connection.served >= limit):
            connection.close()
        else:
            self._offer(connection)

    def lost(self, connection: Connection) -> None:
        """A connection closed, in whatever state."""
        self.connections -= 1
        self.cluster.closed()
        if connection.age is not None:
            connection.age.cancel()
        try:
            self._idle.remove(connection)
        except ValueError:
            if connection.busy:
                self._load(-1)
        if len(self._opening) < len(self._waiters) and self.may_open():
            self._open(None)

    def close_idle(self) -> None:
        """Closes connections that nobody uses: after a rotation of certificates, or when the cluster ends."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for each in self._others():
            each.close_idle()

    def retire(self) -> None:
        """The cluster ended: nothing new, what runs may finish."""
        self.retired = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.close_idle()
        for each in self._others():
            each.retire()
        if not self.active:
            self._apart = None

    def _others(self) -> "Iterable[ApartEndpoint]":
        return () if self._apart is None else self._apart.values()

    # -- opening

    def may_open(self) -> bool:
        """Whether the cluster's limit leaves room for a connection. An endpoint may always have one, else who waits for it could
        wait for ever while connections to others use up the limit, as with Envoy."""
        return not self.connections or self.cluster.may_open()

    def _current(self, connection: Connection) -> bool:
        """Whether further requests may use a connection: not when its cluster ended, nor when it is too old or of older certificates."""
        identity = self.cluster.opener.generation() if self.config.tls is not None else None
        return not self.retired and connection.peer is identity and not connection.worn

    def _open(self, waiter: Waiter | None) -> None:
        self.connections += 1
        self.cluster.opened()
        self._opening.add(Opening(self, waiter))

    def opened(self, opening: Opening, connection: Connection) -> None:
        """A connection is there."""
        self._opening.discard(opening)
        self.failed_at = None
        self.cluster.connected()
        lasting = self.cluster.config.max_connection_duration
        if opening.waiter is not None:
            self._hand_over(connection, opening.waiter)
            return
        if lasting is not None:
            connection.age = self.cluster.opener.timeouts.after(lasting, lambda: self._outlived(connection))
        self._offer(connection)

    def _hand_over(self, connection: Connection, waiter: Waiter) -> None:
        """An opaque connection goes to whom it was opened for, if that one is still there."""
        if self.standing is not None:
            self.standing.connected()
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            connection.busy = True
            waiter.on_connection(connection)
        else:
            connection.close()

    def not_opened(self, opening: Opening, error: TryFailed) -> None:
        """A connection could not be had: who waits longest is told, and all who wait when no other connection is left to wait for."""
        self._opening.discard(opening)
        self.connections -= 1
        self.failed_at = self.now()
        self.cluster.closed()
        self.cluster.connect_failed()
        if opening.waiter is not None:
            if opening.waiter in self._waiters:
                self._waiters.remove(opening.waiter)
                self._tell(opening.waiter, error)
            return
        for _ in range(1 if self.connections else len(self._waiters)):
            if self._waiters:  # one who is told may make another withdraw
                self._tell(self._waiters.popleft(), error)

    def _tell(self, waiter: Waiter, error: TryFailed) -> None:
        """`waiter` has left the queue."""
        self._load(-1)
        if self.standing is not None and not isinstance(error, Overflow):
            self.standing.unreachable(self.now())
        waiter.on_connect_failed(error)

    def _offer(self, connection: Connection) -> None:
        """Who waits longest gets it, if the limit on requests allows; else it idles, if anybody may use it later."""
        while self._waiters:
            may_run = self.cluster.may_run()
            waiter = self._waiters.popleft()
            if may_run:
                connection.busy = True
                waiter.on_connection(connection)
                return
            self._tell(waiter, self.cluster.overflow(ACTIVE_OVERFLOW, self.name))
        if self._current(connection):
            self._rest(connection)
        else:
            connection.close()

    # -- idling

    def _rest(self, connection: Connection) -> None:
        """The connection idles; whoever has done so for the cluster's idle timeout is closed by one timer for all of them."""
        self._idle.append(connection)
        limit = self.cluster.config.idle_timeout
        if limit is not None:
            connection.idle_since = self.now()
            if self._sweep is None:
                self._sweep = self.cluster.opener.reactor.callLater(limit, self._close_unused)

    def _close_unused(self) -> None:
        self._sweep = None
        limit, now = self.cluster.config.idle_timeout, self.now()
        if limit is None:
            return
        while self._idle and now - self._idle[0].idle_since >= limit:
            self._idle.pop(0).close()
        if self._idle:
            wait = self._idle[0].idle_since + limit - now
            self._sweep = self.cluster.opener.reactor.callLater(max(wait, _SOON), self._close_unused)

    def _outlived(self, connection: Connection) -> None:
        """Its time is up: now if it idles, else when its request has ended."""
        connection.worn = True
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
            connection.close()


class ApartEndpoint(Endpoint):
    """Those connections of an endpoint that are for one Host, or for one client's connection; made by it, and counted as its own.

    It ends with it, or when others have been asked for since. `ends` are what the PROXY header tells, or None.
    """

    __slots__ = ("_whole", "ends")

    def __init__(self, whole: Endpoint, host: bytes, ends: Ends | None) -> None:
        self._whole = whole
        tls = whole.config.tls
        super().__init__(attrs.evolve(whole.config, tls=named(tls, host)) if tls is not None and host else whole.config, whole.cluster)
        self.ends = ends

    def _load(self, change: int) -> None:
        self.active += change
        self._whole._load(change)


def named(tls: UpstreamTls, host: bytes) -> UpstreamTls:
    """TLS for a request's Host: its name as server name, unless it is an address (RFC 6066, section 3)."""
    name = host.decode("latin-1").removeprefix("[").removesuffix("]")
    literal = ":" in name or name.replace(".", "").isdigit()
    return attrs.evolve(tls, sni=b"" if literal else host, name=name if tls.named else "")
