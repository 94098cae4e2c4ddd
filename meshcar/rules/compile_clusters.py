"""Services and DestinationRules to clusters: who answers, how to balance, which limits, and what TLS to speak."""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshcar.rules.balancing import HashOn
from meshcar.rules.compile_balancing import Placing, balancing, hash_of_destination, hash_of_service, hashes_source
from meshcar.rules.peer_authentication import ROOT_NAMESPACE, MtlsModes
from meshcar.rules.policies import Destination, UpstreamTls
from meshcar.rules.read import Resource
from meshcar.rules.registry import Instance, KnownService, ServedPort, full_name, most_specific
from meshcar.rules.schema_destinations import (
    ConnectionPool,
    DestinationRule,
    PortPolicy,
    Subset,
    TlsRule,
    TrafficPolicy,
)
from meshcar.rules.snapshot import ClusterConfig, EndpointConfig
from meshcar.rules.visibility import visible
from meshcar.rules.workload import Workload, selects

_CONNECT_TIMEOUT = 10.0
_DISCOVERY = {"DNS": "STRICT_DNS", "DNS_ROUND_ROBIN": "LOGICAL_DNS"}
_TLS_LABEL = ("security.istio.io/tlsMode", "istio")


def cluster_name(destination: Destination) -> str:
    """Istio's name of a cluster, `outbound|8000|v1|httpbin.default.svc.cluster.local`."""
    return f"outbound|{destination.port}|{destination.subset}|{destination.host}"


@attrs.frozen
class HostPolicy:
    """All DestinationRules of a namespace for one host, in one: the first traffic policy, and each subset once."""

    policy: TrafficPolicy | None = None
    subsets: Mapping[str, Subset] = attrs.field(factory=dict)

    def with_rule(self, rule: DestinationRule) -> "HostPolicy":
        """One more rule, which adds but does not replace. Source: Istio, "Multiple destination rules for a single host"."""
        subsets = {**{subset.name: subset for subset in rule.subsets}, **self.subsets}
        return HostPolicy(self.policy or rule.traffic_policy, subsets)

    def hash_on(self, subset: str, port: int | None) -> HashOn | None:
        """What a route hashes that leads to a subset (or "" for all), at a port that it names (or None)."""
        own = self.subsets.get(subset)
        return hash_of_destination(self.policy, own.traffic_policy if own else None, port)

    def hash_on_port(self, port: int) -> HashOn | None:
        """What the route to a port hashes where no VirtualService is."""
        return hash_of_service(self.policy, port)

    def hashes_source(self, subset: Subset | None) -> bool:
        """Whether opaque connections are hashed by their source."""
        return hashes_source(self.policy, subset.traffic_policy if subset else None)

    def for_port(self, subset: Subset | None, port: int) -> TrafficPolicy | PortPolicy:
        """What holds for a port of the host or of a subset.

        A subset's settings replace the host's one by one; a port's replace all of them. Source: Istio, DestinationRule.
        """
        wide = self.policy or TrafficPolicy()
        own = (subset.traffic_policy if subset else None) or TrafficPolicy()
        for setting in own.port_level_settings or wide.port_level_settings:
            if setting.port.number == port:
                return setting
        return TrafficPolicy(
            own.connection_pool or wide.connection_pool, own.load_balancer or wide.load_balancer, own.tls or wide.tls
        )


class DestinationRules:
    """The DestinationRules that a namespace's workloads see, by their namespace and host, oldest first."""

    def __init__(self, resources: Iterable[Resource], namespace: str) -> None:
        self._home = namespace
        self._policies: dict[str, dict[str, HostPolicy]] = {}
        ours = (one for one in resources if isinstance(one.spec, DestinationRule))
        for resource in sorted(ours, key=lambda one: one.metadata.creation_timestamp):
            if not visible(resource.spec.export_to, resource.namespace, namespace):
                continue
            of_namespace = self._policies.setdefault(resource.namespace, {})
            host = full_name(resource.spec.host, resource.namespace)
            of_namespace[host] = of_namespace.get(host, HostPolicy()).with_rule(resource.spec)

    def of(self, host: str, namespace: str) -> HostPolicy:
        """What holds for a service's host: the client's namespace speaks first, then the service's, then the root's."""
        for place in (self._home, namespace, ROOT_NAMESPACE):
            found = most_specific(host, self._policies.get(place, {}))
            if found is not None:
                return found
        return HostPolicy()


