"""HTTPRoutes become routes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.compile import compile_rules
from meshcar.rules.cors import preflight
from meshcar.rules.policies import Answer, Destination, HeaderChange, Mirror, RetryPolicy
from meshcar.rules.read import read
from meshcar.rules.redirects import location
from meshcar.rules.snapshot import Route
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead
from tests.rules.conftest import Compile, http_route, virtual_service

HOST = "httpbin.default.svc.cluster.local"
HERE = "backendRefs: [{name: httpbin, port: 8000}]"
OTHER = """
apiVersion: v1
kind: Service
metadata: {name: other, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: http-more, port: 81}]}
"""
Routes = Callable[..., tuple[Route, ...]]


@pytest.fixture
def routes(compiled: Compile, mesh: str) -> Routes:
    """The routes of a host on a port, by more documents."""

    def find(*texts: str, host: bytes = b"httpbin", port: int = 8000, namespace: str = "default") -> tuple[Route, ...]:
        made = compiled(mesh, OTHER, *texts, workload=Workload(namespace=namespace)).snapshot.virtual_host(host, port)
        assert made is not None
        return made.routes

    return find


def asked(target: bytes = b"/", method: bytes = b"GET", *headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(method, target, b"httpbin", list(headers))


def taken(found: tuple[Route, ...], head: RequestHead) -> str | None:
    """The name of the route that takes a request."""
    return next((route.name for route in found if route.matches is None or route.matches(head)), None)


def test_route(routes: Routes) -> None:
    """One backend; the name is Istio's."""
    (route,) = routes(http_route(f"[{{{HERE}}}]"))
    assert (route.name, route.virtual_service, route.matches) == ("default.httpbin.0", "default/httpbin", None)
    assert (route.timeout, route.retries, route.no_cluster_status) == (None, RetryPolicy(), 500)
    assert route.plain and [one.cluster for one in route.clusters] == [f"outbound|8000||{HOST}"]
    assert [one.name for one in routes(http_route(f"[{{name: mine, {HERE}}}]"))] == ["mine"]


def test_aliases(routes: Routes) -> None:
    """A backend or mirror that is another name of a service leads to that."""
    alias = f"{{apiVersion: v1, kind: Service, metadata: {{name: bin}}, spec: {{type: ExternalName, externalName: {HOST}}}}}"
    mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: bin, port: 8000}}}]"
    (route,) = routes(alias, http_route(f"[{{{mirror}, backendRefs: [{{name: bin, port: 8000}}]}}]"))
    assert [one.cluster for one in (*route.clusters, *route.mirrors)] == [f"outbound|8000||{HOST}"] * 2


@pytest.mark.parametrize(
    ("match", "operation"),
    [("{}", "/*"), ("{path: {value: /a}}", "/*"), ("{path: {type: Exact, value: /a}}", "/a"),
     ("{path: {type: RegularExpression, value: '/a.+'}}", "/a.+")],
)  # fmt: skip
def test_operation(routes: Routes, match: str, operation: str) -> None:
    """Traces name the backend, and the path where the whole of it is matched."""
    (route,) = routes(http_route(f"[{{matches: [{match}], {HERE}}}]"))
    assert route.operation.decode() == f"{HOST}:8000{operation}"


def test_no_match(routes: Routes) -> None:
    """A request that no rule takes has no route."""
    found = routes(http_route(f"[{{matches: [{{path: {{value: /a}}}}], {HERE}}}]"))
    assert taken(found, asked(b"/b")) is None


def test_conditions(routes: Routes) -> None:
    """All of a match hold together; of headers that differ in case the first counts."""
    match = (
        "path: {type: Exact, value: /a}, method: PUT, headers: [{name: X-A, value: '1'}, {name: x-a, value: '2'}], "
        "queryParams: [{name: q, value: 'v.*', type: RegularExpression}]"
    )
    (route,) = routes(http_route(f"[{{matches: [{{{match}}}], {HERE}}}]"))
    fields = [(one.field, one.wanted) for one in route.conditions]
    assert fields == [
        ("path", 'exact "/a"'), ("method", 'exact "PUT"'), ("headers[x-a]", 'exact "1"'), ("queryParams[q]", 'regex "v.*"'),
    ]  # fmt: skip
    assert route.matches is not None and route.matches(asked(b"/a?q=v1", b"PUT", (b"x-a", b"1")))
    assert not route.matches(asked(b"/a?q=v1", b"PUT", (b"x-a", b"2")))


