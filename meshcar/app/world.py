"""Makes every part of the process and joins them; says in which order they start and end."""

import gc
import os
import random
import signal
import socket
from collections.abc import Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger

from meshcar.admin.agent import agent_site
from meshcar.admin.app_probes import AppProbes
from meshcar.admin.operator import Operator
from meshcar.admin.probes import health_site, metrics_site
from meshcar.admin.site import admin_site
from meshcar.app.companion import Following
from meshcar.app.expiry import Expiry
from meshcar.app.life import Life
from meshcar.app.log_file import line_writer
from meshcar.app.log_levels import LogLevels
from meshcar.app.notify import READY, STOPPING, notify
from meshcar.app.ports import Ports
from meshcar.app.reload import LiveRules
from meshcar.app.settings import Settings
from meshcar.app.status import cluster_status, configuration, measure_ports, not_ready, remarks
from meshcar.app.succession import Succession
from meshcar.current import Current
from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.net.handover import Predecessor
from meshcar.net.inherited import Inherited
from meshcar.net.splice import Pipes
from meshcar.net.timeouts import Timeouts
from meshcar.net.tls import TlsContexts
from meshcar.observe.accesslog import AccessLog, line_format
from meshcar.observe.counters import Counters
from meshcar.observe.names import CERTIFICATE_EXPIRY, CERTIFICATE_FAILURES, CERTIFICATE_WARNINGS, GENERATION, LOG_DROPPED, RELOAD_FAILURES
from meshcar.observe.prometheus import exposition_parts
from meshcar.observe.stats import stats
from meshcar.proxy.inbound import Inbound
from meshcar.proxy.outbound import Outbound
from meshcar.proxy.parts import Manner, Parts
from meshcar.rules.explain import Sidecar, explain_steps
from meshcar.rules.listeners import OutboundListener
from meshcar.rules.question import Question
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.steps import Steps, discarded
from meshcar.rules.workload import Workload
from meshcar.sources.cert_files import CertFiles
from meshcar.sources.rule_files import RuleFiles
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.opener import Opener, OwnListeners
from meshcar.wire.trace import RandomIds

FLUSH_SECONDS = 0.25
"""How long a line of the access log may wait."""


