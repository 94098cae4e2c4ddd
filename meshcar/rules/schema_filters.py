"""The filters of the Gateway API's HTTPRoute as frozen values, and the backends that they and its rules name.

Source: https://gateway-api.sigs.k8s.io/reference/spec/, HTTPRouteFilter. How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import gateway_units, header_units, units
from meshcar.rules.problems import Fault, at_most, repeated
from meshcar.wire.formats import Format

Namespace = Annotated[str, units.label]
Port = Annotated[int, units.port]

_SERVICES = (("", "Service"), ("multicluster.x-k8s.io", "ServiceImport"))
_HOSTNAME = ("networking.istio.io", "Hostname")
_MOST_HEADERS = 16
_MOST_ORIGINS = 64
_MOST_METHODS = 9


@attrs.frozen
class BackendTarget:
    """Source: BackendObjectReference. Istio's kind Hostname names any host that a service has, without `namespace`."""

    name: Annotated[str, gateway_units.object_name]
    group: Annotated[str, gateway_units.group] = ""
    kind: Annotated[str, gateway_units.kind] = "Service"
    namespace: Namespace | None = None
    port: Port | None = None

    @property
    def is_service(self) -> bool:
        """Whether it names a Service, of this cluster or of a set of clusters."""
        return (self.group, self.kind) in _SERVICES

    @property
    def is_hostname(self) -> bool:
        """Whether it names a host."""
        return (self.group, self.kind) == _HOSTNAME

    def faults(self) -> Iterator[Fault]:
        if self.is_service and "." in self.name:
            yield Fault(("name",), "INVALID_VALUE", "name must be that of the Service, not its host name")
        if self.is_hostname and self.namespace is not None:
            yield Fault(("namespace",), "CONFLICT", "namespace may not be given with the kind Hostname")
        if self.port is None and (self.is_service or self.is_hostname):
            yield Fault(("port",), "REQUIRED", f"port is missing: a {self.kind} needs one")


@attrs.frozen
class HeaderPair:
    """Source: HTTPHeader."""

    name: Annotated[str, gateway_units.changeable_name]
    value: Annotated[Format, gateway_units.field_format]


@attrs.frozen
class HeaderFilter:
    """Source: HTTPHeaderFilter. Of names that differ in case only the first counts."""

    set: tuple[HeaderPair, ...] = ()
    add: tuple[HeaderPair, ...] = ()
    remove: tuple[Annotated[str, gateway_units.changeable_name], ...] = ()

    def faults(self) -> Iterator[Fault]:
        for field, pairs in (("set", self.set), ("add", self.add)):
            yield from at_most(pairs, field, _MOST_HEADERS)
            yield from repeated((pair.name for pair in pairs), field, "name")
        yield from at_most(self.remove, "remove", _MOST_HEADERS)
        yield from repeated(self.remove, "remove")
        for index, name in enumerate(self.remove):
            if name.lower() == "host":
                yield Fault(("remove", index), "IGNORED", "host cannot be removed; Istio leaves it, and so do we")