class TestPrecedence:
    def test_one_route(self, routes: Routes) -> None:
        """Exact paths, long prefixes, short ones; a method; many headers; many parameters; patterns; what has no match."""
        rules = [
            "{name: none, %s}",
            "{name: regex, matches: [{path: {type: RegularExpression, value: '/a.*'}}], %s}",
            "{name: short, matches: [{path: {value: /a}}], %s}",
            "{name: query, matches: [{path: {value: /a/b}, queryParams: [{name: q, value: '1'}]}], %s}",
            "{name: header, matches: [{path: {value: /a/b}, headers: [{name: x, value: '1'}]}], %s}",
            "{name: headers, matches: [{path: {value: /a/b}, headers: [{name: x, value: '1'}, {name: y, value: '1'}]}], %s}",
            "{name: method, matches: [{path: {value: /a/b}, method: GET}], %s}",
            "{name: long, matches: [{path: {value: /a/b/}}], %s}",
            "{name: exact, matches: [{path: {type: Exact, value: /a}}], %s}",
        ]
        found = routes(http_route(f"[{', '.join(rule % HERE for rule in rules)}]"))
        assert [one.name for one in found] == ["exact", "method", "headers", "header", "query", "long", "short", "regex", "none"]

    def test_several_routes(self, routes: Routes) -> None:
        """Of equal matches the oldest HTTPRoute's goes first, then by namespace and name; within one the first rule's."""
        rule = f"[{{matches: [{{path: {{value: /a}}}}], {HERE}}}, {{matches: [{{path: {{value: /b}}}}, {{path: {{value: /c}}}}], {HERE}}}]"
        made = [("b", "2026-01-02T00:00:00Z"), ("a", "2026-01-02T00:00:00Z"), ("z", "2026-01-01T00:00:00Z")]
        found = routes(*(http_route(rule, name=name, age=age) for name, age in made))
        assert [one.name for one in found] == [f"default.{name}.{rule}" for name in "zab" for rule in (0, 1, 1)]

    def test_longer_match_of_a_younger_route(self, routes: Routes) -> None:
        """Age decides only between equal matches."""
        old = http_route(f"[{{{HERE}}}, {{matches: [{{path: {{value: /a}}}}], {HERE}}}]", name="old", age="2026-01-01T00:00:00Z")
        young = http_route(f"[{{matches: [{{path: {{value: /a/b}}}}], {HERE}}}]", name="young", age="2026-01-02T00:00:00Z")
        found = routes(old, young)
        names = ["default.young.0", "default.old.1", "default.old.0"]
        assert [taken(found, asked(path)) for path in (b"/a/b/c", b"/a/c", b"/")] == names