class World(Service):
    """The sidecar. Making one reads rules and certificates and binds every port; raises SettingsError, a line for each thing wrong."""

    _log = Logger()

    def __init__(
        self, reactor: Any, settings: Settings, log_levels: LogLevels | None, inherited: Inherited, predecessor: Predecessor | None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._log_levels = log_levels
        self._counters = Counters()
        self._certs: CertFiles | None = None
        self._credentials = self._load_credentials()
        self._contexts = Current(self._contexts_of(self._credentials))
        self._snapshot = Current(Snapshot(generation=0, clusters={}))
        timeouts = Timeouts(reactor)
        own = OwnListeners()
        self._opener = Opener(reactor, timeouts, random.random, self._contexts, self._counters, own)
        self._clusters = Clusters(self._opener)
        self._files = RuleFiles(settings.rules, reactor, self._reload)
        self._rules = self._load_rules(None if predecessor is None else predecessor.text)
        self._access_log = AccessLog(line_writer(settings.access_log), line_format(settings.access_log_format))
        self._flushing = LoopingCall(self._access_log.flush)
        self._flushing.clock = reactor
        parts = Parts(
            reactor=reactor, timeouts=timeouts, roll=random.random, ids=RandomIds(os.urandom), snapshot=self._snapshot,
            contexts=self._contexts, clusters=self._clusters, log=self._access_log, counters=self._counters, pipes=Pipes(),
            manner=self._manner(), is_own=own,
        )  # fmt: skip
        self._outbound, self._inbound = Outbound(parts), Inbound(parts)
        self._ports = Ports(reactor, own, inherited)
        sides = {"inbound": self._inbound, "outbound": self._outbound}
        self._life = Life(reactor, self._ports.captured, sides, settings.drain)
        self._expiry = Expiry(reactor, lambda: self._credentials, self._counters.counter(CERTIFICATE_WARNINGS))
        self._following: Following | None = None
        self._succession: Succession | None = None
        try:
            self._bind()
            inherited.settle()
            if settings.exit_with is not None:
                self._following = Following(reactor, settings.exit_with, self._life.quit)
            if settings.handover is not None:
                self._succession = Succession(reactor, settings.handover, predecessor, self._ports, self._rules, self._life)
        except SettingsError:
            self._ports.close()
            raise
        self._measure()

    # -- parts

    def _manner(self) -> Manner:
        settings = self._settings
        return Manner(
            hostname=socket.gethostname(),
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
            own_uri=lambda: "" if self._credentials is None else str(self._credentials.spiffe_id),
        )

    def _load_credentials(self) -> Credentials | None:
        if self._settings.certs is None:
            self._log.info("no --certs: this sidecar shows no identity, and speaks plaintext only")
            return None
        self._certs = CertFiles(self._settings.certs, self._reactor, self._rotated, self._not_rotated)
        credentials = self._certs.load()
        trouble = not_ready(None, 1, credentials, self._reactor.seconds())
        if trouble is not None:
            self._log.error("certificates: {trouble}", trouble=trouble)
        self._introduce(credentials)
        return credentials

    def _introduce(self, credentials: Credentials) -> None:
        """Logs who this sidecar shows itself as from now on, and warns when that is not who it was told it is."""
        self._log.info("certificates: {id} until {end}", id=str(credentials.spiffe_id), end=credentials.not_after.isoformat())
        for remark in remarks(self._settings, credentials):
            self._log.warn("{remark}", remark=remark)

    def _contexts_of(self, credentials: Credentials | None) -> TlsContexts:
        # a resumed session holds only the leaf
        resumable = "chain" not in self._settings.client_cert_details
        return TlsContexts(credentials, self._settings.trust_domain, self._reactor.seconds, resumable=resumable)

    def _workload(self) -> Workload:
        settings = self._settings
        return Workload(settings.trust_domain, settings.namespace, settings.service_account, settings.labels, settings.mtls.upper())

    def _load_rules(self, handed_over: str | None) -> LiveRules:
        settings = self._settings
        rules = LiveRules(
            self._files.reading, self._workload(), self._put_in_force, self._reactor, sources=settings.rules, state=settings.rules_state
        )
        outcome = rules.load(handed_over)
        if outcome.errors:
            raise SettingsError("\n".join(map(str, outcome.errors)))
        return rules

    def _bind(self) -> None:
        settings, ports = self._settings, self._ports
        ports.capture("outbound", settings.outbound, self._outbound.accept, False)
        ports.capture("inbound", settings.inbound, self._inbound.accept, settings.intercept == "tproxy")
        if "inbound" in ports.captured and settings.intercept == "none" and settings.app_port is None:
            self._log.info("no --app-port: whatever comes in is answered 503, or closed if it is not HTTP")
        site = admin_site(self._operator(), self._reactor, token=settings.admin_token, own_name=socket.gethostname())
        ports.serve("admin", settings.admin, site)
        ports.serve("health", settings.health, health_site(self._not_ready, self._reactor))
        ports.serve("metrics", settings.metrics, metrics_site(self._exposition, self._reactor))
        probes = AppProbes(self._reactor, settings.app_probes or {}, settings.app_address, self._opener.is_own)
        ports.serve("agent", settings.agent, agent_site(self._not_ready, self._life.quit, probes, self._reactor))

    # -- life

    def setServiceParent(self, parent: Any) -> None:
        """Joins twistd's application, whose log goes where our levels are heard."""
        if self._log_levels is not None:
            parent.setComponent(ILogObserver, self._log_levels.observer())
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begins to watch, to flush, and to serve."""
        super().startService()
        self._files.start()
        if self._certs is not None:
            self._certs.start()
        self._flushing.start(FLUSH_SECONDS, now=False)
        self._expiry.start()
        if self._following is not None:
            self._following.start()
        if self._succession is not None:
            self._succession.begin()
        self._reactor.callWhenRunning(self._life.take_signals)
        self._reactor.callWhenRunning(notify, os.environ, READY)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        # what is here now stays: the collector need not look at it again, and garbage in cycles is rare on the data path
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)

    def stopService(self) -> "Deferred[None]":
        """Drains, then ends what startService began."""
        super().stopService()
        notify(os.environ, STOPPING)
        self._ports.leave_shared()
        self._expiry.stop()
        if self._following is not None:
            self._following.stop()
        if self._succession is not None:
            self._succession.end()
        return self._life.stop().addCallback(lambda _: self._end())

    def _end(self) -> "Deferred[None]":
        self._files.stop()
        if self._certs is not None:
            self._certs.stop()
        if self._flushing.running:
            self._flushing.stop()
        self._access_log.flush()
        return self._ports.close()

    # -- changes

    def _reload(self) -> None:
        self._rules.reload().addErrback(lambda failure: self._log.failure("rules: taking them failed; the old ones stay", failure))

    def _put_in_force(self, snapshot: Snapshot) -> Steps[None]:
        """Clusters and rules change in one moment; what is not needed any more is let go of afterwards, bit by bit."""
        clusters = yield from self._clusters.prepared(snapshot.clusters)
        gone = self._clusters.swap(clusters)
        old = self._snapshot.swap(snapshot).parts()
        yield
        while gone:
            self._clusters.retire(gone.pop())
            yield
        yield from discarded(old)

    def _rotated(self, credentials: Credentials) -> None:
        """The next handshake uses the new certificates."""
        contexts = self._contexts_of(credentials)
        self._credentials = credentials
        self._contexts.swap(contexts)
        self._clusters.renew()
        self._introduce(credentials)

    def _not_rotated(self, why: str) -> None:
        self._counters.counter(CERTIFICATE_FAILURES).value += 1
        self._log.error("certificates: {why}; the old ones stay", why=why)

    # -- what others see

    def _operator(self) -> Operator:
        return Operator(
            rules=self._rules,
            life=self._life,
            explain=lambda question: self._rules.in_turn(self._explaining(question)),
            ready=self._not_ready,
            clusters=lambda: map(cluster_status, self._clusters.all()),
            listeners=lambda: self._ports.statuses,
            outbound=self._outbound_listeners,
            credentials=lambda: self._credentials,
            metrics=self._exposition,
            stats=lambda: stats(self._counters),
            log_levels=self._log_levels,
            origins=self._settings.origins,
            config=lambda: configuration(self._settings),
            clock=self._reactor.seconds,
            started_at=self._reactor.seconds(),
            remarks=lambda: remarks(self._settings, self._credentials),
        )

    def _explaining(self, question: Question) -> Steps[dict[str, Any]]:
        settings = self._settings
        sidecar = Sidecar(
            snapshot=self._snapshot.get(),
            resources=self._rules.resources(),
            workload=self._workload(),
            allow_any=settings.outbound_traffic == "allow_any",
            path_normalization=settings.path_normalization,
            shadow_suffix=settings.shadow_suffix,
            internal_addresses=settings.internal_addresses,
        )
        return (yield from explain_steps(sidecar, question))

    def _outbound_listeners(self) -> Iterator[OutboundListener]:
        return self._snapshot.get().listeners.all()

    def _not_ready(self) -> str | None:
        return not_ready(self._life.leaving, self._rules.generation, self._credentials, self._reactor.seconds())

    def _exposition(self) -> Iterator[str]:
        return exposition_parts(self._counters)

    def _measure(self) -> None:
        measure = self._counters.measure
        measure(GENERATION, lambda: self._rules.generation)
        measure(RELOAD_FAILURES, lambda: self._rules.failures)
        measure(LOG_DROPPED, lambda: self._access_log.dropped)
        measure_ports(self._counters, self._ports.captured)
        if self._credentials is not None:
            measure(CERTIFICATE_EXPIRY, self._certificate_seconds, "default")

    def _certificate_seconds(self) -> float:
        return 0.0 if self._credentials is None else self._credentials.not_after.timestamp() - self._reactor.seconds()
