"""Istio's VirtualService, its tls and tcp rules, as frozen values (https://istio.io/latest/docs/reference/config/networking/virtual-service/).

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import attrs

from meshcar.rules import host_names, units
from meshcar.rules.host_names import is_address
from meshcar.rules.host_patterns import HOW_ENVOY_TAKES_IT, HostTable, is_partial
from meshcar.rules.problems import Fault, Path
from meshcar.rules.schema_targets import GatewayName, Labels, RouteTarget, old_gateway_names

FOR_GATEWAYS = "outbound_"
"""How names begin that only gateways see, which pass on TLS of the mesh. Source: Istio's AUTO_PASSTHROUGH."""

Count = Annotated[int, units.count]


def virtual_host(value: object) -> str:
    """A host name, `*` or `*.` before one, or `*`; an IP address; or, for gateways that pass TLS on, Istio's own `outbound_.80_._.host`."""
    given = units.text(value)
    if is_address(given):
        return given.lower()
    if not given.startswith(FOR_GATEWAYS):
        return host_names.wildcard_domain(given)
    _, port, _, host = [*given.split("_"), "", "", ""][:4]
    if not port.strip(".").isdigit() or not host.startswith("."):
        raise ValueError("must be like outbound_.80_._.httpbin.default.svc.cluster.local")
    units.host(host[1:])
    return given.lower()


MatchPort = Annotated[int | None, units.port_or_none]


@attrs.frozen
class OpaqueDestination:
    """Source: RouteDestination. Weights are shares of their sum."""

    destination: RouteTarget
    weight: Count = 0


@attrs.frozen
class TlsMatch:
    """Source: TLSMatchAttributes. All conditions hold together; `sni_hosts` are those of a ClientHello, one of which it must ask for."""

    sni_hosts: tuple[Annotated[str, virtual_host], ...]
    destination_subnets: tuple[Annotated[str, host_names.subnet], ...] = ()
    port: MatchPort = None
    source_labels: Labels = attrs.field(factory=dict)
    gateways: tuple[GatewayName, ...] = ()
    source_namespace: Annotated[str, units.label_or_none] = ""

    def faults(self) -> Iterator[Fault]:
        if not self.sni_hosts:
            yield Fault(("sniHosts",), "REQUIRED", "sniHosts is empty: a tls match needs at least one")
        for index, name in enumerate(self.sni_hosts):
            if is_address(name):
                message = f"hardly any client asks for an address such as {name} (RFC 6066, section 3)"
                yield Fault(("sniHosts", index), "NO_EFFECT", message)
            elif is_partial(name):
                yield Fault(("sniHosts", index), "PARTIAL_WILDCARD", f"{name}: {HOW_ENVOY_TAKES_IT}")
        yield from old_gateway_names(self.gateways)


@attrs.frozen
class TlsRoute:
    """Source: TLSRoute. For ports that declare tls or https; TLS is passed on as it is."""

    match: tuple[TlsMatch, ...]
    route: tuple[OpaqueDestination, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if not self.match:
            yield Fault(("match",), "REQUIRED", "match is empty: a tls rule needs at least one")
        yield from _destination_faults(self.route)


@attrs.frozen
class TcpMatch:
    """Source: L4MatchAttributes. All conditions hold together."""

    destination_subnets: tuple[Annotated[str, host_names.subnet], ...] = ()
    port: MatchPort = None
    source_labels: Labels = attrs.field(factory=dict)
    gateways: tuple[GatewayName, ...] = ()
    source_namespace: Annotated[str, units.label_or_none] = ""
    source_subnet: str = ""

    def faults(self) -> Iterator[Fault]:
        if self.source_subnet:
            yield Fault(("sourceSubnet",), "IGNORED", "sourceSubnet has never been matched by Istio, and is not here; take sourceLabels")
        yield from old_gateway_names(self.gateways)


@attrs.frozen
class TcpRoute:
    """Source: TCPRoute. For ports that declare tcp or nothing; without a match it takes every connection."""

    match: tuple[TcpMatch, ...] = ()
    route: tuple[OpaqueDestination, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from _destination_faults(self.route)


def sni_faults(rules: Sequence[TlsRoute], hosts: Sequence[str], in_mesh: bool) -> Iterator[Fault]:
    """What is wrong between the server names of tls rules and the hosts of their VirtualService."""
    known = HostTable[str]()
    for host in hosts if rules else ():
        known.setdefault(host, host)
    for index, rule in enumerate(rules):
        for number, match in enumerate(rule.match):
            for place, name in enumerate(match.sni_hosts):
                path: Path = ("tls", index, "match", number, "sniHosts", place)
                if name.startswith(FOR_GATEWAYS) and in_mesh:
                    yield Fault(path, "INVALID_VALUE", f"{name} is a name for gateways; this VirtualService is for the mesh")
                elif not is_address(name) and known.nearest(name) is None:
                    message = f"{name} is none of the VirtualService's hosts ({', '.join(hosts)}), nor within a wildcard of them"
                    yield Fault(path, "INVALID_VALUE", message)


def unreachable(rules: Sequence[TlsRoute | TcpRoute], field: str) -> Iterator[Fault]:
    """Rules and matches that come too late. Source: Istio's analysis of VirtualServices."""
    catch_all: int | None = None
    known: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if catch_all is not None:
            yield Fault(("spec", field, index), "UNREACHABLE", f"spec.{field}[{catch_all}] before it takes every connection")
            continue
        if not rule.match:
            catch_all = index
        for number, match in enumerate(rule.match):
            first = known.setdefault(str(match), index)
            if first != index:
                message = f"spec.{field}[{first}] has the same match"
                yield Fault(("spec", field, index, "match", number), "UNREACHABLE", message)


def _destination_faults(destinations: Sequence[OpaqueDestination]) -> Iterator[Fault]:
    if not destinations:
        yield Fault(("route",), "REQUIRED", "route is missing: a rule says where connections go")
    if len(destinations) > 1 and not any(one.weight for one in destinations):
        yield Fault(("route",), "INVALID_VALUE", "the weights of several destinations must not all be 0")