class TestParents:
    def test_port(self, routes: Routes) -> None:
        """A parentRef's port is the only one; without it all are meant."""
        to = "[{backendRefs: [{name: other, port: 80}]}]"
        one = http_route(to, '{group: "", kind: Service, name: other, port: 80}', namespace="shop")
        host, name = b"other.shop", "shop.httpbin.0"
        assert [routes(one, host=host, port=port)[0].name for port in (80, 81)] == [name, "default"]
        every = http_route(to, '{group: "", kind: Service, name: other}', namespace="shop")
        assert [routes(every, host=host, port=port)[0].name for port in (80, 81)] == [name, name]

    def test_port_and_none(self, routes: Routes) -> None:
        """The rules of both count on the port."""
        to = "[{{matches: [{{path: {{value: {}}}}}], backendRefs: [{{name: other, port: 80}}]}}]"
        one = http_route(to.format("/a"), '{group: "", kind: Service, name: other, port: 80}', "one", "shop")
        every = http_route(to.format("/b"), '{group: "", kind: Service, name: other}', "every", "shop")
        assert [[route.name for route in routes(one, every, host=b"other.shop", port=port)] for port in (80, 81)] == [
            ["shop.every.0", "shop.one.0"], ["shop.every.0"],
        ]  # fmt: skip

    def test_consumer(self, routes: Routes) -> None:
        """A route of another namespace than the Service's is for clients of its own namespace, and replaces the Service's own."""
        producer = http_route("[{backendRefs: [{name: other, port: 80}]}]", '{group: "", kind: Service, name: other}', "p", "shop")
        consumer = http_route(
            "[{backendRefs: [{name: other, namespace: shop, port: 81}]}]", '{group: "", kind: Service, name: other, namespace: shop}', "c",
            "client",
        )  # fmt: skip
        for namespace, name in (("client", "client.c.0"), ("shop", "shop.p.0"), ("third", "shop.p.0")):
            assert [one.name for one in routes(producer, consumer, host=b"other.shop", port=80, namespace=namespace)] == [name]
        (route,) = routes(consumer, host=b"other.shop", port=80, namespace="client")
        assert route.clusters[0].cluster == "outbound|81||other.shop.svc.cluster.local"
        assert routes(consumer, host=b"other.shop", port=80, namespace="third")[0].name == "default"

    def test_service_entry(self, routes: Routes) -> None:
        """Every host of a ServiceEntry, but no wildcard; Hostname names a backend."""
        entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec:
  hosts: [a.example, b.example, '*.c.example']
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
"""
        to = "[{backendRefs: [{kind: Hostname, group: networking.istio.io, name: b.example, port: 80}]}]"
        route = http_route(to, "{group: networking.istio.io, kind: ServiceEntry, name: ext}", "ext")
        for host, name in ((b"a.example", "default.ext.0"), (b"b.example", "default.ext.0"), (b"x.c.example", "default")):
            (found,) = routes(entry, route, host=host, port=80)
            assert (found.name, found.clusters[0].cluster) == (name, f"outbound|80||{'*.c' if name == 'default' else 'b'}.example")

    def test_gateway_only(self, routes: Routes) -> None:
        """A Gateway's route concerns no sidecar."""
        assert routes(http_route(f"[{{{HERE}}}]", "{name: gateway}"))[0].name == "default"
        both = http_route(f"[{{{HERE}}}]", '{name: gateway}, {group: "", kind: Service, name: httpbin}')
        assert routes(both)[0].name == "default.httpbin.0"


class TestVirtualServices:
    """Which of the two routes a host that both name."""

    RULE = "[{name: vs, route: [{destination: {host: other.shop.svc.cluster.local, port: {number: 80}}}]}]"
    HOSTS = "[other.shop.svc.cluster.local]"

    def winner(self, compiled: Compile, mesh: str, service: str, route: str, namespace: str = "default") -> str:
        snapshot = compiled(mesh, OTHER, service, route, workload=Workload(namespace=namespace)).snapshot
        host = snapshot.virtual_host(b"other.shop", 80)
        assert host is not None
        return host.routes[0].name

    def service(self, age: str = "", more: str = "", hosts: str = HOSTS) -> str:
        text = virtual_service(self.RULE, hosts).replace("{name: httpbin}", f"{{name: vs, creationTimestamp: '{age}'}}")
        return text.replace(f"{{hosts: {hosts},", f"{{hosts: {hosts}, {more}")

    def route(self, namespace: str, age: str = "") -> str:
        parent = '{group: "", kind: Service, name: other, namespace: shop}'
        return http_route("[{backendRefs: [{name: other, namespace: shop, port: 80}]}]", parent, "r", namespace, age)

    def test_order(self, compiled: Compile, mesh: str) -> None:
        """What is exported to this namespace by name; HTTPRoutes of this namespace; then the oldest."""
        old, young = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
        assert self.winner(compiled, mesh, self.service(old), self.route("default", young)) == "default.r.0"
        assert self.winner(compiled, mesh, self.service(young, "exportTo: [.],"), self.route("default", old)) == "vs"
        assert self.winner(compiled, mesh, self.service(young), self.route("shop", old)) == "shop.r.0"
        assert self.winner(compiled, mesh, self.service(old), self.route("shop", young)) == "vs"
        assert self.winner(compiled, mesh, self.service(), self.route("shop")) == "shop.r.0"
        wide = self.service(old, hosts="['*.svc.cluster.local']")
        assert self.winner(compiled, mesh, wide, self.route("shop", young)) == "shop.r.0"

    def test_warning(self, compiled: Compile, mesh: str) -> None:
        """The one that does nothing is told so, once."""
        for service_age, loser, path in (("2026-01-03", "vs", "spec.hosts"), ("2026-01-01", "r", "spec.parentRefs[0]")):
            found = compiled(mesh, OTHER, self.service(service_age), self.route("shop", "2026-01-02")).problems
            assert [(one.code, one.name, one.path) for one in found] == [("DUPLICATE_HOST", loser, path)]


