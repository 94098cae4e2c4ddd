"""Istio's VirtualService as frozen values, field by field (https://istio.io/latest/docs/reference/config/networking/virtual-service/).

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import attrs

from meshcar.rules import header_units, patterns, units
from meshcar.rules.host_patterns import HostTable
from meshcar.rules.problems import Fault, Path, repeated
from meshcar.rules.schema_actions import (
    CorsRule,
    DirectResponseRule,
    FaultRule,
    PercentValue,
    RedirectRule,
    Retries,
    RewriteRule,
)
from meshcar.rules.schema_headers import Headers
from meshcar.rules.schema_opaque import FOR_GATEWAYS, TcpRoute, TlsRoute, sni_faults, virtual_host
from meshcar.rules.schema_targets import GatewayName, Labels, RouteTarget, old_gateway_names
from meshcar.rules.visibility import export_faults

Count = Annotated[int, units.count]
Duration = Annotated[float, units.timespan]
HeaderName = Annotated[str, header_units.matched_header]
ParameterName = Annotated[str, units.parameter_name]
Port = Annotated[int, units.port]


@attrs.frozen
class StringMatch:
    """At most one of the three; none, or the regex `*`, means that the thing is there at all."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[Any, patterns.pattern_or_any] = None

    def faults(self) -> Iterator[Fault]:
        if (self.exact is not None) + (self.prefix is not None) + (self.regex is not None) > 1:
            yield Fault((), "CONFLICT", "only one of exact, prefix, regex may be given")


@attrs.frozen
class PathMatch(StringMatch):
    """The same for a path, which is always there: the regex `*` is none."""

    regex: Annotated[Any, patterns.pattern] = None


@attrs.frozen
class HttpMatch:
    """Source: HTTPMatchRequest. All conditions hold together."""

    name: str = ""
    uri: PathMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[HeaderName, StringMatch] = attrs.field(factory=dict)
    without_headers: Mapping[HeaderName, StringMatch] = attrs.field(factory=dict)
    query_params: Mapping[ParameterName, StringMatch] = attrs.field(factory=dict)
    ignore_uri_case: bool = False
    port: Annotated[int | None, units.port_or_none] = None
    gateways: tuple[GatewayName, ...] = ()
    source_labels: Labels = attrs.field(factory=dict)
    source_namespace: Annotated[str, units.label_or_none] = ""
    stat_prefix: str = ""

    def tests(self) -> Iterator[tuple[Path, StringMatch]]:
        """Every condition on a text, and where it stands."""
        for field, test in (("uri", self.uri), ("scheme", self.scheme), ("method", self.method), ("authority", self.authority)):
            if test is not None:
                yield (field,), test
        named = (("headers", self.headers), ("withoutHeaders", self.without_headers), ("queryParams", self.query_params))
        for field, tests in named:
            yield from (((field, name), one) for name, one in tests.items())

    def faults(self) -> Iterator[Fault]:
        for path, test in self.tests():
            if test.prefix == "" and path != ("uri",):
                message = "an empty prefix says nothing; write {} to ask whether it is there"
                yield Fault((*path, "prefix"), "INVALID_VALUE", message)
        yield from old_gateway_names(self.gateways)
        if self.stat_prefix:
            message = "statPrefix names statistics that are not kept here (nor shown by Istio as it comes); the access log names routes"
            yield Fault(("statPrefix",), "NO_EFFECT", message, at_key=True)

    def claims(self) -> Iterator[Path]:
        """Where it asks for a claim of a JWT."""
        for field, names in (("headers", self.headers), ("withoutHeaders", self.without_headers)):
            yield from ((field, name) for name in names if header_units.is_claim(name))


@attrs.frozen
class RouteDestination:
    """Source: HTTPRouteDestination. Weights are shares of their sum."""

    destination: RouteTarget
    weight: Count | None = None
    headers: Headers | None = None


@attrs.frozen
class MirrorTarget:
    """Source: HTTPMirrorPolicy."""

    destination: RouteTarget
    percentage: PercentValue | None = None


@attrs.frozen
class DelegateTarget:
    """Source: Delegate. A VirtualService without hosts; without `namespace`, in that of the rule."""

    name: Annotated[str, units.host]
    namespace: Annotated[str, units.label] | None = None