@attrs.frozen
class PathModifier:
    """Source: HTTPPathModifier."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, gateway_units.new_path] | None = None
    replace_prefix_match: Annotated[str, gateway_units.new_path] | None = None

    def faults(self) -> Iterator[Fault]:
        fields = (
            ("ReplaceFullPath", "replaceFullPath", self.replace_full_path),
            ("ReplacePrefixMatch", "replacePrefixMatch", self.replace_prefix_match),
        )
        for kind, field, value in fields:
            if kind == self.type and value is None:
                yield Fault((field,), "REQUIRED", f"{field} is missing: the type is {kind}")
            elif kind != self.type and value is not None:
                yield Fault((field,), "CONFLICT", f"{field} needs the type {kind}, not {self.type}", at_key=True)


@attrs.frozen
class RedirectFilter:
    """Source: HTTPRequestRedirectFilter. What is not given stays as the client asked for it."""

    scheme: Literal["http", "https"] | None = None
    hostname: Annotated[str, gateway_units.dns_name] | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Annotated[int, gateway_units.redirect_code] = 302


@attrs.frozen
class RewriteFilter:
    """Source: HTTPURLRewriteFilter."""

    hostname: Annotated[str, gateway_units.dns_name] | None = None
    path: PathModifier | None = None


@attrs.frozen
class Fraction:
    """Source: Fraction."""

    numerator: Annotated[int, units.count]
    denominator: Annotated[int, gateway_units.positive] = 100

    def faults(self) -> Iterator[Fault]:
        if self.numerator > self.denominator:
            yield Fault(("numerator",), "INVALID_VALUE", "numerator must not be greater than denominator")


@attrs.frozen
class MirrorFilter:
    """Source: HTTPRequestMirrorFilter. Without percent and fraction every request is copied."""

    backend_ref: BackendTarget
    percent: Annotated[int, units.whole_percent] | None = None
    fraction: Fraction | None = None

    @property
    def share(self) -> float:
        """How many of 100 requests are copied."""
        if self.fraction is not None:
            return 100 * self.fraction.numerator / self.fraction.denominator
        return 100.0 if self.percent is None else float(self.percent)

    def faults(self) -> Iterator[Fault]:
        if self.percent is not None and self.fraction is not None:
            yield Fault(("fraction",), "CONFLICT", "only one of percent and fraction may be given", at_key=True)


@attrs.frozen
class CorsFilter:
    """Source: HTTPCORSFilter. `max_age` counts seconds."""

    allow_origins: tuple[Annotated[str, gateway_units.origin], ...] = ()
    allow_methods: tuple[Annotated[str, header_units.method_or_any], ...] = ()
    allow_headers: tuple[Annotated[str, header_units.header_or_any], ...] = ()
    expose_headers: tuple[Annotated[str, header_units.header_or_any], ...] = ()
    max_age: Annotated[int, gateway_units.positive] = 5
    allow_credentials: bool = False

    def faults(self) -> Iterator[Fault]:
        lists: tuple[tuple[str, Sequence[str], int], ...] = (
            ("allowOrigins", self.allow_origins, _MOST_ORIGINS),
            ("allowMethods", self.allow_methods, _MOST_METHODS),
            ("allowHeaders", self.allow_headers, _MOST_ORIGINS),
            ("exposeHeaders", self.expose_headers, _MOST_ORIGINS),
        )
        for field, values, most in lists:
            yield from at_most(values, field, most)
            yield from repeated(values, field)
            if field != "exposeHeaders" and "*" in values and len(values) > 1:
                yield Fault((field, values.index("*")), "CONFLICT", f"* must stand alone in {field}")


_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier", "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror", "RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite", "CORS": "cors",
}  # fmt: skip
"""The field that a filter of each type fills."""


@attrs.frozen
class Filter:
    """Source: HTTPRouteFilter. `type` says which one of the others is given."""

    REFUSED: ClassVar = frozenset({"extensionRef", "externalAuth"})

    type: Literal[
        "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "CORS",
        "ExtensionRef", "ExternalAuth",
    ]  # fmt: skip
    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_mirror: MirrorFilter | None = None
    request_redirect: RedirectFilter | None = None
    url_rewrite: RewriteFilter | None = None
    cors: CorsFilter | None = None

    def faults(self) -> Iterator[Fault]:
        if self.type not in _FIELDS:
            yield Fault(("type",), "UNSUPPORTED_FIELD", f"the filter {self.type} is not supported yet")
            return
        given = (
            ("requestHeaderModifier", self.request_header_modifier), ("responseHeaderModifier", self.response_header_modifier),
            ("requestMirror", self.request_mirror), ("requestRedirect", self.request_redirect), ("urlRewrite", self.url_rewrite),
            ("cors", self.cors),
        )  # fmt: skip
        for field, value in given:
            if field == _FIELDS[self.type] and value is None:
                yield Fault((field,), "REQUIRED", f"{field} is missing: the type is {self.type}")
            elif field != _FIELDS[self.type] and value is not None:
                yield Fault((field,), "CONFLICT", f"{field} may not be given with the type {self.type}", at_key=True)
        if self.response_header_modifier is not None:
            yield from self._host_faults(self.response_header_modifier)

    @staticmethod
    def _host_faults(response: HeaderFilter) -> Iterator[Fault]:
        for part, pairs in (("set", response.set), ("add", response.add)):
            for index, pair in enumerate(pairs):
                if pair.name.lower() == "host":
                    path = ("responseHeaderModifier", part, index, "name")
                    yield Fault(path, "IGNORED", "a response gets no host; Istio leaves it out, and so do we")


def filter_faults(filters: Sequence[Filter]) -> Iterator[Fault]:
    """What is wrong with the filters of a rule or a backend together."""
    yield from at_most(filters, "filters", 16)
    known: set[str] = set()
    for index, one in enumerate(filters):
        if one.type in known and one.type != "RequestMirror":
            yield Fault(("filters", index, "type"), "CONFLICT", f"the filter {one.type} cannot be repeated")
        elif {one.type, *known} >= {"RequestRedirect", "URLRewrite"}:
            yield Fault(("filters", index, "type"), "CONFLICT", "only one of RequestRedirect and URLRewrite may be given")
        known.add(one.type)
