"""Every live cluster by name; brought in line with a new snapshot, kept where nothing changed."""

from collections.abc import Mapping

import attrs

from meshcar.latest import Latest
from meshcar.net.lookup import look_up_all
from meshcar.rules.policies import Destination
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.rules.steps import Steps, finish
from meshcar.upstream.cluster import Cluster
from meshcar.upstream.opener import Opener
from meshcar.upstream.resolve import NamedCluster, Names, Resolve

MAX_ORIGINAL = 1024
"""Original destinations kept open at a time; the one unused longest goes first."""


BLACK_HOLE = "BlackHoleCluster"
"""Istio's cluster without endpoints, for connections that may go nowhere."""


@attrs.frozen
class Prepared:
    """The clusters of a snapshot that is not in force yet, and which of them have a newer configuration to take over then."""

    clusters: dict[str, Cluster]
    adoptions: list[tuple[Cluster, ClusterConfig]]


class Clusters:
    """Owned by the process; the data path looks clusters up by name, or by the address a connection was meant for.

    `resolve` looks a name up; the machine's resolver does unless another is given.
    """

    def __init__(self, opener: Opener, resolve: Resolve | None = None) -> None:
        self._opener = opener
        self._names = Names(opener.reactor, resolve or (lambda name: look_up_all(opener.reactor, name)))
        self._named: dict[str, Cluster] = {}
        self._opaque: dict[str, Cluster] = {}
        self._leaving: list[Cluster] = []  # retired, when requests still ran there
        self.black_hole = Cluster(ClusterConfig(BLACK_HOLE, Destination(BLACK_HOLE, "", 0), ()), opener, opaque=True)
        self._original: Latest[tuple[str, str, int, bool], Cluster] = Latest(MAX_ORIGINAL)

    def get(self, name: str) -> Cluster | None:
        """None: no rule declares it (Envoy: cluster not found)."""
        return self._named.get(name)

    def opaque(self, name: str) -> Cluster | None:
        """The same endpoints for bytes that are not HTTP: such connections are never shared or used again."""
        cluster = self._named.get(name)
        if cluster is None:
            return None
        found = self._opaque.get(name)
        if found is None:
            found = self._opaque[name] = self._made(cluster.config, opaque=True, twin=cluster)
        elif found.config is not cluster.config:
            found.adopt(cluster.config)
        return found

    def _made(self, config: ClusterConfig, opaque: bool = False, twin: Cluster | None = None) -> Cluster:
        if config.discovery in ("STRICT_DNS", "LOGICAL_DNS"):
            return NamedCluster(config, self._opener, self._names, opaque, twin)
        return Cluster(config, self._opener, opaque=opaque, twin=twin)

    def all(self) -> list[Cluster]:
        """For the operator's eyes."""
        return [*self._named.values(), *self._original.values()]

    def reconcile(self, configs: Mapping[str, ClusterConfig]) -> None:
        """Makes what is new, keeps what is equal but for its endpoints, retires what is gone."""
        for gone in self.swap(finish(self.prepared(configs))):
            self.retire(gone)

    def prepared(self, configs: Mapping[str, ClusterConfig]) -> Steps[Prepared]:
        """The clusters of a new snapshot, for `swap`: those that are here already, where only endpoints differ."""
        fresh, adoptions = {}, []
        for name, config in configs.items():
            known = self._named.get(name)
            if known is None or not known.may_adopt(config):
                fresh[name] = self._made(config)
            else:
                fresh[name] = known
                if known.config != config:
                    adoptions.append((known, config))
            yield
        return Prepared(fresh, adoptions)

    def swap(self, prepared: Prepared) -> list[Cluster]:
        """Puts clusters in force; gives those that are not any more, to be given to `retire`."""
        fresh = prepared.clusters
        for cluster, config in prepared.adoptions:
            cluster.adopt(config)
        gone, self._leaving = self._leaving, []
        gone += [cluster for name, cluster in self._named.items() if fresh.get(name) is not cluster]
        self._named = fresh
        for name in [name for name, cluster in self._opaque.items() if name not in fresh or not cluster.may_adopt(fresh[name].config)]:
            gone.append(self._opaque.pop(name))
        return gone

    def retire(self, cluster: Cluster) -> None:
        """What runs there may finish; what is left after that goes with a later change."""
        if not cluster.retire():
            self._leaving.append(cluster)

    def original(self, name: str, address: str, port: int, source: str | None = None, opaque: bool = False) -> Cluster:
        """The cluster of one address: `PassthroughCluster`, or `inbound|80||` with its source."""
        key = (name, address, port, opaque)
        cluster = self._original.get(key)
        if cluster is not None:
            return cluster
        # not the address as destination: metrics have it as a label, and a scan of addresses would fill the memory
        config = ClusterConfig(name, Destination(name, "", port), (EndpointConfig(address, port),))
        cluster = Cluster(config, self._opener, source, opaque)
        gone = self._original.put(key, cluster)
        if gone is not None:
            self.retire(gone)
        return cluster

    def renew(self) -> None:
        """Certificates changed."""
        for cluster in self._named.values():
            cluster.renew()
