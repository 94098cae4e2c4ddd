"""What would become of a request."""

from typing import Any

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.explain import Sidecar, explain
from meshcar.rules.question import question
from meshcar.rules.read import read
from meshcar.rules.workload import Workload
from tests.rules.conftest import MESH, virtual_service

HOST = "httpbin.default.svc.cluster.local"
V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
NO_CHANGES: dict[str, Any] = {"headers_set": {}, "headers_added": {}, "headers_removed": []}
CORS = "corsPolicy: {allowOrigins: [{exact: 'http://a'}], allowMethods: [GET]}"


def told(*texts: str, url: str = "http://httpbin:8000/", workload: Workload | None = None, headers: Any = (), labels: Any = None,
         method: str = "GET", **options: Any) -> dict[str, Any]:  # fmt: skip
    """An explanation by the mesh and these documents."""
    found = read("\n---\n".join((MESH, *texts)), "f.yaml")
    assert [problem for problem in found.problems if problem.severity == "error"] == []
    who = workload or Workload()
    snapshot = compile_rules(found.resources, who, 1).snapshot
    sidecar = Sidecar(snapshot=snapshot, resources=found.resources, workload=who, **options)
    return explain(sidecar, question(url, method, headers, labels))


def rule(http: str, **request: Any) -> dict[str, Any]:
    """An explanation by the rules of one VirtualService for httpbin."""
    return told(virtual_service(http), **request)


def cluster(subset: str = "", host: str = HOST, port: int = 8000) -> str:
    return f"outbound|{port}|{subset}|{host}"


def test_every_field() -> None:
    """The whole answer for a rule that does much."""
    found = rule(
        "[{name: r, match: [{uri: {prefix: /a}}], rewrite: {uri: /b, authority: new}, timeout: 2s, "
        "retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,503'}, fault: {delay: {percentage: {value: 5}, fixedDelay: 1s}}, "
        "headers: {request: {set: {s: '1'}, add: {a: '%REQ(x)%'}, remove: [r]}, response: {remove: [server-only]}}, "
        "mirrors: [{destination: {host: httpbin, subset: v2}, percentage: {value: 12.5}}], "
        "route: [{destination: {host: httpbin, subset: v1}, weight: 3}, {destination: {host: httpbin, subset: v2}, weight: 1}]}]",
        url="http://httpbin:8000/a/x?q=%20", headers=[("x", "y")],
    )  # fmt: skip
    assert found == {
        "virtual_service": "default/httpbin", "kind": "VirtualService",
        "route": "r", "action": "route", "source": "f.yaml:32", "delegate": None,
        "host": f"{HOST}:8000",
        "destinations": [
            {"host": HOST, "subset": "v1", "port": 8000, "weight": 3, "cluster": cluster("v1")},
            {"host": HOST, "subset": "v2", "port": 8000, "weight": 1, "cluster": cluster("v2")},
        ],
        "request": {"authority": "new", "path": "/b/x?q=%20", "headers_set": {"s": "1"}, "headers_added": {"a": "y"},
                    "headers_removed": ["r"]},
        "response": {"headers_set": {}, "headers_added": {}, "headers_removed": ["server-only"]},
        "redirect": None, "direct_response": None,
        "mirrors": [{"host": HOST, "subset": "v2", "port": 8000, "cluster": cluster("v2"), "percent": 12.5, "authority": "new-shadow"}],
        "timeout": 2.0, "retries": {"attempts": 3, "per_try_timeout": 1.0, "retry_on": ["5xx", "retriable-status-codes", "503"]},
        "fault": {"delay": {"percent": 5.0, "seconds": 1.0}, "abort": None}, "cors": None, "rejected": [], "status": None, "notes": [],
        "clusters": {cluster("v1"): 1, cluster("v2"): 1},
    }  # fmt: skip


def test_no_virtual_service() -> None:
    """A service's own route: Istio's retries, no time limit."""
    found = told()
    assert (found["virtual_service"], found["route"], found["action"], found["status"]) == (None, "default", "route", None)
    assert found["destinations"] == [{"host": HOST, "subset": None, "port": 8000, "weight": 100, "cluster": cluster()}]
    assert (found["request"], found["timeout"], found["mirrors"]) == ({"authority": "httpbin:8000", "path": "/", **NO_CHANGES}, None, [])
    assert (found["retries"]["attempts"], found["fault"], found["source"], found["rejected"]) == (2, None, None, [])


def test_unknown_host() -> None:
    """Passes, or is refused with 502, by --outbound-traffic."""
    passed, refused = told(url="nobody"), told(url="nobody", allow_any=False)
    assert [(one["action"], one["status"], one["route"], one["virtual_service"]) for one in (passed, refused)] == [
        ("passthrough", None, "allow_any", None), ("blackhole", 502, "block_all", None),
    ]  # fmt: skip
    assert passed["notes"] == ["no rule and no service knows nobody on port 80: it goes where the client sends it"]
    assert (passed["retries"], passed["request"]["authority"]) == (None, "nobody")