@attrs.frozen
class HttpRule:
    """Source: HTTPRoute. The first rule of a VirtualService that matches takes the request."""

    SPELLINGS: ClassVar = {"mirror_percent": ("mirrorPercent", "mirror_percent")}

    name: str = ""
    match: tuple[HttpMatch, ...] = ()
    route: tuple[RouteDestination, ...] = ()
    redirect: RedirectRule | None = None
    direct_response: DirectResponseRule | None = None
    delegate: DelegateTarget | None = None
    rewrite: RewriteRule | None = None
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: FaultRule | None = None
    cors_policy: CorsRule | None = None
    headers: Headers | None = None
    mirror: RouteTarget | None = None
    mirrors: tuple[MirrorTarget, ...] = ()
    mirror_percent: Annotated[int, units.whole_percent] | None = None
    mirror_percentage: PercentValue | None = None

    def faults(self) -> Iterator[Fault]:
        yield from self._conflicts()
        if len(self.route) > 1 and not any(one.weight for one in self.route):
            yield Fault(("route",), "INVALID_VALUE", "the weights of several destinations must not all be 0")
        yield from self._mirror_faults()
        request = self.headers.request if self.headers else None
        authorities: list[Path] = [("rewrite", "authority")] if self.rewrite and self.rewrite.authority else []
        authorities += (("headers", "request", *path) for path in request.authorities()) if request else ()
        for path in authorities[1:]:
            yield Fault(path, "CONFLICT", f"the Host is set already, by {'.'.join(map(str, authorities[0]))}", at_key=True)
        if self.redirect is not None and self.redirect.prefix_rewrite:
            for index, match in enumerate(self.match):
                if match.uri is not None and match.uri.prefix is None:
                    message = "prefixRewrite needs a prefix to replace: every uri beside it is a prefix"
                    yield Fault(("match", index, "uri"), "CONFLICT", message)

    def _mirror_faults(self) -> Iterator[Fault]:
        if self.mirror is not None and self.mirrors:
            yield Fault(("mirrors",), "CONFLICT", "only one of mirror and mirrors may be given")
        if self.mirror_percent is not None:
            yield Fault(("mirrorPercent",), "DEPRECATED", "mirrorPercent is deprecated; write mirrorPercentage: {value: ...}", at_key=True)
        for field, percent in (("mirrorPercent", self.mirror_percent), ("mirrorPercentage", self.mirror_percentage)):
            if percent is not None and self.mirror is None:
                hint = "; a percentage stands in each of mirrors" if self.mirrors else ""
                yield Fault((field,), "NO_EFFECT", f"{field} does nothing without mirror{hint}", at_key=True)
            elif field == "mirrorPercent" and percent is not None and self.mirror_percentage is not None:
                yield Fault((field,), "NO_EFFECT", "mirrorPercent does nothing beside mirrorPercentage", at_key=True)

    def _conflicts(self) -> Iterator[Fault]:
        """One of four things is done with a request. Source: Istio's validation of HTTPRoute."""
        ways = {
            "route": self.route, "redirect": self.redirect, "directResponse": self.direct_response, "delegate": self.delegate,
        }  # fmt: skip
        given = [name for name, value in ways.items() if value]
        if not given:
            yield Fault(("route",), "REQUIRED", "route is missing: a rule says where requests go, or redirect, directResponse, delegate")
        for name in given[1:]:
            yield Fault((name,), "CONFLICT", f"only one of {given[0]} and {name} may be given", at_key=True)
        if self.redirect is not None or self.direct_response is not None:
            for name, value in (("fault", self.fault), ("rewrite", self.rewrite)):
                if value is not None:
                    yield Fault((name,), "CONFLICT", f"only one of {given[0]} and {name} may be given", at_key=True)


@attrs.frozen
class VirtualService:
    """Who asks for one of `hosts` is routed by the first rule that matches: requests by `http`, TLS that is passed on as it is by `tls`,
    other connections by `tcp`. Without hosts it waits for others to delegate.
    """

    hosts: tuple[Annotated[str, virtual_host], ...] = ()
    http: tuple[HttpRule, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    gateways: tuple[GatewayName, ...] = ()
    export_to: tuple[Annotated[str, units.export_target], ...] = ()

    def faults(self) -> Iterator[Fault]:
        if not self.http and not self.tls and not self.tcp:
            yield Fault(("http",), "REQUIRED", "http is missing: a VirtualService needs at least one rule, of http, tls or tcp")
        if self.hosts:
            yield from sni_faults(self.tls, self.hosts, self.in_mesh)
        else:
            yield from self._delegate_faults()
        yield from old_gateway_names(self.gateways)
        yield from self._host_faults()
        yield from export_faults(self.export_to)

    @property
    def in_mesh(self) -> bool:
        """Whether sidecars obey it, and not only gateways."""
        return not self.gateways or "mesh" in self.gateways

    def _host_faults(self) -> Iterator[Fault]:
        """What istiod refuses of hosts: two that overlap, and every host of a mesh."""
        yield from repeated(self.hosts, "hosts")
        wildcards = HostTable[str]()
        for host in self.hosts:
            if host.startswith("*") and not (host == "*" and self.in_mesh):
                wildcards.setdefault(host, host)
        for index, host in enumerate(self.hosts):
            wider = next((one for one in wildcards.covering(host) if one != host), None)
            if host == "*" and self.in_mesh:
                message = "* is for gateways alone; a rule for sidecars names hosts, or *. before a domain"
                yield Fault(("hosts", index), "INVALID_VALUE", message)
            elif host.startswith(FOR_GATEWAYS) and (self.in_mesh or not self.tls):
                yield Fault(("hosts", index), "INVALID_VALUE", f"{host} is a name for tls rules of gateways alone")
            elif wider is not None:
                yield Fault(("hosts", index), "INVALID_VALUE", f"{host} lies within {wider}, which is among hosts too")
        if self.in_mesh:
            claims = ((index, number, path) for index, rule in enumerate(self.http)
                      for number, match in enumerate(rule.match) for path in match.claims())  # fmt: skip
            for index, number, path in claims:
                message = "claims of a JWT are matched by gateways alone"
                yield Fault(("http", index, "match", number, *path), "INVALID_VALUE", message, at_key=True)

    def _delegate_faults(self) -> Iterator[Fault]:
        if self.gateways:
            yield Fault(("gateways",), "CONFLICT", "a VirtualService without hosts is delegated to, and names no gateways")
        for field, rules in (("tls", self.tls), ("tcp", self.tcp)):
            if rules:
                yield Fault((field,), "CONFLICT", f"a VirtualService without hosts is delegated to by http rules, and has no {field}")
        for index, rule in enumerate(self.http):
            if rule.delegate is not None:
                yield Fault(("http", index, "delegate"), "CONFLICT", "a VirtualService without hosts must not delegate further")
