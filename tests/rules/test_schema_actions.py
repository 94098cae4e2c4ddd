"""Redirects, direct responses, faults and CORS as they are read."""

import pytest

from meshcar.rules.read import read
from meshcar.rules.schema_actions import Body, DirectResponseRule
from tests.rules.conftest import virtual_service

ROUTE = "route: [{destination: {host: b}}]"


def problems(rule: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.path.removeprefix("spec.http[0].")) for problem in read(virtual_service(f"[{{{rule}}}]"), "f").problems]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("uri: /b", []),
        ("uri: /b, redirectCode: 0", []),
        ("derivePort: FROM_REQUEST_PORT", []),
        ("{}", [("REQUIRED", "redirect")]),
        ("uri: /b, redirectCode: 304", [("INVALID_VALUE", "redirect.redirectCode")]),
        ("uri: /b, scheme: ftp", [("INVALID_VALUE", "redirect.scheme")]),
        ("uri: /b, port: 0, authority: '', scheme: ''", []),
        ("uri: '', authority: '', scheme: '', prefixRewrite: '', port: 0", [("REQUIRED", "redirect")]),
        ("uri: /b, port: 65536", [("INVALID_VALUE", "redirect.port")]),
        ("port: 80, derivePort: FROM_REQUEST_PORT", [("CONFLICT", "redirect.derivePort")]),
        ("uri: /b, prefixRewrite: /c", [("CONFLICT", "redirect.prefixRewrite")]),
        ('uri: "/b\\r\\nset-cookie: x"', [("INVALID_VALUE", "redirect.uri")]),
        ("prefixRewrite: /ä", [("INVALID_VALUE", "redirect.prefixRewrite")]),
        ('authority: "a b"', [("INVALID_VALUE", "redirect.authority")]),
    ],
)
def test_redirect(rule: str, wanted: list[tuple[str, str]]) -> None:
    """Something must change, and nothing may get out of the Location header."""
    assert problems(f"redirect: {rule if rule == '{}' else f'{{{rule}}}'}") == wanted


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("status: 200", []),
        ("status: 200, body: {bytes: aGk=}", []),
        ("{}", [("REQUIRED", "directResponse.status")]),
        ("status: 199", [("INVALID_VALUE", "directResponse.status")]),
        ("status: 200, body: {bytes: '?'}", [("INVALID_VALUE", "directResponse.body.bytes")]),
        ("status: 200, body: {string: a, bytes: aGk=}", [("CONFLICT", "directResponse.body.bytes")]),
        ("status: 204, body: {string: a}", [("IGNORED", "directResponse.body")]),
        ("status: 601", [("INVALID_VALUE", "directResponse.status")]),
        (f"status: 200, body: {{string: {'a' * 102401}}}", [("LARGE_BODY", "directResponse.body")]),
        (f"status: 200, body: {{string: {'a' * 1048577}}}", [("INVALID_VALUE", "directResponse.body")]),
    ],
)
def test_direct_response(rule: str, wanted: list[tuple[str, str]]) -> None:
    """A status, and a body that fits it."""
    assert problems(f"directResponse: {rule if rule == '{}' else f'{{{rule}}}'}") == wanted


def test_content() -> None:
    """The body's bytes, none for a status that has no body."""
    assert DirectResponseRule(200, Body(text="ü")).content == b"\xc3\xbc"
    assert DirectResponseRule(204, Body(data=b"a")).content == b""


