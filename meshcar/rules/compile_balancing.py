"""How a cluster balances, and where each endpoint stands, from a DestinationRule's loadBalancer.

Sources: istiod's pilot/pkg/networking/core/loadbalancer and cluster_traffic_policy.go.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from meshcar.rules.balancing import Balancing, Cookie, HashOn, Warmup
from meshcar.rules.localities import NETWORK, NODE, REGION, SUBZONE, TOPOLOGY, ZONE, covers, distance, place, pod_locality
from meshcar.rules.policies import UpstreamTls
from meshcar.rules.read import Resource
from meshcar.rules.registry import Instance
from meshcar.rules.schema_balancing import ConsistentHash, Failover, LoadBalancer, LocalitySetting
from meshcar.rules.schema_destinations import TrafficPolicy
from meshcar.rules.snapshot import EndpointConfig
from meshcar.rules.workload import Workload

_NAMES = {"UNSPECIFIED": "LEAST_REQUEST", "LEAST_CONN": "LEAST_REQUEST"}
_FEWEST_SLOTS = 16384
"""Of a ring: enough for each of some thousand endpoints to have several, and 32 KiB. A minimumRingSize above it counts."""

DEFAULT = Balancing()
"""What most clusters have, and share."""

_TRAFFIC_DISTRIBUTION = "networking.istio.io/traffic-distribution"
_SAME_ZONE = (NETWORK, REGION, ZONE)
_PREFERRED = {"preferclose": _SAME_ZONE, "prefersamezone": _SAME_ZONE, "prefersamenode": (*_SAME_ZONE, SUBZONE, NODE)}

LocalityWeight = tuple[int, str, int]
"""What a locality weighs in a priority: (priority, locality, weight)."""


def balancing(
    rule: LoadBalancer | None, panic: float = 0.0, localities: tuple[LocalityWeight, ...] = (), by_source: bool = False
) -> Balancing:
    """How a cluster chooses; by least requests where nothing is said, as Istio's default is."""
    if rule is None:
        return Balancing(panic=panic, localities=localities) if panic or localities else DEFAULT
    hashing = rule.consistent_hash
    if hashing is not None:
        policy, slots = ("MAGLEV", hashing.maglev.table_size) if hashing.maglev else ("RING_HASH", _ring_size(hashing))
        return Balancing(policy, slots, None, panic, localities, by_source)
    simple = rule.simple or "UNSPECIFIED"
    policy = _NAMES.get(simple, simple)
    return Balancing(policy, 0, _warmup(rule) if policy in ("LEAST_REQUEST", "ROUND_ROBIN") else None, panic, localities)


def hash_on(rule: ConsistentHash | None) -> HashOn | None:
    """What a route hashes for a destination with this rule; None: nothing."""
    if rule is None:
        return None
    if rule.http_header_name is not None:
        return HashOn("header", rule.http_header_name.encode())
    if rule.http_cookie is not None:
        cookie = rule.http_cookie
        pairs = tuple((one.name.encode(), one.value.encode()) for one in cookie.attributes)
        made = Cookie(cookie.path.encode(), None if cookie.ttl is None else int(cookie.ttl), pairs)
        return HashOn("cookie", cookie.name.encode(), made)
    if rule.http_query_parameter_name is not None:
        return HashOn("query", rule.http_query_parameter_name.encode())
    return HashOn("source_ip") if rule.use_source_ip else None


def hash_of_destination(host: TrafficPolicy | None, subset: TrafficPolicy | None, port: int | None) -> HashOn | None:
    """What a VirtualService's route hashes for a destination: what its subset says of the port, or in general, then what the host
    says. Only a port that the destination names counts. Source: istiod's HashForHTTPDestination."""
    found = [_of_port(subset, port), _of_all(subset), _of_port(host, port), _of_all(host)]
    return hash_on(next((one for one in found if one is not None), None))


def hash_of_service(host: TrafficPolicy | None, port: int) -> HashOn | None:
    """The same for a service without VirtualService. Source: istiod's hashForService."""
    return hash_on(_of_port(host, port) or _of_all(host))


