"""Resources to one Snapshot: services, clusters, virtual hosts and listeners, joined."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TypeVar

import attrs

from meshcar.rules.authz import authorization
from meshcar.rules.compile_clusters import clusters
from meshcar.rules.compile_gateway import HttpRoutes
from meshcar.rules.compile_opaque import OpaqueRules, listeners
from meshcar.rules.compile_routes import RouteCompiler
from meshcar.rules.delegates import delegated
from meshcar.rules.destination_rules import DestinationRules, misplaced_exports
from meshcar.rules.lint import lint
from meshcar.rules.lint_gateway import lint_gateway
from meshcar.rules.peer_authentication import MtlsModes
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.protocols import entry_protocol
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService
from meshcar.rules.scope import Scope
from meshcar.rules.services import service_steps
from meshcar.rules.snapshot import InboundListener, Snapshot
from meshcar.rules.steps import Steps, finish
from meshcar.rules.virtual_hosts import VirtualHosts, by_precedence
from meshcar.rules.workload import Workload, selects

T = TypeVar("T")


@attrs.frozen
class Compiled:
    """A snapshot, and what is wrong with the rules. With an error among `problems` the snapshot is not to be used."""

    snapshot: Snapshot
    problems: tuple[Problem, ...]


def compile_rules(resources: Iterable[Resource], workload: Workload, generation: int) -> Compiled:
    """Everything the data path asks, made from all resources at once.

    Two resources with one key are an error. Which of several VirtualServices for one host counts: `virtual_hosts.by_precedence`.
    """
    return finish(compile_steps(resources, workload, generation))


def compile_steps(resources: Iterable[Resource], workload: Workload, generation: int) -> Steps[Compiled]:
    """The same, with pauses: no step takes longer than a resource or two."""
    resources = tuple(resources)
    everything, problems = yield from service_steps(resources, workload.namespace)
    scope = Scope(resources, workload)
    yield
    rules = yield from DestinationRules.steps(resources, workload)
    yield
    modes = MtlsModes(resources)
    yield
    allowed, annotations = yield from authorization(resources, workload)
    virtual_services, delegations = delegated(resources)
    yield
    ordered = yield from scope.virtual_services(by_precedence(virtual_services, workload.namespace))
    known, shared = yield from scope.services(everything, ordered)
    compiler = RouteCompiler(known, workload, rules)
    http_routes = HttpRoutes(scope.http_routes(), known, rules, workload.namespace)
    yield
    hosts = VirtualHosts(compiler, ordered, http_routes)
    yield
    tables = yield from hosts.tables()
    made = yield from _gathered(clusters(known.values(), rules, modes, workload))
    snapshot = Snapshot(
        generation=generation,
        clusters={one.name: one for one in made},
        hosts=tables,
        partial=hosts.partial,
        listeners=(yield from listeners(known.values(), OpaqueRules(ordered, compiler))),
        inbound_ports=_inbound(everything, modes, workload, scope),
        inbound_default=InboundListener("auto", modes.mode(workload.namespace, workload.labels, None, workload.default_mtls)),
        authorization=allowed,
        allow_any=scope.allow_any,
    )
    taken = yield from hosts.duplicates()
    warnings = yield from lint(resources, known, rules, workload.namespace)
    warnings += http_routes.problems() + (yield from lint_gateway(resources, known))
    yield
    told = (*problems, *shared, *delegations, *modes.problems, *annotations, *taken, *warnings)
    return Compiled(snapshot, (*_duplicates(resources), *misplaced_exports(resources), *rules.problems(), *told))


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


def _inbound(known: Iterable[KnownService], modes: MtlsModes, workload: Workload, scope: Scope) -> Mapping[int, InboundListener]:
    """The workload's ports that its Sidecar or, where that names none, services name; and those that PeerAuthentications name."""
    ports = modes.ports(workload.namespace, workload.labels)
    mode = partial(modes.mode, workload.namespace, workload.labels, default=workload.default_mtls)
    made = {number: InboundListener("auto", mode(number)) for number in ports}
    if scope.ingress:
        assert scope.sidecar is not None
        for one in scope.ingress:
            number, name = one.port.number, f"{scope.sidecar.name}.{workload.namespace}:{one.port.number}"
            protocol, _ = entry_protocol(one.port.protocol.lower(), number)
            made[number] = InboundListener(protocol, mode(number), name, one.default_endpoint)
        return made
    for service in known:
        selector = service.selector
        if selector is not None and service.namespace == workload.namespace and selects(selector, workload.labels):
            for port in service.ports:
                for number in {one.port for one in port.instances} | ({port.target} if port.target else set()):
                    if number not in made or not made[number].service:
                        made[number] = InboundListener(port.protocol, mode(number), f"{service.host}:{port.number}")
    return made
