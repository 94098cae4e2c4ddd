"""Makes every part of the process and joins them; says in which order they start and end."""

import os
import signal
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import ILogObserver, Logger

from meshcar.admin.agent import agent_site
from meshcar.admin.app_probes import AppProbes
from meshcar.admin.operator import ClusterStatus, Operator
from meshcar.admin.probes import health_site, metrics_site
from meshcar.admin.site import admin_site
from meshcar.app.companion import Following
from meshcar.app.crew import Crew, State, lines_of
from meshcar.app.engine import Engine, workload_of
from meshcar.app.expiry import Expiry
from meshcar.app.life import Life
from meshcar.app.log_file import line_writer, log_descriptor
from meshcar.app.log_levels import LogLevels
from meshcar.app.notify import READY, STOPPING, notify
from meshcar.app.ports import Ports
from meshcar.app.reload import LiveRules
from meshcar.app.settings import OWNERS, Settings
from meshcar.app.status import configuration, joined, not_ready, remarks
from meshcar.app.succession import Succession
from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.net.handover import Predecessor
from meshcar.net.inherited import Inherited
from meshcar.net.slices import Work
from meshcar.observe.counters import Slots
from meshcar.observe.names import (
    CERTIFICATE_EXPIRY,
    CERTIFICATE_FAILURES,
    CERTIFICATE_WARNINGS,
    GENERATION,
    RELOAD_FAILURES,
    WORKER_RESTARTS,
    WORKERS,
)
from meshcar.observe.prometheus import exposition_parts
from meshcar.observe.stats import stats
from meshcar.observe.summed import Summed
from meshcar.rules.explain import Sidecar, explain_steps
from meshcar.rules.listeners import OutboundListener
from meshcar.rules.question import Question
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.steps import Steps
from meshcar.sources.cert_files import CertFiles
from meshcar.sources.rule_files import RuleFiles