def hashes_source(host: TrafficPolicy | None, subset: TrafficPolicy | None) -> bool:
    """Whether opaque connections are hashed by their source; settings of ports do not count. Source: istiod's maybeSetHashPolicy."""
    rule = (subset.load_balancer if subset else None) or (host.load_balancer if host else None)
    return rule is not None and rule.consistent_hash is not None and bool(rule.consistent_hash.use_source_ip)


def _of_port(policy: TrafficPolicy | None, port: int | None) -> ConsistentHash | None:
    if policy is None or port is None:
        return None
    found = next((one for one in policy.port_level_settings if one.port.number == port), None)
    return found.load_balancer.consistent_hash if found and found.load_balancer else None


def _of_all(policy: TrafficPolicy | None) -> ConsistentHash | None:
    return policy.load_balancer.consistent_hash if policy and policy.load_balancer else None


def _ring_size(rule: ConsistentHash) -> int:
    return max(rule.minimum_ring_size, rule.ring_hash.minimum_ring_size if rule.ring_hash else 0, _FEWEST_SLOTS)


def _warmup(rule: LoadBalancer) -> Warmup | None:
    if rule.warmup is None:
        return None if rule.warmup_duration_secs is None else Warmup(rule.warmup_duration_secs)
    minimum, aggression = rule.warmup.minimum_percent, rule.warmup.aggression
    return Warmup(rule.warmup.duration, 0.1 if minimum is None else minimum / 100, 1.0 if aggression is None else aggression)


