"""What a workload sees of the mesh: exportTo, its Sidecar, and which of several services with one host is meant."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import attrs

from meshcar.rules.compile_gateway import backend
from meshcar.rules.compile_routes import targets
from meshcar.rules.gateway_parents import Attachment, attachments
from meshcar.rules.host_patterns import covers, overlap
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService, full_name
from meshcar.rules.schema_gateway import HTTPRoute
from meshcar.rules.schema_routes import HttpRule, VirtualService
from meshcar.rules.schema_sidecar import EgressHost, IngressListener, Sidecar
from meshcar.rules.steps import Steps
from meshcar.rules.virtual_hosts import hosts_of
from meshcar.rules.workload import ROOT_NAMESPACE, Workload, selects

_EVERYTHING = (EgressHost("*", "*"),)


class _Hosts:
    """The hosts of an egress listener that are meant in one namespace."""

    def __init__(self, hosts: Iterable[EgressHost]) -> None:
        listed = tuple(hosts)
        self._exact = frozenset(one.pattern for one in listed if not one.excluded and "*" not in one.pattern)
        self._wildcards = tuple(one.pattern for one in listed if not one.excluded and "*" in one.pattern)
        self._excluded = tuple(one.pattern for one in listed if one.excluded)

    def imports(self, host: str) -> bool:
        """Whether a service of that host is meant."""
        return host in self._exact or any(covers(pattern, host) for pattern in self._wildcards)

    def touches(self, host: str) -> bool:
        """Whether a VirtualService of that host may route anything that is meant."""
        exact = any(overlap(one, host) for one in self._exact) if "*" in host else host in self._exact
        return exact or any(overlap(pattern, host) for pattern in self._wildcards)

    def excludes(self, host: str) -> bool:
        """Whether a host is taken away."""
        return any(covers(pattern, host) for pattern in self._excluded)


class Scope:
    """One workload's view. Source: Istio's SidecarScope; `sidecar` is the one in force, or None.

    `allow_any` is what that says of unknown hosts, None where it says nothing; `ingress` which ports it says are served. `attached` are
    the HTTPRoutes by the hosts of their services, imported or not.
    """

    def __init__(self, resources: Iterable[Resource], workload: Workload) -> None:
        self._home = workload.namespace
        self.sidecar = _sidecar_of(resources, workload)
        self.attached: Mapping[str, list[Attachment]] = attachments(resources)
        spec: Sidecar = Sidecar() if self.sidecar is None else self.sidecar.spec
        self.ingress: tuple[IngressListener, ...] = spec.ingress
        policy = spec.outbound_traffic_policy
        self.allow_any = None if policy is None else policy.mode == "ALLOW_ANY"
        by_namespace: dict[str, list[EgressHost]] = {}
        for host in spec.egress[0].hosts if spec.egress else _EVERYTHING:
            namespace = self._home if host.namespace == "." else host.namespace
            by_namespace.setdefault(namespace, []).append(host)
        self._hosts = {namespace: _Hosts(hosts) for namespace, hosts in by_namespace.items()}

    def services(
        self, known: Sequence[KnownService], virtual_services: Iterable[Resource]
    ) -> Steps[tuple[Mapping[str, KnownService], list[Problem]]]:
        """The services by host: those that are imported, and whatever else VirtualServices and their HTTPRoutes lead to."""
        chosen: dict[str, KnownService] = {}
        problems: list[Problem] = []
        for service in sorted((one for one in known if one.visible), key=lambda one: one.public):
            if self.imports(service.host, service.namespace):
                problems += self._take(chosen, service)
            yield
        self._name(chosen, known)
        http_routes = [one.resource for host, attached in self.http_routes().items() if host in chosen for one in attached]
        yield from self._infer(chosen, known, chain(virtual_services, http_routes))
        return chosen, problems

    def http_routes(self) -> Mapping[str, list[Attachment]]:
        """The HTTPRoutes that are imported, by the hosts of their services."""
        return {host: [one for one in found if self.imports(host, one.resource.namespace)] for host, found in self.attached.items()}

    def virtual_services(self, resources: Iterable[Resource]) -> Steps[list[Resource]]:
        """Those that may route what is imported."""
        found = []
        for resource in resources:
            if any(self._touches(host, resource) for host in hosts_of(resource)):
                found.append(resource)
            yield
        return found

    def imports(self, host: str, namespace: str) -> bool:
        """Whether a service of that host, or an HTTPRoute for it, is imported from a namespace."""
        places = self._places(namespace)
        return any(one.imports(host) for one in places) and not any(one.excludes(host) for one in places)

    def _touches(self, host: str, resource: Resource) -> bool:
        places = self._places(resource.namespace)
        return any(one.touches(host) for one in places) and not any(one.excludes(host) for one in places)

    def _places(self, namespace: str) -> list[_Hosts]:
        return [self._hosts[one] for one in (namespace, "*") if one in self._hosts]

    def _take(self, chosen: dict[str, KnownService], service: KnownService) -> list[Problem]:
        """Of several with one host, in several namespaces, the workload's own counts, then a Kubernetes Service, then the oldest."""
        other = chosen.setdefault(service.host, service)
        if other is service:
            return []
        if service.namespace == self._home or (service.kubernetes and not other.kubernetes and other.namespace != self._home):
            chosen[service.host], service, other = service, other, service
        message = f"{other.source.called} has the host {service.host} already; it counts"
        return service.source.problems([Fault(("spec",), "DUPLICATE_HOST", message)])

    def _name(self, chosen: dict[str, KnownService], known: Iterable[KnownService]) -> None:
        """Gives services the names of their aliases, those that the same entries import: the namespace's, else those for all of them."""
        for alias in (one for one in known if one.alias_of in chosen):
            service = chosen[alias.alias_of]
            place = next(one for one in self._places(service.namespace) if one.imports(service.host))
            if place.imports(alias.host):
                chosen[service.host] = attrs.evolve(service, names=(*service.names, alias.host, *alias.names))

    def _infer(self, chosen: dict[str, KnownService], known: Sequence[KnownService], rules: Iterable[Resource]) -> Steps[None]:
        """Destinations that nobody imported are reached all the same, on the ports that are named, but not by their own hosts."""
        wanted: dict[str, set[int]] = {}
        for resource in rules:
            for host, port in _led_to(resource, self._home):
                if host not in chosen:
                    wanted.setdefault(host, set()).add(port)
            yield
        if not wanted:
            return
        ours = [one for one in known if one.host in wanted and (one.visible or one.namespace == self._home)]
        for service in sorted(ours, key=lambda one: (one.namespace != self._home, not one.kubernetes)):
            ports = wanted.pop(service.host, None)
            if ports is not None:
                kept = tuple(port for port in service.ports if 0 in ports or port.number in ports)
                if kept or not service.ports:
                    chosen[service.host] = attrs.evolve(service, ports=kept, imported=False)


