"""A sidecar's data path in memory: clients and endpoints are wires, routes are made by the test."""

import gc
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import attrs
import pytest
from OpenSSL import SSL
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import globalLogPublisher

from meshcar.current import Current
from meshcar.errors import SettingsError
from meshcar.net import tls_transport
from meshcar.net.address import Address
from meshcar.net.splice import Pipes
from meshcar.net.timeouts import Timeouts
from meshcar.observe.accesslog import AccessLog
from meshcar.observe.counters import Counters
from meshcar.observe.names import HANDSHAKES, MIRROR_DROPPED, MIRRORED, REFUSED, REQUESTS
from meshcar.observe.record import Record
from meshcar.proxy.inbound import Inbound
from meshcar.proxy.outbound import Outbound
from meshcar.proxy.parts import Manner, Parts
from meshcar.proxy.session import Session
from meshcar.rules.listeners import Chain, Listeners, OpaqueRoute, OutboundListener
from meshcar.rules.policies import Destination, Mirror
from meshcar.rules.snapshot import (
    ClusterConfig,
    EndpointConfig,
    InboundListener,
    Route,
    Snapshot,
    VirtualHost,
    WeightedCluster,
)
from meshcar.upstream import opening
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.opener import Opener
from tests.fakes import ROOM, Loop, Wire

CLIENT = Address("10.0.0.7", 40000)
MANNER = Manner(
    intercept="none", path_normalization="base", internal_addresses=(ip_network("10.1.0.0/16"),), tracing="off", trace_sampling=0.0,
    outbound_allow_any=True, shadow_suffix=True, mirror_limit=4, mirror_window=200_000, forward_client_cert="append_forward",
    client_cert_details=frozenset(("subject", "uri", "dns")), app_address=None, app_port=None, namespace="default", labels={},
    own_uri=lambda: "spiffe://cluster.local/ns/default/sa/me",
)  # fmt: skip


