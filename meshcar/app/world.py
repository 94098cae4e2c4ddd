"""Makes every part of the process and joins them."""

import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.admin.operator import ClusterStatus, EndpointStatus, ListenerStatus, Operator
from meshcar.admin.probes import health_site, metrics_site
from meshcar.admin.site import admin_site
from meshcar.app.reload import LiveRules
from meshcar.app.settings import Settings
from meshcar.current import Current
from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.net.address import Address, PathAddress
from meshcar.net.listen import Port, listen
from meshcar.net.splice import Pipes
from meshcar.net.timeouts import Timeouts
from meshcar.net.tls import TlsContexts
from meshcar.observe.accesslog import AccessLog, line_format
from meshcar.observe.counters import Counters
from meshcar.observe.names import (
    ACTIVE,
    CERTIFICATE_EXPIRY,
    CERTIFICATE_FAILURES,
    CONNECTIONS,
    GENERATION,
    LOG_DROPPED,
    REFUSED,
    RELOAD_FAILURES,
)
from meshcar.observe.prometheus import exposition
from meshcar.proxy.inbound import Inbound
from meshcar.proxy.outbound import Outbound
from meshcar.proxy.parts import Manner, Parts
from meshcar.proxy.side import Side
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload
from meshcar.sources.cert_files import CertFiles
from meshcar.sources.rule_files import RuleFiles
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.opener import OwnListeners, Opener
from meshcar.wire.trace import RandomIds

FLUSH_SECONDS = 0.25
"""How long a line of the access log may wait."""


