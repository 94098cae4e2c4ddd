"""Clusters whose connections are wires."""

from collections.abc import Callable
from typing import Any

import pytest

from meshcar.current import Current
from meshcar.net.timeouts import Timeouts
from meshcar.net.transport import Transport
from meshcar.observe.counters import Counters
from meshcar.rules.policies import Destination, UpstreamTls
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.upstream import opening
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.opener import Opener
from tests.fakes import Loop

MUTUAL = UpstreamTls("ISTIO_MUTUAL")


class Waiting:
    """A Waiter and a Sink that writes down what it is told."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.error: Any = None
        self.events: list[tuple[Any, ...]] = []

    def on_connection(self, connection: Any) -> None:
        assert self.connection is None and self.error is None
        self.connection = connection

    def on_connect_failed(self, error: Any) -> None:
        assert self.connection is None and self.error is None
        self.error = error

    def on_interim(self, head: Any) -> None:
        self.events.append(("interim", head.status))

    def on_head(self, head: Any, data: bytes, ended: bool) -> None:
        self.events.append(("head", head.status, data, ended))

    def on_data(self, data: bytes, ended: bool) -> None:
        self.events.append(("data", data, ended))

    def on_failed(self, error: Any) -> None:
        self.events.append(("failed", error.flag, error.condition))


class Upstream:
    """Makes clusters on a loop; `contexts` stand for the certificates in force."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.counters = Counters()
        self.contexts: Current[Any] = Current(object())
        self.own: set[tuple[str, int]] = set()
        self.opener = Opener(
            self.loop, Timeouts(self.loop), lambda: 0.0, self.contexts, self.counters, lambda host, port: (host, port) in self.own
        )

    def config(self, *ports: int, tls: UpstreamTls | None = None, **limits: Any) -> ClusterConfig:
        endpoints = tuple(EndpointConfig("10.0.0.9", port, tls) for port in ports or (80,))
        return ClusterConfig("outbound|80||a", Destination("a", "", 80), endpoints, **limits)

    def cluster(self, *ports: int, **options: Any) -> Cluster:
        return Cluster(self.config(*ports, **options), self.opener)

    def acquire(self, cluster: Cluster, number: int = 0) -> Waiting:
        """Somebody asks an endpoint for a connection, and has it already or waits."""
        waiting = Waiting()
        waiting.connection = cluster.acquire(cluster.endpoints[number], waiting)
        return waiting

    def get(self, waiting: Waiting, *, source: Any = None, method: bytes = b"GET", **options: Any) -> None:
        """Sends a request on the connection that somebody got."""
        waiting.connection.send(b"%b / HTTP/1.1\r\n\r\n" % method, waiting, method, options.pop("chunked", False), source, **options)

    def answer(self, waiting: Waiting, data: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") -> None:
        """The endpoint speaks."""
        waiting.connection.transport.socket.say(data)
        self.loop.turn()


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    made = Upstream()
    monkeypatch.setattr(opening, "connect", made.loop.connect)
    return made


@pytest.fixture
def waiting() -> type[Waiting]:
    return Waiting


@pytest.fixture
def handshakes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Callable[[], None], Callable[[Exception], None]]]:
    """TLS without TLS: each start_tls is kept as (done, failed) for the test to call."""
    kept: list[tuple[Callable[[], None], Callable[[Exception], None]]] = []
    monkeypatch.setattr(Transport, "start_tls", lambda self, connection, done, failed, server: kept.append((done, failed)))
    monkeypatch.setattr(Opener, "client_tls", lambda self, sock, tls, opaque, peer: object())
    monkeypatch.setattr(Opener, "check_server", lambda self, connection, tls: None)
    monkeypatch.setattr(Opener, "handshake_failed", lambda self, error, connection: None)
    return kept
