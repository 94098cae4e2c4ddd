"""HTTPRoutes on the data path, in memory: from YAML to bytes."""

from typing import Any

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.read import read
from meshcar.rules.workload import Workload

MESH = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}], selector: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web}
spec: {address: 10.0.0.9, labels: {app: web}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules:
"""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def routed(mesh: Any) -> Any:
    """Puts the rules of an HTTPRoute for `web` in force."""

    def put(rules: str) -> Any:
        found = read(MESH + rules, "f")
        assert not found.problems
        snapshot = compile_rules(found.resources, Workload(), 1).snapshot
        mesh.clusters.reconcile(snapshot.clusters)
        mesh.snapshot.swap(snapshot)
        return mesh

    return put


def ask(mesh: Any, target: str, method: str = "GET", headers: str = "") -> Any:
    return mesh.client(f"{method} {target} HTTP/1.1\r\nHost: web\r\n{headers}\r\n".encode())


def sent(mesh: Any, target: str, headers: str = "") -> bytes:
    """What the endpoint hears of a request."""
    ask(mesh, target, headers=headers)
    heard: bytes = mesh.accept().heard()
    return heard


def test_no_rule(routed: Any) -> None:
    """404, NR."""
    mesh = routed("  - {matches: [{path: {value: /a}}], backendRefs: [{name: web, port: 80}]}")
    assert ask(mesh, "/ab").heard().startswith(b"HTTP/1.1 404 ")
    assert mesh.log.lines == [(404, "NR", "route_not_found")]


@pytest.mark.parametrize(
    ("backends", "flag", "details"),
    [
        ("[]", "", "direct_response"),
        ("[{name: web, port: 80, weight: 0}]", "", "direct_response"),
        ("[{name: gone, port: 80}]", "NC", "cluster_not_found"),
        ("[{name: web, port: 81}]", "NC", "cluster_not_found"),
        ("[{name: a, group: b.c, kind: Bucket}]", "NC", "cluster_not_found"),
    ],
)
def test_no_backend(routed: Any, backends: str, flag: str, details: str) -> None:
    """500, empty: by the route itself where there is none, else as Envoy answers for a cluster that it does not find."""
    mesh = routed(f"  - {{backendRefs: {backends}}}")
    answer = ask(mesh, "/").heard()
    assert answer.startswith(b"HTTP/1.1 500 ") and answer.endswith(b"content-length: 0\r\n\r\n")
    assert mesh.log.lines == [(500, flag or "-", details)]


def test_share_of_an_invalid_backend(routed: Any) -> None:
    """Its part of the requests gets 500, the others are sent."""
    mesh = routed("  - {backendRefs: [{name: web, port: 80}, {name: gone, port: 80, weight: 3}]}")
    mesh.rolls[:] = [0.25]
    assert ask(mesh, "/").heard().startswith(b"HTTP/1.1 500 ")
    mesh.rolls[:] = [0.24]
    assert sent(mesh, "/").startswith(b"GET / HTTP/1.1\r\n")


def test_rewrite(routed: Any) -> None:
    """Host and path, and where they came from."""
    mesh = routed("""
  - matches: [{path: {value: /strip}}]
    filters:
    - type: URLRewrite
      urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Set, value: new}], add: [{name: X-Add, value: more}], remove: [X-Gone]}
    backendRefs: [{name: web, port: 80}]
""")
    heard = sent(mesh, "/strip/three?q", "x-set: old\r\nx-add: some\r\nx-gone: 1\r\n")
    assert heard.startswith(b"GET /three?q HTTP/1.1\r\nhost: new.example\r\n")
    for line in (b"x-envoy-original-path: /strip/three?q", b"x-envoy-original-host: web", b"x-set: new", b"x-add: some", b"x-add: more"):
        assert line + b"\r\n" in heard
    assert b"x-gone" not in heard and b"old" not in heard


def test_redirect(routed: Any) -> None:
    """302, with the path made anew."""
    mesh = routed("""
  - matches: [{path: {value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {add: [{name: x-why, value: moved}]}
""")
    answer = ask(mesh, "/old/x?q").heard()
    assert answer.startswith(b"HTTP/1.1 302 Found\r\nlocation: https://web/new/x?q\r\nx-why: moved\r\n")


def test_cors(routed: Any) -> None:
    """A preflight of an origin that may not ask ends here, without leave."""
    mesh = routed("""
  - filters: [{type: CORS, cors: {allowOrigins: ['https://*.example'], allowMethods: [PUT]}}]
    backendRefs: [{name: web, port: 80}]
""")
    for origin, allowed in ((b"https://a.example", True), (b"https://a.com", False)):
        preflight = f"Origin: {origin.decode()}\r\nAccess-Control-Request-Method: PUT\r\n"
        answer = ask(mesh, "/", "OPTIONS", preflight).heard()
        assert answer.startswith(b"HTTP/1.1 200 ") and (b"access-control-allow-origin: " + origin in answer) is allowed


def test_mirrors(routed: Any) -> None:
    """Each filter sends a copy."""
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}}}"
    mesh = routed(f"  - {{filters: [{mirror}, {mirror}], backendRefs: [{{name: web, port: 80}}]}}")
    ask(mesh, "/")
    heard = [mesh.accept().heard() for _ in range(3)]
    assert sorted(b"host: web-shadow" in each for each in heard) == [False, True, True]
