"""HTTPRoutes in a running sidecar: precedence, backends that are not there, and a change while it runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.processes import Sidecar, app, call, header, sidecar

HEADERS = {"host": "shop:8000"}


def service(name: str, port: int | None = None) -> str:
    """A Service, and the one workload behind it."""
    text = f"""---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: http, port: 8000}}], selector: {{app: {name}}}}}
"""
    if port is None:
        return text
    return f"""{text}---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: {name}}}}}
"""


def http_route(name: str, rules: str) -> str:
    return f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{group: "", kind: Service, name: shop}}], rules: {rules}}}
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Sidecar]:
    """A client's sidecar, and two Services that answer."""
    rewrite = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]"
    rules = f"""[
      {{backendRefs: [{{name: v1, port: 8000}}]}},
      {{matches: [{{path: {{value: /cart}}}}], {rewrite}, backendRefs: [{{name: v2, port: 8000}}]}},
      {{matches: [{{path: {{value: /half}}}}], backendRefs: [{{name: v1, port: 8000}}, {{name: gone, port: 8000}}]}},
    ]"""
    with app("v1") as first, app("v2") as second:
        text = service("shop") + service("v1", first.port) + service("v2", second.port) + http_route("shop", rules)
        with sidecar(tmp_path / "client", text, "--intercept", "none") as one:
            yield one


def ask(client: Sidecar, path: str) -> dict[str, str]:
    status, body = call(client.outbound, "GET", path, headers=HEADERS)
    assert status == 200, body
    seen = json.loads(body)
    return {"app": seen["app"], "path": seen["path"], "original": header(seen, "x-envoy-original-path") or ""}


def test_routes(client: Sidecar) -> None:
    """The longest prefix first, by segments, with its path made anew; half of what goes to a backend that is not there gets 500."""
    assert ask(client, "/cart/a?b") == {"app": "v2", "path": "/a?b", "original": "/cart/a?b"}
    assert ask(client, "/cartoon")["app"] == "v1"
    statuses = [call(client.outbound, "GET", "/half", headers=HEADERS)[0] for _ in range(200)]
    assert set(statuses) == {200, 500} and 60 < statuses.count(500) < 140


def test_change(client: Sidecar) -> None:
    """Another HTTPRoute of the same Service adds its rules, and takes them away again."""
    more = http_route("more", "[{matches: [{path: {type: Exact, value: /cart/a}}], backendRefs: [{name: v1, port: 8000}]}]")
    assert client.apply(more)["changed"] == ["HTTPRoute/default/more"]
    assert [ask(client, path)["app"] for path in ("/cart/a", "/cart/b")] == ["v1", "v2"]
    assert call(client.admin, "DELETE", "/rules/HTTPRoute/default/more")[0] == 200
    assert ask(client, "/cart/a")["app"] == "v2"
    status, answer = call(client.admin, "POST", "/rules/apply", http_route("more", "[{matches: [{path: {value: cart}}]}]"))
    assert status == 422 and json.loads(answer)["errors"][0]["path"] == "spec.rules[0].matches[0].path.value"
