"""What a VirtualService's rule does besides routing, as frozen values: redirects, direct responses, faults and CORS.

Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/. How a class becomes a reader of YAML:
`meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault

_MAX_BODY = 1 << 20
_BODILESS = (204, 304)


@attrs.frozen
class PercentValue:
    """Source: Percent. Nothing in it means 0, as in Istio."""

    value: Annotated[float, units.percent] = 0.0


@attrs.frozen
class RedirectRule:
    """Source: HTTPRedirect. What is not given stays as the client asked for it."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: Annotated[str, units.authority] | None = None
    scheme: Literal["http", "https"] | None = None
    port: Annotated[int, units.port] | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: Annotated[int, units.redirect_status] = 301

    def faults(self) -> Iterator[Fault]:
        for field, text in (("uri", self.uri), ("prefixRewrite", self.prefix_rewrite)):
            if not text.isprintable() or not text.isascii() or " " in text:
                yield Fault((field,), "INVALID_VALUE", f"{field} must be a path: printable ASCII without blanks")
        if self.uri and self.prefix_rewrite:
            yield Fault(("prefixRewrite",), "CONFLICT", "only one of uri and prefixRewrite may be given")
        if self.port is not None and self.derive_port is not None:
            yield Fault(("derivePort",), "CONFLICT", "only one of port and derivePort may be given")
        if not any((self.uri, self.prefix_rewrite, self.authority, self.scheme, self.port, self.derive_port)):
            yield Fault((), "REQUIRED", "a redirect says at least one of uri, prefixRewrite, authority, scheme, port, derivePort")


@attrs.frozen
class Body:
    """Source: HTTPBody."""

    SPELLINGS: ClassVar = {"text": ("string",), "data": ("bytes",)}

    text: str | None = None
    data: Annotated[bytes, units.base64_bytes] | None = None

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return self.data if self.data is not None else (self.text or "").encode()

    def faults(self) -> Iterator[Fault]:
        if self.text is not None and self.data is not None:
            yield Fault(("bytes",), "CONFLICT", "only one of string and bytes may be given")
        if len(self.content) > _MAX_BODY:
            yield Fault((), "INVALID_VALUE", "a direct response's body has at most 1 MiB")


@attrs.frozen
class DirectResponseRule:
    """Source: HTTPDirectResponse."""

    status: Annotated[int, units.status]
    body: Body = Body()

    @property
    def content(self) -> bytes:
        """The body's bytes; none where the status allows none."""
        return b"" if self.status in _BODILESS else self.body.content

    def faults(self) -> Iterator[Fault]:
        if self.status in _BODILESS and self.body.content:
            yield Fault(("body",), "IGNORED", f"an answer with status {self.status} has no body (RFC 9110, section 6.4.1)")


@attrs.frozen
class Delay:
    """Source: HTTPFaultInjection.Delay."""

    REFUSED: ClassVar = frozenset({"exponentialDelay"})

    fixed_delay: Annotated[float, units.duration] | None = None
    percentage: PercentValue | None = None
    percent: Annotated[int, units.whole_percent] | None = None

    @property
    def share(self) -> float:
        """How many of 100 requests are delayed."""
        return self.percentage.value if self.percentage is not None else self.percent or 0.0

    def faults(self) -> Iterator[Fault]:
        if self.fixed_delay is None:
            yield Fault(("fixedDelay",), "REQUIRED", "fixedDelay is missing: a delay says how long it is")
        elif self.fixed_delay < 0.001:
            yield Fault(("fixedDelay",), "INVALID_VALUE", "fixedDelay must be at least 1ms")
        if self.percent is not None:
            yield Fault(("percent",), "DEPRECATED", "percent is deprecated; write percentage: {value: ...}", at_key=True)
        elif self.percentage is None:
            yield Fault((), "NO_EFFECT", "a delay without percentage delays no request, as in Istio; say percentage")


@attrs.frozen
class Abort:
    """Source: HTTPFaultInjection.Abort."""

    REFUSED: ClassVar = frozenset({"http2Error"})

    http_status: Annotated[int, units.status] | None = None
    grpc_status: Annotated[int, units.grpc_status] | None = None
    percentage: PercentValue | None = None

    def faults(self) -> Iterator[Fault]:
        if self.http_status is None and self.grpc_status is None:
            yield Fault(("httpStatus",), "REQUIRED", "httpStatus is missing: an abort says with which status, or grpcStatus")
        elif self.http_status is not None and self.grpc_status is not None:
            yield Fault(("grpcStatus",), "CONFLICT", "only one of httpStatus and grpcStatus may be given")
        if self.percentage is None:
            yield Fault((), "NO_EFFECT", "an abort without percentage aborts no request, as in Istio; say percentage")


@attrs.frozen
class FaultRule:
    """Source: HTTPFaultInjection. The delay comes first."""

    delay: Delay | None = None
    abort: Abort | None = None

    def faults(self) -> Iterator[Fault]:
        if self.delay is None and self.abort is None:
            yield Fault((), "REQUIRED", "a fault says delay, abort, or both")


@attrs.frozen
class OriginMatch:
    """Source: StringMatch in CorsPolicy's allowOrigins, where nothing may be left open."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[Any, units.pattern] = None

    def faults(self) -> Iterator[Fault]:
        given = (self.exact is not None) + (self.prefix is not None) + (self.regex is not None)
        if given > 1:
            yield Fault((), "CONFLICT", "only one of exact, prefix, regex may be given")
        elif not (self.exact or self.prefix or (self.regex and self.regex.pattern)):
            yield Fault((), "REQUIRED", "an origin needs one of exact, prefix, regex, and not an empty one")


@attrs.frozen
class CorsRule:
    """Source: CorsPolicy."""

    allow_origins: tuple[OriginMatch, ...] = ()
    allow_origin: tuple[str, ...] = ()
    allow_methods: tuple[Annotated[str, units.method_or_any], ...] = ()
    allow_headers: tuple[Annotated[str, units.header_or_any], ...] = ()
    expose_headers: tuple[Annotated[str, units.header_or_any], ...] = ()
    max_age: Annotated[float, units.duration] | None = None
    allow_credentials: bool = False
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    def faults(self) -> Iterator[Fault]:
        if self.allow_origin:
            ignored = "; allowOrigins is given, so it does nothing" if self.allow_origins else ""
            yield Fault(("allowOrigin",), "DEPRECATED", f"allowOrigin is deprecated; write allowOrigins{ignored}", at_key=True)
        if self.max_age is not None and self.max_age % 1:
            yield Fault(("maxAge",), "INVALID_VALUE", "maxAge counts whole seconds")