class World(Service):
    """The sidecar. Making one reads rules and certificates and binds every port; raises SettingsError, a line for each thing wrong."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._started_at = reactor.seconds()
        self._counters = Counters()
        self._timeouts = Timeouts(reactor)
        self._own = OwnListeners()
        self._draining = False
        self._snapshot = Current(Snapshot(generation=0, clusters={}))
        self._certs: CertFiles | None = None
        self._credentials: Credentials | None = None
        self._contexts = Current(self._made_contexts(self._load_credentials()))
        opener = Opener(reactor, self._timeouts, random.random, self._contexts, self._counters, self._own)
        self._clusters = Clusters(opener)
        self._files = RuleFiles(settings.rules, reactor, self._reload)
        self._rules = self._load_rules()
        self._access_log = AccessLog(_writer(settings.access_log), line_format(settings.access_log_format))
        self._flushing = LoopingCall(self._access_log.flush)
        self._flushing.clock = reactor
        parts = self._parts()
        self._sides: dict[str, Side] = {"outbound": Outbound(parts), "inbound": Inbound(parts)}
        self._ports: dict[str, Port] = {}
        self._sites: list[Any] = []
        self._listeners: list[ListenerStatus] = []
        try:
            self._listen()
        except SettingsError:
            self._close_ports()
            raise
        self._measure()

    # -- parts

    def _parts(self) -> Parts:
        settings = self._settings
        manner = Manner(
            intercept=settings.intercept,
            path_normalization=settings.path_normalization,
            internal_addresses=settings.internal_addresses,
            tracing=settings.tracing,
            trace_sampling=settings.trace_sampling,
            outbound_allow_any=settings.outbound_traffic == "allow_any",
            shadow_suffix=settings.shadow_suffix,
            mirror_limit=settings.mirror_limit,
            mirror_window=settings.mirror_window,
            forward_client_cert=settings.forward_client_cert,
            client_cert_details=settings.client_cert_details,
            app_address=settings.app_address,
            app_port=settings.app_port,
            namespace=settings.namespace,
            labels=settings.labels,
            own_uri=self._own_uri,
        )
        return Parts(
            reactor=self._reactor,
            timeouts=self._timeouts,
            roll=random.random,
            ids=RandomIds(os.urandom),
            snapshot=self._snapshot,
            contexts=self._contexts,
            clusters=self._clusters,
            log=self._access_log,
            counters=self._counters,
            pipes=Pipes(),
            manner=manner,
            is_own=self._own,
        )

    def _own_uri(self) -> str:
        return str(self._credentials.spiffe_id) if self._credentials is not None else ""

    def _load_credentials(self) -> Credentials | None:
        settings = self._settings
        if settings.certs is None:
            self._log.info("no --certs: this sidecar shows no identity, and speaks plaintext only")
            return None
        self._certs = CertFiles(settings.certs, self._reactor, self._rotated, self._not_rotated)
        self._credentials = self._certs.load()
        trouble = self._credentials.trouble(self._now())
        if trouble is not None:
            self._log.error("certificates: {trouble}", trouble=trouble)
        return self._credentials

    def _made_contexts(self, credentials: Credentials | None) -> TlsContexts:
        resumable = "chain" not in self._settings.client_cert_details
        return TlsContexts(credentials, self._settings.trust_domain, self._reactor.seconds, resumable=resumable)

    def _load_rules(self) -> LiveRules:
        settings = self._settings
        workload = Workload(
            settings.trust_domain, settings.namespace, settings.service_account, settings.labels, settings.mtls.upper()
        )
        rules = LiveRules(
            self._files.read_all, workload, self._on_snapshot, self._reactor.seconds, sources=settings.rules, state=settings.rules_state
        )
        outcome = rules.load()
        if outcome.errors:
            raise SettingsError("\n".join(map(str, outcome.errors)))
        return rules

    # -- ports

    def _listen(self) -> None:
        settings = self._settings
        for name, address in (("outbound", settings.outbound), ("inbound", settings.inbound)):
            if address is not None:
                transparent = settings.intercept == "tproxy" and name == "inbound"
                port = listen(self._reactor, address.host, address.port, self._sides[name].accept, transparent=transparent)
                self._ports[name] = port
                self._listened(name, port.address)
        operator = self._operator()
        if settings.admin is not None:
            site = admin_site(operator, self._reactor, token=settings.admin_token, own_name=socket.gethostname())
            self._serve("admin", settings.admin, site)
        if settings.health is not None:
            self._serve("health", settings.health, health_site(self._ready, self._reactor))
        if settings.metrics is not None:
            self._serve("metrics", settings.metrics, metrics_site(self._exposition, self._reactor))

    def _serve(self, name: str, address: Address | PathAddress, site: Any) -> None:
        """Binds a port of the operator's."""
        try:
            if isinstance(address, PathAddress):
                port = self._reactor.listenUNIX(address.path, site, mode=0o600, wantPID=False)
                self._listeners.append(ListenerStatus(name, address.path, None))
            else:
                port = self._reactor.listenTCP(address.port, site, interface=address.host or _every_address())
                self._listened(name, Address(address.host or "0.0.0.0", port.getHost().port))
        except CannotListenError as e:
            raise SettingsError(f"cannot listen on {address}: {getattr(e.socketError, 'strerror', None) or e.socketError}") from None
        self._sites.append(port)

    def _listened(self, name: str, address: Address) -> None:
        self._own.ports.add(address.port)
        self._listeners.append(ListenerStatus(name, address.host, address.port))

    def _close_ports(self) -> None:
        for port in self._ports.values():
            port.stop()
        for site in self._sites:
            site.stopListening()

    # -- life

    def startService(self) -> None:
        """Begins to watch, to flush, and to serve."""
        super().startService()
        self._files.start()
        if self._certs is not None:
            self._certs.start()
        self._flushing.start(FLUSH_SECONDS, now=False)
        self._on_hangup()
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    def _on_hangup(self) -> None:
        if hasattr(self._reactor, "callFromThread"):
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))

    def stopService(self) -> "Deferred[None]":
        """Drains: no new connections, running requests finish within the time allowed, the rest is cut."""
        super().stopService()
        self._draining = True
        for port in self._ports.values():
            port.stop()
        for side in self._sides.values():
            side.drain()
        drained: Deferred[None] = Deferred()
        self._log.info("draining: up to {seconds} s for {count} connections", seconds=self._settings.drain, count=self._running())
        self._await_end(drained, self._reactor.seconds() + self._settings.drain)
        return drained

    def _running(self) -> int:
        return sum(len(side.sessions) for side in self._sides.values())

    def _await_end(self, drained: "Deferred[None]", deadline: float) -> None:
        if self._running() and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._await_end, drained, deadline)
            return
        for side in self._sides.values():
            for session in list(side.sessions):
                session.transport.abortConnection()
        self._files.stop()
        if self._certs is not None:
            self._certs.stop()
        if self._flushing.running:
            self._flushing.stop()
        self._reactor.callLater(0, self._ended, drained)

    def _ended(self, drained: "Deferred[None]") -> None:
        self._access_log.flush()
        self._log.info("drained")
        drained.callback(None)

    # -- changes

    def _reload(self) -> None:
        self._rules.reload()

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        """Clusters first, so that every cluster that the new rules name is there when they are in force."""
        self._clusters.reconcile(snapshot.clusters)
        self._snapshot.swap(snapshot)

    def _rotated(self, credentials: Credentials) -> None:
        """The next handshake uses the new certificates."""
        contexts = self._made_contexts(credentials)
        self._credentials = credentials
        self._contexts.swap(contexts)
        self._clusters.renew()
        self._log.info("certificates: {id} until {end}", id=str(credentials.spiffe_id), end=credentials.not_after.isoformat())

    def _not_rotated(self, why: str) -> None:
        self._counters.counter(CERTIFICATE_FAILURES).value += 1
        self._log.error("certificates: {why}; the old ones stay", why=why)

    # -- what the operator sees

    def _operator(self) -> Operator:
        return Operator(
            rules=self._rules,
            ready=self._ready,
            clusters=self._cluster_statuses,
            listeners=lambda: self._listeners,
            credentials=lambda: self._credentials,
            metrics=self._exposition,
            config=self._config,
            clock=self._reactor.seconds,
            started_at=self._started_at,
            remarks=self._remarks,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)

    def _ready(self) -> str | None:
        """None, or why not."""
        if self._draining:
            return "draining"
        if not self._rules.generation:
            return "no rules"
        if self._credentials is not None:
            return self._credentials.trouble(self._now())
        return None

    def _remarks(self) -> list[str]:
        return [] if self._credentials is not None else ["no certificates: plaintext only"]

    def _cluster_statuses(self) -> list[ClusterStatus]:
        return [
            ClusterStatus(
                cluster.name,
                tuple(
                    EndpointStatus(end.config.address, end.config.port, counts={"cx_active": end.connections, "rq_active": end.active})
                    for end in cluster.endpoints
                ),
                {"max_connections": cluster.config.max_connections, "max_pending_requests": cluster.config.max_pending_requests},
            )
            for cluster in self._clusters.all()
        ]

    def _config(self) -> dict[str, Any]:
        hidden = attrs.fields(Settings).admin_token
        return {
            field.name: _plain(getattr(self._settings, field.name)) for field in attrs.fields(Settings) if field.name != hidden.name
        }

    def _exposition(self) -> bytes:
        return exposition(self._counters)

    def _measure(self) -> None:
        """Metrics that are asked for, not kept."""
        measure = self._counters.measure
        measure(GENERATION, lambda: self._rules.generation)
        measure(RELOAD_FAILURES, lambda: self._rules.failures)
        measure(LOG_DROPPED, lambda: self._access_log.dropped)
        for name, port in self._ports.items():
            measure(ACTIVE, _open_connections(port), name)
            measure(CONNECTIONS, _accepted(port), name)
            measure(REFUSED, _refused(port), name, "limit")
        if self._certs is not None:
            measure(CERTIFICATE_EXPIRY, self._seconds_left, "default")

    def _seconds_left(self) -> float:
        assert self._credentials is not None
        return (self._credentials.not_after - self._now()).total_seconds()


def _open_connections(port: Port) -> Callable[[], float]:
    return lambda: port.open


def _accepted(port: Port) -> Callable[[], float]:
    return lambda: port.accepted


def _refused(port: Port) -> Callable[[], float]:
    return lambda: port.refused


def _every_address() -> str:
    """For Twisted: every address, IPv6 too where the machine has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"
    return "::"


def _writer(where: str | None) -> Callable[[bytes], None]:
    """Writes whole lines to a file, to stdout (`-`), or nowhere. Raises SettingsError."""
    if where is None:
        return lambda _: None
    try:
        descriptor = sys.stdout.fileno() if where == "-" else os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise SettingsError(f"--access-log {where}: {e.strerror}") from None

    def write(lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]

    return write


def _plain(value: Any) -> Any:
    """A setting as JSON can say it."""
    if isinstance(value, (tuple, frozenset)):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, (bool, int, float, str, dict)) else str(value)


