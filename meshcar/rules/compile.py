"""Resources to one Snapshot: services, clusters, virtual hosts and listeners, joined."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from meshcar.rules.compile_clusters import DestinationRules, cluster_name, clusters
from meshcar.rules.compile_routes import MESH, RouteCompiler
from meshcar.rules.delegates import delegated
from meshcar.rules.lint import lint
from meshcar.rules.peer_authentication import MtlsModes
from meshcar.rules.policies import Destination
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService, full_name, most_specific, service_steps
from meshcar.rules.snapshot import InboundListener, OutboundListener, Route, Snapshot, VirtualHost
from meshcar.rules.steps import Steps, finish
from meshcar.rules.visibility import visible
from meshcar.rules.workload import Workload, selects

_HTTP_PORT = 80

T = TypeVar("T")


@attrs.frozen
class Compiled:
    """A snapshot, and what is wrong with the rules. With an error among `problems` the snapshot is not to be used."""

    snapshot: Snapshot
    problems: tuple[Problem, ...]


def compile_rules(resources: Iterable[Resource], workload: Workload, generation: int) -> Compiled:
    """Everything the data path asks, made from all resources at once.

    Two resources with one key are an error. Of several for one host the oldest counts, else the first.
    """
    return finish(compile_steps(resources, workload, generation))


def compile_steps(resources: Iterable[Resource], workload: Workload, generation: int) -> Steps[Compiled]:
    """The same, with pauses: no step takes longer than a resource or two."""
    resources = tuple(resources)
    everything, problems = yield from service_steps(resources, workload.namespace)
    known = {host: service for host, service in everything.items() if service.visible}
    rules = DestinationRules(resources, workload.namespace)
    modes = MtlsModes(resources, workload.default_mtls)
    virtual_services, delegations = delegated(resources)
    routed, taken = _routed_hosts(virtual_services, workload.namespace)
    hosts = _Hosts(RouteCompiler(known, workload), routed)
    made = yield from _gathered(clusters(known.values(), rules, modes, workload))
    snapshot = Snapshot(
        generation=generation,
        clusters={one.name: one for one in made},
        hosts=(yield from hosts.by_port()),
        other_hosts=(yield from hosts.others()),
        listeners=_listeners(known.values()),
        port_listeners=_port_listeners(known.values()),
        inbound_ports=_inbound(everything.values(), modes, workload),
        inbound_default=InboundListener("auto", modes.mode(workload.namespace, workload.labels)),
    )
    warnings = yield from lint(resources, known, rules, workload.namespace)
    return Compiled(snapshot, (*_duplicates(resources), *problems, *delegations, *taken, *warnings))


def _gathered(values: Iterable[T]) -> Steps[list[T]]:
    """What an iterator gives, with a pause after each."""
    found = []
    for value in values:
        found.append(value)
        yield
    return found


def _duplicates(resources: Iterable[Resource]) -> Iterable[Problem]:
    first: dict[str, Resource] = {}
    for resource in resources:
        other = first.setdefault(resource.key, resource)
        if other is not resource:
            message = f"{resource.key} stands in {other.source} already"
            yield from resource.problems([Fault(("metadata", "name"), "DUPLICATE_RESOURCE", message)])


def _routed_hosts(resources: Iterable[Resource], namespace: str) -> tuple[Mapping[str, Resource], list[Problem]]:
    """Which VirtualService routes a host for workloads of a namespace: the oldest for the mesh, else the first."""
    routed: dict[str, Resource] = {}
    problems: list[Problem] = []
    for resource in sorted(resources, key=lambda one: one.metadata.creation_timestamp):
        if resource.spec.gateways and MESH not in resource.spec.gateways:
            continue
        if not visible(resource.spec.export_to, resource.namespace, namespace):
            continue
        faults = []
        for index, host in enumerate(resource.spec.hosts):
            other = routed.setdefault(full_name(host, resource.namespace), resource)
            if other is not resource:
                message = f"VirtualService {other.namespace}/{other.name} ({other.source}) routes {host} already; it counts"
                faults.append(Fault(("spec", "hosts", index), "DUPLICATE_HOST", message))
        problems += resource.problems(faults)
    return routed, problems


class _Hosts:
    """Builds the tables of virtual hosts; lives as long as one compilation."""

    def __init__(self, compiler: RouteCompiler, routed: Mapping[str, Resource]) -> None:
        self._compiler, self._routed = compiler, routed
        self._services = compiler.services
        self._unserved = {host: resource for host, resource in routed.items() if host not in self._services}
        self._bound = {one.key for one in routed.values() if compiler.depends_on_port(one)}
        self._made: dict[tuple[str, int], tuple[Route, ...]] = {}

    def by_port(self) -> Steps[Mapping[int, Mapping[bytes, VirtualHost]]]:
        """The virtual hosts of each port that speaks HTTP or may."""
        tables: dict[int, dict[bytes, VirtualHost]] = {}
        for service in self._services.values():
            for port in service.ports:
                if port.protocol != "tcp":
                    self._add(tables.setdefault(port.number, {}), service, port.number)
                    yield
        for number, table in tables.items():
            for host, resource in self._unserved.items():
                if resource.key in self._bound:
                    routes = self._routes(resource, number)
                    yield
                    if routes:
                        table[_table_key(host)] = VirtualHost(f"{host}:{number}", routes)
        return tables

    def others(self) -> Steps[Mapping[bytes, VirtualHost]]:
        """Hosts that only VirtualServices know."""
        table: dict[bytes, VirtualHost] = {}
        for host, resource in self._unserved.items():
            routes = self._routes(resource, _HTTP_PORT)
            yield
            if routes:
                table[_table_key(host)] = VirtualHost(host, routes)
        return table

    def _add(self, table: dict[bytes, VirtualHost], service: KnownService, number: int) -> None:
        """A service under all its names, but for those that a VirtualService routes by themselves.

        A VirtualService of which no rule applies here and to us counts for nothing, as in Istio.
        """
        resource = most_specific(service.host, self._routed)
        routes = (self._routes(resource, number) if resource else ()) or (self._compiler.default_route(service, number),)
        made = VirtualHost(f"{service.host}:{number}", routes)
        own = (name for name in service.names if name not in self._unserved)
        for name in (service.host, *own, *(f"[{one}]" if ":" in one else one for one in service.addresses if "/" not in one)):
            key = _table_key(name)
            table.setdefault(key, made)
            if not name.startswith("*"):
                table.setdefault(key + b":%d" % number, made)

    def _routes(self, resource: Resource, number: int) -> tuple[Route, ...]:
        key = (resource.key, number if resource.key in self._bound else 0)
        if key not in self._made:
            self._made[key] = self._compiler.routes(resource, number)
        return self._made[key]


def _table_key(host: str) -> bytes:
    """`*.example.com` stands under `.example.com`."""
    return host.removeprefix("*").encode() if host != "*" else b"*"


def _listeners(known: Iterable[KnownService]) -> Mapping[tuple[str, int], OutboundListener]:
    """What answers at a service's own addresses."""
    found: dict[tuple[str, int], OutboundListener] = {}
    for service in known:
        for address in service.addresses:
            for port in service.ports:
                cluster = cluster_name(Destination(service.host, "", port.number))
                opaque = None if port.protocol == "http" else cluster
                found.setdefault((address, port.number), OutboundListener(port.protocol, opaque))
    return found


