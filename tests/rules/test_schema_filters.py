"""Filters of HTTPRoutes as they are read."""

import pytest

from meshcar.rules.read import read
from tests.rules.conftest import http_route


def problems(filters: str) -> list[tuple[str, str]]:
    found = read(http_route(f"[{{filters: [{filters}]}}]"), "f").problems
    return [(problem.code, problem.path.removeprefix("spec.rules[0].filters")) for problem in found]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("RequestHeaderModifier", "requestHeaderModifier", "{set: [{name: a, value: b}]}"),
        ("ResponseHeaderModifier", "responseHeaderModifier", "{}"),
        ("RequestMirror", "requestMirror", "{backendRef: {name: a, port: 80}}"),
        ("RequestRedirect", "requestRedirect", "{}"),
        ("URLRewrite", "urlRewrite", "{hostname: a}"),
        ("CORS", "cors", "{}"),
    ],
)
def test_type(kind: str, field: str, value: str) -> None:
    """The field of the type is given, and no other."""
    assert problems(f"{{type: {kind}, {field}: {value}}}") == []
    assert problems(f"{{type: {kind}}}") == [("REQUIRED", f"[0].{field}")]
    assert problems(f"{{{field}: {value}}}") == [("REQUIRED", "[0].type")]
    other = ("URLRewrite", "urlRewrite") if kind != "URLRewrite" else ("CORS", "cors")
    assert problems(f"{{type: {other[0]}, {other[1]}: {{}}, {field}: {value}}}") == [("CONFLICT", f"[0].{field}")]


@pytest.mark.parametrize("kind", ["ExtensionRef", "ExternalAuth"])
def test_refused(kind: str) -> None:
    """By name."""
    field = kind[0].lower() + kind[1:]
    assert problems(f"{{type: {kind}}}") == [("UNSUPPORTED_FIELD", "[0].type")]
    assert problems(f"{{type: {kind}, {field}: {{name: a}}}}") == [("UNSUPPORTED_FIELD", f"[0].{field}")]


def test_together() -> None:
    """Only mirrors may be repeated; one does not send a client away and rewrite, too."""
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}"
    rewrite, redirect = "{type: URLRewrite, urlRewrite: {hostname: a}}", "{type: RequestRedirect, requestRedirect: {}}"
    assert problems(", ".join([mirror] * 3)) == []
    assert problems(f"{rewrite}, {mirror}, {rewrite}") == [("CONFLICT", "[2].type")]
    assert problems(f"{rewrite}, {redirect}") == [("CONFLICT", "[1].type")]
    assert problems(", ".join([mirror] * 17)) == [("INVALID_VALUE", "")]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("add: [{name: X, value: y}, {name: x, value: z}], remove: [a, A]", []),
        ("add: [{name: x, value: y}, {name: x, value: z}]", [("INVALID_VALUE", "add[1].name")]),
        ("set: [{name: x}]", [("REQUIRED", "set[0].value")]),
        ('set: [{name: x, value: "a\\r\\nb"}]', [("INVALID_VALUE", "set[0].value")]),
        ("set: [{name: Content-Length, value: '5'}]", [("INVALID_VALUE", "set[0].name")]),
        ("remove: [a, a]", [("INVALID_VALUE", "remove[1]")]),
        ("remove: [Host]", [("IGNORED", "remove[0]")]),
        (f"remove: [{', '.join(f'x{number}' for number in range(17))}]", [("INVALID_VALUE", "remove")]),
    ],
)
def test_headers(change: str, wanted: list[tuple[str, str]]) -> None:
    """Names stand once; values cannot end a line."""
    found = problems(f"{{type: RequestHeaderModifier, requestHeaderModifier: {{{change}}}}}")
    assert [(code, path.removeprefix("[0].requestHeaderModifier.")) for code, path in found] == wanted


def test_host_of_a_response() -> None:
    """Of a request it is the authority, of a response nothing."""
    change = "{set: [{name: Host, value: a}]}"
    assert problems(f"{{type: RequestHeaderModifier, requestHeaderModifier: {change}}}") == []
    found = problems(f"{{type: ResponseHeaderModifier, responseHeaderModifier: {change}}}")
    assert found == [("IGNORED", "[0].responseHeaderModifier.set[0].name")]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("type: ReplaceFullPath, replaceFullPath: /a", []),
        ("type: ReplacePrefixMatch, replacePrefixMatch: ''", []),
        ("type: ReplaceFullPath", [("REQUIRED", "replaceFullPath")]),
        ("type: ReplacePrefixMatch", [("REQUIRED", "replacePrefixMatch")]),
        ("type: ReplaceFullPath, replacePrefixMatch: /a", [("REQUIRED", "replaceFullPath"), ("CONFLICT", "replacePrefixMatch")]),
        ("replaceFullPath: /a", [("REQUIRED", "type")]),
        ('type: ReplaceFullPath, replaceFullPath: "/a\\r\\nb"', [("INVALID_VALUE", "replaceFullPath")]),
    ],
)
def test_paths(path: str, wanted: list[tuple[str, str]]) -> None:
    """The field of the type is given, and no other."""
    found = problems(f"{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}")
    assert [(code, path.removeprefix("[0].urlRewrite.path.")) for code, path in found] == wanted


@pytest.mark.parametrize(
    ("mirror", "wanted"),
    [
        ("percent: 42", []),
        ("fraction: {numerator: 5, denominator: 10}", []),
        ("percent: 101", [("INVALID_VALUE", "percent")]),
        ("fraction: {numerator: 101}", [("INVALID_VALUE", "fraction.numerator")]),
        ("fraction: {numerator: 0, denominator: 0}", [("INVALID_VALUE", "fraction.denominator")]),
        ("fraction: {numerator: -1}", [("INVALID_VALUE", "fraction.numerator")]),
        ("percent: 1, fraction: {numerator: 1}", [("CONFLICT", "fraction")]),
    ],
)
def test_mirrors(mirror: str, wanted: list[tuple[str, str]]) -> None:
    """A part of the requests, told in one way."""
    found = problems(f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: a, port: 80}}, {mirror}}}}}")
    assert [(code, path.removeprefix("[0].requestMirror.")) for code, path in found] == wanted


@pytest.mark.parametrize(
    ("cors", "wanted"),
    [
        ("allowOrigins: ['https://a', 'http://*.b.com'], allowMethods: ['*'], allowHeaders: [x], exposeHeaders: ['*', y], maxAge: 1", []),
        ("allowOrigins: ['*', 'http://a']", [("CONFLICT", "allowOrigins[0]")]),
        ("allowOrigins: [a.com]", [("INVALID_VALUE", "allowOrigins[0]")]),
        ("allowMethods: [GET, '*']", [("CONFLICT", "allowMethods[1]")]),
        ("allowMethods: [GET, GET]", [("INVALID_VALUE", "allowMethods[1]")]),
        ("allowMethods: [FETCH]", [("INVALID_VALUE", "allowMethods[0]")]),
        ("allowHeaders: ['*', x]", [("CONFLICT", "allowHeaders[0]")]),
        ("maxAge: 0", [("INVALID_VALUE", "maxAge")]),
    ],
)
def test_cors(cors: str, wanted: list[tuple[str, str]]) -> None:
    """`*` stands alone."""
    assert [(code, path.removeprefix("[0].cors.")) for code, path in problems(f"{{type: CORS, cors: {{{cors}}}}}")] == wanted
