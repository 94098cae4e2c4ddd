"""Istio's VirtualService as frozen values, field by field (https://istio.io/latest/docs/reference/config/networking/virtual-service/).

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault, Path, repeated
from meshcar.rules.schema_actions import CorsRule, DirectResponseRule, FaultRule, PercentValue, RedirectRule
from meshcar.rules.schema_targets import RouteTarget
from meshcar.rules.visibility import export_faults
from meshcar.wire.formats import Format

Count = Annotated[int, units.count]
Duration = Annotated[float, units.duration]
HeaderName = Annotated[str, units.header_name]
ChangeableName = Annotated[str, units.changeable_header]
Port = Annotated[int, units.port]


@attrs.frozen
class StringMatch:
    """At most one of the three; none, or the regex `*`, means that the thing is there at all."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[Any, units.pattern_or_any] = None

    def faults(self) -> Iterator[Fault]:
        if (self.exact is not None) + (self.prefix is not None) + (self.regex is not None) > 1:
            yield Fault((), "CONFLICT", "only one of exact, prefix, regex may be given")


@attrs.frozen
class HttpMatch:
    """Source: HTTPMatchRequest. All conditions hold together."""

    REFUSED: ClassVar = frozenset({"statPrefix"})

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[HeaderName, StringMatch] = attrs.field(factory=dict)
    without_headers: Mapping[HeaderName, StringMatch] = attrs.field(factory=dict)
    query_params: Mapping[str, StringMatch] = attrs.field(factory=dict)
    ignore_uri_case: bool = False
    port: Port | None = None
    gateways: tuple[str, ...] = ()
    source_labels: Mapping[str, str] = attrs.field(factory=dict)
    source_namespace: str = ""

    def tests(self) -> Iterator[tuple[Path, StringMatch]]:
        """Every condition on a text, and where it stands."""
        for field, test in (("uri", self.uri), ("scheme", self.scheme), ("method", self.method), ("authority", self.authority)):
            if test is not None:
                yield (field,), test
        named = (("headers", self.headers), ("withoutHeaders", self.without_headers), ("queryParams", self.query_params))
        for field, tests in named:
            yield from (((field, name), one) for name, one in tests.items())

    def faults(self) -> Iterator[Fault]:
        for field, names in (("headers", self.headers), ("withoutHeaders", self.without_headers)):
            for name in names:
                if name.startswith(":") and name != ":authority":
                    message = f"{name} cannot be matched as a header; use uri, method or authority"
                    yield Fault((field, name), "INVALID_VALUE", message, at_key=True)