class Log:
    """Keeps the records of an access log."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.access_log = AccessLog(lambda lines: None, self._keep)

    def _keep(self, record: Record) -> bytes:
        self.records.append(record)
        return b""

    @property
    def lines(self) -> list[tuple[Any, ...]]:
        return [(record.status, record.flags, record.details) for record in self.records]


class ClearTls:
    """TLS without secrets: a handshake that swallows the ClientHello, then plain bytes."""

    def __init__(self, wire: Any, fails: Exception | None) -> None:
        self._wire = wire
        self._fails = fails

    def set_accept_state(self) -> None:
        pass

    def do_handshake(self) -> None:
        if not self._wire.recv(1 << 16):
            raise SSL.SysCallError(-1, "Unexpected EOF")
        if self._fails is not None:
            raise self._fails

    def read(self) -> tuple[bytes, Exception | None]:
        """Stands for Records.read."""
        try:
            data: bytes = self._wire.recv(1 << 16)
        except BlockingIOError:
            return b"", None
        return data, None if data else CONNECTION_DONE

    def send(self, data: bytes) -> int:
        """Stands for Records.send."""
        sent: int = self._wire.send(bytes(data))
        return sent

    def get_app_data(self) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def setsockopt(self, *option: int) -> None:
        """Nothing to set."""

    def set_shutdown(self, state: int) -> None:
        pass

    def get_peer_certificate(self) -> None:
        return None


class Contexts:
    """Stands for TLS contexts: of a sidecar without certificates, until a test gives it a peer, or an error."""

    peer: Any = None
    error: Exception | None = None
    fails: Exception | None = None

    def server_connection(self, sock: Any) -> ClearTls:
        if self.peer is None and self.error is None:
            raise SettingsError("no certificate")
        return ClearTls(sock, self.fails)

    def accept_client(self, connection: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self.peer


class Mesh:
    """One process's data path. `rolls` are the next draws of chance; 0.0 when they are used up."""

    def __init__(self, **manner: Any) -> None:
        self.loop = Loop()
        self.counters = Counters()
        self.log = Log()
        self.rolls: list[float] = []
        self.own: set[tuple[str, int]] = set()
        self.snapshot = Current(Snapshot(generation=1, clusters={}))
        self.contexts: Current[Any] = Current(Contexts())
        self.timeouts = Timeouts(self.loop)
        opener = Opener(self.loop, self.timeouts, self._roll, self.contexts, self.counters, self._is_own)
        self.clusters = Clusters(opener)
        self.parts = Parts(
            reactor=self.loop, timeouts=self.timeouts, roll=self._roll, ids=lambda count: b"0" * count, snapshot=self.snapshot,
            contexts=self.contexts, clusters=self.clusters, log=self.log.access_log, counters=self.counters, pipes=Pipes(),  # type: ignore[arg-type]
            manner=attrs.evolve(MANNER, **manner), is_own=self._is_own,
        )  # fmt: skip
        self.outbound = Outbound(self.parts)
        self.inbound = Inbound(self.parts)
        self._configs: dict[str, ClusterConfig] = {}
        self._hosts: dict[bytes, VirtualHost] = {}

    def _roll(self) -> float:
        return self.rolls.pop(0) if self.rolls else 0.0

    def _is_own(self, host: str, port: int) -> bool:
        return (host, port) in self.own

    # -- rules

    def cluster(self, name: str, *ports: int, **limits: Any) -> Any:
        """Declares a cluster with endpoints on 10.0.0.9."""
        endpoints = tuple(EndpointConfig("10.0.0.9", port) for port in ports)
        self._configs[name] = ClusterConfig(name, Destination(f"{name}.default.svc.cluster.local", "", 80), endpoints, **limits)
        self._swap()
        return self.clusters.get(name)

    def route(
        self, host: bytes = b"a", cluster: str = "a", mirrors: Any = (), request: Any = None, response: Any = None, **route: Any
    ) -> None:
        """Routes a host to a cluster, which gets an endpoint if it is not declared yet."""
        if cluster not in self._configs:
            self.cluster(cluster, 80)
        weighted = WeightedCluster(cluster, Destination(f"{cluster}.default.svc.cluster.local", "", 80), 100, request, response)
        route = {"matches": None, "retries": None, **route}
        copies = tuple(each if isinstance(each, Mirror) else self.mirror_to(each) for each in mirrors)
        known = self._hosts[host].routes if host in self._hosts else ()
        made = Route("default", None, clusters=(weighted,), shares=(1.0,), mirrors=copies, **route)
        self._hosts[host] = VirtualHost(host.decode(), (*known, made))
        self._swap()

    @staticmethod
    def mirror_to(cluster: str, percent: float = 100.0) -> Mirror:
        return Mirror(cluster, percent, Destination(cluster, "v2", 80))

    def serve(self, protocol: str = "http", mode: str = "DISABLE", service: str = "") -> None:
        """How the workload's own ports are served."""
        self._swap(inbound_default=InboundListener(protocol, mode, service))

    def listener(self, address: str, port: int, protocol: str, cluster: str | None = None, service: bytes = b"") -> None:
        """What an address is: http, tcp or auto, with the cluster of what is not HTTP."""
        default = Chain(OpaqueRoute((cluster,))) if cluster and protocol != "http" else None
        self.chains(address, port, *(() if protocol == "tcp" else (Chain(),)), default=default, service=service)

    def chains(self, address: str, port: int, *chains: Chain, default: Chain | None = None, service: bytes = b"") -> None:
        """The chains of the listener of an address."""
        made = OutboundListener(f"{address}_{port}", chains, default, service)
        self._swap(listeners=Listeners({(address, port): made}))

    def _swap(self, **changes: Any) -> None:
        self.clusters.reconcile(self._configs)
        self.snapshot.swap(attrs.evolve(self.snapshot.get(), clusters=self._configs, hosts={80: dict(self._hosts)}, **changes))

    # -- wires

    def client(self, said: bytes = b"", side: Any = None, room: int = ROOM) -> Wire:
        """A client's connection, accepted; it has said something."""
        wire = self.loop.wire(CLIENT, room)
        protocol = (side or self.outbound).accept(wire.transport)
        if protocol is None:
            wire.transport.abortConnection()
        else:
            wire.transport.attach(protocol)
        if said:
            wire.say(said)
        self.loop.turn()
        return wire

    def session(self) -> Wire:
        """A client's connection of which it is known that HTTP will come, before it says a word."""
        wire = self.loop.wire(CLIENT)
        wire.transport.attach(Session(self.outbound, wire.transport.local, CLIENT))
        return wire

    def accept(self, room: int = ROOM, number: int = 0) -> Wire:
        """An endpoint takes the connection that is asked of it."""
        wire = self.loop.dials[number].accept(room)
        self.loop.turn()
        return wire

    def say(self, wire: Wire, data: bytes) -> None:
        wire.say(data)
        self.loop.turn()

    def hang_up(self, wire: Wire) -> None:
        wire.hang_up()
        self.loop.turn()

    def reset(self, wire: Wire) -> None:
        wire.reset()
        self.loop.turn()

    def drain(self, wire: Wire, room: int = ROOM) -> bytes:
        """The peer reads all that it can get."""
        wire.room = room
        self.loop.turn()
        return wire.heard()

    # -- what is counted

    def requests(self) -> dict[tuple[str, str], float]:
        """istio_requests_total by code and flags."""
        labels = REQUESTS.labels
        code, flags = labels.index("response_code"), labels.index("response_flags")
        return {(key[code], key[flags]): slot.value for key, slot in self.counters.slots(REQUESTS)}  # type: ignore[union-attr]

    def outcomes(self) -> dict[str, float]:
        """Copies sent, by outcome."""
        return {key[-1]: slot.value for key, slot in self.counters.slots(MIRRORED)}  # type: ignore[union-attr]

    def drops(self) -> dict[str, float]:
        """Copies not sent, by reason."""
        return {key[-1]: slot.value for key, slot in self.counters.slots(MIRROR_DROPPED)}  # type: ignore[union-attr]

    def refusals(self) -> dict[tuple[str, ...], float]:
        return {key: slot.value for key, slot in self.counters.slots(REFUSED)}  # type: ignore[union-attr]

    def handshakes(self) -> dict[tuple[str, ...], float]:
        return {key: slot.value for key, slot in self.counters.slots(HANDSHAKES)}  # type: ignore[union-attr]

    def at_rest(self) -> None:
        """Nothing runs, waits or ticks: no account is open, no timer of a request is left."""
        for cluster in self.clusters.all():
            assert [(each.active, each.waiting) for each in cluster.endpoints] == [(0, 0)] * len(cluster.endpoints)
        assert self.outbound.copies == 0
        for side in (self.outbound, self.inbound):
            assert side.kept == 0
            assert all(session.exchange is None for session in side.sessions)
        assert [seconds for seconds, queue in self.timeouts._queues.items() if queue and seconds not in (1.0, 3600.0)] == []


@pytest.fixture
def make_mesh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a Mesh of another manner."""

    def make(**manner: Any) -> Mesh:
        made = Mesh(**manner)
        monkeypatch.setattr(opening, "connect", made.loop.connect)
        monkeypatch.setattr(tls_transport, "Records", lambda connection: connection)
        return made

    return make


@pytest.fixture
def mesh(make_mesh: Any) -> Mesh:
    made: Mesh = make_mesh()
    return made


@pytest.fixture
def mirrored(mesh: Any) -> Any:
    """A route to `a` with a copy to `b`."""
    mesh.cluster("b", 81)
    mesh.route(mirrors=["b"])
    return mesh


@pytest.fixture(autouse=True)
def no_errors() -> Iterator[None]:
    """Nothing may leave a Deferred with an error that nobody took, nor log a failure."""
    seen: list[Any] = []
    observer = lambda event: seen.append(event) if "log_failure" in event or event.get("isError") else None  # noqa: E731
    globalLogPublisher.addObserver(observer)
    yield
    gc.collect(1)
    globalLogPublisher.removeObserver(observer)
    assert seen == []
