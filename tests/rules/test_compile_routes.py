"""VirtualServices become routes."""

from collections.abc import Callable

import pytest

from meshcar.rules.compile_routes import inapplicable
from meshcar.rules.policies import Answer, Destination, Fault, RetryPolicy
from meshcar.rules.redirects import location
from meshcar.rules.schema_routes import HttpMatch
from meshcar.rules.snapshot import Route
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead
from tests.rules.conftest import Compile, virtual_service

HOST = "httpbin.default.svc.cluster.local"
Routes = Callable[..., tuple[Route, ...]]
V1 = "route: [{destination: {host: httpbin, subset: v1}}]"


@pytest.fixture
def routes(compiled: Compile, mesh: str) -> Routes:
    """The routes of httpbin on a port, by the rules of a VirtualService."""

    def find(http: str, port: int = 8000, workload: Workload | None = None) -> tuple[Route, ...]:
        host = compiled(mesh, virtual_service(http), workload=workload).snapshot.virtual_host(b"httpbin", port)
        return () if host is None else tuple(host.routes)

    return find


def test_route(routes: Routes) -> None:
    """One rule with one destination."""
    (route,) = routes(f"[{{{V1}}}]")
    assert (route.name, route.virtual_service, route.matches) == ("-", "default/httpbin", None)
    assert (route.timeout, route.retries) == (None, RetryPolicy())
    (cluster,) = route.clusters
    assert cluster.cluster == f"outbound|8000|v1|{HOST}"
    assert (cluster.destination, cluster.request, cluster.response) == (Destination(HOST, "v1", 8000), None, None)
    assert route.pick(0.999) is cluster


def test_one_route_for_each_match(routes: Routes) -> None:
    """In order; names are joined."""
    found = routes(f"[{{name: r, match: [{{name: a, uri: {{exact: /a}}}}, {{uri: {{exact: /b}}}}], {V1}}}, {{{V1}}}]")
    assert [route.name for route in found] == ["r.a", "r", "-"]
    head = RequestHead(b"GET", b"/b", b"httpbin", [])
    assert [route.matches is None or route.matches(head) for route in found] == [False, True, True]


def test_weights(routes: Routes) -> None:
    """Shares of the sum; a weight of 0 is left out."""
    one = "{{destination: {{host: httpbin, subset: {}}}, weight: {}}}"
    weighted = ", ".join(one.format(subset, weight) for subset, weight in (("v1", 90), ("v3", 0), ("v2", 30)))
    (route,) = routes(f"[{{route: [{weighted}]}}]")
    assert route.shares == (0.75, 1.0)
    assert [route.pick(roll).destination.subset for roll in (0.0, 0.7499, 0.75, 0.9999)] == ["v1", "v1", "v2", "v2"]


def test_weighted_headers(routes: Routes) -> None:
    """With weights the destination's headers are added first, with one destination the route's."""
    one = "{destination: {host: httpbin}, weight: 1, headers: {request: {add: {x: dest}}}}"
    rule = "[{headers: {request: {add: {x: vs}}, response: {remove: [y]}}, route: [%s]}]"
    for route, wanted in ((one, [(b"vs",), (b"dest",)]), (f"{one}, {one}", [(b"dest",), (b"vs",)])):
        cluster = routes(rule % route)[0].clusters[0]
        assert [value for _, _, value in cluster.request.operations] == wanted
        assert cluster.response.operations == (("remove", b"y", ()),)


