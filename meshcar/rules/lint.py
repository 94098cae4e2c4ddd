"""What is allowed but hardly meant: hosts and subsets that nobody declares, routes that no request reaches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from meshcar.rules.destination_rules import DestinationRules
from meshcar.rules.problems import Fault, Path, Problem
from meshcar.rules.protocols import is_tls
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService, ServedPort, full_name
from meshcar.rules.schema_destinations import DestinationRule
from meshcar.rules.schema_opaque import TcpRoute, TlsRoute
from meshcar.rules.schema_opaque import unreachable as unreachable_connections
from meshcar.rules.schema_routes import HttpRule, VirtualService
from meshcar.rules.schema_sidecar import Sidecar
from meshcar.rules.schema_targets import RouteTarget
from meshcar.rules.scope import sidecars
from meshcar.rules.steps import Steps
from meshcar.rules.unreachable import unreachable
from meshcar.rules.virtual_hosts import HTTP_PORT
from meshcar.rules.visibility import visible


def lint(
    resources: Sequence[Resource], services: Mapping[str, KnownService], rules: DestinationRules, home: str
) -> Steps[list[Problem]]:
    """Warnings about what workloads of the namespace `home` see, in the order of the resources."""
    found: list[Problem] = []
    called = {host: services[one.alias_of or host] for host, one in services.items() if (one.alias_of or host) in services}
    for resource in resources:
        yield
        if visible(getattr(resource.spec, "export_to", ()), resource.namespace, home):
            hosts = called if isinstance(resource.spec, VirtualService) else services
            found += resource.problems(_faults(resource, hosts, rules))
    return found + _idle_sidecars(resources)


def _faults(resource: Resource, services: Mapping[str, KnownService], rules: DestinationRules) -> Iterator[Fault]:
    spec = resource.spec
    if isinstance(spec, VirtualService):
        asked = _asked(resource, spec, services)
        for index, rule in enumerate(spec.http):
            for target, path in _targets(rule):
                host = full_name(target.host, resource.namespace)
                where: Path = ("spec", "http", index, *path)
                yield from _target(host, target, where, services.get(host), rules)
                yield from _port_to_say(host, target, where, services.get(host), asked)
        yield from _opaque(resource, spec, services, rules)
        yield from unreachable(spec.http)
        yield from unreachable_connections(spec.tls, "tls")
        yield from unreachable_connections(spec.tcp, "tcp")
    elif isinstance(spec, DestinationRule):
        host = full_name(spec.host, resource.namespace)
        if "*" not in host and (host not in services or services[host].alias_of):
            yield Fault(("spec", "host"), "UNKNOWN_HOST", f"no service has the host {host}; the rule does nothing")
        elif host in services:
            yield from _empty_subsets(spec, services[host])
    elif isinstance(spec, Sidecar):
        for index, listener in enumerate(spec.egress):
            for fault in listener.repeated_hosts(resource.namespace):
                yield attrs.evolve(fault, path=("spec", "egress", index, *fault.path))


def _empty_subsets(rule: DestinationRule, service: KnownService) -> Iterator[Fault]:
    """Subsets that none of the known endpoints of a service belongs to. Source: istiod's analyzer of subsets."""
    known = {frozenset(one.labels.items()) for port in service.ports for one in port.instances}
    for index, subset in enumerate(rule.subsets):
        if known and not any(subset.labels.items() <= labels for labels in known):
            message = f"no endpoint of {service.host} has the labels of the subset {subset.name}; requests to it get 503"
            yield Fault(("spec", "subsets", index), "EMPTY_SUBSET", message)


def _idle_sidecars(resources: Iterable[Resource]) -> list[Problem]:
    """Sidecars for the very workloads that an older one is for. Source: istiod's analyzer of their selectors."""
    found: list[Problem] = []
    first: dict[tuple[str, frozenset[tuple[str, str]] | None], Resource] = {}
    for resource in sidecars(resources):
        selector = resource.spec.workload_selector
        other = first.setdefault((resource.namespace, frozenset(selector.labels.items()) if selector else None), resource)
        if other is not resource:
            path: Path = ("spec", "workloadSelector") if selector else ("metadata", "name")
            message = f"Sidecar {other.name} ({other.source}) is for the same workloads; it counts"
            found += resource.problems([Fault(path, "NO_EFFECT", message)])
    return found


