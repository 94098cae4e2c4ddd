"""What is allowed in HTTPRoutes but hardly meant: parents and backends that are not there, fields that change nothing in a mesh."""

from collections.abc import Iterable, Iterator, Mapping

from meshcar.rules.compile_gateway import NO_BACKEND, backend
from meshcar.rules.gateway_parents import Owner, owner_of, parent_hosts
from meshcar.rules.problems import Fault, Path, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService
from meshcar.rules.schema_filters import BackendTarget
from meshcar.rules.schema_gateway import HTTPRoute, ParentRef
from meshcar.rules.steps import Steps

Services = Mapping[str, KnownService]


def lint_gateway(resources: Iterable[Resource], services: Services) -> Steps[list[Problem]]:
    """Warnings, in the order of the resources. `services` are those that the workload may call."""
    resources = tuple(resources)
    routes = [one for one in resources if isinstance(one.spec, HTTPRoute)]
    hosts = parent_hosts(resources) if routes else {}
    found: list[Problem] = []
    for resource in routes:
        yield
        found += resource.problems(_faults(resource, resource.spec, hosts, services))
    return found


def _faults(resource: Resource, spec: HTTPRoute, hosts: Mapping[Owner, tuple[str, ...]], services: Services) -> Iterator[Fault]:
    if not any(ref.in_mesh for ref in spec.parent_refs):
        where = ("spec", "parentRefs") if spec.parent_refs else ("spec",)
        yield Fault(where, "NO_EFFECT", "no parent is a Service or ServiceEntry: the route is for gateways, and no sidecar obeys it")
        return
    for index, ref in enumerate(spec.parent_refs):
        at: Path = ("spec", "parentRefs", index)
        if ref.in_mesh:
            yield from _parent(ref, at, owner_of(ref, resource.namespace), hosts, services)
        elif not ref.of_gateway:
            yield Fault((*at, "kind"), "NO_EFFECT", f"no route can have a {ref.kind} of {ref.group or 'the core group'} as parent")
    if spec.hostnames:
        yield Fault(("spec", "hostnames"), "IGNORED", "hostnames are for gateways; a Service is asked for by its own names", at_key=True)
    for index, rule in enumerate(spec.rules):
        for number, one in enumerate(rule.backend_refs):
            yield from _backend(one, ("spec", "rules", index, "backendRefs", number), resource, services, f"its share gets {NO_BACKEND}")
        for number, given in enumerate(rule.filters):
            if given.request_mirror is not None:
                at = ("spec", "rules", index, "filters", number, "requestMirror", "backendRef")
                yield from _backend(given.request_mirror.backend_ref, at, resource, services, "no copy is sent")
    yield from _unreachable(spec)


def _parent(ref: ParentRef, at: Path, owner: Owner, hosts: Mapping[Owner, tuple[str, ...]], services: Services) -> Iterator[Fault]:
    named = hosts.get(owner)
    if named is None:
        yield Fault((*at, "name"), "UNKNOWN_HOST", f"there is no {ref.kind} {owner[1]}/{ref.name}; the route does nothing for it")
        return
    if not named:
        yield Fault((*at, "name"), "NO_EFFECT", f"{ref.kind} {owner[1]}/{ref.name} has wildcard hosts only; Istio gives them no routes")
    if ref.section_name is not None:
        yield Fault((*at, "sectionName"), "IGNORED", f"sectionName does nothing for a {ref.kind}, as in Istio; say port", at_key=True)
    for service in (services[host] for host in named if host in services):
        port = service.port(ref.port) if ref.port is not None else None
        if ref.port is not None and port is None:
            ports = ", ".join(str(one.number) for one in service.ports)
            yield Fault((*at, "port"), "UNKNOWN_HOST", f"{service.host} has no port {ref.port} (it has {ports or 'none'})")
        elif service.ports and all(one.protocol == "tcp" for one in ([port] if port else service.ports)):
            yield Fault(at, "NO_EFFECT", f"{service.host} speaks no HTTP there, so HTTP rules do not apply")


def _backend(ref: BackendTarget, at: Path, resource: Resource, services: Services, so: str) -> Iterator[Fault]:
    if not (ref.is_service or ref.is_hostname):
        message = f"requests cannot be sent to a {ref.kind} of {ref.group or 'the core group'}; {so}"
        yield Fault((*at, "kind"), "UNKNOWN_BACKEND", message)
        return
    _, destination = backend(ref, resource.namespace)
    service = services.get(destination.host)
    if service is None:
        yield Fault((*at, "name"), "UNKNOWN_HOST", f"no service has the host {destination.host}; {so}")
    elif service.port(destination.port) is None:
        ports = ", ".join(str(port.number) for port in service.ports)
        message = f"{destination.host} has no port {destination.port} (it has {ports or 'none'}); {so}"
        yield Fault((*at, "port"), "UNKNOWN_HOST", message)


def _unreachable(spec: HTTPRoute) -> Iterator[Fault]:
    """Patterns come after prefixes, so one beside a match for every request is never asked."""
    matches = [((index, number), match) for index, rule in enumerate(spec.rules) for number, match in enumerate(rule.matches)]
    everything = next((place for place, match in matches if match.takes_all), None)
    if everything is None:
        return
    for (index, number), match in matches:
        if match.path.type == "RegularExpression":
            at = ("spec", "rules", index, "matches", number)
            before = "spec.rules[{}].matches[{}]".format(*everything)
            message = f"{before} takes every request: any PathPrefix goes before a RegularExpression, as in Istio"
            yield Fault(at, "UNREACHABLE", message)