class TestBackends:
    def test_weights(self, routes: Routes) -> None:
        """Shares of the sum, 1 where nothing is said; none for 0; what is not there keeps its share."""
        refs = ["{name: httpbin, port: 8000}", "{name: httpbin, port: 8000, weight: 0}", "{name: gone, port: 1, weight: 2}"]
        refs.append("{kind: Bucket, group: a.b, name: c}")
        (route,) = routes(http_route(f"[{{backendRefs: [{', '.join(refs)}]}}]"))
        assert route.shares == (0.25, 0.75, 1.0)
        clusters = [f"outbound|8000||{HOST}", "outbound|1||gone.default.svc.cluster.local", "UnknownService"]
        assert [one.cluster for one in route.clusters] == clusters
        assert route.clusters[2].destination == Destination("c", "", 0)

    @pytest.mark.parametrize("refs", ["[]", "[{name: httpbin, port: 8000, weight: 0}]"])
    def test_none(self, routes: Routes, refs: str) -> None:
        """Without a backend that has a weight the answer is 500."""
        (route,) = routes(http_route(f"[{{backendRefs: {refs}}}]"))
        assert (route.answer, route.clusters) == (Answer(500), ())

    def test_headers(self, routes: Routes) -> None:
        """Removes, then sets, then adds, and of a name the first; a backend's own before the rule's where there are several."""
        changes = "set: [{name: S, value: '1'}, {name: s, value: '2'}], add: [{name: A, value: '3'}], remove: [R]"
        rule = f"filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{changes}}}}}]"
        own = "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: o, value: '4'}]}}]"
        (route,) = routes(http_route(f"[{{{rule}, backendRefs: [{{name: httpbin, port: 8000, {own}}}, {{name: httpbin, port: 8000}}]}}]"))
        wide: Any = (("remove", b"r", ()), ("set", b"s", (b"1",)), ("add", b"a", (b"3",)))
        assert route.clusters[0].request == HeaderChange((("set", b"o", (b"4",)), *wide))
        assert route.clusters[1].request == HeaderChange(wide)

    def test_mirrors(self, routes: Routes) -> None:
        """Each with its share; none for 0 %, nor for a kind that has no endpoints."""
        shares = ["", "percent: 10", "fraction: {numerator: 1, denominator: 8}", "percent: 0"]
        filters = [f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: httpbin, port: 8000}}, {share}}}}}" for share in shares]
        filters.append("{type: RequestMirror, requestMirror: {backendRef: {kind: Bucket, group: a.b, name: c}}}")
        (route,) = routes(http_route(f"[{{filters: [{', '.join(filters)}], {HERE}}}]"))
        destination = Destination(HOST, "", 8000)
        assert route.mirrors == tuple(Mirror(f"outbound|8000||{HOST}", share, destination) for share in (100.0, 10.0, 12.5))


    def test_hashes(self, routes: Routes) -> None:
        """A backend's DestinationRule says by what it is chosen; a single one is not left for a further try."""
        rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashed}
