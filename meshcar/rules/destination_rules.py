"""Which DestinationRules hold for a host: those of one namespace merged, the namespaces asked in turn.

Source: istiod's PushContext.setDestinationRules, mergeDestinationRule and SidecarScope.DestinationRule.
"""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshcar.rules.balancing import HashOn
from meshcar.rules.compile_balancing import hash_of_destination, hash_of_service, hashes_source
from meshcar.rules.host_patterns import HostTable
from meshcar.rules.problems import Fault, Path, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import full_name
from meshcar.rules.schema_destinations import DestinationRule, Subset, TrafficPolicy
from meshcar.rules.steps import Steps
from meshcar.rules.workload import ROOT_NAMESPACE, Workload, selects

_OWN = frozenset({"."})


@attrs.frozen
class HostPolicy:
    """DestinationRules of a namespace for one host, in one: the first traffic policy, and each subset once.

    `exported` are the words of exportTo; `selector` the labels of the clients meant, None for all. `origins` are the rules that brought
    each subset, by its name, and under the empty one the policy.
    """

    policy: TrafficPolicy | None = None
    subsets: Mapping[str, Subset] = attrs.field(factory=dict)
    exported: frozenset[str] = frozenset()
    selector: Mapping[str, str] | None = None
    origins: Mapping[str, Resource] = attrs.field(factory=dict)

    def with_rule(self, resource: Resource) -> "HostPolicy":
        """One more rule, which adds but does not replace. Source: Istio, "Multiple destination rules for a single host"."""
        rule: DestinationRule = resource.spec
        subsets = {**{subset.name: subset for subset in rule.subsets}, **self.subsets}
        brought = dict.fromkeys(("", *subsets) if rule.traffic_policy else subsets, resource)
        return attrs.evolve(self, policy=self.policy or rule.traffic_policy, subsets=subsets, origins={**brought, **self.origins})

    def clashes(self, resource: Resource) -> Iterator[Fault]:
        """What of one more rule does not count, as an older one has it."""
        rule: DestinationRule = resource.spec
        places: dict[str, Path] = {subset.name: ("spec", "subsets", index, "name") for index, subset in enumerate(rule.subsets)}
        if rule.traffic_policy is not None:
            places[""] = ("spec", "trafficPolicy")
        for name, place in places.items():
            other = self.origins.get(name)
            if other is not None:
                what = f"the subset {name}" if name else "a traffic policy"
                message = f"{other.called} has {what} for {rule.host} already; it counts"
                yield Fault(place, "NO_EFFECT", message)

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

    def for_port(self, subset: Subset | None, port: int) -> TrafficPolicy:
        """What holds for a port of the host or of a subset.

        A subset's settings replace the host's one by one. A port's own replace all four that a port can have, given or not.
        Source: istiod's MergeSubsetTrafficPolicy.
        """
        wide, _ = self.policy.of_port(port) if self.policy else (None, False)
        if subset is None or subset.traffic_policy is None:
            return wide or TrafficPolicy()
        own, of_port = subset.traffic_policy.of_port(port)
        if wide is None:
            return own
        if not of_port:
            return own.over(wide)
        return attrs.evolve(own, proxy_protocol=wide.proxy_protocol, retry_budget=wide.retry_budget)


_Table = HostTable[list[HostPolicy]]


