"""What a VirtualService's rule does besides routing, as frozen values: redirects, direct responses, rewrites, retries, faults and CORS.

Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/. How a class becomes a reader of YAML:
`meshcar.rules.shapes`.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal

import attrs

from meshcar.rules import header_units, patterns, units
from meshcar.rules.problems import Fault

_MAX_BODY = 1 << 20
_LARGE_BODY = 100 << 10
_BODILESS = (204, 304)


@attrs.frozen
class PercentValue:
    """Source: Percent. Nothing in it means 0, as in Istio."""

    value: Annotated[float, units.percent] = 0.0


@attrs.frozen
class FaultPercent:
    """Source: Percent in HTTPFaultInjection, where one of a million is the least."""

    value: Annotated[float, units.fault_percent] = 0.0


@attrs.frozen
class RedirectRule:
    """Source: HTTPRedirect. What is not given stays as the client asked for it."""

    uri: str = ""
    prefix_rewrite: str = ""
    authority: Annotated[str, units.authority] | None = None
    scheme: Literal["", "http", "https"] = ""
    port: Annotated[int | None, units.port_or_none] = None
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
        elif len(self.content) > _LARGE_BODY:
            yield Fault((), "LARGE_BODY", "a body of more than 100 KiB is kept in memory for each rule that has it")


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
class RegexRewrite:
    """RE2 pattern and what takes the place of each match; `\\1` is the first group."""

    match: Annotated[Any, patterns.pattern]
    rewrite: Annotated[str, units.path_text]

    def faults(self) -> Iterator[Fault]:
        if not self.rewrite:
            yield Fault(("rewrite",), "REQUIRED", "rewrite must not be empty: it takes the place of what matches")
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
        if self.uri and self.uri_regex_rewrite is not None:
            yield Fault(("uriRegexRewrite",), "CONFLICT", "only one of uri and uriRegexRewrite may be given")
        if not (self.uri or self.authority or self.uri_regex_rewrite):
            yield Fault((), "REQUIRED", "a rewrite says at least one of uri, uriRegexRewrite, authority")


_STATUSES = frozenset(str(status.value) for status in HTTPStatus)
RETRY_ON = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "retriable-headers", "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal",
    "resource-exhausted", "unavailable",
})
"""Envoy's words for x-envoy-retry-on and x-envoy-retry-grpc-on."""


def retry_words(value: object) -> str:
    """Envoy's words for when to try again, and known HTTP statuses, joined by commas without blanks."""
    given = units.text(value)
    for word in given.split(",") if given else ():
        if word not in RETRY_ON and not (word.isascii() and word.isdigit() and word[:4] in _STATUSES):
            known = ", ".join(sorted(RETRY_ON))
            raise ValueError(f"{word!r} is neither a known HTTP status nor one of {known}; words are joined by commas, without blanks")
    return given


@attrs.frozen
class Retries:
    """Source: HTTPRetry."""

    attempts: Annotated[int, units.count] | None = None
    per_try_timeout: Annotated[float, units.timespan] | None = None
    retry_on: Annotated[str, retry_words] = ""
    backoff: Annotated[float, units.timespan] | None = None
    retry_ignore_previous_hosts: bool | None = None
    retry_remote_localities: bool | None = None

    def faults(self) -> Iterator[Fault]:
        if not self.attempts:
            idle = {"perTryTimeout": self.per_try_timeout, "retryOn": self.retry_on or None,
                    "retryRemoteLocalities": self.retry_remote_localities}  # fmt: skip
            for field in (field for field, value in idle.items() if value is not None):
                yield Fault((field,), "CONFLICT", f"{field} needs attempts of at least 1: without them there are no retries", at_key=True)
        if self.attempts is None:
            yield Fault((), "NO_RETRIES", "retries without attempts means no retries at all, as in Istio; say attempts")


@attrs.frozen
class Delay:
    """Source: HTTPFaultInjection.Delay."""

    REFUSED: ClassVar = frozenset({"exponentialDelay"})

    fixed_delay: Annotated[float, units.timespan] | None = None
    percentage: FaultPercent | None = None
    percent: Annotated[int, units.whole_percent] | None = None

    @property
    def share(self) -> float:
        """How many of 100 requests are delayed."""
        return self.percentage.value if self.percentage is not None else self.percent or 0.0

    def faults(self) -> Iterator[Fault]:
        if self.fixed_delay is None:
            yield Fault((), "NO_EFFECT", "a delay without fixedDelay delays no request, as in Istio; say fixedDelay")
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
    percentage: FaultPercent | None = None

    def faults(self) -> Iterator[Fault]:
        if self.http_status is None and self.grpc_status is None:
            yield Fault((), "NO_EFFECT", "an abort without httpStatus or grpcStatus aborts no request, as in Istio; say one of them")
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
    regex: Annotated[Any, patterns.pattern] = None

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
    allow_methods: tuple[Annotated[str, header_units.method_or_any], ...] = ()
    allow_headers: tuple[Annotated[str, header_units.header_or_any], ...] = ()
    expose_headers: tuple[Annotated[str, header_units.header_or_any], ...] = ()
    max_age: Annotated[float, units.timespan] | None = None
    allow_credentials: bool = False
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    def faults(self) -> Iterator[Fault]:
        if self.allow_origin:
            ignored = "; allowOrigins is given, so it does nothing" if self.allow_origins else ""
            yield Fault(("allowOrigin",), "DEPRECATED", f"allowOrigin is deprecated; write allowOrigins{ignored}", at_key=True)
        if self.max_age is not None and self.max_age % 1:
            yield Fault(("maxAge",), "INVALID_VALUE", "maxAge counts whole seconds")