def test_conflicts() -> None:
    """An answer of its own goes with neither route, rewrite nor fault; a rule does one thing."""
    assert problems("timeout: 1s") == [("REQUIRED", "route")]
    assert problems("redirect: {uri: /b}, directResponse: {status: 200}") == [("CONFLICT", "directResponse")]
    assert problems("redirect: {uri: /b}, rewrite: {uri: /c}") == [("CONFLICT", "rewrite")]
    fault = "fault: {abort: {httpStatus: 500, percentage: {value: 1}}}"
    assert problems(f"directResponse: {{status: 200}}, {fault}") == [("CONFLICT", "fault")]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ("delay: {fixedDelay: 1s, percentage: {value: 5}}", []),
        ("delay: {fixedDelay: 1s, percent: 5}", [("DEPRECATED", "fault.delay.percent")]),
        ("delay: {fixedDelay: 1s}", [("NO_EFFECT", "fault.delay")]),
        ("delay: {fixedDelay: 1s, percent: 101}", [("INVALID_VALUE", "fault.delay.percent")]),
        ("delay: {fixedDelay: 1us, percentage: {}}", [("INVALID_VALUE", "fault.delay.fixedDelay")]),
        ("delay: {fixedDelay: 1s, percentage: {value: 0.00005}}", [("INVALID_VALUE", "fault.delay.percentage.value")]),
        ("delay: {fixedDelay: 1s, percentage: {value: 0.0001}}", []),
        ("delay: {fixedDelay: 1.0005s, percentage: {}}", [("INVALID_VALUE", "fault.delay.fixedDelay")]),
        ("delay: {percentage: {}}", [("NO_EFFECT", "fault.delay")]),
        ("delay: {exponentialDelay: 1s, fixedDelay: 1s, percentage: {}}", [("UNSUPPORTED_FIELD", "fault.delay.exponentialDelay")]),
        ("abort: {percentage: {}}", [("NO_EFFECT", "fault.abort")]),
        ("abort: {httpStatus: 500}", [("NO_EFFECT", "fault.abort")]),
        ("abort: {httpStatus: 99, percentage: {}}", [("INVALID_VALUE", "fault.abort.httpStatus")]),
        ("abort: {grpcStatus: NOPE, percentage: {}}", [("INVALID_VALUE", "fault.abort.grpcStatus")]),
        ("abort: {grpcStatus: ABORTED, httpStatus: 500, percentage: {}}", [("CONFLICT", "fault.abort.grpcStatus")]),
        ("abort: {http2Error: x, httpStatus: 500, percentage: {}}", [("UNSUPPORTED_FIELD", "fault.abort.http2Error")]),
        ("", [("REQUIRED", "fault")]),
    ],
)
def test_fault(fault: str, wanted: list[tuple[str, str]]) -> None:
    """What a fault is, and for how many; without a percentage it is for none."""
    assert problems(f"{ROUTE}, fault: {{{fault}}}") == wanted


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("allowOrigins: [{exact: 'https://a'}], allowMethods: ['*'], allowHeaders: [X-A, '*'], maxAge: 1m, allowCredentials: true", []),
        ("allowOrigin: ['*']", [("DEPRECATED", "corsPolicy.allowOrigin")]),
        ("allowOrigins: [{}]", [("REQUIRED", "corsPolicy.allowOrigins[0]")]),
        ("allowOrigins: [{exact: ''}]", [("REQUIRED", "corsPolicy.allowOrigins[0]")]),
        ("allowOrigins: [{exact: a, prefix: b}]", [("CONFLICT", "corsPolicy.allowOrigins[0]")]),
        ("allowOrigins: [{regex: '*'}]", [("INVALID_VALUE", "corsPolicy.allowOrigins[0].regex")]),
        ("allowMethods: [get]", [("INVALID_VALUE", "corsPolicy.allowMethods[0]")]),
        ("allowHeaders: ['a b']", [("INVALID_VALUE", "corsPolicy.allowHeaders[0]")]),
        ("exposeHeaders: ['a\\r']", [("INVALID_VALUE", "corsPolicy.exposeHeaders[0]")]),
        ("maxAge: 1500ms", [("INVALID_VALUE", "corsPolicy.maxAge")]),
        ("unmatchedPreflights: DROP", [("INVALID_VALUE", "corsPolicy.unmatchedPreflights")]),
    ],
)
def test_cors(policy: str, wanted: list[tuple[str, str]]) -> None:
    """Origins that say something, methods and headers that exist, whole seconds."""
    assert problems(f"{ROUTE}, corsPolicy: {{{policy}}}".replace("\\r", " ")) == wanted