@attrs.frozen
class HeaderOperations:
    """Source: Headers.HeaderOperations."""

    set: Mapping[ChangeableName, Annotated[Format, units.header_format]] = attrs.field(factory=dict)
    add: Mapping[ChangeableName, Annotated[Format, units.header_format]] = attrs.field(factory=dict)
    remove: tuple[ChangeableName, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for index, name in enumerate(self.remove):
            if name == "host" or name.startswith(":"):
                yield Fault(("remove", index), "IGNORED", f"{name} cannot be removed; Istio leaves it, and so do we")
        for field, names in (("set", self.set), ("add", self.add)):
            for name in names:
                if name.startswith(":") and name != ":authority":
                    yield Fault((field, name), "IGNORED", f"{name} cannot be changed; Istio leaves it, and so do we", at_key=True)


@attrs.frozen
class Headers:
    """Changes to the request and to the response."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


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
class Retries:
    """Source: HTTPRetry. `retry_remote_localities` changes nothing: all endpoints count as one locality."""

    attempts: Count | None = None
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    backoff: Duration | None = None
    retry_ignore_previous_hosts: bool = True
    retry_remote_localities: bool = False

    def faults(self) -> Iterator[Fault]:
        if self.attempts is None:
            yield Fault((), "NO_RETRIES", "retries without attempts means no retries at all, as in Istio; say attempts")
        for word in filter(None, map(str.strip, self.retry_on.split(","))):
            if word not in RETRY_ON and not (word.isascii() and word.isdigit() and 100 <= int(word[:4]) <= 599):
                message = f"retryOn knows no {word!r}; it takes HTTP statuses and {', '.join(sorted(RETRY_ON))}"
                yield Fault(("retryOn",), "INVALID_VALUE", message)


RETRY_ON = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal",
    "resource-exhausted", "unavailable",
})
"""Envoy's words for x-envoy-retry-on and x-envoy-retry-grpc-on."""


@attrs.frozen
class RegexRewrite:
    """RE2 pattern and what takes the place of each match; `\\1` is the first group."""

    match: Annotated[Any, units.pattern]
    rewrite: Annotated[str, units.path_text] = ""

    def faults(self) -> Iterator[Fault]:
        for escape in re.findall(r"\\(.?)", self.rewrite):
            if escape != "\\" and not (escape in "0123456789" and escape and int(escape) <= self.match.groups):
                message = f"rewrite knows no \\{escape}; the pattern has {self.match.groups} groups, and a backslash is written twice"
                yield Fault(("rewrite",), "INVALID_VALUE", message)


@attrs.frozen
class RewriteRule:
    """Source: HTTPRewrite."""

    uri: Annotated[str, units.path_text] | None = None
    authority: Annotated[str, units.authority] | None = None
    uri_regex_rewrite: RegexRewrite | None = None

    def faults(self) -> Iterator[Fault]:
        if self.uri is not None and self.uri_regex_rewrite is not None:
            yield Fault(("uriRegexRewrite",), "CONFLICT", "only one of uri and uriRegexRewrite may be given")


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
    mirror_percent: Annotated[float, units.percent] | None = None
    mirror_percentage: PercentValue | None = None

    def faults(self) -> Iterator[Fault]:
        yield from self._conflicts()
        if len(self.route) > 1 and not any(one.weight for one in self.route):
            yield Fault(("route",), "INVALID_VALUE", "the weights of several destinations must not all be 0")
        if self.mirror is not None and self.mirrors:
            yield Fault(("mirrors",), "CONFLICT", "only one of mirror and mirrors may be given")
        if self.mirror is None and (self.mirror_percent is not None or self.mirror_percentage is not None):
            field = "mirrorPercent" if self.mirror_percent is not None else "mirrorPercentage"
            hint = "; a percentage stands in each of mirrors" if self.mirrors else ""
            yield Fault((field,), "CONFLICT", f"{field} needs mirror{hint}")
        elif self.mirror_percent is not None and self.mirror_percentage is not None:
            yield Fault(("mirrorPercentage",), "CONFLICT", "only one of mirrorPercentage and the older mirrorPercent may be given")


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
        if self.delegate is not None:
            yield from self.patterns()
        if self.redirect is not None or self.direct_response is not None:
            for name, value in (("fault", self.fault), ("rewrite", self.rewrite)):
                if value is not None:
                    yield Fault((name,), "CONFLICT", f"only one of {given[0]} and {name} may be given", at_key=True)

    def patterns(self) -> Iterator[Fault]:
        """A fault for each regex of the matches: whether one lies within another cannot be told, so delegation takes none."""
        for index, match in enumerate(self.match):
            for path, test in match.tests():
                if test.regex is not None:
                    yield Fault(("match", index, *path, "regex"), "INVALID_VALUE", "where rules are delegated, matches take no regex")


@attrs.frozen
class VirtualService:
    """Who asks for one of `hosts` is routed by the first rule of `http` that matches. Without hosts it waits for others to delegate."""

    REFUSED: ClassVar = frozenset({"tcp", "tls"})

    hosts: tuple[Annotated[str, units.host_pattern], ...] = ()
    http: tuple[HttpRule, ...] = ()
    gateways: tuple[str, ...] = ()
    export_to: tuple[Annotated[str, units.export_target], ...] = ()

    def faults(self) -> Iterator[Fault]:
        if not self.http:
            yield Fault(("http",), "REQUIRED", "http is missing: a VirtualService needs at least one rule")
        if not self.hosts:
            yield from self._delegate_faults()
        yield from repeated(self.hosts, "hosts")
        yield from export_faults(self.export_to)

    def _delegate_faults(self) -> Iterator[Fault]:
        if self.gateways:
            yield Fault(("gateways",), "CONFLICT", "a VirtualService without hosts is delegated to, and names no gateways")
        for index, rule in enumerate(self.http):
            if rule.delegate is not None:
                yield Fault(("http", index, "delegate"), "CONFLICT", "a VirtualService without hosts must not delegate further")
                continue
            for fault in rule.patterns():
                yield attrs.evolve(fault, path=("http", index, *fault.path))