def test_rewrite_goes_before_host_header(routes: Routes) -> None:
    """An authority that is rewritten leaves a destination no Host to set; else that is text, whatever it holds."""
    target = "route: [{destination: {host: httpbin}, headers: {request: {set: {Host: 'c-%PROTOCOL%'}}}}]"
    (route,) = routes(f"[{{rewrite: {{authority: a.b}}, {target}}}]")
    assert (route.rewrite.authority, route.rewrite.path, route.clusters[0].request) == (b"a.b", None, None)
    assert routes(f"[{{{target}}}]")[0].clusters[0].request.operations == (("set", b":authority", (b"c-%PROTOCOL%",)),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mirror: {host: httpbin, subset: v2}", [100.0]),
        ("mirror: {host: httpbin}, mirrorPercentage: {value: 0.1}", [0.1]),
        ("mirror: {host: httpbin}, mirrorPercentage: {}", []),
        ("mirror: {host: httpbin}, mirrorPercentage: {value: 0}", []),
        ("mirrors: [{destination: {host: httpbin}}, {destination: {host: b}, percentage: {value: 5}}]", [100.0, 5.0]),
    ],
)
def test_mirrors(routes: Routes, text: str, wanted: list[float]) -> None:
    """With their percentage; 0 is no mirror."""
    assert [mirror.percent for mirror in routes(f"[{{{V1}, {text}}}]")[0].mirrors] == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("retries: {attempts: 0}", None),
        ("retries: {attempts: 3, perTryTimeout: 150ms}", RetryPolicy(3, 0.15)),
        ("retries: {attempts: 1, retryOn: 'reset,5xx'}", RetryPolicy(1, None, frozenset({"reset", "5xx"}))),
        ("retries: {attempts: 1, backoff: 100ms}", RetryPolicy(1, base_interval=0.1, max_interval=1.0)),
        ("retries: {attempts: 1, retryIgnorePreviousHosts: false, retryRemoteLocalities: true}", RetryPolicy(1, spread=False, remote=True)),
        ("retries: {attempts: 1, retryOn: '503,504'}", RetryPolicy(1, None, frozenset({"retriable-status-codes"}), frozenset({503, 504}))),
    ],
)
def test_retries(routes: Routes, text: str, wanted: RetryPolicy | None) -> None:
    """Istio's default conditions where none are named; statuses by number."""
    assert routes(f"[{{{V1}, {text}}}]")[0].retries == wanted


def test_timeout_and_fault(routes: Routes) -> None:
    """0 % is no fault."""
    (route,) = routes(f"[{{{V1}, timeout: 1.5s, fault: {{abort: {{httpStatus: 418, percentage: {{value: 5}}}}}}}}]")
    assert (route.timeout, route.fault) == (1.5, Fault(5.0, 418))
    (route,) = routes(f"[{{{V1}, fault: {{abort: {{httpStatus: 418, percentage: {{}}}}}}}}]")
    assert (route.timeout, route.fault) == (None, None)
    (route,) = routes(f"[{{{V1}, fault: {{abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 100}}}}}}}}]")
    assert route.fault == Fault(100.0, 200, grpc_status=14)
    (route,) = routes(f"[{{{V1}, fault: {{delay: {{fixedDelay: 1.5s, percentage: {{value: 7}}}}}}}}]")
    assert (route.fault, route.plain) == (Fault(delay_percent=7.0, delay_seconds=1.5), False)
    assert routes(f"[{{{V1}}}]")[0].plain


@pytest.mark.parametrize(
    ("match", "counts"),
    [
        ("port: 8000", True), ("port: 9", False), ("gateways: [mesh, x]", True), ("gateways: [x]", False),
        ("sourceLabels: {app: sleep}", True), ("sourceLabels: {app: x}", False), ("sourceNamespace: default", True),
        ("sourceNamespace: x", False),
    ],
)
def test_early_conditions(routes: Routes, match: str, counts: bool) -> None:
    """Port, gateways and the source are decided before a request comes; without a rule the service has its default route."""
    (route,) = routes(f"[{{name: r, match: [{{{match}}}], {V1}}}]", workload=Workload(labels={"app": "sleep"}))
    assert (route.name, route.matches) == ("r" if counts else "default", None)


def test_gateways_go_before_the_source(routes: Routes) -> None:
    """A match that names the mesh among its gateways does not ask who the caller is, as in Istio."""
    (route,) = routes(f"[{{name: r, match: [{{gateways: [mesh], sourceLabels: {{app: x}}}}], {V1}}}]")
    assert route.name == "r"


def test_destination_port(compiled: Compile, mesh: str) -> None:
    """A target's own port, else the service's only one, else the one that was asked for."""
    two = "apiVersion: v1\nkind: Service\nmetadata: {name: two}\nspec: {ports: [{name: http-a, port: 81}, {name: http-b, port: 82}]}"
    http = "[{route: [{destination: {host: %s}}]}]"
    for target, wanted in (("httpbin", 8000), ("two", 82), ("two, port: {number: 81}", 81), ("nobody", 82)):
        snapshot = compiled(mesh, two, virtual_service(http % target, "[two]")).snapshot
        assert snapshot.virtual_host(b"two", 82).routes[0].clusters[0].destination.port == wanted