def test_opaque_port() -> None:
    """That nobody reads what goes to a port is told."""
    database = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {ports: [{name: tcp-sql, port: 5432}]}"
    found = told(database, url="db:5432")
    assert found["action"] == "passthrough"
    assert found["notes"] == [
        "port 5432 of db.default.svc.cluster.local is opaque: a captured connection is passed on unread",
        "no rule and no service knows db on port 5432: it goes where the client sends it",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("http", "number"),
    [
        ("{directResponse: {status: 403}}", 7), ("{redirect: {uri: /x}}", 2), ("{match: [{uri: {exact: /x}}], redirect: {uri: /y}}", 12),
        ("{route: [{destination: {host: httpbin, subset: gone}}]}", 14),
        (f"{{fault: {{abort: {{percentage: {{value: 100}}, httpStatus: 400}}}}, {V1}}}", 13),
    ],
)  # fmt: skip
def test_grpc(http: str, number: int) -> None:
    """Answers of the sidecar's own are 200 for gRPC, and tell their status in a header."""
    found = rule(f"[{http}]", method="POST", headers=[("content-type", "application/grpc+proto")])
    assert (found["status"], found["notes"][-1]) == (200, f"a client that speaks gRPC is told so by 200 and grpc-status {number}")
    assert rule(f"[{http}]", method="POST", headers=[("content-type", "application/grpc-web")])["status"] != 200


def test_no_rule() -> None:
    """404, and why no rule took it."""
    found = rule(f"[{{name: a, match: [{{uri: {{prefix: /a}}}}], {V1}}}]", url="http://httpbin:8000/b")
    assert (found["action"], found["status"], found["route"], found["virtual_service"]) == ("not_found", 404, None, "default/httpbin")
    assert found["rejected"] == [{"virtual_service": "default/httpbin", "route": "a", "because": 'uri is "/b", not prefix "/a"'}]


def test_redirect() -> None:
    """Code and absolute location; nothing is sent on."""
    found = rule("[{redirect: {uri: /new, authority: other, redirectCode: 308}, headers: {response: {set: {x: '1'}}}}]",
                 url="http://httpbin:8000/old?q")  # fmt: skip
    assert (found["action"], found["status"]) == ("redirect", 308)
    assert found["redirect"] == {"code": 308, "location": "http://other/new?q"}
    assert (found["destinations"], found["direct_response"], found["retries"], found["timeout"]) == ([], None, None, None)
    assert (found["response"]["headers_set"], found["request"]["path"]) == ({"x": "1"}, "/old?q")
    assert rule("[{redirect: {scheme: https}}]", url="http://httpbin:8000/a#f")["redirect"]["location"] == "https://httpbin:8000/a"


def test_direct_response() -> None:
    """Status and body; a 3xx tells where it leads."""
    found = rule("[{directResponse: {status: 418, body: {string: tea}}}]")
    assert (found["action"], found["status"], found["direct_response"]) == ("direct_response", 418, {"status": 418, "body": "tea"})
    moved = rule("[{directResponse: {status: 302}}]")
    assert (moved["action"], moved["redirect"], moved["notes"]) == (
        "direct_response", None, ["the answer's location is http://httpbin:8000/"],
    )  # fmt: skip


def test_missing_subset() -> None:
    """503, as NC; one of several is only noted."""
    found = rule("[{route: [{destination: {host: httpbin, subset: v3}}]}]")
    assert (found["action"], found["status"], found["clusters"]) == ("route", 503, {cluster("v3"): None})
    assert found["notes"] == [f"{cluster('v3')} does not exist (NC): requests for it get 503"]
    two = rule("[{route: [{destination: {host: httpbin, subset: v3}, weight: 1}, {destination: {host: httpbin}, weight: 1}]}]")
    assert (two["status"], two["notes"]) == (None, found["notes"])


