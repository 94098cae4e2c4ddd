"""Services, and the VirtualServices' tcp and tls rules, to the listeners of captured connections.

Which port becomes which chains, what is merged where services share a port, and who goes first: as istiod's listener.go and tls.go.
"""

from collections.abc import Iterable, Iterator

import attrs

from meshcar.rules.compile_clusters import cluster_name
from meshcar.rules.compile_routes import MESH, RouteCompiler
from meshcar.rules.host_names import is_address
from meshcar.rules.host_patterns import HostTable
from meshcar.rules.listeners import Chain, Listeners, OpaqueRoute, OutboundListener
from meshcar.rules.policies import Destination
from meshcar.rules.protocols import is_tls
from meshcar.rules.read import Resource
from meshcar.rules.registry import KnownService, ServedPort, full_name
from meshcar.rules.schema_opaque import OpaqueDestination, TcpMatch, TlsMatch
from meshcar.rules.schema_routes import VirtualService
from meshcar.rules.steps import Steps
from meshcar.rules.workload import Workload, selects

_ALONE = frozenset({"mongo", "mysql"})
"""Their servers speak first, so they share a port with nobody who has to be recognised. Source: istiod's isConflictWithWellKnownPort."""


def listeners(services: Iterable[KnownService], rules: "OpaqueRules") -> Steps[Listeners]:
    """The listeners of all imported services, oldest service first, with a pause after each."""
    ports: dict[tuple[str, int], _Listener] = {}
    for service in sorted((one for one in services if one.imported and not one.alias_of), key=lambda one: one.age):
        for port in service.ports:
            for place in _places(service, port):
                chains = tuple(_chains(service, port, place, rules))
                listener = ports.setdefault((place.bind, port.number), _Listener(place.bind, port.number))
                listener.add(port, chains)
                if place.bind and port.protocol == "auto" and not listener.service:
                    listener.service = service.host.encode()
        yield
    at, anywhere = dict[tuple[str, int], OutboundListener](), dict[int, OutboundListener]()
    for (bind, number), listener in ports.items():
        if bind:
            at[bind, number] = listener.made()
        else:
            anywhere[number] = listener.made()
        yield
    return Listeners(at, anywhere)


class OpaqueRules:
    """The VirtualServices with tcp and tls rules that apply to a workload, by the hosts that they are for."""

    def __init__(self, resources: Iterable[Resource], compiler: RouteCompiler) -> None:
        self._compiler = compiler
        self._workload: Workload = compiler.workload
        self._resources = [one for one in resources if one.spec.tcp or one.spec.tls]
        self._hosts = HostTable[list[int]]()
        self._within = HostTable[list[int]]()
        for service in compiler.services if self._resources else ():
            if service.startswith("*"):
                self._within.setdefault(service, [])
        for index, resource in enumerate(self._resources):
            for host in resource.spec.hosts:
                name = full_name(host, resource.namespace)
                self._hosts.setdefault(name, []).append(index)
                for wider in self._within.covering(name):
                    self._within[wider].append(index)

    def of(self, host: str) -> Iterator[Resource]:
        """Those for a service's host, or, where that is a wildcard, for hosts within it; in their order."""
        if not self._resources:
            return
        found = {*(self._within.get(host) or ())}
        for pattern in self._hosts.covering(host):
            found.update(self._hosts[pattern])
        yield from (self._resources[index] for index in sorted(found))

    def applies(self, match: TcpMatch | TlsMatch, port: int) -> bool:
        """Whether a match can be met at all on this port, by this workload, in the mesh. Source: istiod's matchTCP and matchTLS."""
        return (
            match.port in (None, port)
            and (not match.gateways or MESH in match.gateways)
            and match.source_namespace in ("", self._workload.namespace)
            and selects(match.source_labels, self._workload.labels)
        )

    def route(self, resource: Resource, destinations: tuple[OpaqueDestination, ...], port: int) -> OpaqueRoute:
        """Where a rule's connections to a port go. A weight of 0 takes none, unless there is nothing to share."""
        chosen = [one for one in destinations if one.weight or len(destinations) == 1]
        weights = [(cluster_name(self._compiler.destination(one.destination, resource, port)), one.weight or 1) for one in chosen]
        return OpaqueRoute.weighted(weights, resource.namespaced_name)


