"""The Gateway API's HTTPRoute as frozen values, field by field (https://gateway-api.sigs.k8s.io/reference/spec/).

Checked as its CRD does, with its CEL rules, and as Istio does beyond them. How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import gateway_units
from meshcar.rules.patterns import Patterns, pattern, pattern_or_any
from meshcar.rules.problems import Fault, Path, at_most, repeated, shorten
from meshcar.rules.schema_filters import (
    BackendTarget,
    CorsFilter,
    Filter,
    MirrorFilter,
    Namespace,
    Port,
    RedirectFilter,
    RewriteFilter,
    filter_faults,
)
from meshcar.rules.schema_routes import StringMatch

Duration = Annotated[float, gateway_units.duration]

GATEWAY_GROUP = "gateway.networking.k8s.io"
_MESH_PARENTS = (("", "Service"), ("networking.istio.io", "ServiceEntry"))
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+\Z")
_NOT_IN_A_PATH = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_ITS_END = ("/..", "/.")
_MOST_MATCHES_IN_ALL = 128
_MOST_PARENTS = 32


@attrs.frozen
class ParentRef:
    """Source: ParentReference. A Service or ServiceEntry concerns sidecars, a Gateway or ListenerSet does not.

    `section_name` chooses a listener of a Gateway; of a Service it does nothing, as in Istio.
    """

    name: Annotated[str, gateway_units.object_name]
    group: Annotated[str, gateway_units.group] = GATEWAY_GROUP
    kind: Annotated[str, gateway_units.kind] = "Gateway"
    namespace: Namespace | None = None
    section_name: Annotated[str, gateway_units.dns_name] | None = None
    port: Port | None = None

    @property
    def in_mesh(self) -> bool:
        """Whether sidecars obey a route of this parent."""
        return (self.group, self.kind) in _MESH_PARENTS

    @property
    def of_gateway(self) -> bool:
        """Whether gateways obey it."""
        return self.group == GATEWAY_GROUP and self.kind in ("Gateway", "ListenerSet")


@attrs.frozen
class PathMatch:
    """Source: HTTPPathMatch. A prefix ends where a segment of the path does."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"

    @property
    def prefix(self) -> str:
        """The prefix without the slash at its end; `/` alone stays."""
        return self.value.removesuffix("/") or "/"

    def faults(self) -> Iterator[Fault]:
        if len(self.value) > 1024:
            yield Fault(("value",), "INVALID_VALUE", "value must have at most 1024 characters")
        elif self.type != "RegularExpression" and not self.value.startswith("/"):
            yield Fault(("value",), "INVALID_VALUE", "value must start with /")
        elif self.type != "RegularExpression":
            wrong = [f"contain {part}" for part in _NOT_IN_A_PATH if part in self.value]
            wrong += [f"end with {part}" for part in _NOT_AT_ITS_END if self.value.endswith(part)]
            if wrong:
                yield Fault(("value",), "INVALID_VALUE", f"value must not {' nor '.join(wrong)}")
            elif not _PATH.match(self.value):
                yield Fault(("value",), "INVALID_VALUE", "value holds a character that may not stand in a path; percent-encode it")


@attrs.frozen
class HeaderTest:
    """Source: HTTPHeaderMatch."""

    name: Annotated[str, gateway_units.match_name]
    value: Annotated[str, gateway_units.field_value]
    type: Literal["Exact", "RegularExpression"] = "Exact"


@attrs.frozen
class QueryTest:
    """Source: HTTPQueryParamMatch. Of several parameters of the name the first counts."""

    name: Annotated[str, gateway_units.match_name]
    value: str
    type: Literal["Exact", "RegularExpression"] = "Exact"

    def faults(self) -> Iterator[Fault]:
        if not 1 <= len(self.value) <= 1024:
            yield Fault(("value",), "INVALID_VALUE", "value must have 1 to 1024 characters")


def text_match(test: HeaderTest | QueryTest) -> StringMatch:
    """The test of a header or parameter, as VirtualServices have them. The regex `*` takes anything."""
    if test.type == "Exact":
        return StringMatch(exact=test.value)
    return StringMatch(regex=pattern_or_any(test.value))


@attrs.frozen
class RouteMatch:
    """Source: HTTPRouteMatch. All conditions hold together. Of names of headers that differ in case only the first counts."""

    path: PathMatch = PathMatch()
    headers: tuple[HeaderTest, ...] = ()
    query_params: tuple[QueryTest, ...] = ()
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] | None = None

    def tests(self) -> Iterator[tuple[Path, PathMatch | HeaderTest | QueryTest]]:
        """Every test of a text, and where it stands."""
        yield ("path",), self.path
        yield from ((("headers", index), one) for index, one in enumerate(self.headers))
        yield from ((("queryParams", index), one) for index, one in enumerate(self.query_params))

    @property
    def takes_all(self) -> bool:
        """Whether every request meets it."""
        everywhere = self.path.type == "PathPrefix" and self.path.prefix == "/"
        return everywhere and not (self.headers or self.query_params or self.method)

    def faults(self) -> Iterator[Fault]:
        lists: tuple[tuple[str, tuple[HeaderTest | QueryTest, ...]], ...] = (
            ("headers", self.headers), ("queryParams", self.query_params),
        )  # fmt: skip
        for field, tests in lists:
            yield from at_most(tests, field, 16)
            yield from repeated((test.name for test in tests), field, "name")


