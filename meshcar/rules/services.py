"""Services and ServiceEntries to what is known of services: names, addresses, ports, who answers; those of one host in one."""

from collections.abc import Container, Iterable, Iterator, Mapping

import attrs

from meshcar.rules.instances import Wanted, Workloads, distinct, of_entry
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.protocols import entry_protocol, service_protocol, service_word
from meshcar.rules.read import Resource
from meshcar.rules.registry import CLUSTER_DOMAIN, Instance, KnownService, ServedPort, short_names
from meshcar.rules.schema_kubernetes import Service, ServicePort
from meshcar.rules.schema_services import EntryPort, ServiceEntry
from meshcar.rules.steps import Steps, finish
from meshcar.rules.visibility import ANNOTATION, visible

_BY_NAME = frozenset({"DNS", "DNS_ROUND_ROBIN"})


Services = tuple[tuple[KnownService, ...], tuple[Problem, ...]]
"""The services, and what is wrong with them."""


def services(resources: Iterable[Resource], home: str) -> Services:
    """Every service, the oldest first, as workloads of the namespace `home` see them; a host once in a namespace, but for those not seen.

    Of a Service and ServiceEntries with its host the Service counts; ServiceEntries add to each other. Source: Istio's push context.
    """
    return finish(service_steps(resources, home))


def service_steps(resources: Iterable[Resource], home: str) -> Steps[Services]:
    """The same, with a pause after each resource."""
    resources = tuple(resources)
    workloads = Workloads(resources)
    known: dict[tuple[str, str, bool], KnownService] = {}
    problems: list[Problem] = []
    aliases: list[KnownService] = []
    declared = (one for one in resources if isinstance(one.spec, Service | ServiceEntry))
    for resource in sorted(declared, key=lambda one: one.metadata.creation_timestamp):
        faults: list[Fault] = []
        if isinstance(resource.spec, ServiceEntry):
            found = list(_of_entry(resource, resource.spec, workloads, home, faults))
        elif resource.spec.alias_of:
            aliases.append(_of_service(resource, resource.spec, workloads, home, faults))
            found = []
        else:
            found = [_of_service(resource, resource.spec, workloads, home, faults)]
        for service in found:
            key = (service.host, service.namespace, service.visible)
            known[key] = _joined(known[key], service, faults) if key in known else service
        problems += resource.problems(faults)
        yield
    resolved, unknown = _aliases({one.host for one in known.values()}, aliases)
    return (*known.values(), *resolved), (*problems, *unknown)


def _of_service(resource: Resource, spec: Service, workloads: Workloads, home: str, faults: list[Fault]) -> KnownService:
    name, namespace = resource.name, resource.namespace
    host = f"{name}.{namespace}.{CLUSTER_DOMAIN}"
    ports = []
    for index, port in enumerate(spec.ports):
        if port.protocol != "TCP":
            continue
        word = service_word(port.app_protocol, port.name)
        protocol, remark = service_protocol(word, port.port)
        if remark:
            faults.append(Fault(("spec", "ports", index), "OPAQUE_PROTOCOL", remark))
        wanted = Wanted(port, port.port, spec.publish_not_ready_addresses)
        selected = workloads.selected(namespace, spec.selector, wanted) if spec.selector else ()
        instances = (*workloads.listed(namespace, name, wanted), *selected)
        ports.append(ServedPort(port.port, protocol, _target(port, port.port), distinct(instances), word))
    exported = [word.strip() for word in resource.metadata.annotations.get(ANNOTATION, "").split(",") if word.strip()]
    return KnownService(
        host=host, namespace=namespace, names=short_names(host, home), addresses=spec.addresses, ports=tuple(ports), source=resource,
        selector=spec.selector or None, resolution="NONE" if spec.headless else "STATIC", visible=visible(exported, namespace, home),
        public=not exported or "*" in exported, age=(resource.metadata.creation_timestamp, name, namespace),
    )  # fmt: skip


def _of_entry(resource: Resource, spec: ServiceEntry, workloads: Workloads, home: str, faults: list[Fault]) -> Iterator[KnownService]:
    namespace = resource.namespace
    chosen = [one for one in enumerate(spec.ports) if one[1].protocol.upper() != "UDP"]
    protocols = {}
    for index, port in chosen:
        protocols[port.number], remark = entry_protocol(port.protocol.lower(), port.number)
        if remark:
            faults.append(Fault(("spec", "ports", index), "OPAQUE_PROTOCOL", remark))
    declared = [distinct(_entry_instances(spec, namespace, port, workloads)) for _, port in chosen]
    for host in spec.hosts:
        ports = [
            ServedPort(port.number, protocols[port.number], _target(port, port.number),
                       instances or _entry_host(spec, host, namespace, port), port.protocol.lower())
            for (_, port), instances in zip(chosen, declared, strict=True)
        ]  # fmt: skip
        yield KnownService(
            host=host, namespace=namespace, names=short_names(host, home), ports=tuple(ports), source=resource,
            addresses=spec.addresses, age=(resource.metadata.creation_timestamp, host, namespace),
            selector=spec.workload_selector.labels if spec.workload_selector else None, resolution=spec.resolution,
            external=spec.location == "MESH_EXTERNAL", identities=spec.subject_alt_names,
            visible=visible(spec.export_to, namespace, home), public=not spec.export_to or "*" in spec.export_to,
        )  # fmt: skip


