"""One endpoint of a cluster, live: its idle connections, those on their way, and who waits for one."""

from collections import deque
from typing import TYPE_CHECKING, Any

from meshcar.errors import MeshError, TryFailed
from meshcar.net.connect import ConnectFailed, Connecting, connect
from meshcar.net.tls import failure_text
from meshcar.net.transport import Transport
from meshcar.rules.snapshot import EndpointConfig
from meshcar.upstream.h1 import Connection
from meshcar.upstream.sink import Waiter

if TYPE_CHECKING:
    from meshcar.upstream.cluster import Cluster


class Endpoint:
    """Made with its cluster; ends with it. `active` counts connections that belong to a request, or to one that waits."""

    __slots__ = ("_idle", "_opening", "_waiters", "active", "address", "cluster", "config", "connections", "ejected", "failed_at",
                 "joined", "name", "retired")

    def __init__(self, config: EndpointConfig, cluster: "Cluster") -> None:
        self.config = config
        self.cluster = cluster
        host = f"[{config.address}]" if ":" in config.address else config.address
        self.name = f"{host}:{config.port}"
        self.joined: float = cluster.opener.reactor.seconds()
        self.active = 0
        self.connections = 0
        self.retired = False
        self.ejected = False
        self._idle: list[Connection] = []
        self._opening: set[Opening] = set()
        self._waiters: deque[Waiter] = deque()
        self.failed_at: float | None = None  # seconds, when the last connection could not be had

    @property
    def waiting(self) -> int:
        """How many wait for a connection."""
        return len(self._waiters)

    def take(self) -> Connection | None:
        """An idle connection, now; the caller owns it until its request ends."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.transport.connected:
                self.active += 1
                connection.busy = True
                return connection
        return None

    def wait(self, waiter: Waiter, open_one: bool) -> None:
        """Puts `waiter` in the queue; with `open_one` a connection is opened on its behalf."""
        self.active += 1
        self._waiters.append(waiter)
        if open_one:
            self._open()

    def withdraw(self, waiter: Waiter) -> None:
        """`waiter` does not want a connection any more."""
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return
        self.active -= 1

    def release(self, connection: Connection) -> None:
        """A request ended in order."""
        self.active -= 1
        connection.busy = False
        limit = self.cluster.config.max_requests_per_connection
        if not self._current(connection) or (limit is not None and connection.served >= limit):
            connection.close()
        else:
            self._offer(connection)

    def lost(self, connection: Connection) -> None:
        """A connection closed, in whatever state."""
        self.connections -= 1
        self.cluster.closed()
        try:
            self._idle.remove(connection)
        except ValueError:
            if connection.busy:
                self.active -= 1
        if len(self._opening) < len(self._waiters) and self.may_open():
            self._open()

    def close_idle(self) -> None:
        """Closes connections that nobody uses: after a rotation of certificates, or when the cluster ends."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def retire(self) -> None:
        """The cluster ended: nothing new, what runs may finish."""
        self.retired = True
        self.close_idle()

    # -- opening

    def may_open(self) -> bool:
        """Whether the cluster's limit leaves room for a connection. An endpoint may always have one, else who waits for it could
        wait for ever while connections to others use up the limit, as with Envoy."""
        return not self.connections or self.cluster.may_open()

    def _current(self, connection: Connection) -> bool:
        """Whether further requests may use a connection: not when its cluster ended, nor when it is of older certificates."""
        identity = self.cluster.opener.generation() if self.config.tls is not None else None
        return not self.retired and connection.peer is identity

    def _open(self) -> None:
        self.connections += 1
        self.cluster.opened()
        self._opening.add(Opening(self))

    def opened(self, opening: "Opening", connection: Connection) -> None:
        """A connection is there."""
        self._opening.discard(opening)
        self.failed_at = None
        self.cluster.connected()
        self._offer(connection)

    def not_opened(self, opening: "Opening", error: TryFailed) -> None:
        """A connection could not be had: who waits longest is told, and all who wait when no other connection is left to wait for."""
        self._opening.discard(opening)
        self.connections -= 1
        self.failed_at = self.cluster.opener.reactor.seconds()
        self.cluster.closed()
        self.cluster.connect_failed()
        for _ in range(1 if self.connections else len(self._waiters)):
            if self._waiters:  # one who is told may make another withdraw
                self.active -= 1
                self._waiters.popleft().on_connect_failed(error)

    def _offer(self, connection: Connection) -> None:
        """Who waits longest gets it; else it idles, if anybody may use it later."""
        if self._waiters:
            connection.busy = True
            self._waiters.popleft().on_connection(connection)
        elif self._current(connection):
            self._idle.append(connection)
        else:
            connection.close()