class DestinationRules:
    """The DestinationRules that a workload sees, by their namespace and host. Made by `steps`."""

    def __init__(self, workload: Workload) -> None:
        self._home = workload.namespace
        self._labels = workload.labels
        self._local = _Table()
        self._exported: dict[str, _Table] = {}
        self._clashes: dict[str, tuple[Resource, dict[Fault, None]]] = {}

    @classmethod
    def steps(cls, resources: Iterable[Resource], workload: Workload) -> "Steps[DestinationRules]":
        """All of them, with a pause after each."""
        made = cls(workload)
        for resource in sorted((one for one in resources if isinstance(one.spec, DestinationRule)), key=_rank):
            made._add(resource)
            yield
        return made

    def _add(self, resource: Resource) -> None:
        """One rule more; those with a selector first, then the oldest first."""
        home, namespace = self._home, resource.namespace
        host = full_name(resource.spec.host, namespace)
        made = _alone(resource)
        exported = made.exported
        private = exported in (_OWN, {namespace})
        if namespace == home and (private or home != ROOT_NAMESPACE) and (not exported or exported & {"*", ".", home}):
            self._merge(self._local.setdefault(host, []), made, resource)
        if not private:
            self._merge(self._exported.setdefault(namespace, _Table()).setdefault(host, []), made, resource)

    def of(self, host: str, namespace: str) -> HostPolicy:
        """What holds for a service's host: the client's namespace speaks first, then the service's, then the root's."""
        found = self._local.nearest(host)
        for place in (namespace, ROOT_NAMESPACE) if found is None else ():
            table = self._exported.get(place)
            known = (table and table.nearest(host)) or ()
            found = [one for one in known if not one.exported or one.exported & {"*", self._home}]
            if found:
                break
        return self._chosen(found or ())

    def problems(self) -> Iterator[Problem]:
        """Warnings of what does not count in a rule, as an older one of its host has it."""
        for resource, faults in self._clashes.values():
            yield from resource.problems(faults)

    def _merge(self, known: list[HostPolicy], made: HostPolicy, resource: Resource) -> None:
        """Adds a rule to those before it that have the same readers or some of its own, and puts it beside them unless one is its like.

        A rule without a selector adds to one with a selector, but not the other way round; two selectors must be the same.
        """
        like = False
        for index, one in enumerate(known):
            same = made.exported == one.exported
            if not same and not (one.exported and made.exported > one.exported):
                continue
            if one.selector is not None and made.selector is not None and one.selector != made.selector:
                continue
            known[index] = one.with_rule(resource)
            if one.selector == made.selector:
                like = True
                self._clashes.setdefault(resource.key, (resource, {}))[1].update(dict.fromkeys(one.clashes(resource)))
        if not like:
            known.append(made)

    def _chosen(self, policies: Iterable[HostPolicy]) -> HostPolicy:
        """The first that selects this workload, else the last of those that select nobody."""
        general = HostPolicy()
        for one in policies:
            if one.selector is None:
                general = one
            elif selects(one.selector, self._labels):
                return one
        return general


def misplaced_exports(resources: Iterable[Resource]) -> Iterator[Problem]:
    """What is wrong with an exportTo only in the namespace where its rule stands. Source: istiod's validateExportTo."""
    for resource in resources:
        exported: tuple[str, ...] = getattr(resource.spec, "export_to", ())
        if exported:
            yield from resource.problems(_export_faults(resource.spec, exported, resource.namespace))


def _export_faults(rule: object, exported: tuple[str, ...], namespace: str) -> Iterator[Fault]:
    if "." in exported and namespace in exported:
        yield Fault(("spec", "exportTo", exported.index(namespace)), "INVALID_VALUE", f"'.' is the namespace {namespace} already")
    selected = isinstance(rule, DestinationRule) and rule.workload_selector is not None
    if selected and not _OWN.union({namespace}).issuperset(exported):
        message = "a rule with a workloadSelector is for its own namespace; exportTo may only say '.'"
        yield Fault(("spec", "exportTo"), "CONFLICT", message)


def _rank(resource: Resource) -> tuple[bool, tuple[str, str, str]]:
    """Those with a selector first, then the oldest."""
    return resource.spec.workload_selector is None, resource.age


def _alone(resource: Resource) -> HostPolicy:
    rule: DestinationRule = resource.spec
    selector = rule.workload_selector.match_labels if rule.workload_selector is not None else None
    exported = frozenset(rule.export_to) if selector is None else _OWN
    return HostPolicy(exported=exported, selector=selector).with_rule(resource)
