"""Services and DestinationRules to clusters: who answers, how to balance, which limits, and what TLS to speak."""

from collections.abc import Iterable, Iterator

from meshcar.rules.compile_balancing import Placing, balancing
from meshcar.rules.compile_client_tls import PeerTls
from meshcar.rules.compile_limits import keepalive, outlier_policy, retry_budget
from meshcar.rules.destination_rules import DestinationRules, HostPolicy
from meshcar.rules.peer_authentication import MtlsModes
from meshcar.rules.policies import Destination
from meshcar.rules.registry import Instance, KnownService, ServedPort
from meshcar.rules.schema_destinations import Subset, TrafficPolicy
from meshcar.rules.schema_pools import ConnectionPool, HttpLimits, TcpLimits
from meshcar.rules.snapshot import IDLE_SECONDS, ClusterConfig, EndpointConfig
from meshcar.rules.workload import Workload, selects

_CONNECT_TIMEOUT = 10.0
_DISCOVERY = {"DNS": "STRICT_DNS", "DNS_ROUND_ROBIN": "LOGICAL_DNS", "DYNAMIC_DNS": "DYNAMIC_DNS"}
_NO_TCP_LIMITS, _NO_HTTP_LIMITS = TcpLimits(), HttpLimits()


def cluster_name(destination: Destination) -> str:
    """Istio's name of a cluster, `outbound|8000|v1|httpbin.default.svc.cluster.local`."""
    return f"outbound|{destination.port}|{destination.subset}|{destination.host}"


def clusters(
    services: Iterable[KnownService], rules: DestinationRules, modes: MtlsModes, workload: Workload
) -> Iterator[ClusterConfig]:
    """A cluster for each port of each service, and for each port of each subset; those without endpoints, too."""
    for service in (one for one in services if not one.alias_of):
        policies = rules.of(service.host, service.namespace)
        for port in service.ports:
            for subset in (None, *policies.subsets.values()):
                yield _cluster(service, port, subset, policies, modes, workload)


def _cluster(
    service: KnownService, port: ServedPort, subset: Subset | None, policies: HostPolicy, modes: MtlsModes, workload: Workload
) -> ClusterConfig:
    destination = Destination(service.host, subset.name if subset else "", port.number)
    policy = policies.for_port(subset, port.number)
    peers = PeerTls(service, destination, policy.tls, modes, workload.trust_domain)
    chosen = (one for one in port.instances if subset is None or selects(subset.labels, one.labels))
    pool = policy.connection_pool or ConnectionPool()
    tcp, http = pool.tcp or _NO_TCP_LIMITS, pool.http or _NO_HTTP_LIMITS
    rule, outliers = policy.load_balancer, policy.outlier_detection
    endpoints, localities = Placing.of(workload, peers.of, outliers is not None, service.source).endpoints(chosen, rule)
    panic = outliers.min_health_percent if outliers else 0
    passes = (rule is not None and rule.simple == "PASSTHROUGH") or service.resolution in ("NONE", "DYNAMIC_DNS")
    by_name = service.resolution in ("DNS", "DNS_ROUND_ROBIN")
    relayed = _relayed(policies.policy)
    return ClusterConfig(
        name=cluster_name(destination),
        destination=destination,
        endpoints=() if passes and by_name else endpoints,
        balance=balancing(rule, panic, localities, policies.hashes_source(subset)),
        connect_timeout=tcp.connect_timeout or _CONNECT_TIMEOUT,
        max_connections=tcp.max_connections or None,
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_retries=http.max_retries or None,
        retry_budget=retry_budget(policy.retry_budget),
        idle_timeout=_idle(http.idle_timeout or tcp.idle_timeout),
        max_connection_duration=tcp.max_connection_duration,
        relay_idle_timeout=_idle(relayed.idle_timeout),
        relay_max_duration=relayed.max_connection_duration,
        keepalive=keepalive(tcp.tcp_keepalive),
        outliers=outlier_policy(outliers),
        proxy_protocol=policy.proxy_protocol.version if policy.proxy_protocol else "",
        discovery="STATIC" if passes and by_name else _DISCOVERY.get(service.resolution, "STATIC"),
        elsewhere=_elsewhere(service, port, peers) if passes else None,
    )


def _elsewhere(service: KnownService, port: ServedPort, peers: PeerTls) -> EndpointConfig:
    """Whoever a connection was meant for; where nobody is declared, at the port's targetPort, if it has one of its own."""
    own = port.target if service.resolution == "NONE" and not service.kubernetes and port.target != port.number else None
    return EndpointConfig("", own or 0, peers.of(Instance("", 0, service.namespace)))


def _relayed(policy: TrafficPolicy | None) -> TcpLimits:
    """What holds for the time limits of opaque connections: the host's settings, whatever a port or subset has.

    They are the listener's in Istio, which is there before a subset is chosen. Source: istiod's networkfilter.go.
    """
    pool = policy.connection_pool if policy else None
    return pool.tcp if pool and pool.tcp else _NO_TCP_LIMITS


def _idle(seconds: float | None) -> float | None:
    """0 stands for no limit, None for the default."""
    return IDLE_SECONDS if seconds is None else seconds or None