class World(Service):
    """The sidecar. Making one reads rules and certificates and binds every port; raises SettingsError, a line for each thing wrong."""

    _log = Logger()

    def __init__(
        self, reactor: Any, settings: Settings, log_levels: LogLevels | None, inherited: Inherited, predecessor: Predecessor | None
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._log_levels = log_levels
        self._certs: CertFiles | None = None
        log = log_descriptor(settings.access_log)
        self._engine = Engine(reactor, settings, self._load_credentials(), line_writer(log, shared=settings.workers > 1))
        self._engine.introduce()
        self._counters = self._engine.counters
        self._ports = Ports(reactor, self._engine.own, inherited)
        self._crew = Crew(reactor, settings.workers - 1, lambda: self._rules, self._state, self._ports.descriptors, log)
        self._files = RuleFiles(settings.rules, reactor, self._reload)
        self._rules = self._load_rules(None if predecessor is None else predecessor.text)
        self._life = Life(reactor, self._ports.captured, self._engine.sides, settings.drain, self._tell_others)
        self._expiry = Expiry(reactor, lambda: self._engine.credentials, self._counters.counter(CERTIFICATE_WARNINGS))
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

    def _load_credentials(self) -> Credentials | None:
        if self._settings.certs is None:
            return None
        self._certs = CertFiles(self._settings.certs, self._reactor, self._rotated, self._not_rotated)
        credentials = self._certs.load()
        trouble = not_ready(None, 1, credentials, self._reactor.seconds())
        if trouble is not None:
            self._log.error("certificates: {trouble}", trouble=trouble)
        return credentials

    def _load_rules(self, handed_over: str | None) -> LiveRules:
        settings = self._settings
        rules = LiveRules(
            self._files.reading, workload_of(settings), self._put_in_force, self._reactor, sources=settings.rules,
            state=settings.rules_state, others=self._crew,
        )  # fmt: skip
        outcome = rules.load(handed_over)
        if outcome.errors:
            raise SettingsError("\n".join(map(str, outcome.errors)))
        return rules

    def _bind(self) -> None:
        settings, ports = self._settings, self._ports
        for name, address in (("outbound", settings.outbound), ("inbound", settings.inbound)):
            ports.capture(name, address, self._engine.sides[name].accept, name == "inbound" and settings.intercept == "tproxy")
        if settings.workers > 1:
            for port in ports.captured.values():
                port.at_a_turn = 1
        if "inbound" in ports.captured and settings.intercept == "none" and settings.app_port is None:
            self._log.info("no --app-port: whatever comes in is answered 503, or closed if it is not HTTP")
        site = admin_site(self._operator(), self._reactor, token=settings.admin_token, own_name=socket.gethostname())
        ports.serve("admin", settings.admin, site)
        ports.serve("health", settings.health, health_site(self._not_ready, self._reactor))
        ports.serve("metrics", settings.metrics, metrics_site(self._exposition, self._reactor, self._crew.news))
        probes = AppProbes(self._reactor, settings.app_probes or {}, settings.app_address, self._engine.opener.is_own)
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
        self._expiry.start()
        if self._following is not None:
            self._following.start()
        if self._succession is not None:
            self._succession.begin()
        self._reactor.callWhenRunning(self._life.take_signals)
        self._reactor.callWhenRunning(self._crew.start)
        self._reactor.callWhenRunning(self._crew.whole, partial(notify, os.environ, READY))
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))
        self._engine.start()

    def stopService(self) -> "Deferred[None]":
        """Drains, then ends what startService began."""
        super().stopService()
        notify(os.environ, STOPPING)
        self._ports.leave_shared()
        others = self._crew.stop(self._settings.drain, self._ports.shared)
        self._expiry.stop()
        if self._following is not None:
            self._following.stop()
        if self._succession is not None:
            self._succession.end()
        return gatherResults([self._life.stop(), others]).addCallback(lambda _: self._end())

    def _end(self) -> "Deferred[None]":
        self._files.stop()
        if self._certs is not None:
            self._certs.stop()
        self._engine.stop()
        return self._ports.close()

    # -- changes

    def _reload(self) -> None:
        self._rules.reload().addErrback(lambda failure: self._log.failure("rules: taking them failed; the old ones stay", failure))

    def _put_in_force(self, snapshot: Snapshot) -> Work[None]:
        """All processes swap at about the same time; done when all have."""
        others = self._crew.commit(snapshot.generation)
        yield from self._engine.put_in_force(snapshot)
        yield others

    def _rotated(self, credentials: Credentials) -> None:
        """The next handshake uses the new certificates."""
        self._engine.rotate(credentials)
        self._engine.introduce()
        self._crew.tell("rotate", certificates=credentials.texts())

    def _tell_others(self, call: str, how: Mapping[str, bool]) -> None:
        kept = "health" if call.endswith("health") else f"{call} {how}"
        self._crew.tell(call, kept="" if call == "cut" else kept, how=how)

    def _state(self) -> State:
        """What a further process needs to begin."""
        settings, credentials = self._settings, self._engine.credentials
        return State({
            "settings": {
                **{name: text for name, text in settings.texts.items() if name not in OWNERS},
                "access_log": "off" if settings.access_log is None else "-",
            },
            "rules": settings.rules,
            "own_ports": sorted(self._engine.own.ports),
            "generation": self._rules.generation,
            "certificates": None if credentials is None else credentials.texts(),
        }, lines_of(self._rules.resources()))

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
            clusters=self._statuses,
            news=self._crew.news,
            listeners=lambda: self._ports.statuses,
            outbound=self._outbound_listeners,
            credentials=lambda: self._engine.credentials,
            metrics=self._exposition,
            stats=lambda: stats(self._slots()),
            log_levels=self._log_levels,
            origins=self._settings.origins,
            config=lambda: configuration(self._settings),
            clock=self._reactor.seconds,
            started_at=self._reactor.seconds(),
            remarks=lambda: remarks(self._settings, self._engine.credentials),
        )

    def _explaining(self, question: Question) -> Steps[dict[str, Any]]:
        settings = self._settings
        sidecar = Sidecar(
            snapshot=self._engine.snapshot.get(),
            resources=self._rules.resources(),
            workload=workload_of(settings),
            allow_any=settings.outbound_traffic == "allow_any",
            path_normalization=settings.path_normalization,
            shadow_suffix=settings.shadow_suffix,
            internal_addresses=settings.internal_addresses,
        )
        return (yield from explain_steps(sidecar, question))

    def _outbound_listeners(self) -> Iterator[OutboundListener]:
        return self._engine.snapshot.get().listeners.all()

    def _not_ready(self) -> str | None:
        credentials = self._engine.credentials
        return not_ready(self._life.leaving, self._rules.generation, credentials, self._reactor.seconds()) or self._crew.missing

    def _statuses(self) -> Iterable[ClusterStatus]:
        return joined(self._engine.statuses(), self._crew.clusters())

    def _slots(self) -> Slots:
        return self._counters if self._settings.workers == 1 else Summed([self._counters, *self._crew.tables()])

    def _exposition(self) -> Iterator[str]:
        return exposition_parts(self._slots())

    def _measure(self) -> None:
        measure = self._counters.measure
        measure(GENERATION, lambda: self._rules.generation)
        measure(RELOAD_FAILURES, lambda: self._rules.failures)
        self._engine.measure(self._ports.captured)
        if self._engine.credentials is not None:
            measure(CERTIFICATE_EXPIRY, self._certificate_seconds, "default")
        if self._settings.workers > 1:
            measure(WORKERS, lambda: 1 + len(self._crew.serving))
            measure(WORKER_RESTARTS, lambda: self._crew.restarts)

    def _certificate_seconds(self) -> float:
        credentials = self._engine.credentials
        return 0.0 if credentials is None else credentials.not_after.timestamp() - self._reactor.seconds()
