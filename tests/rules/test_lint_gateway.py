"""What is allowed in HTTPRoutes but hardly meant."""

import pytest

from tests.rules.conftest import Compile, http_route

HERE = "backendRefs: [{name: httpbin, port: 8000}]"
MORE = """
apiVersion: v1
kind: Service
metadata: {name: tcp}
spec: {ports: [{name: tcp, port: 90}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}
"""


def warnings(compiled: Compile, mesh: str, route: str) -> list[tuple[str, str]]:
    found = compiled(mesh, MORE, route).problems
    assert {problem.severity for problem in found} <= {"warning"}
    return [(problem.code, problem.path.removeprefix("spec.")) for problem in found]


@pytest.mark.parametrize(
    ("parents", "wanted"),
    [
        ('{group: "", kind: Service, name: httpbin, port: 8000}', []),
        ('{group: "", kind: Service, name: httpbin}, {name: gateway}', []),
        ("{name: gateway}", [("NO_EFFECT", "parentRefs")]),
        ("", [("NO_EFFECT", "spec")]),
        ('{group: "", kind: Service, name: httpbin}, {group: a.b, kind: Bucket, name: c}', [("NO_EFFECT", "parentRefs[1].kind")]),
        ('{group: "", kind: Service, name: gone}', [("UNKNOWN_HOST", "parentRefs[0].name")]),
        ('{group: "", kind: Service, name: httpbin, port: 1}', [("UNKNOWN_HOST", "parentRefs[0].port")]),
        ('{group: "", kind: Service, name: httpbin, sectionName: http}', [("IGNORED", "parentRefs[0].sectionName")]),
        ('{group: "", kind: Service, name: tcp}', [("NO_EFFECT", "parentRefs[0]")]),
        ('{group: "", kind: Service, name: tcp, port: 90}', [("NO_EFFECT", "parentRefs[0]")]),
        ("{group: networking.istio.io, kind: ServiceEntry, name: wild}", [("NO_EFFECT", "parentRefs[0].name")]),
    ],
)
def test_parents(compiled: Compile, mesh: str, parents: str, wanted: list[tuple[str, str]]) -> None:
    """Parents that are not there, have no such port, speak no HTTP, or concern no sidecar."""
    assert warnings(compiled, mesh, http_route(f"[{{{HERE}}}]", parents)) == wanted


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("backendRefs: [{name: gone, port: 80}]", [("UNKNOWN_HOST", "backendRefs[0].name")]),
        ("backendRefs: [{name: httpbin, port: 80}]", [("UNKNOWN_HOST", "backendRefs[0].port")]),
        ("backendRefs: [{name: c, group: a.b, kind: Bucket}]", [("UNKNOWN_BACKEND", "backendRefs[0].kind")]),
        (
            f"filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: gone, port: 80}}}}}}], {HERE}",
            [("UNKNOWN_HOST", "filters[0].requestMirror.backendRef.name")],
        ),
        (f"matches: [{{path: {{value: /}}}}, {{path: {{type: RegularExpression, value: /a.*}}}}], {HERE}", [("UNREACHABLE", "matches[1]")]),
        (f"matches: [{{method: GET}}, {{path: {{type: RegularExpression, value: /a.*}}}}], {HERE}", []),
    ],
)
def test_rules(compiled: Compile, mesh: str, rule: str, wanted: list[tuple[str, str]]) -> None:
    """Backends that are not there, and patterns that are never asked."""
    found = warnings(compiled, mesh, http_route(f"[{{{rule}}}]"))
    assert [(code, path.removeprefix("rules[0].")) for code, path in found] == wanted


def test_hostnames(compiled: Compile, mesh: str) -> None:
    """They do not concern a Service."""
    assert warnings(compiled, mesh, http_route(f"[{{{HERE}}}]", more=", hostnames: [a.b]")) == [("IGNORED", "hostnames")]
