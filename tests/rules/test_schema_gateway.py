"""HTTPRoutes as they are read."""

from time import perf_counter

import pytest

from meshcar.rules.read import read
from tests.rules.conftest import http_route

BACKEND = "backendRefs: [{name: a, port: 80}]"
PREFIX = "{type: ReplacePrefixMatch, replacePrefixMatch: /b}"


def problems(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in read(text, "f").problems]


def of_rule(rule: str) -> list[tuple[str, str]]:
    return [(code, path.removeprefix("spec.rules[0].")) for code, path in problems(http_route(f"[{{{rule}}}]"))]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_versions(version: str) -> None:
    """The two that the CRD serves."""
    assert problems(http_route(f"[{{{BACKEND}}}]").replace("k8s.io/v1", f"k8s.io/{version}")) == []
    assert problems(http_route(f"[{{{BACKEND}}}]").replace("k8s.io/v1", "k8s.io/v1alpha2")) == [("UNKNOWN_KIND", "apiVersion")]


@pytest.mark.parametrize("kind", ["GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute", "BackendTLSPolicy"])
def test_refused_kinds(kind: str) -> None:
    """What a sidecar would have to obey."""
    text = f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: a}}"
    assert problems(text) == [("UNSUPPORTED_KIND", "kind")]


@pytest.mark.parametrize("kind", ["Gateway", "GatewayClass", "ListenerSet", "ReferenceGrant"])
def test_skipped_kinds(kind: str) -> None:
    """What only gateways need."""
    found = read(f"apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: a}}", "f")
    assert found.skipped == (f"{kind}/default/a",) and not found.problems


@pytest.mark.parametrize(
    ("parents", "wanted"),
    [
        ("{name: a}", []),
        ("{name: a, sectionName: s, port: 80}", []),
        ("{name: a, port: 80}, {name: a, port: 81}", []),
        ("{name: a}, {name: a, namespace: default}", []),
        ("{name: a, sectionName: s, port: 80}, {name: a, sectionName: t, port: 80}", []),
        ("{kind: Service}", [("REQUIRED", "spec.parentRefs[0].name")]),
        ("{name: a, port: 0}", [("INVALID_VALUE", "spec.parentRefs[0].port")]),
        ("{name: a}, {name: a}", [("INVALID_VALUE", "spec.parentRefs[1]")]),
        ("{name: a, port: 80}, {name: a, port: 80}", [("INVALID_VALUE", "spec.parentRefs[1]")]),
        ("{name: a}, {name: a, port: 80}", [("INVALID_VALUE", "spec.parentRefs[1]")]),
        ("{name: a, sectionName: s}, {name: a, sectionName: t, port: 80}", [("INVALID_VALUE", "spec.parentRefs[1]")]),
        (", ".join(f"{{name: a{number}}}" for number in range(33)), [("INVALID_VALUE", "spec.parentRefs")]),
    ],
)
def test_parents(parents: str, wanted: list[tuple[str, str]]) -> None:
    """One parent may be named several times, each time another part of it."""
    assert problems(http_route(f"[{{{BACKEND}}}]", parents)) == wanted