def _led_to(resource: Resource, home: str) -> Iterator[tuple[str, int]]:
    """The hosts that a VirtualService or an HTTPRoute sends requests and copies to, each with a port; 0 is any."""
    spec, namespace = resource.spec, resource.namespace
    if isinstance(spec, VirtualService):
        http = (target for rule in spec.http if _is_for(rule, home) for target in targets(rule))
        routes = (*(rule.route for rule in spec.tcp), *(rule.route for rule in spec.tls))
        opaque = (one.destination for route in routes for one in route)
        for target in chain(http, opaque):
            yield full_name(target.host, namespace), target.port.number if target.port else 0
    elif isinstance(spec, HTTPRoute):
        for rule in spec.rules:
            for reference in (*rule.backend_refs, *(one.backend_ref for one in rule.mirrors)):
                destination = backend(reference, namespace)[1]
                yield destination.host, destination.port


def _is_for(rule: HttpRule, namespace: str) -> bool:
    """Whether a rule may concern workloads of a namespace; one match that names another is enough that it does not, as in Istio."""
    asked = [match.source_namespace for match in rule.match if match.source_namespace]
    return not asked or namespace in asked


def sidecars(resources: Iterable[Resource]) -> list[Resource]:
    """The Sidecars, oldest first."""
    return sorted((one for one in resources if isinstance(one.spec, Sidecar)), key=lambda one: one.metadata.creation_timestamp)


def _sidecar_of(resources: Iterable[Resource], workload: Workload) -> Resource | None:
    """The Sidecar in force: of the namespace's own one that selects the workload, then one for all, else the mesh's."""
    found = sidecars(resources)
    ours = [one for one in found if one.namespace == workload.namespace]
    for resource in ours:
        selector = resource.spec.workload_selector
        if selector is not None and selects(selector.labels, workload.labels):
            return resource
    root = [one for one in found if one.namespace == ROOT_NAMESPACE]
    return next((one for one in (*ours, *root) if one.spec.workload_selector is None), None)