def test_answers(routes: Routes) -> None:
    """Redirects and direct responses, with the route's own response headers and without mirrors."""
    (route,) = routes("[{redirect: {uri: /b, redirectCode: 302}, headers: {response: {set: {x: y}}}, mirror: {host: httpbin}}]")
    assert (route.clusters, route.mirrors, route.plain) == ((), (), False)
    assert (route.answer.status, route.answer.response.operations) == (302, (("set", b"x", (b"y",)),))
    head = RequestHead(b"GET", b"/a", b"httpbin", [])
    assert location(route.answer.redirect, head) == b"http://httpbin/b"
    for body, wanted in (("{string: hi}", b"hi"), ("{bytes: aGk=}", b"hi"), ("{}", b"")):
        assert routes(f"[{{directResponse: {{status: 503, body: {body}}}}}]")[0].answer == Answer(503, wanted)


def test_derived_port(routes: Routes) -> None:
    """A redirect to the request's port is another one on each port."""
    (route,) = routes("[{redirect: {derivePort: FROM_REQUEST_PORT}}]")
    assert route.answer.redirect.port == 8000


def test_cors(routes: Routes) -> None:
    """A policy stands on routes that send requests on; answers of our own have none, as with Envoy."""
    policy = "corsPolicy: {allowOrigins: [{exact: a}]}"
    assert routes(f"[{{{V1}, {policy}}}]")[0].cors.allows(b"a")
    assert routes(f"[{{directResponse: {{status: 200}}, {policy}}}]")[0].cors is None


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ("{}", "/*"), ("{uri: {prefix: /a}}", "/a*"), ("{uri: {exact: /a}}", "/a"), ("{uri: {regex: '/a.*'}}", "/a.*"), ("{uri: {}}", "/*"),
        ("{method: {exact: GET}}", "/*"),
    ],
)
def test_operation(routes: Routes, match: str, path: str) -> None:
    """Traces name a route by its only destination or by its VirtualService, and by the path it asks for."""
    one = "{destination: {host: httpbin}, weight: 1}"
    assert routes(f"[{{match: [{match}], {V1}}}]")[0].operation == f"httpbin.default.svc.cluster.local:8000{path}".encode()
    assert routes(f"[{{match: [{match}], route: [{one}, {one}]}}]")[0].operation == f"httpbin:8000{path}".encode()
    assert routes(f"[{{match: [{match}], redirect: {{uri: /}}}}]")[0].operation == b""


def test_scheme(routes: Routes) -> None:
    """By X-Forwarded-Proto, or by a target in absolute form."""
    (route,) = [one for one in routes(f"[{{name: r, match: [{{scheme: {{exact: https}}}}], {V1}}}]") if one.name == "r"]
    heads = [RequestHead(b"GET", b"/", b"h", [(b"x-forwarded-proto", proto)]) for proto in (b"http", b"https")]
    heads.append(RequestHead(b"GET", b"/", b"h", [], given_scheme=b"https"))
    assert [route.matches(head) for head in heads] == [False, True, True]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (HttpMatch(), None),
        (HttpMatch(port=80), None),
        (HttpMatch(port=81), "port is 80, not 81"),
        (HttpMatch(gateways=("x", "mesh"), source_namespace="other"), None),
        (HttpMatch(gateways=("x", "y")), "gateways are x, y, not mesh"),
        (HttpMatch(source_namespace="home", source_labels={"app": "a"}), None),
        (HttpMatch(source_namespace="other"), 'sourceNamespace is "home", not "other"'),
        (HttpMatch(source_labels={"app": "a", "version": "1"}), 'sourceLabels[version] is absent, not "1"'),
        (HttpMatch(source_labels={"app": "b"}), 'sourceLabels[app] is "a", not "b"'),
    ],
)
def test_inapplicable(match: HttpMatch, why: str | None) -> None:
    """What a match asks of port and workload, and what they are."""
    assert inapplicable(match, 80, Workload(namespace="home", labels={"app": "a"})) == why


def test_place(routes: Routes) -> None:
    """A route knows its rule, and the match of it, though others fell out before."""
    found = routes(f"[{{match: [{{port: 1}}], {V1}}}, {{match: [{{port: 1}}, {{uri: {{exact: /a}}}}], {V1}}}, {{{V1}}}]")
    assert [route.place for route in found] == [(1, 1), (2, 0)]