def test_no_endpoints() -> None:
    """503, as UH."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {ports: [{name: http, port: 80}]}"
    found = told(service, url="http://empty/")
    name = cluster(host="empty.default.svc.cluster.local", port=80)
    assert (found["status"], found["notes"]) == (503, [f"{name} has no endpoints (UH): requests for it get 503"])


def test_missing_mirror() -> None:
    """The request goes on."""
    found = rule(f"[{{{V1}, mirror: {{host: nobody.example, port: {{number: 80}}}}}}]", shadow_suffix=False)
    assert (found["status"], found["mirrors"][0]["authority"]) == (None, "httpbin:8000")
    assert found["notes"] == ["outbound|80||nobody.example does not exist (NC): no copy is sent there"]


@pytest.mark.parametrize(("percent", "status"), [(100, 503), (99, None)])
def test_abort(percent: int, status: int | None) -> None:
    """Is told; one of every request is the answer."""
    found = rule(f"[{{fault: {{abort: {{percentage: {{value: {percent}}}, httpStatus: 503}}}}, {V1}}}]")
    assert (found["action"], found["status"]) == ("route", status)
    assert found["fault"] == {"delay": None, "abort": {"percent": float(percent), "status": 503}}


def test_grpc_abort() -> None:
    """Has the HTTP status 200."""
    found = rule(f"[{{fault: {{abort: {{percentage: {{value: 100}}, grpcStatus: UNAVAILABLE}}}}, {V1}}}]")
    assert (found["status"], found["fault"]["abort"]) == (200, {"percent": 100.0, "status": 200, "grpc_status": 14})


def test_cors() -> None:
    """A preflight that the sidecar answers, one that goes on, and what an ordinary answer gets."""
    asked = [("Origin", "http://a"), ("Access-Control-Request-Method", "GET")]
    found = rule(f"[{{{CORS}, {V1}}}]", method="OPTIONS", headers=asked)
    assert (found["action"], found["status"]) == ("route", 200)
    assert found["cors"] == {
        "preflight": True, "headers": {"access-control-allow-origin": "http://a", "access-control-allow-methods": "GET"},
    }  # fmt: skip
    other = rule(f"[{{{CORS}, {V1}}}]", method="OPTIONS", headers=[("Origin", "http://b"), asked[1]])
    assert (other["status"], other["cors"]) == (None, {"preflight": False, "headers": {}})
    plain = rule(f"[{{{CORS}, {V1}}}]", headers=asked[:1])
    assert (plain["status"], plain["cors"]["headers"]) == (None, {"access-control-allow-origin": "http://a"})


def test_headers_of_destinations() -> None:
    """What all destinations get stands at the request, the rest at each."""
    found = rule(
        "[{headers: {request: {add: {w: '1'}}}, route: ["
        "{destination: {host: httpbin, subset: v1}, weight: 1, headers: {request: {set: {o: '1'}}, response: {set: {p: '2'}}}}, "
        "{destination: {host: httpbin, subset: v2}, weight: 1}]}]"
    )
    first, second = found["destinations"]
    assert found["request"]["headers_added"] == {"w": "1"}
    assert (first["request"]["headers_set"], first["response"]["headers_set"]) == ({"o": "1"}, {"p": "2"})
    assert set(second) == {"host", "subset", "port", "weight", "cluster"}


def test_hosts_of_destinations() -> None:
    """One that sets a Host of its own says which."""
    own = "weight: 1, headers: {request: {set: {Host: HOST}}}"
    one, other = (f"{{destination: {{host: httpbin, subset: {name}}}, {own.replace('HOST', name)}}}" for name in ("v1", "v2"))
    found = rule(f"[{{route: [{one}, {other}]}}]")
    assert [each["request"] for each in found["destinations"]] == [NO_CHANGES | {"authority": "v1"}, NO_CHANGES | {"authority": "v2"}]
    assert found["request"]["authority"] == "httpbin:8000"


def test_host_that_is_set() -> None:
    """By headers, too: it is the authority, and no header."""
    found = rule(f"[{{headers: {{request: {{set: {{Host: new}}}}}}, {V1}, mirror: {{host: httpbin, subset: v2}}}}]")
    assert (found["request"], found["mirrors"][0]["authority"]) == ({"authority": "new", "path": "/", **NO_CHANGES}, "new-shadow")


def test_as_rules_see_it() -> None:
    """Paths in normal form, hosts in any case; what an application may not say is gone, what the sidecar adds is there."""
    http = "[{name: a, match: [{headers: {x-forwarded-proto: {exact: http}, x-request-id: {}}, withoutHeaders: {x-envoy-internal: {}}}]"
    found = rule(f"{http}, {V1}}}]", url="HTTPBIN.Default:8000/a/../%62", headers=[("x-envoy-internal", "true")])
    assert (found["route"], found["request"]["path"], found["request"]["authority"]) == ("a", "/b", "HTTPBIN.Default:8000")
    raw = rule(f"[{{{V1}}}]", url="http://httpbin:8000//a/../b", path_normalization="none")
    assert raw["request"]["path"] == "//a/../b"


@pytest.mark.parametrize(
    ("request_", "action", "status"),
    [
        ({"url": "http://httpbin:8000/%00"}, "direct_response", 400), ({"method": "get"}, "direct_response", 400),
        ({"headers": [("Upgrade", "x"), ("Connection", "upgrade")]}, "direct_response", 403),
        ({"method": "CONNECT"}, "not_found", 404),
    ],
)  # fmt: skip
def test_refused(request_: dict[str, Any], action: str, status: int) -> None:
    """What the sidecar answers before any rule is asked."""
    found = told(**request_)
    assert (found["action"], found["status"], found["route"]) == (action, status, None)


def test_https() -> None:
    """Is routed as a request of that scheme, and noted."""
    found = told(virtual_service(f"[{{match: [{{scheme: {{exact: https}}}}], {V1}}}]"), url="https://httpbin:8000/")
    assert (found["action"], found["route"]) == ("route", "http[0]")
    assert found["notes"][0].startswith("https: a sidecar sees this request only where")


def test_names_of_rules() -> None:
    """The rule's name, with its match's; without one its place."""
    http = f"[{{match: [{{name: m, uri: {{prefix: /m}}}}], {V1}}}, {{name: r, match: [{{name: m, uri: {{prefix: /n}}}}], {V1}}}]"
    assert [rule(http, url=f"http://httpbin:8000/{path}")["route"] for path in "mn"] == ["http[0]", "r.m"]


def test_delegate() -> None:
    """Names the rule by both, and says where each stands."""
    leaf = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: leaf}\nspec:\n  http:\n"
    leaf += f"  - match: [{{uri: {{prefix: /a/b}}}}]\n    {V1}\n  - {V1}\n"
    http = f"[{{match: [{{uri: {{prefix: /b}}}}], {V1}}}, {{match: [{{uri: {{prefix: /a}}}}], delegate: {{name: leaf}}}}]"
    found = told(virtual_service(http), leaf, url="http://httpbin:8000/a/c")
    assert (found["route"], found["source"]) == ("http[1]: default/leaf http[1]", "f.yaml:32")
    assert found["delegate"] == {"virtual_service": "default/leaf", "source": "f.yaml:42"}
    assert [one["route"] for one in found["rejected"]] == ["http[0]", "http[1]: default/leaf http[0]"]


def test_other_labels() -> None:
    """Another workload's labels may be asked for."""
    http = f"[{{name: other, match: [{{sourceLabels: {{app: other}}}}], {V1}}}, {{name: rest, {V1}}}]"
    assert [rule(http, labels=labels)["route"] for labels in (None, {}, {"app": "other"})] == ["rest", "rest", "other"]


