"""Which VirtualService routes which host on which port, and the tables of virtual hosts that follow from it, as istiod makes them.

Source: istiod's BuildSidecarOutboundVirtualHosts, separateVSHostsAndServices and computeWildcardHostVirtualServiceIndex.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter

from meshcar.rules.compile_gateway import HttpRoutes
from meshcar.rules.compile_routes import MESH, RouteCompiler
from meshcar.rules.host_patterns import HostTable, is_partial
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService, full_name
from meshcar.rules.snapshot import Route, VirtualHost
from meshcar.rules.steps import Steps
from meshcar.rules.visibility import visible

HTTP_PORT = 80
"""Where hosts count that no service has."""


def obstacle(resource: Resource, namespace: str) -> str | None:
    """Why a VirtualService is not meant for the workloads of a namespace, in words; None: it is."""
    spec = resource.spec
    if spec.gateways and MESH not in spec.gateways:
        return f"it is for the gateways {', '.join(spec.gateways)}, not for mesh"
    if not visible(spec.export_to, resource.namespace, namespace):
        return f"it is exported to {', '.join(spec.export_to)}, not to namespace {namespace}"
    return None


def by_precedence(virtual_services: Iterable[Resource], namespace: str) -> list[Resource]:
    """The VirtualServices for workloads of a namespace; of two that share a host the earlier one counts.

    First those exported to their own namespace alone, then those exported to this one by name, then those for all. Among them
    the oldest first; of one age by name and namespace; those without a creationTimestamp before all others, as they were read.
    """
    return sorted((one for one in virtual_services if obstacle(one, namespace) is None), key=partial(rank, namespace))


def rank(namespace: str, resource: Resource) -> tuple[int, str, str, str]:
    """Where a VirtualService stands for workloads of a namespace, the lowest first: reach (0, 1, 2), age, name and namespace."""
    exported = resource.spec.export_to
    reach = 2 if not exported or "*" in exported else 0 if resource.namespace == namespace else 1
    return (reach, *resource.age)


def hosts_of(resource: Resource) -> Iterator[str]:
    """The hosts of a VirtualService, in full and in lower case; IPv6 addresses in brackets, as requests have them."""
    return (f"[{host}]" if ":" in host else full_name(host, resource.namespace).lower() for host in resource.spec.hosts)


_Turn = tuple[tuple[int | str, ...], Sequence[str], Sequence[KnownService], tuple[Route, ...]]
"""Rules in the order of their rank, hosts that no service has and services that they are for, and their routes."""


class VirtualHosts:
    """Builds the tables; lives as long as one compilation. `ordered` are the VirtualServices in order of precedence.

    `partial` is the Snapshot's, known as soon as the tables are.
    """

    def __init__(self, compiler: RouteCompiler, ordered: Sequence[Resource], http_routes: HttpRoutes) -> None:
        self._compiler, self._ordered, self._http_routes = compiler, ordered, http_routes
        self._bound: set[str] = set()
        self._made: dict[tuple[str, int], tuple[Route, ...]] = {}
        self._exact: dict[str, list[int]] = {}
        self._wildcards = HostTable[int]()
        self._has_partial = False
        self.partial: dict[int, tuple[int, ...]] = {}
        self._present: dict[int, list[KnownService]] = {HTTP_PORT: []}

    def duplicates(self) -> Steps[list[Problem]]:
        """A warning for each host whose requests another VirtualService routes."""
        problems: list[Problem] = []
        first: dict[str, Resource] = {}
        for resource in (one for one in self._ordered if one.spec.http):
            faults = []
            for index, host in enumerate(hosts_of(resource)):
                other = first.setdefault(host, resource)
                if other is not resource:
                    message = f"{other.called} routes {host} already; it counts"
                    faults.append(Fault(("spec", "hosts", index), "DUPLICATE_HOST", message))
            problems += resource.problems(faults)
            yield
        return problems

    def tables(self) -> Steps[Mapping[int, Mapping[bytes, VirtualHost]]]:
        """For each port that speaks HTTP or may, and for port 80, its virtual hosts by their keys in the Snapshot."""
        yield from self._index()
        found = {}
        for number in self._present:
            table = yield from self._table(number)
            if table:
                found[number] = table
            lengths = _lengths(table) if self._has_partial else ()
            if lengths:
                self.partial[number] = lengths
            yield
        return found

    def candidates(self, service: KnownService) -> list[int]:
        """The VirtualServices that name a service, in order; where none does, and no HTTPRoute, the one with the longest wildcard that
        covers it."""
        named = self._exact.get(service.host.lower())
        if named is not None:
            return named
        if self._http_routes.name(service):
            return []
        found = self._wildcards.nearest(service.host.lower())
        return [] if found is None else [found]

    def _index(self) -> Steps[None]:
        """Finds VirtualServices by their hosts, and services by their ports."""
        for position, resource in enumerate(self._ordered):
            if self._compiler.depends_on_port(resource):
                self._bound.add(resource.key)
            for host in hosts_of(resource):
                if host.startswith("*"):
                    self._wildcards.setdefault(host, position)
                    self._has_partial |= is_partial(host)
                else:
                    self._exact.setdefault(host, []).append(position)
            yield
        for service in (one for one in self._compiler.services.values() if one.imported):
            self._has_partial |= is_partial(service.host)
            for port in service.ports:
                self._present.setdefault(port.number, []).append(service)
            yield

    def _table(self, number: int) -> Steps[Mapping[bytes, VirtualHost]]:
        present = self._present[number]
        speaking = [one for one in present if one.speaks_http(number)]
        answering = {one.host.lower(): one for one in speaking if not one.alias_of}
        claims: dict[int, list[KnownService]] = {}
        turns: list[_Turn] = []
        for service in speaking:
            candidates = self.candidates(service)
            rivals = (self._ordered[position] for position in candidates if self._routes(self._ordered[position], number))
            routes = self._http_routes.routes(service, number, rivals)
            if routes:
                turns.append((self._http_routes.rank(service, number), (), (service,), routes))
            for position in candidates:
                claims.setdefault(position, []).extend(() if routes else (service,))
            yield
        known = _Known((one.host.lower() for one in present), self._wildcards)
        for position in range(len(self._ordered)) if number == HTTP_PORT else sorted(claims):
            resource = self._ordered[position]
            routes = self._routes(resource, number)
            yield
            if not routes:
                continue  # of which no rule applies here: it counts for nothing, as in Istio
            hosts = tuple([host for host in hosts_of(resource) if not known.has(host)])
            turns.append((rank(self._compiler.workload.namespace, resource), hosts, claims.get(position, ()), routes))
        return (yield from self._filled(number, turns, answering))

    def _filled(self, number: int, turns: list[_Turn], answering: Mapping[str, KnownService]) -> Steps[Mapping[bytes, VirtualHost]]:
        """A port's table: who comes first has a name, and services whom no rule routes have what is left."""
        table: dict[bytes, VirtualHost] = {}
        routed: set[str] = set()
        for _, hosts, services, routes in sorted(turns, key=itemgetter(0)):
            for host in hosts:
                table.setdefault(_key(host), VirtualHost(f"{host}:{number}", routes))
            for service in services:
                routed.add(service.host)
                _add(table, service, number, routes, answering)
            yield
        for service in answering.values():
            if service.host not in routed:
                _add(table, service, number, (self._compiler.default_route(service, number),), answering)
                yield
        return table

    def _routes(self, resource: Resource, number: int) -> tuple[Route, ...]:
        key = (resource.key, number if resource.key in self._bound else 0)
        if key not in self._made:
            self._made[key] = self._compiler.routes(resource, number)
        return self._made[key]