def _targets(rule: HttpRule) -> Iterator[tuple[RouteTarget, Path]]:
    for index, one in enumerate(rule.route):
        yield one.destination, ("route", index, "destination")
    if rule.mirror is not None:
        yield rule.mirror, ("mirror",)
    for index, mirror in enumerate(rule.mirrors):
        yield mirror.destination, ("mirrors", index, "destination")


def _asked(resource: Resource, spec: VirtualService, services: Mapping[str, KnownService]) -> frozenset[int]:
    """The ports that requests for the hosts of a VirtualService come to; none where that is not known."""
    if any(host.startswith("*") for host in spec.hosts):
        return frozenset()
    known = [services.get(full_name(host, resource.namespace)) for host in spec.hosts]
    return frozenset(port.number for service in known if service for port in service.ports).union({HTTP_PORT} if None in known else ())


def _port_to_say(host: str, target: RouteTarget, path: Path, service: KnownService | None, asked: frozenset[int]) -> Iterator[Fault]:
    """A service of several ports, of which none is meant where none is named: requests keep the port that they came to."""
    if service is not None and target.port is None and len(service.ports) > 1 and asked and not any(map(service.port, asked)):
        has, come = (", ".join(map(str, sorted(ports))) for ports in ({one.number for one in service.ports}, asked))
        message = f"{host} has the ports {has}; say which: requests come to port {come}, which it has not, and get 503"
        yield Fault(path, "UNKNOWN_HOST", message)


def _opaque(
    resource: Resource, spec: VirtualService, services: Mapping[str, KnownService], rules: DestinationRules
) -> Iterator[Fault]:
    yield from _unspoken(resource, spec, services)
    fields: tuple[tuple[str, tuple[TlsRoute | TcpRoute, ...]], ...] = (("tls", spec.tls), ("tcp", spec.tcp))
    for field, its_rules in fields:
        for index, rule in enumerate(its_rules):
            for number, one in enumerate(rule.route):
                host = full_name(one.destination.host, resource.namespace)
                path = ("spec", field, index, "route", number, "destination")
                yield from _target(host, one.destination, path, services.get(host), rules, "connections are reset")


def _unspoken(resource: Resource, spec: VirtualService, services: Mapping[str, KnownService]) -> Iterator[Fault]:
    """Rules for protocols that no port of the hosts declares, where all hosts are services."""
    known = [services.get(full_name(host, resource.namespace)) for host in spec.hosts]
    if not known or not all(known):
        return
    spoken = {field for service in known if service for port in service.ports for field in _fields_of(port)}
    for field, given in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        if given and field not in spoken:
            message = f"no port of {', '.join(spec.hosts)} declares what {field} rules are for; they do nothing"
            yield Fault(("spec", field), "NO_EFFECT", message)


def _fields_of(port: ServedPort) -> tuple[str, ...]:
    """Which rules count for a port."""
    if is_tls(port.application):
        return ("tls",)
    return {"http": ("http",), "auto": ("http", "tcp")}.get(port.protocol, ("tcp",))


def _target(
    host: str, target: RouteTarget, path: Path, service: KnownService | None, rules: DestinationRules,
    outcome: str = "requests get 503",
) -> Iterator[Fault]:  # fmt: skip
    if service is None:
        yield Fault((*path, "host"), "UNKNOWN_HOST", f"no service has the host {host}; {outcome}")
    elif target.port is not None and service.port(target.port.number) is None:
        ports = ", ".join(str(port.number) for port in service.ports)
        message = f"{host} has no port {target.port.number} (it has {ports or 'none'}); {outcome}"
        yield Fault((*path, "port", "number"), "UNKNOWN_HOST", message)
    elif target.subset and target.subset not in rules.of(service.host, service.namespace).subsets:
        message = f"no DestinationRule declares the subset {target.subset} of {host}; {outcome}"
        yield Fault((*path, "subset"), "UNKNOWN_SUBSET", message)