@attrs.frozen
class _Place:
    """Where a service answers: an address, or any (`bind` is empty) within `subnets`."""

    bind: str = ""
    subnets: tuple[str, ...] = ()


def _places(service: KnownService, port: ServedPort) -> Iterator[_Place]:
    """HTTP answers everywhere, as its Host tells what is meant; others at each address. Who has none answers everywhere too, or, where
    each endpoint is meant by itself, as those of a headless Service, at each of them.
    """
    alone = service.resolution == "NONE" and (service.kubernetes or port.instances)
    if port.protocol == "http" or not (service.addresses or alone):
        yield _Place()
        return
    for address in service.addresses or dict.fromkeys(one.address for one in port.instances if is_address(one.address)):
        yield _Place(subnets=(address,)) if "/" in address else _Place(address)


def _chains(service: KnownService, port: ServedPort, place: _Place, rules: OpaqueRules) -> Iterator[Chain]:
    if port.protocol == "http":
        yield Chain()
    elif is_tls(port.application):
        yield from _tls_chains(service, port, place, rules)
    else:
        yield from _tcp_chains(service, port, place, rules)
        if port.protocol == "auto":
            yield Chain()


def _tls_chains(service: KnownService, port: ServedPort, place: _Place, rules: OpaqueRules) -> Iterator[Chain]:
    """One for each match of the tls rules; without any, the service itself, by its name where the address does not tell it."""
    routed = False
    for resource in rules.of(service.host):
        spec: VirtualService = resource.spec
        for rule in spec.tls:
            for match in rule.match:
                if rules.applies(match, port.number):
                    routed = True
                    route = rules.route(resource, rule.route, port.number)
                    yield Chain(route, match.sni_hosts, match.destination_subnets or place.subnets)
    if not routed:
        yield Chain(_own_route(service, port), () if place.bind else service.full_names, place.subnets)


def _tcp_chains(service: KnownService, port: ServedPort, place: _Place, rules: OpaqueRules) -> Iterator[Chain]:
    """One for each tcp rule up to the first that takes any address; without that, the service itself last."""
    for resource in rules.of(service.host):
        spec: VirtualService = resource.spec
        for rule in spec.tcp:
            matches = [match for match in rule.match if rules.applies(match, port.number)]
            if rule.match and not matches:
                continue
            route = rules.route(resource, rule.route, port.number)
            if not all(match.destination_subnets for match in matches) or not matches:
                yield Chain(route, subnets=place.subnets)
                return
            yield Chain(route, subnets=tuple(subnet for match in matches for subnet in match.destination_subnets))
    yield Chain(_own_route(service, port), subnets=place.subnets)


def _own_route(service: KnownService, port: ServedPort) -> OpaqueRoute:
    return OpaqueRoute((cluster_name(Destination(service.host, "", port.number)),))


class _Listener:
    """Gathers the chains of all services at one place; lives as long as one compilation."""

    def __init__(self, bind: str, number: int) -> None:
        self._name = f"{bind or '0.0.0.0'}_{number}"
        self._chains: dict[object, Chain] = {}
        self._application = ""
        self.service = b""

    def add(self, port: ServedPort, chains: tuple[Chain, ...]) -> None:
        """Adds a service's chains, but those that an older one has already."""
        if self._chains and port.application != self._application and not _ALONE.isdisjoint((port.application, self._application)):
            return
        if not self._chains:
            self._application = port.application
        for chain in chains:
            self._chains.setdefault(chain.key, chain)

    def made(self) -> OutboundListener:
        """The listener. A chain that takes all is the way of whatever the others do not take."""
        chains = self._chains.values()
        default = next((chain for chain in chains if chain.takes_all), None)
        return OutboundListener(self._name, tuple(chain for chain in chains if not chain.takes_all), default, self.service)