@attrs.frozen
class Placing:
    """Where the endpoints of a cluster stand for a workload: who takes part, in which priority, and what each locality weighs."""

    own: str
    labels: Mapping[str, str]
    tls: Callable[[Instance], UpstreamTls | None]
    ejects: bool
    """Whether the cluster has an outlierDetection. Without, nothing fails over, and priorities would only leave endpoints idle."""
    prefers: tuple[str, ...] = ()
    """Labels that endpoints should share with us, by the service's own wish, where a rule says nothing."""

    @classmethod
    def of(
        cls, workload: Workload, tls: Callable[[Instance], UpstreamTls | None], ejects: bool, service: Resource | None = None
    ) -> "Placing":
        """For the endpoints that a workload sees of a service."""
        return cls(pod_locality(workload.labels), workload.labels, tls, ejects, preferred(service) if service else ())

    def endpoints(
        self, instances: Iterable[Instance], rule: LoadBalancer | None
    ) -> tuple[tuple[EndpointConfig, ...], tuple[LocalityWeight, ...]]:
        """The endpoints with their priorities; and the weights of localities, if those count."""
        setting = rule.locality_lb_setting if rule else None
        zones = rule.zone_aware_lb_setting if rule else None
        if zones is not None:
            if zones.enabled is False:
                return self._made(instances), ()
            return self._made(instances, self._zone_aware(zones.failover_priority, zones.failover)), ()
        if setting is not None and setting.enabled is False:
            return self._made(instances), ()
        if setting is not None and setting.distribute:
            return self._distributed(tuple(instances), setting)
        if setting is None and self.prefers:
            setting = LocalitySetting(failover_priority=self.prefers)
        elif not self.ejects:
            return self._made(instances), ()
        made = self._made(instances, self._failover(setting or LocalitySetting()))
        weighted = setting is not None and bool(setting.failover or setting.failover_priority)
        return made, _weights(made) if weighted else ()

    def _made(self, instances: Iterable[Instance], rank: "Rank | None" = None) -> tuple[EndpointConfig, ...]:
        """Priorities count from 0, without gaps, whatever the ranks are."""
        chosen = tuple(instances)
        if rank is None:
            return tuple([EndpointConfig(one.address, one.port, self.tls(one), one.weight, one.locality) for one in chosen])
        ranks = [rank(one) for one in chosen]
        order = {value: priority for priority, value in enumerate(sorted(set(ranks)))}
        return tuple([
            EndpointConfig(one.address, one.port, self.tls(one), one.weight, one.locality, order[value])
            for one, value in zip(chosen, ranks, strict=True)
        ])  # fmt: skip

    def _distributed(
        self, instances: Sequence[Instance], setting: LocalitySetting
    ) -> tuple[tuple[EndpointConfig, ...], tuple[LocalityWeight, ...]]:
        """The shares that our locality gives to others; who is in none of those gets nothing."""
        made = self._made(instances)
        sums = {locality: weight for _, locality, weight in _weights(made)}
        here = place(self.own)
        found = next((one for one in setting.distribute if covers(one.origin, here)), None)
        if found is None:
            return made, _weights(made)
        shares: dict[str, int] = {}
        for pattern, percent in found.to.items():
            within = [one for one in sums if one not in shares and covers(pattern, place(one))]
            total = sum(sums[one] for one in within)
            shares |= {one: -(-sums[one] * percent // total) for one in within}
        localities = tuple((0, locality, weight) for locality, weight in shares.items())
        return tuple([one for one in made if one.locality in shares]), localities

    def _failover(self, setting: LocalitySetting) -> "Rank":
        """By labels, if some are named; then by how far away it is, unless labels alone are named."""
        here = place(self.own)
        by_place = bool(setting.failover) or not setting.failover_priority
        labelled = self._labelled(setting.failover_priority)
        target = next((one.to for one in setting.failover if one.origin == here[0]), None)

        def rank(one: Instance) -> tuple[int, int]:
            there = place(one.locality)
            far = distance(here, there) if by_place else 0
            return labelled(one), far + (far == 3 and target is not None and there[0] != target)

        return rank

    def _zone_aware(self, labels: Sequence[str], failover: Sequence[Failover]) -> "Rank":
        """By labels; then our region, the one that takes over from it, and all others."""
        here = place(self.own)[0]
        labelled = self._labelled(labels)
        target = next((one.to for one in failover if one.origin == here), None)

        def rank(one: Instance) -> tuple[int, int]:
            region = place(one.locality)[0]
            return labelled(one), 0 if region == here else 1 if region == target else 2

        return rank

    def _labelled(self, wanted: Sequence[str]) -> Callable[[Instance], int]:
        """How many of the labels, from the last, an instance does not share with us, or with the values that are given."""
        if not wanted or not self.labels:
            return lambda one: 0
        own = _with_place(self.labels, self.own)
        names = [name.split("=")[0] for name in wanted]
        values = [name.split("=")[1] if name.count("=") == 1 else own.get(name.split("=")[0], "") for name in wanted]
        has_network = wanted[0] == NETWORK

        def rank(one: Instance) -> int:
            labels = _with_place(one.labels, one.locality)
            same = [labels.get(name, "") == value for name, value in zip(names, values, strict=True)]
            apart = len(names) if has_network and not same[0] else 0
            return apart + next((len(names) - at for at, equal in enumerate(same) if not equal and not (apart and at == 0)), 0)

        return rank


def preferred(service: Resource) -> tuple[str, ...]:
    """What a Service's trafficDistribution, or the annotation of the name, prefers: labels, most important first.

    Source: istiod's GetTrafficDistribution and GetEffectiveLbSetting.
    """
    given = getattr(service.spec, "traffic_distribution", "") or service.metadata.annotations.get(_TRAFFIC_DISTRIBUTION, "")
    return _PREFERRED.get(given.lower(), ()) if given else ()


Rank = Callable[[Instance], tuple[int, int]]
"""Orders instances: the least are asked first."""


def _weights(endpoints: Iterable[EndpointConfig]) -> tuple[LocalityWeight, ...]:
    """Localities weigh what their endpoints do together."""
    sums: dict[tuple[int, str], int] = {}
    for one in endpoints:
        sums[one.priority, one.locality] = sums.get((one.priority, one.locality), 0) + one.weight
    return tuple((priority, locality, weight) for (priority, locality), weight in sums.items())


def _with_place(labels: Mapping[str, str], locality: str) -> Mapping[str, str]:
    """Labels, and the topology labels of a locality, which Istio adds to those of a workload."""
    return {**labels, **{name: part for name, part in zip(TOPOLOGY, place(locality), strict=True) if part}}