class _Known:
    """The hosts of the services on a port, and which hosts of VirtualServices mean some of them. `wildcards` are all of those."""

    def __init__(self, hosts: Iterable[str], wildcards: HostTable[int]) -> None:
        self._hosts = HostTable[str]()
        self._above: set[str] = set()
        for host in hosts:
            self._hosts.setdefault(host, host)
            self._above.update(wildcards.covering(host))

    def has(self, host: str) -> bool:
        """A wildcard that covers a service stands for that service, not for hosts that no service has."""
        if not host.startswith("*"):
            return self._hosts.get(host) is not None
        return host in self._above or self._hosts.nearest(host) is not None


def _add(
    table: dict[bytes, VirtualHost], service: KnownService, number: int, routes: tuple[Route, ...], known: Mapping[str, KnownService]
) -> None:
    """A service under all its names that are free. Another service's host is never a mere other name of it.

    Full names may end with a dot, as DNS has them. Source: istiod's GenerateAltVirtualHosts.
    """
    made = VirtualHost(f"{service.host}:{number}", routes)
    names = [service.host, *(name for name in service.names if name not in known), *(f"{name}." for name in service.full_names)]
    if service.kubernetes and service.resolution == "NONE":
        names += [f"*.{name}" for name in names]  # headless: each pod has a name under each of the service's
    for name in (*names, *(f"[{one}]" if ":" in one else one for one in service.addresses if "/" not in one)):
        key = _key(name)
        if table.setdefault(key, made) is made and name[0] != "*" and name[-1] != ".":
            table.setdefault(key + b":%d" % number, made)


def _key(host: str) -> bytes:
    """`*.example.com` stands under `.example.com`, `*-api.example.com` under itself."""
    return (host[1:] if host.startswith("*.") else host).lower().encode()


def _lengths(table: Mapping[bytes, VirtualHost]) -> tuple[int, ...]:
    """How long the wildcards of a table are behind their `*`; none if none stands for a part of a label."""
    partial = {len(key) - 1 for key in table if key[:1] == b"*" and len(key) > 1}
    dotted = {len(key) for key in table if key[:1] == b"."} if partial else ()
    return tuple(sorted(partial.union(dotted), reverse=True))