def clusters(
    services: Iterable[KnownService], rules: DestinationRules, modes: MtlsModes, workload: Workload
) -> Iterator[ClusterConfig]:
    """A cluster for each port of each service, and for each port of each subset; those without endpoints, too."""
    for service in services:
        policy = rules.of(service.host, service.namespace)
        for port in service.ports:
            for subset in (None, *policy.subsets.values()):
                yield _cluster(service, port, subset, policy, modes, workload)


def _cluster(
    service: KnownService, port: ServedPort, subset: Subset | None, host: HostPolicy, modes: MtlsModes, workload: Workload
) -> ClusterConfig:
    policy = host.for_port(subset, port.number)
    destination = Destination(service.host, subset.name if subset else "", port.number)
    peers = _Peers(service, destination, policy.tls, modes, workload.trust_domain)
    chosen = (one for one in port.instances if subset is None or selects(subset.labels, one.labels))
    pool = policy.connection_pool or ConnectionPool()
    rule, outlier = policy.load_balancer, getattr(policy, "outlier_detection", None)
    endpoints, localities = Placing.of(workload, peers.tls, outlier is not None).endpoints(chosen, rule)
    passes = (rule is not None and rule.simple == "PASSTHROUGH") or service.resolution == "NONE"
    return ClusterConfig(
        name=cluster_name(destination),
        destination=destination,
        endpoints=() if passes and service.resolution in _DISCOVERY else endpoints,
        balance=balancing(rule, getattr(outlier, "min_health_percent", 0), localities, host.hashes_source(subset)),
        connect_timeout=pool.tcp.connect_timeout or _CONNECT_TIMEOUT,
        max_connections=pool.tcp.max_connections or None,
        max_pending_requests=pool.http.http1_max_pending_requests or None,
        max_requests=pool.http.http2_max_requests or None,
        max_requests_per_connection=pool.http.max_requests_per_connection or None,
        max_retries=pool.http.max_retries or None,
        discovery="STATIC" if passes else _DISCOVERY.get(service.resolution, "STATIC"),
        elsewhere=_elsewhere(service, port, peers) if passes else None,
    )


def _elsewhere(service: KnownService, port: ServedPort, peers: "_Peers") -> EndpointConfig:
    """Whoever a connection was meant for; where nobody is declared, at the port's targetPort, if it has one of its own."""
    own = port.target if service.resolution == "NONE" and not service.kubernetes and port.target != port.number else None
    return EndpointConfig("", own or 0, peers.tls(Instance("", 0, service.namespace)))


class _Peers:
    """What TLS a cluster speaks to each of its endpoints; equal ones share one value."""

    def __init__(
        self, service: KnownService, destination: Destination, rule: TlsRule | None, modes: MtlsModes, trust_domain: str
    ) -> None:
        self._rule, self._modes, self._trust_domain = rule, modes, trust_domain
        self._external, self._identities = service.external, service.identities
        sni = rule.sni if rule and rule.sni else None
        mesh_name = f"outbound_.{destination.port}_.{destination.subset}_.{destination.host}"
        self._mesh_sni = (sni or mesh_name).encode()
        self._sni = (sni or ("" if destination.host.startswith("*") else destination.host)).encode()
        self._known: dict[str | None, UpstreamTls] = {}

    def tls(self, instance: Instance) -> UpstreamTls | None:
        """By the DestinationRule; without one mTLS for whoever has a sidecar that takes it, inside of the mesh."""
        rule = self._rule
        if rule is None:
            has_sidecar = not self._external and instance.labels.get(_TLS_LABEL[0]) == _TLS_LABEL[1]
            mesh = has_sidecar and self._modes.mode(instance.namespace, instance.labels, instance.port) != "DISABLE"
        else:
            mesh = rule.mode == "ISTIO_MUTUAL"
        if not mesh:
            return None if rule is None or rule.mode == "DISABLE" else self._originated(rule)
        identity = self._identity(instance)
        if identity not in self._known:
            given = rule.subject_alt_names if rule else ()
            identities = frozenset(given or (*self._identities, *filter(None, (identity,))))
            skip = rule is not None and rule.insecure_skip_verify
            self._known[identity] = UpstreamTls("ISTIO_MUTUAL", self._mesh_sni, identities, insecure_skip_verify=skip)
        return self._known[identity]

    def _identity(self, instance: Instance) -> str | None:
        if instance.service_account is None:
            return None
        return f"spiffe://{self._trust_domain}/ns/{instance.namespace}/sa/{instance.service_account}"

    def _originated(self, rule: TlsRule) -> UpstreamTls:
        return UpstreamTls(
            rule.mode, self._sni, frozenset(rule.subject_alt_names), rule.ca_certificates, rule.client_certificate, rule.private_key,
            rule.insecure_skip_verify,
        )