def test_a_place_that_is_gone() -> None:
    """An answer is given though the documents are not those of the snapshot."""
    found = read(f"{MESH}---{virtual_service(f'[{{{V1}}}]')}", "f.yaml")
    sidecar = Sidecar(snapshot=compile_rules(found.resources, Workload(), 1).snapshot, resources=(), workload=Workload())
    answer = explain(sidecar, question("http://httpbin:8000/"))
    assert (answer["virtual_service"], answer["route"], answer["source"]) == ("default/httpbin", "http[0]", None)


def test_sidecar_resource() -> None:
    """Decides about unknown hosts, and hides VirtualServices whose hosts it does not import."""
    limits = (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\n"
        "spec: {egress: [{hosts: [./x.default.svc.cluster.local]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"
    )
    found = told(virtual_service(f"[{{{V1}}}]"), limits)
    assert (found["action"], found["status"]) == ("blackhole", 502)
    why = "Sidecar default/s (f.yaml:35) imports none of its hosts"
    assert found["rejected"] == [{"virtual_service": "default/httpbin", "route": None, "because": why}]
    assert found["notes"] == [
        "no rule and no service knows httpbin on port 8000, as far as Sidecar default/s (f.yaml:35) lets see: 502"
    ]


def test_elsewhere() -> None:
    """Where requests go to the address that the client asks for, somebody is there."""
    entry = (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out}\n"
        "spec: {hosts: [out.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}"
    )
    found = told(entry, url="http://out.example/")
    assert (found["status"], found["notes"], found["clusters"]) == (None, [], {"outbound|80||out.example": 1})


def test_wildcards_for_a_part_of_a_label() -> None:
    """Which rule has a host, why another with a shorter wildcard has not, and which cluster an entry's wildcard is."""
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec: {hosts: ['*-api.w.example'], ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    rules = [virtual_service(f"[{{name: {name}, route: [{{destination: {{host: '*-api.w.example'}}}}]}}]", f"['{host}']", name)
             for name, host in (("wide", "*.w.example"), ("near", "*i.w.example"))]  # fmt: skip
    found = told(entry, *rules, url="http://a-api.w.example/")
    assert (found["virtual_service"], found["host"]) == ("default/near", "*-api.w.example:80")
    assert [one["cluster"] for one in found["destinations"]] == [cluster(host="*-api.w.example", port=80)]
    (passed,) = found["rejected"]
    assert passed["virtual_service"] == "default/wide" and "*i.w.example, which is closer than *.w.example" in passed["because"]
