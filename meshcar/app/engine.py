"""The data path of one process, whole: its parts joined, its rules and certificates swapped, its start and end."""

import ctypes
import gc
import os
import random
import socket
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.admin.operator import ClusterStatus
from meshcar.app.settings import Settings
from meshcar.app.status import cluster_status, measure_ports, remarks
from meshcar.current import Current
from meshcar.identity.credentials import Credentials
from meshcar.net.listen import Port
from meshcar.net.splice import Pipes
from meshcar.net.timeouts import Timeouts
from meshcar.net.tls import TlsContexts
from meshcar.observe.accesslog import AccessLog, line_format
from meshcar.observe.counters import Counters
from meshcar.observe.names import LOG_DROPPED
from meshcar.policy.shares import cluster_share, share
from meshcar.proxy.inbound import Inbound
from meshcar.proxy.outbound import Outbound
from meshcar.proxy.parts import Manner, Parts
from meshcar.proxy.side import Side
from meshcar.rules.snapshot import ClusterConfig, Snapshot
from meshcar.rules.steps import Steps, discarded
from meshcar.rules.workload import Workload
from meshcar.upstream.clusters import Clusters
from meshcar.upstream.opener import Opener, OwnListeners
from meshcar.wire.trace import RandomIds

FLUSH_SECONDS = 0.25
"""How long a line of the access log may wait."""


class Engine:
    """Made by a process that serves; with --workers N there are N of them, and each has 1/N of every limit.

    `write` takes lines of the access log. Whoever made it binds ports and gives their connections to `sides`, calls start(), and stop() at
    the end.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, credentials: Credentials | None, write: Callable[[bytes], None]) -> None:
        self._reactor, self._settings = reactor, settings
        self.counters = Counters()
        self.credentials = credentials
        self._contexts = Current(self._contexts_of(credentials))
        self.snapshot = Current(Snapshot(generation=0, clusters={}))
        timeouts = Timeouts(reactor)
        self.own = OwnListeners()
        self.opener = Opener(reactor, timeouts, random.random, self._contexts, self.counters, self.own)
        self._clusters = Clusters(self.opener)
        self._access_log = AccessLog(write, line_format(settings.access_log_format))
        self._flushing = LoopingCall(self._access_log.flush)
        self._flushing.clock = reactor
        parts = Parts(
            reactor=reactor, timeouts=timeouts, roll=random.random, ids=RandomIds(os.urandom), snapshot=self.snapshot,
            contexts=self._contexts, clusters=self._clusters, log=self._access_log, counters=self.counters, pipes=Pipes(),
            manner=self._manner(), is_own=self.own,
        )  # fmt: skip
        self.sides: dict[str, Side] = {"inbound": Inbound(parts), "outbound": Outbound(parts)}

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
            mirror_limit=share(settings.mirror_limit, settings.workers),
            mirror_window=settings.mirror_window,
            forward_client_cert=settings.forward_client_cert,
            client_cert_details=settings.client_cert_details,
            app_address=settings.app_address,
            app_port=settings.app_port,
            namespace=settings.namespace,
            labels=settings.labels,
            own_uri=lambda: "" if self.credentials is None else str(self.credentials.spiffe_id),
        )

    def _contexts_of(self, credentials: Credentials | None) -> TlsContexts:
        # a resumed session holds only the leaf
        resumable = "chain" not in self._settings.client_cert_details
        return TlsContexts(credentials, self._settings.trust_domain, self._reactor.seconds, resumable=resumable)

    # -- life

    def measure(self, ports: dict[str, Port]) -> None:
        """Binds the metrics that are asked for and not kept."""
        self.counters.measure(LOG_DROPPED, lambda: self._access_log.dropped)
        measure_ports(self.counters, ports)

    def start(self) -> None:
        """All that a process has for long is here now."""
        self._flushing.start(FLUSH_SECONDS, now=False)
        # it stays: the collector need not look at it again, and garbage in cycles is rare on the data path
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        _give_back()

    def stop(self) -> None:
        """Writes the last lines."""
        if self._flushing.running:
            self._flushing.stop()
        self._access_log.flush()

    # -- changes

    def put_in_force(self, snapshot: Snapshot) -> Steps[None]:
        """Clusters and rules change in one moment; what is not needed any more is let go of afterwards, bit by bit."""
        configs = snapshot.clusters if self._settings.workers == 1 else (yield from self._shares(snapshot.clusters.values()))
        clusters = yield from self._clusters.prepared(configs)
        gone = self._clusters.swap(clusters)
        old = self.snapshot.swap(snapshot).parts()
        yield
        while gone:
            self._clusters.retire(gone.pop())
            yield
        yield from discarded(old)

    def _shares(self, configs: Iterable[ClusterConfig]) -> Steps[dict[str, ClusterConfig]]:
        found = {}
        for config in configs:
            found[config.name] = cluster_share(config, self._settings.workers)
            yield
        return found

    def rotate(self, credentials: Credentials) -> None:
        """The next handshake uses new certificates."""
        contexts = self._contexts_of(credentials)
        self.credentials = credentials
        self._contexts.swap(contexts)
        self._clusters.renew()

    def introduce(self) -> None:
        """Logs who this sidecar shows itself as from now on, and warns when that is not who it was told it is."""
        if self.credentials is None:
            self._log.info("no --certs: this sidecar shows no identity, and speaks plaintext only")
            return
        self._log.info("certificates: {id} until {end}", id=str(self.credentials.spiffe_id), end=self.credentials.not_after.isoformat())
        for remark in remarks(self._settings, self.credentials):
            self._log.warn("{remark}", remark=remark)

    def statuses(self) -> Iterable[ClusterStatus]:
        """Every cluster, as /clusters shows it, made one by one."""
        configs = self.snapshot.get().clusters
        return (cluster_status(cluster, configs.get(cluster.name, cluster.config)) for cluster in self._clusters.all())


def _give_back() -> None:
    """What starting took, and nothing needs any more, goes back to the system: 0.6 MiB, with glibc. See malloc_trim(3)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def workload_of(settings: Settings) -> Workload:
    """Who the rules are compiled for."""
    return Workload(settings.trust_domain, settings.namespace, settings.service_account, settings.labels, settings.mtls.upper())