def _port_listeners(known: Iterable[KnownService]) -> Mapping[int, OutboundListener]:
    """Ports that are known whatever the address is. HTTP goes first; opaque bytes have a cluster where a service answers anywhere."""
    found: dict[int, OutboundListener] = {}
    for service in known:
        for port in service.ports:
            if port.protocol == "http":
                found[port.number] = OutboundListener("http")
            elif service.anywhere:
                found.setdefault(port.number, OutboundListener(port.protocol, cluster_name(Destination(service.host, "", port.number))))
            elif port.protocol == "auto" and not service.addresses:
                found.setdefault(port.number, OutboundListener("auto"))
    return found


def _inbound(known: Iterable[KnownService], modes: MtlsModes, workload: Workload) -> Mapping[int, InboundListener]:
    """The workload's ports that services or PeerAuthentications name."""
    protocols = dict.fromkeys(modes.ports(workload.namespace, workload.labels), "")
    names: dict[int, str] = {}
    for service in known:
        if service.selector and service.namespace == workload.namespace and selects(service.selector, workload.labels):
            for port in service.ports:
                numbers = {one.port for one in port.instances} | ({port.target} if port.target else set())
                for number in numbers:
                    protocols[number] = protocols.get(number) or port.protocol
                    names.setdefault(number, f"{service.host}:{port.number}")
    return {
        number: InboundListener(protocol or "auto", modes.mode(workload.namespace, workload.labels, number), names.get(number, ""))
        for number, protocol in protocols.items()
    }