def _entry_instances(spec: ServiceEntry, namespace: str, port: EntryPort, workloads: Workloads) -> Iterable[Instance]:
    """Who answers for each of the hosts: endpoints or selected workloads."""
    wanted = Wanted(port, port.number, by_name=spec.resolution in _BY_NAME)
    if spec.resolution == "NONE":
        return ()
    if spec.workload_selector is not None:
        return workloads.selected(namespace, spec.workload_selector.labels, wanted)
    return (of_entry(one, one.labels, namespace, wanted) for one in spec.endpoints)


def _entry_host(spec: ServiceEntry, host: str, namespace: str, port: EntryPort) -> tuple[Instance, ...]:
    """Whoever a host itself leads to, where it is resolved by name and nobody else is declared."""
    if spec.resolution not in _BY_NAME or spec.endpoints or spec.workload_selector is not None:
        return ()
    return (Instance(host, port.target_port or port.number, namespace),)


def _target(port: ServicePort | EntryPort, number: int) -> int | None:
    return None if isinstance(port.target_port, str) else port.target_port or number


def _joined(first: KnownService, second: KnownService, faults: list[Fault]) -> KnownService:
    """Two services of one host in one namespace, the older one first."""
    if first.kubernetes != second.kubernetes:
        faults.append(Fault(("spec",), "DUPLICATE_HOST", f"a Service and a ServiceEntry have the host {first.host}; the Service counts"))
        return first if first.kubernetes else second
    if _terms(first) != _terms(second):
        where = first.source.source
        message = f"the ServiceEntry in {where} has the host {first.host} already, on other terms; of this one only endpoints are added"
        faults.append(Fault(("spec",), "DUPLICATE_HOST", message))
        added: tuple[ServedPort, ...] = ()
    else:
        added = tuple(port for port in second.ports if first.port(port.number) is None)
        for port in second.ports:
            other = first.port(port.number)
            if other is not None and other.application != port.application:
                message = f"port {port.number} of {first.host} is {other.application or 'sniffed'} in {first.source.source}; that counts"
                faults.append(Fault(("spec", "ports"), "DUPLICATE_HOST", message))
    ports = tuple(_with_instances(first, port, second.port(port.number)) for port in first.ports)
    return attrs.evolve(first, ports=(*ports, *added), addresses=tuple(dict.fromkeys((*first.addresses, *second.addresses))))


def _terms(service: KnownService) -> tuple[object, ...]:
    """What two ServiceEntries must share so that their ports add up. Source: Istio's canMergeServices."""
    return service.resolution, service.selector, service.public, service.source.metadata.labels


def _with_instances(service: KnownService, port: ServedPort, more: ServedPort | None) -> ServedPort:
    """A port with the instances of another ServiceEntry's; a name that is resolved one address at a time stays the only one."""
    if more is None or (service.resolution == "DNS_ROUND_ROBIN" and port.instances):
        return port
    return attrs.evolve(port, instances=distinct((*port.instances, *more.instances)))


def _aliases(hosts: Container[str], declared: Iterable[KnownService]) -> Services:
    """Services of the type ExternalName, each with the host in which its chain ends. Source: Istio's resolveServiceAliases."""
    declared = tuple(declared)
    targets = {one.host: one.source.spec.alias_of for one in declared}
    problems: list[Problem] = []
    resolved = [attrs.evolve(one, alias_of=_end_of(one.host, targets) or targets[one.host], selector=None) for one in declared]
    for alias in resolved:
        if alias.alias_of not in hosts:
            message = f"no service has the host {targets[alias.host]}; nobody answers for {alias.host}"
            problems += alias.source.problems([Fault(("spec", "externalName"), "UNKNOWN_HOST", message)])
    return tuple(resolved), tuple(problems)


def _end_of(alias: str, targets: Mapping[str, str]) -> str:
    """Where a chain of aliases ends; empty for one that leads back to itself."""
    seen = set()
    while alias in targets:
        if alias in seen:
            return ""
        seen.add(alias)
        alias = targets[alias]
    return alias
