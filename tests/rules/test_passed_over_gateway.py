"""HTTPRoutes in explanations: where a rule stands, and which ones a request passed by."""

from typing import Any

from meshcar.rules.workload import Workload
from tests.rules.conftest import http_route, virtual_service
from tests.rules.test_explain import HOST, told

HERE = "backendRefs: [{name: httpbin, port: 8000}]"
PARENT = '{group: "", kind: Service, name: httpbin, namespace: default'
AGAIN = "[{backendRefs: [{name: httpbin, namespace: default, port: 8000}]}]"


def rejected(found: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    return [(one["virtual_service"], one["route"], one["because"]) for one in found["rejected"]]


def test_rule() -> None:
    """Its HTTPRoute, name and line; what is more specific is told with the condition that failed."""
    rules = (
        f"[{{{HERE}}}, {{matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}, headers: [{{name: x, value: y}}]}}], {HERE}}},\n"
        f" {{name: c, matches: [{{path: {{value: /a/c}}, method: PUT}}], {HERE}}}]"
    )
    found = told(http_route(rules), url="http://httpbin:8000/b")
    assert (found["virtual_service"], found["kind"], found["route"]) == ("default/httpbin", "HTTPRoute", "default.httpbin.0")
    assert found["source"] == "f.yaml:32"
    assert rejected(found) == [
        ("default/httpbin", "c", 'path is "/b", not prefix "/a/c"'),
        ("default/httpbin", "default.httpbin.1",
         'matches[0]: path is "/b", not prefix "/a"; matches[1]: headers[x] is absent, not exact "y"'),
    ]  # fmt: skip
    assert rejected(told(http_route(rules), url="http://httpbin:8000/a")) == [
        ("default/httpbin", "c", 'path is "/a", not prefix "/a/c"'),
    ]  # fmt: skip


def test_no_rule() -> None:
    """404, of all HTTPRoutes that count."""
    rule = "[{{matches: [{{path: {{value: {}}}}}], {}}}]"
    found = told(http_route(rule.format("/a", HERE)), http_route(rule.format("/b/c", HERE), name="more"))
    assert (found["action"], found["status"], found["route"]) == ("not_found", 404, None)
    assert found["notes"] == ["no rule of default/more and default/httpbin takes it: 404"]
    assert [one[:2] for one in rejected(found)] == [("default/more", "default.more.0"), ("default/httpbin", "default.httpbin.0")]


def test_those_that_do_not_count() -> None:
    """For another port, another namespace's clients, replaced by this namespace's own, or beaten by a VirtualService."""
    port = http_route(f"[{{{HERE}}}]", f"{PARENT}, port: 9}}", "port")
    other = http_route(AGAIN, f"{PARENT}}}", "other", "third")
    own = http_route(AGAIN, f"{PARENT}}}", "own", "client")
    producer = http_route(f"[{{{HERE}}}]", f"{PARENT}}}", "producer")
    found = told(port, other, own, producer, url=f"http://{HOST}:8000/", workload=Workload(namespace="client"))
    assert (found["virtual_service"], rejected(found)) == ("client/own", [
        ("default/port", None, "it is for port 9, not 8000"),
        ("default/producer", None, "the HTTPRoutes of namespace client take the place of the service's own"),
        ("third/other", None, "it is for clients of its own namespace, third, not of client"),
    ])  # fmt: skip


def test_virtual_service() -> None:
    """The one that goes before the other."""
    service = virtual_service("[{name: vs, route: [{destination: {host: httpbin}}]}]", name="vs")
    route = http_route(f"[{{{HERE}}}]")
    assert rejected(told(service, route)) == [("default/vs", None, "HTTPRoute default/httpbin goes before")]
    hidden = service.replace("{hosts:", "{exportTo: [.], hosts:")
    found = told(hidden, route)
    assert (found["kind"], found["route"]) == ("VirtualService", "vs")
    assert rejected(found) == [("default/httpbin", None, "VirtualService default/vs goes before")]


def test_missing_backends() -> None:
    """500 where a backend is not there, 503 where nobody answers for it."""
    found = told(http_route("[{backendRefs: [{name: gone, port: 1}]}]"))
    cluster = "outbound|1||gone.default.svc.cluster.local"
    assert (found["status"], found["notes"]) == (500, [f"{cluster} does not exist (NC): requests for it get 500"])
    assert told(http_route("[{}]"))["direct_response"] == {"status": 500, "body": ""}


def test_what_a_sidecar_does_not_import() -> None:
    """An HTTPRoute of a namespace for which no entry means the host."""
    narrow = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: client}
spec: {egress: [{hosts: [default/*]}]}
"""
    own, client = http_route(AGAIN, f"{PARENT}}}", "own", "client"), Workload(namespace="client")
    found = told(own, narrow, url="httpbin.default:8000", workload=client)
    assert rejected(found) == [
        ("client/own", None, f"Sidecar client/narrow (f.yaml:36) does not import {HOST} from namespace client"),
    ]  # fmt: skip
    assert found["route"] == "default"


def test_a_wildcard_behind_an_http_route() -> None:
    """A VirtualService for a wildcard does not count where an HTTPRoute names the service, even for another port."""
    wild = virtual_service("[{directResponse: {status: 200}}]", "['*.default.svc.cluster.local']", "wild")
    found = told(http_route(f"[{{{HERE}}}]", f"{PARENT}, port: 9}}", "port"), wild)
    assert ("default/wild", None, "an HTTPRoute names the service, which is closer than *.default.svc.cluster.local") in rejected(found)
    assert found["route"] == "default"