spec: {host: other.shop.svc.cluster.local, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
"""
        refs = "{name: other, namespace: shop, port: 80}"
        (one,) = routes(rule, http_route(f"[{{backendRefs: [{refs}]}}]"))
        assert len(one.hashes) == 1 and one.retries is not None and not one.retries.spread
        (two,) = routes(rule, http_route(f"[{{backendRefs: [{refs}, {{name: httpbin, port: 8000}}]}}]"))
        assert two.hashes == one.hashes and two.retries is not None and two.retries.spread


class TestLimits:
    @pytest.mark.parametrize(
        ("rule", "timeout", "one_try"),
        [
            ("timeouts: {request: 3s}", 3.0, None),
            ("timeouts: {request: 0s}", None, None),
            ("timeouts: {request: 3s, backendRequest: 1s}", 1.0, None),
            ("timeouts: {request: 3s, backendRequest: 1s}, retry: {}", 3.0, 1.0),
            ("timeouts: {request: 3s, backendRequest: 0s}, retry: {}", 3.0, None),
        ],
    )
    def test_timeouts(self, routes: Routes, rule: str, timeout: float | None, one_try: float | None) -> None:
        """For the request, and for one try where there may be several."""
        (route,) = routes(http_route(f"[{{{rule}, {HERE}}}]"))
        assert route.retries is not None
        assert (route.timeout, route.retries.per_try_timeout) == (timeout, one_try)

    def test_retries(self, routes: Routes) -> None:
        """Failed connections, and the codes."""
        words = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled"})
        (route,) = routes(http_route(f"[{{retry: {{}}, {HERE}}}]"))
        assert route.retries == RetryPolicy(attempts=2, conditions=words)
        (route,) = routes(http_route(f"[{{retry: {{codes: [500, 503], attempts: 3, backoff: 1s}}, {HERE}}}]"))
        conditions = words | {"retriable-status-codes"}
        codes = frozenset({500, 503})
        assert route.retries == RetryPolicy(attempts=3, conditions=conditions, status_codes=codes, base_interval=1.0, max_interval=10.0)


@pytest.mark.parametrize(
    ("redirect", "wanted"),
    [
        ("", b"http://httpbin:8000/foo/x?q"),
        ("hostname: a.b", b"http://a.b:8000/foo/x?q"),
        ("port: 80", b"http://httpbin/foo/x?q"),
        ("port: 8083, hostname: a.b", b"http://a.b:8083/foo/x?q"),
        ("scheme: https", b"https://httpbin/foo/x?q"),
        ("scheme: https, port: 443", b"https://httpbin/foo/x?q"),
        ("scheme: https, port: 8443", b"https://httpbin:8443/foo/x?q"),
        ("path: {type: ReplaceFullPath, replaceFullPath: /new}", b"http://httpbin:8000/new?q"),
        ("path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}", b"http://httpbin:8000/new/x?q"),
        ("path: {type: ReplacePrefixMatch, replacePrefixMatch: /}", b"http://httpbin:8000/x?q"),
    ],
)
def test_redirect(routes: Routes, redirect: str, wanted: bytes) -> None:
    """The port is the asked one unless a scheme or port is given; what the scheme implies is not written."""
    rule = f"matches: [{{path: {{value: /foo}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{{redirect}}}}}]"
    (route,) = routes(http_route(f"[{{{rule}}}]"))
    assert route.answer is not None and route.answer.redirect is not None and route.answer.status == 302
    assert location(route.answer.redirect, asked(b"/foo/x?q")) == wanted


def test_redirect_code(routes: Routes) -> None:
    """As given."""
    (route,) = routes(http_route("[{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 308}}]}]"))
    assert route.answer is not None and route.answer.status == 308


@pytest.mark.parametrize(
    ("rewrite", "authority", "path"),
    [
        ("", None, None),
        ("hostname: a.b", b"a.b", None),
        ("path: {type: ReplaceFullPath, replaceFullPath: /new}", None, b"/new"),
        ("path: {type: ReplaceFullPath, replaceFullPath: ''}", None, None),
        ("hostname: a.b, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}", b"a.b", b"/x"),
    ],
)
def test_rewrite(routes: Routes, rewrite: str, authority: bytes | None, path: bytes | None) -> None:
    """Host and path."""
    rule = f"matches: [{{path: {{value: /foo}}}}], filters: [{{type: URLRewrite, urlRewrite: {{{rewrite}}}}}]"
    (route,) = routes(http_route(f"[{{{rule}, {HERE}}}]"))
    assert (route.rewrite.authority if route.rewrite else None) == authority
    assert (route.rewrite.path(b"/foo/x") if route.rewrite and route.rewrite.path else None) == path


@pytest.mark.parametrize(
    ("allowed", "yes", "no"),
    [
        ("*", [b"https://a", b"http://a.b:12345"], [b"null", b"a", b"https://a/b"]),
        ("https://a.com", [b"https://a.com"], [b"http://a.com", b"https://a.com:1", b"https://axcom"]),
        ("https://*.bar.com", [b"https://www.bar.com", b"https://x.www.bar.com"], [b"https://bar.com", b"https://www.bar.com.evil"]),
        ("http://*", [b"http://a", b"http://a:1"], [b"https://a"]),
        ("https://*:8443", [b"https://a.b:8443"], [b"https://a.b"]),
    ],
)
def test_cors(routes: Routes, allowed: str, yes: list[bytes], no: list[bytes]) -> None:
    """Which origins may ask; answers hold for 5 s, and a preflight of another origin goes no further."""
    (route,) = routes(http_route(f"[{{filters: [{{type: CORS, cors: {{allowOrigins: ['{allowed}'], allowMethods: [PUT]}}}}], {HERE}}}]"))
    assert route.cors is not None
    assert [origin for origin in yes if not route.cors.allows(origin)] == []
    assert [origin for origin in no if route.cors.allows(origin)] == []
    wanted = (b"access-control-request-method", b"PUT")
    methods, age = (b"access-control-allow-methods", b"PUT"), (b"access-control-max-age", b"5")
    allow = (b"access-control-allow-origin", yes[0])
    assert preflight(route.cors, asked(b"/", b"OPTIONS", (b"origin", yes[0]), wanted)) == [allow, methods, age]
    assert preflight(route.cors, asked(b"/", b"OPTIONS", (b"origin", no[0]), wanted)) == [methods, age]


# -- any rules

PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b"]
MATCHES = st.fixed_dictionaries({
    "kind": st.sampled_from(["Exact", "PathPrefix"]), "path": st.sampled_from(PATHS), "method": st.sampled_from(["", "GET", "PUT"]),
    "headers": st.sets(st.sampled_from("xyz")), "query": st.sets(st.sampled_from("pq")),
})  # fmt: skip
AGES = st.sampled_from(["", "2026-01-01", "2026-01-02"])
ROUTES = st.lists(st.tuples(AGES, st.lists(st.lists(MATCHES, max_size=3), min_size=1, max_size=4)), max_size=4)
REQUESTS = st.tuples(
    st.sampled_from(PATHS), st.sampled_from(["GET", "PUT"]), st.sets(st.sampled_from("xyz")), st.sets(st.sampled_from("pq")),
)  # fmt: skip


def _takes(match: dict[str, Any], request: tuple[str, str, set[str], set[str]]) -> bool:
    path, method, headers, query = request
    segments, wanted = path.rstrip("/").split("/"), match["path"].rstrip("/").split("/")
    on_path = path == match["path"] if match["kind"] == "Exact" else segments[: len(wanted)] == wanted
    return on_path and match["method"] in ("", method) and match["headers"] <= headers and match["query"] <= query


def _best(made: list[Any], request: tuple[str, str, set[str], set[str]]) -> str | None:
    """The specification's words, one after the other, over everything that matches."""
    fitting = []
    for number, (age, rules) in enumerate(made):
        for index, rule in enumerate(rules):
            name = f"default.r{number}.{index}"
            if not rule:
                fitting.append((True, 0, 0, True, 0, 0, age, f"r{number}", index, name))
            for match in rule:
                if _takes(match, request):
                    exact, length = match["kind"] == "Exact", len(match["path"])
                    if not exact and match["path"] != "/":
                        length = len(match["path"].rstrip("/"))
                    fitting.append((
                        False, not exact, -length, not match["method"], -len(match["headers"]), -len(match["query"]), age, f"r{number}",
                        index, name,
                    ))  # fmt: skip
    return min(fitting)[-1] if fitting else None


def _yaml(match: dict[str, Any]) -> str:
    tests = {field: [f"{{name: {name}, value: '1'}}" for name in sorted(match[field])] for field in ("headers", "query")}
    method = f", method: {match['method']}" if match["method"] else ""
    lists = f"headers: [{', '.join(tests['headers'])}], queryParams: [{', '.join(tests['query'])}]"
    return f"{{path: {{type: {match['kind']}, value: {match['path']}}}, {lists}{method}}}"


@given(ROUTES, st.lists(REQUESTS, min_size=1, max_size=5))
def test_precedence_of_any_rules(made: list[Any], requests: list[Any]) -> None:
    """Sorted once, the first that matches is the best of all that match."""
    texts = ["apiVersion: v1\nkind: Service\nmetadata: {name: httpbin}\nspec: {ports: [{name: http, port: 8000}]}"]
    for number, (age, rules) in enumerate(made):
        written = ", ".join(f"{{matches: [{', '.join(map(_yaml, rule))}], {HERE}}}" for rule in rules)
        texts.append(http_route(f"[{written}]", name=f"r{number}", age=age))
    found = read("\n---\n".join(texts), "f")
    assert not found.problems
    host = compile_rules(found.resources, Workload(), 1).snapshot.virtual_host(b"httpbin", 8000)
    assert host is not None
    for request in requests:
        path, method, headers, query = request
        target = path + ("?" + "&".join(f"{name}=1" for name in sorted(query)) if query else "")
        head = RequestHead(method.encode(), target.encode(), b"httpbin", [(name.encode(), b"1") for name in sorted(headers)])
        expected = _best(made, request) if made else "default"
        assert taken(host.routes, head) == expected
