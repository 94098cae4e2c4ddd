"""One connection to an endpoint on its way: TCP, keepalive, the PROXY header, TLS."""

from typing import TYPE_CHECKING, Any

from meshcar.errors import MeshError, TryFailed
from meshcar.net.connect import ConnectFailed, connect, keep_alive
from meshcar.net.tls import failure_text
from meshcar.net.transport import Transport
from meshcar.upstream.h1 import Connection
from meshcar.upstream.sink import Waiter
from meshcar.wire.proxy_protocol import proxy_header

if TYPE_CHECKING:
    from meshcar.upstream.endpoint import Endpoint


class Opening:
    """One connection on its way: TCP, then TLS if the endpoint speaks it, within the cluster's connect timeout.

    `waiter` is for whom an opaque connection is opened; None: for anybody.
    """

    __slots__ = ("_endpoint", "_generation", "_timeout", "_tls", "_transport", "waiter")

    def __init__(self, endpoint: "Endpoint", waiter: Waiter | None = None) -> None:
        self._endpoint = endpoint
        self.waiter = waiter
        self._transport: Transport | None = None
        self._timeout: Any = None
        self._generation: Any = None
        self._tls: Any = None
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
        connect(
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
        tls, config = endpoint.config.tls, endpoint.cluster.config
        self._transport = transport
        if config.keepalive is not None:
            keep_alive(transport.socket, config.keepalive)
        if config.proxy_protocol:
            self._introduce(config.proxy_protocol)
        if tls is None:
            self._done(None)
            return
        opener = endpoint.cluster.opener
        self._generation = opener.generation()
        try:
            self._tls = opener.client_tls(transport.socket, tls, endpoint.cluster.opaque, endpoint.name)
        except MeshError as e:
            transport.abortConnection()
            self._fail(TryFailed("remote connection failure", "UF", "connect-failure", cause=_word(str(e)), endpoint=endpoint.name))
            return
        self._timeout = opener.timeouts.after(endpoint.cluster.config.connect_timeout, self._too_slow)
        transport.start_tls(self._tls, self._on_tls, self._on_tls_failed, server=False)

    def _introduce(self, version: str) -> None:
        """Says between whom the connection is: the client and what it called; for a copy, which has no client, our own ends."""
        assert self._transport is not None
        ends = self._endpoint.ends or getattr(self.waiter, "ends", None) or (self._transport.local, self._transport.peer)
        source, destination = ((end.host, end.port) for end in ends)
        self._transport.write(proxy_header(version, source, destination))

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