@attrs.frozen
class BackendRef(BackendTarget):
    """Source: HTTPBackendRef. Weights are shares of their sum. Of filters Istio knows the two that change headers, here."""

    weight: Annotated[int, gateway_units.weight] = 1
    filters: tuple[Filter, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        yield from filter_faults(self.filters)
        for index, one in enumerate(self.filters):
            if one.request_header_modifier is None and one.response_header_modifier is None:
                yield Fault(("filters", index, "type"), "UNSUPPORTED_FIELD", f"the filter {one.type} is not supported in backendRefs")


@attrs.frozen
class Timeouts:
    """Source: HTTPRouteTimeouts. 0s is no limit."""

    request: Duration | None = None
    backend_request: Duration | None = None

    def faults(self) -> Iterator[Fault]:
        if self.request and self.backend_request and self.backend_request > self.request:
            yield Fault(("backendRequest",), "INVALID_VALUE", "backendRequest must not be longer than request")


@attrs.frozen
class RetryRule:
    """Source: HTTPRouteRetry."""

    codes: tuple[Annotated[int, gateway_units.retry_code], ...] = ()
    attempts: Annotated[int, gateway_units.positive] = 2
    backoff: Duration | None = None

    def faults(self) -> Iterator[Fault]:
        yield from repeated(self.codes, "codes")


@attrs.frozen
class RouteRule:
    """Source: HTTPRouteRule. Without matches it takes every request that no other rule takes."""

    REFUSED: ClassVar = frozenset({"sessionPersistence"})

    name: Annotated[str, gateway_units.dns_name] | None = None
    matches: tuple[RouteMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: RetryRule | None = None

    @property
    def redirect(self) -> RedirectFilter | None:
        """Where its requests are sent instead."""
        return next((one.request_redirect for one in self.filters if one.request_redirect), None)

    @property
    def rewrite(self) -> RewriteFilter | None:
        """What becomes of host and path."""
        return next((one.url_rewrite for one in self.filters if one.url_rewrite), None)

    @property
    def cors(self) -> CorsFilter | None:
        """Who of other origins may ask."""
        return next((one.cors for one in self.filters if one.cors), None)

    @property
    def mirrors(self) -> tuple[MirrorFilter, ...]:
        """Where copies go."""
        return tuple(one.request_mirror for one in self.filters if one.request_mirror)

    def faults(self) -> Iterator[Fault]:
        yield from at_most(self.matches, "matches", 64)
        yield from at_most(self.backend_refs, "backendRefs", 16)
        yield from filter_faults(self.filters)
        for index, one in enumerate(self.filters):
            if one.request_redirect is not None and self.backend_refs:
                yield Fault(("filters", index), "CONFLICT", "RequestRedirect and backendRefs may not be given together")
            field = "requestRedirect" if one.request_redirect else "urlRewrite"
            path = (one.request_redirect or one.url_rewrite or RewriteFilter()).path
            if path is not None and path.replace_prefix_match is not None and not self._has_one_prefix():
                message = "replacePrefixMatch needs a rule with exactly one match, and that by PathPrefix"
                yield Fault(("filters", index, field, "path", "replacePrefixMatch"), "CONFLICT", message)

    def _has_one_prefix(self) -> bool:
        return len(self.matches) < 2 and all(match.path.type == "PathPrefix" for match in self.matches)


@attrs.frozen
class HTTPRoute:
    """Who asks for a parent is routed by the most specific match of all HTTPRoutes that it has. Source: HTTPRouteSpec."""

    BESIDE: ClassVar = frozenset({"useDefaultGateways"})

    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Annotated[str, gateway_units.hostname], ...] = ()
    rules: tuple[RouteRule, ...] = (RouteRule(),)

    def faults(self) -> Iterator[Fault]:
        yield from at_most(self.parent_refs, "parentRefs", _MOST_PARENTS)
        yield from at_most(self.hostnames, "hostnames", 16)
        yield from at_most(self.rules, "rules", 16)
        yield from self._parent_faults()
        yield from self._pattern_faults()
        if not self.rules:
            yield Fault(("rules",), "INVALID_VALUE", "rules must not be empty; without the field there is one rule, for every request")
        if sum(len(rule.matches) or 1 for rule in self.rules) > _MOST_MATCHES_IN_ALL:
            yield Fault(("rules",), "INVALID_VALUE", "all rules together have more than 128 matches")
        names: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name in names:
                yield Fault(("rules", index, "name"), "INVALID_VALUE", f"{rule.name} is the name of a rule before it")
            names.update(filter(None, (rule.name,)))

    def _pattern_faults(self) -> Iterator[Fault]:
        """Patterns that RE2 refuses, or that are too large."""
        compile_ = Patterns().compile
        for index, rule in enumerate(self.rules):
            for number, match in enumerate(rule.matches):
                for where, test in match.tests():
                    if test.type == "RegularExpression":
                        try:
                            compile_(pattern if isinstance(test, PathMatch) else pattern_or_any, test.value)
                        except ValueError as why:
                            path = ("rules", index, "matches", number, *where, "value")
                            yield Fault(path, "INVALID_VALUE", f"value {shorten(test.value)}: {why}")

    def _parent_faults(self) -> Iterator[Fault]:
        """One parent may stand here several times if sectionName or port tell each time another part of it."""
        known: dict[tuple[str, str, str | None, str], list[ParentRef]] = {}
        for index, ref in enumerate(self.parent_refs[:_MOST_PARENTS]):
            others = known.setdefault((ref.group, ref.kind, ref.namespace, ref.name), [])
            shape = (ref.section_name is None, ref.port is None)
            if any((one.section_name, one.port) == (ref.section_name, ref.port) for one in others):
                yield Fault(("parentRefs", index), "INVALID_VALUE", f"{ref.kind} {ref.name} is a parent already")
            elif any((one.section_name is None, one.port is None) != shape for one in others):
                message = f"{ref.kind} {ref.name} is a parent several times: each time with sectionName, or with port, or with both"
                yield Fault(("parentRefs", index), "INVALID_VALUE", message)
            others.append(ref)