def test_hostile_parents() -> None:
    """A parent ten thousand times is looked at as often as it may stand there."""
    start = perf_counter()
    found = problems(http_route("[{}]", ", ".join(["{name: a}"] * 10_000)))
    assert len(found) == 32 and perf_counter() - start < 2


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ("path: {}", []),
        ("path: {type: Exact, value: /a/b%20c}", []),
        ("path: {value: /a.b/.c/..d}", []),
        ("path: {type: RegularExpression, value: 'a[/]+/'}", []),
        ("path: {type: RegularExpression, value: '('}", [("INVALID_VALUE", "path.value")]),
        ("path: {type: Prefix, value: /a}", [("INVALID_VALUE", "path.type")]),
        *((f"path: {{value: '{value}'}}", [("INVALID_VALUE", "path.value")]) for value in (
            "", "a", "/a//b", "/a/./b", "/a/../b", "/a%2fb", "/a%2Fb", "/a#b", "/a/..", "/a/.", "/[]", "/^", "/a?b", "/%zz", "/a" * 513,
        )),
        ("method: get", [("INVALID_VALUE", "method")]),
        ("headers: [{name: a, value: b}, {name: A, value: c}]", []),
        ("headers: [{name: a, value: b}, {name: a, value: c}]", [("INVALID_VALUE", "headers[1].name")]),
        ("headers: [{name: a, value: ''}]", [("INVALID_VALUE", "headers[0].value")]),
        ("headers: [{name: a, value: '*', type: RegularExpression}]", []),
        ("headers: [{name: a, value: '[', type: RegularExpression}]", [("INVALID_VALUE", "headers[0].value")]),
        ("queryParams: [{name: a, value: 'ä b'}]", []),
        ("queryParams: [{name: a, value: ''}]", [("INVALID_VALUE", "queryParams[0].value")]),
        ("queryParams: [{name: a, value: '(', type: RegularExpression}]", [("INVALID_VALUE", "queryParams[0].value")]),
        ("queryParams: [{name: a}]", [("REQUIRED", "queryParams[0].value")]),
    ],
)  # fmt: skip
def test_matches(match: str, wanted: list[tuple[str, str]]) -> None:
    """As the CRD's rules have it."""
    found = of_rule(f"matches: [{{{match}}}], {BACKEND}")
    assert [(code, path.removeprefix("matches[0].")) for code, path in found] == wanted


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        ("name: a, port: 80, weight: 0", []),
        ("name: a", [("REQUIRED", "port")]),
        ("name: a.b.svc.cluster.local, port: 80", [("INVALID_VALUE", "name")]),
        ("name: a, port: 80, weight: 1000001", [("INVALID_VALUE", "weight")]),
        ("kind: Hostname, group: networking.istio.io, name: a.b, port: 80", []),
        ("kind: Hostname, group: networking.istio.io, name: a.b, namespace: c, port: 80", [("CONFLICT", "namespace")]),
        ("kind: Hostname, group: networking.istio.io, name: a.b", [("REQUIRED", "port")]),
        ("kind: Bucket, group: example.com, name: a", []),
        ("name: a, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x, value: y}]}}]", []),
        ("name: a, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: b}}]", [("UNSUPPORTED_FIELD", "filters[0].type")]),
    ],
)
def test_backends(backend: str, wanted: list[tuple[str, str]]) -> None:
    """A Service or a host need a port; what other kinds need is not known."""
    assert [(code, path.removeprefix("backendRefs[0].")) for code, path in of_rule(f"backendRefs: [{{{backend}}}]")] == wanted


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("timeouts: {request: 10s, backendRequest: 10s}", []),
        ("timeouts: {request: 0s, backendRequest: 1ms}", []),
        ("timeouts: {request: 200ms, backendRequest: 1s}", [("INVALID_VALUE", "timeouts.backendRequest")]),
        ("timeouts: {request: 0.5s}", [("INVALID_VALUE", "timeouts.request")]),
        ("retry: {}", []),
        ("retry: {codes: [500, 503], attempts: 1, backoff: 25ms}", []),
        ("retry: {codes: [500, 500]}", [("INVALID_VALUE", "retry.codes[1]")]),
        ("retry: {attempts: 0}", [("INVALID_VALUE", "retry.attempts")]),
        ("sessionPersistence: {sessionName: a}", [("UNSUPPORTED_FIELD", "sessionPersistence")]),
        ("filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]", [("CONFLICT", "filters[0]")]),
        (f"filters: [{{type: URLRewrite, urlRewrite: {{path: {PREFIX}}}}}]", []),
        (f"matches: [{{method: GET}}], filters: [{{type: URLRewrite, urlRewrite: {{path: {PREFIX}}}}}]", []),
        (
            f"matches: [{{}}, {{}}], filters: [{{type: URLRewrite, urlRewrite: {{path: {PREFIX}}}}}]",
            [("CONFLICT", "filters[0].urlRewrite.path.replacePrefixMatch")],
        ),
        (
            f"matches: [{{path: {{type: Exact, value: /a}}}}], filters: [{{type: URLRewrite, urlRewrite: {{path: {PREFIX}}}}}]",
            [("CONFLICT", "filters[0].urlRewrite.path.replacePrefixMatch")],
        ),
        (f"matches: [{', '.join(['{}'] * 65)}]", [("INVALID_VALUE", "matches")]),
    ],
)
def test_rules(rule: str, wanted: list[tuple[str, str]]) -> None:
    """Fields that exclude or bound each other."""
    assert of_rule(f"{rule}, {BACKEND}") == wanted


def test_redirect_of_a_prefix() -> None:
    """It needs to know which one."""
    redirect = f"filters: [{{type: RequestRedirect, requestRedirect: {{path: {PREFIX}}}}}]"
    assert of_rule(f"matches: [{{path: {{value: /a}}}}], {redirect}") == []
    regex = "matches: [{path: {type: RegularExpression, value: /a}}]"
    assert of_rule(f"{regex}, {redirect}") == [("CONFLICT", "filters[0].requestRedirect.path.replacePrefixMatch")]


def test_whole() -> None:
    """Bounds on all rules together, and names of which there is one each."""
    assert problems(http_route("[{name: a}, {name: b}]")) == []
    assert problems(http_route("[{name: a}, {name: b}, {name: a}]")) == [("INVALID_VALUE", "spec.rules[2].name")]
    assert problems(http_route("[]")) == [("INVALID_VALUE", "spec.rules")]
    assert problems(http_route(f"[{', '.join(['{}'] * 17)}]")) == [("INVALID_VALUE", "spec.rules")]
    many = f"{{matches: [{', '.join(['{}'] * 64)}]}}"
    assert problems(http_route(f"[{many}, {many}]")) == []
    assert problems(http_route(f"[{many}, {many}, {{}}]")) == [("INVALID_VALUE", "spec.rules")]
    assert problems(http_route("[{}]", more=", hostnames: [a.b, '*.c']")) == []
    assert problems(http_route("[{}]", more=", hostnames: [A]")) == [("INVALID_VALUE", "spec.hostnames[0]")]