class Opening:
    """One connection on its way: TCP, then TLS if the endpoint speaks it, within the cluster's connect timeout."""

    __slots__ = ("_connecting", "_endpoint", "_generation", "_timeout", "_tls", "_transport")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: Transport | None = None
        self._timeout: Any = None
        self._generation: Any = None
        self._tls: Any = None
        self._connecting: Connecting | None = None
        if endpoint.cluster.names is None:
            self._connect(endpoint.config.address)
        else:
            endpoint.cluster.names.first(endpoint.config.address, endpoint.cluster.config.connect_timeout, self._connect, self._unknown)

    def _connect(self, address: str) -> None:
        cluster, port = self._endpoint.cluster, self._endpoint.config.port
        opener = cluster.opener
        if opener.is_own(address, port):
            opener.reactor.callLater(0, self._refused_loop)
            return
        self._connecting = connect(
            opener.reactor, address, port, timeout=cluster.config.connect_timeout, source=cluster.source,
            connected=self._on_connected, failed=self._on_failed,
        )  # fmt: skip

    def _unknown(self, late: bool) -> None:
        """The endpoint's name has no address, or none that came in time."""
        reason = "connection timeout" if late else "remote connection failure"
        cause = "" if late else f"no_address_for_{self._endpoint.config.address}"
        self._fail(TryFailed(reason, "UF", "connect-failure", cause=cause, endpoint=self._endpoint.name))

    def _on_connected(self, transport: Transport) -> None:
        endpoint = self._endpoint
        tls = endpoint.config.tls
        self._transport = transport
        if tls is None:
            self._done(None)
            return
        opener = endpoint.cluster.opener
        self._generation = opener.generation()
        try:
            self._tls = opener.client_tls(transport.socket, tls, endpoint.cluster.opaque)
        except MeshError as e:
            transport.abortConnection()
            self._fail(TryFailed("remote connection failure", "UF", "connect-failure", cause=_word(str(e)), endpoint=endpoint.name))
            return
        self._timeout = opener.timeouts.after(endpoint.cluster.config.connect_timeout, self._too_slow)
        transport.start_tls(self._tls, self._on_tls, self._on_tls_failed, server=False)

    def _on_tls(self) -> None:
        assert self._transport is not None and self._endpoint.config.tls is not None
        self._timeout.cancel()
        opener = self._endpoint.cluster.opener
        try:
            opener.check_server(self._tls, self._endpoint.config.tls)
        except MeshError as e:
            self._transport.abortConnection()
            cause = failure_text(e)
            self._fail(TryFailed("remote connection failure", "UF", "connect-failure", cause=cause, endpoint=self._endpoint.name))
            return
        self._done(self._generation)

    def _done(self, generation: Any) -> None:
        assert self._transport is not None
        connection = Connection(self._transport, self._endpoint)
        connection.peer = generation
        self._transport.attach(connection)
        self._endpoint.opened(self, connection)

    def _too_slow(self) -> None:
        assert self._transport is not None
        transport, self._transport = self._transport, None
        transport.abortConnection()
        self._fail(TryFailed("connection timeout", "UF", "connect-failure", endpoint=self._endpoint.name))

    def _on_tls_failed(self, error: Exception) -> None:
        if self._transport is None:
            return
        self._timeout.cancel()
        self._endpoint.cluster.opener.handshake_failed(error, self._tls)
        cause = failure_text(error)
        self._fail(TryFailed("remote connection failure", "UF", "connect-failure", cause=cause, endpoint=self._endpoint.name))

    def _on_failed(self, error: ConnectFailed) -> None:
        timeout = error.reason == "timeout"
        reason = "connection timeout" if timeout else "remote connection failure"
        cause = "" if timeout else error.text
        self._fail(TryFailed(reason, "UF", "connect-failure", cause=cause, endpoint=self._endpoint.name))

    def _refused_loop(self) -> None:
        self._fail(TryFailed("remote connection failure", "UF", "none", cause="loop_to_own_listener", endpoint=self._endpoint.name))

    def _fail(self, error: TryFailed) -> None:
        self._endpoint.not_opened(self, error)


def _word(text: str) -> str:
    """Envoy writes such texts without blanks, so that a log line can be split."""
    return text.replace(" ", "_")
