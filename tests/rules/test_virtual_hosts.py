"""Which VirtualService takes a host on a port. The cases follow what istiod's own tests ask for."""

import pytest

from meshcar.rules.host_patterns import covers
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile, http_route, virtual_service

TO = "[{name: NAME, route: [{destination: {host: httpbin}}]}]"
ELSEWHERE = "[{name: NAME, match: [{sourceLabels: {app: other}}], route: [{destination: {host: httpbin}}]}]"


def service(name: str, number: int, port: str = "http", more: str = "") -> str:
    """A Service with one port."""
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{name: {port}, port: {number}}}]{more}}}}}"


def entry(host: str, number: int, namespace: str = "default") -> str:
    """A ServiceEntry for one host."""
    name = host.replace("*", "any").replace(".", "-")
    return (
        f"{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: {namespace}}}, spec: "
        f"{{hosts: ['{host}'], ports: [{{name: http, number: {number}, protocol: HTTP}}], resolution: STATIC}}}}"
    )


def to(name: str, hosts: str = "[httpbin]", created: str = "", http: str = TO, more: str = "", namespace: str = "default") -> str:
    """A VirtualService whose one rule has its name."""
    text = virtual_service(http.replace("NAME", name), hosts, name)
    meta = f"{{name: {name}, namespace: {namespace}" + (f", creationTimestamp: '{created}'" if created else "") + "}"
    return text.replace("{name: " + name + "}", meta, 1).replace("hosts:", f"{more}hosts:", 1)


def rule(snapshot: Snapshot, authority: str, port: int = 8000) -> str | None:
    """The name of the first rule of an authority."""
    host = snapshot.virtual_host(authority.encode(), port)
    return host.routes[0].name if host else None


@pytest.mark.parametrize(
    ("pattern", "host", "holds"),
    [
        ("a.b", "a.b", True), ("a.b", "x.a.b", False), ("*.b", "a.b", True), ("*.b", "b", False), ("*.b", "x.a.b", True),
        ("*", "a", True), ("*.b", "*.a.b", True), ("*.a.b", "*.b", False), ("*", "*.b", True), ("*.a.b", "xa.b", False),
    ],
)
def test_covers(pattern: str, host: str, holds: bool) -> None:
    """A wildcard covers what ends like it, other wildcards too."""
    assert covers(pattern, host) is holds


def test_hosts_without_service(compiled: Compile, mesh: str) -> None:
    """Exact, then the longest suffix; on port 80 alone."""
    texts = [to("exact", "[a.b.example]"), to("near", "['*.b.example']"), to("far", "['*.example']")]
    snapshot = compiled(mesh, *texts).snapshot
    wanted = {
        "a.b.example": "exact", "A.B.example:80": "exact", "x.b.example": "near", "x.y.b.example": "near", "x.example": "far",
        "example": None, "a.b.example.": None, "u@a.b.example": "near", "httpbin": None,
    }  # fmt: skip
    assert {name: rule(snapshot, name, 80) for name in wanted} == wanted
    assert {rule(snapshot, name, 8000) for name in wanted} == {None, "default"}
    assert compiled(mesh, *reversed(texts)).snapshot.virtual_host(b"a.b.example", 80) is not None


def test_hosts_beside_a_service(compiled: Compile, mesh: str) -> None:
    """A VirtualService that routes a service takes its other hosts on that service's ports, too."""
    snapshot = compiled(mesh, to("a", "[httpbin, httpbin.v2, '*.v3']")).snapshot
    assert {rule(snapshot, name) for name in ("httpbin", "httpbin.v2", "x.v3")} == {"a"}
    assert {rule(snapshot, name, 80) for name in ("httpbin.v2", "x.v3")} == {"a"}
    assert (rule(snapshot, "httpbin", 80), rule(snapshot, "httpbin.v2", 9000)) == (None, None)


def test_services_under_a_wildcard(compiled: Compile, mesh: str) -> None:
    """Each service goes by the longest wildcard that covers it; a wildcard that covers services stands for nobody else there."""
    texts = [to("cluster", "['*.svc.cluster.local']"), to("namespace", "['*.default.svc.cluster.local']")]
    snapshot = compiled(mesh, service("b", 80), *texts).snapshot
    assert {rule(snapshot, "httpbin"), rule(snapshot, "b", 80), rule(snapshot, "b.default", 80)} == {"namespace"}
    assert (rule(snapshot, "x.default.svc.cluster.local", 80), rule(snapshot, "x.other.svc.cluster.local", 80)) == (None, None)
    assert rule(snapshot, "x.default.svc.cluster.local") is None
    assert rule(compiled(mesh, *texts).snapshot, "x.default.svc.cluster.local", 80) == "namespace"


def test_exact_before_wildcard(compiled: Compile, mesh: str) -> None:
    """Whatever their age; and a service that is named goes by no wildcard, even where no rule of its own applies."""
    wide = to("wide", "['*.default.svc.cluster.local']", "2020-01-01T00:00:00Z")
    assert rule(compiled(mesh, wide, to("exact")).snapshot, "httpbin") == "exact"
    assert rule(compiled(mesh, wide, to("exact", http=ELSEWHERE)).snapshot, "httpbin") == "default"


def test_wildcard_services(compiled: Compile, mesh: str) -> None:
    """Wildcards of ServiceEntries and of VirtualServices, nested: each goes to the most specific, and an exact host within one is its own
    on port 80."""
    entries = [entry("*.example.org", 8080), entry("bye.hello.example.org", 8080)]
    rules = [to("wide", "['*.example.org']"), to("nested", "['*.hello.example.org']"), to("google", "['*.google.com']")]
    snapshot = compiled(mesh, *entries, *rules).snapshot
    wanted = {"x.example.org": "wide", "bye.hello.example.org": "nested", "x.hello.example.org": "wide", "x.google.com": None}
    assert {name: rule(snapshot, name, 8080) for name in wanted} == wanted
    assert rule(snapshot, "x.google.com", 80) == "google"
    inside = compiled(mesh, entry("*.example.org", 8080), to("inside", "[a.example.org]")).snapshot
    assert (rule(inside, "a.example.org", 8080), rule(inside, "a.example.org", 80)) == ("default", "inside")


def test_another_name_of_a_service(compiled: Compile, mesh: str) -> None:
    """A VirtualService for what is else a service's other name takes that name, and only that, where hosts without service count."""
    snapshot = compiled(mesh, service("b", 80), to("a", "[httpbin.default, b.default]")).snapshot
    assert (rule(snapshot, "httpbin.default"), rule(snapshot, "httpbin")) == ("default", "default")
    assert (rule(snapshot, "b.default", 80), rule(snapshot, "b", 80), rule(snapshot, "b.default.svc", 80)) == ("a", "default", "default")


@pytest.mark.parametrize("order", [1, -1])
def test_host_before_other_names(compiled: Compile, order: int) -> None:
    """What is one service's host is never another's short name, whichever comes first."""
    texts = [service("b", 80), entry("b", 80), entry("b.default", 80)][::order]
    snapshot = compiled(*texts).snapshot
    found = [snapshot.virtual_host(name, 80) for name in (b"b", b"b.default", b"b.default.svc")]
    assert [host and host.name for host in found] == ["b:80", "b.default:80", "b.default.svc.cluster.local:80"]


def test_addresses(compiled: Compile, mesh: str) -> None:
    """A VirtualService may stand for an address, too."""
    snapshot = compiled(mesh, to("a", "[10.1.2.3, 'FD00::1']")).snapshot
    assert {rule(snapshot, host, 80) for host in ("10.1.2.3", "10.1.2.3:80", "[fd00::1]", "[FD00::1]:80")} == {"a"}


def test_headless(compiled: Compile) -> None:
    """A pod of a headless Service is known by a name under each name of the service; of another Service none is."""
    snapshot = compiled(service("db", 80, more=", clusterIP: None"), service("b", 80)).snapshot
    names = ("db", "x.db", "x.db.default", "x.db.default.svc", "x.db.default.svc.cluster.local", "x.b", "x.b.default.svc.cluster.local")
    assert [rule(snapshot, name, 80) for name in names] == [*["default"] * 5, None, None]


def test_opaque_ports(compiled: Compile, mesh: str) -> None:
    """Rules for HTTP do nothing for a service whose port is opaque."""
    snapshot = compiled(mesh, service("b", 80, "tcp"), service("c", 9000, "tcp"), to("a", "[b, c]")).snapshot
    assert (rule(snapshot, "b", 80), rule(snapshot, "c", 9000)) == (None, None)


def test_port_bound_rules(compiled: Compile, mesh: str) -> None:
    """A rule that names a port counts there; where none does the service is routed as if there were no VirtualService."""
    route = "route: [{destination: {host: httpbin}}]"
    http = f"[{{name: here, match: [{{port: 8000}}], {route}}}, {{name: eighty, match: [{{port: 80}}], {route}}}]"
    snapshot = compiled(mesh, service("b", 9000), to("x", "[httpbin, b, x.example]", http=http)).snapshot
    assert (rule(snapshot, "httpbin"), rule(snapshot, "x.example"), rule(snapshot, "x.example", 80)) == ("here", "here", "eighty")
    assert (rule(snapshot, "b", 9000), rule(snapshot, "x.example", 9000)) == ("default", None)


def test_first_counts(compiled: Compile, mesh: str) -> None:
    """Of several VirtualServices for a host the first that was read; the others get a warning."""
    found = compiled(mesh, to("b"), to("a"))
    assert rule(found.snapshot, "httpbin") == "b"
    assert [(problem.code, problem.name, problem.path) for problem in found.problems] == [("DUPLICATE_HOST", "a", "spec.hosts[0]")]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([to("a", created="2026-01-01T00:00:00Z"), to("b", created="2025-01-01T00:00:00Z")], "b"),
        ([to("b", created="2025-01-01T00:00:00Z"), to("a", created="2025-01-01T00:00:00Z")], "a"),
        ([to("a", created="2025-01-01T00:00:00Z"), to("b")], "b"),
        ([to("a"), to("b", more="exportTo: [.], ")], "b"),
        ([to("a", created="2025-01-01T00:00:00Z"), to("b", created="2026-01-01T00:00:00Z", more="exportTo: [default], ")], "b"),
        ([to("a", "[httpbin.default.svc.cluster.local]"),
          to("b", "[httpbin.default.svc.cluster.local]", more="exportTo: [default], ", namespace="o")], "b"),
        ([to("b", "[httpbin.default.svc.cluster.local]", more="exportTo: [default], ", namespace="o"),
          to("a", more="exportTo: [.], ")], "a"),
        ([to("a", http=ELSEWHERE), to("b")], "b"),
        ([to("a", more="gateways: [x], "), to("b")], "b"),
        ([to("a", more="gateways: [x, mesh], "), to("b")], "a"),
        ([to("a", "[httpbin.default.svc.cluster.local]", more="exportTo: [.], ", namespace="o"), to("b")], "b"),
    ],
    ids=["older", "same age: by name", "no age first", "private first", "private before older", "for this namespace before for all",
         "private before for this namespace", "no rule applies", "other gateways", "mesh among gateways", "not exported"],
)  # fmt: skip
def test_precedence(compiled: Compile, mesh: str, texts: list[str], wanted: str) -> None:
    """Which of two VirtualServices routes httpbin for a workload of the namespace default."""
    assert rule(compiled(mesh, *texts).snapshot, "httpbin") == wanted


def test_gateways_only(compiled: Compile, mesh: str) -> None:
    """What is meant for gateways only is not for us; nor is what is exported to others."""
    for more in ("gateways: [x], ", "exportTo: [other], "):
        assert rule(compiled(mesh, to("a", more=more)).snapshot, "httpbin") == "default"
    other = compiled(mesh, to("a", more="exportTo: [other], "), workload=Workload(namespace="other")).snapshot
    assert rule(other, "httpbin.default") == "a"


def test_short_names_by_namespace(compiled: Compile, mesh: str) -> None:
    """A short host is a service of the rule's own namespace."""
    assert rule(compiled(mesh, to("a", namespace="other")).snapshot, "httpbin") == "default"
    assert rule(compiled(mesh, to("a", "[httpbin.default.svc.cluster.local]", namespace="other")).snapshot, "httpbin") == "a"


def test_many(compiled: Compile, mesh: str) -> None:
    """The tables hold each rule's routes once, however many names and ports there are."""
    snapshot = compiled(mesh, service("b", 80), service("c", 81), to("a", "[httpbin, b, c]")).snapshot
    hosts = [snapshot.virtual_host(name, port) for name, port in ((b"httpbin", 8000), (b"b", 80), (b"c.default", 81))]
    assert len({id(host.routes) for host in hosts if host}) == 1


ALIAS = "{{apiVersion: v1, kind: Service, metadata: {{name: bin}}, spec: {{type: ExternalName, externalName: {}, ports: {}}}}}"
BIN = "bin.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("ports", "port", "taken"),
    [("[]", 80, [BIN]), ("[]", 8000, []), ("[{name: http, port: 8000}]", 8000, [BIN, f"{BIN}.", "bin", "bin.default"])],
)
def test_aliases(compiled: Compile, mesh: str, ports: str, port: int, taken: list[str]) -> None:
    """A VirtualService for an alias has all its names on ports that it declares; else its full one, on port 80."""
    snapshot = compiled(mesh, service("more", 80), ALIAS.format("httpbin.default.svc.cluster.local", ports), to("a", "[bin]")).snapshot
    names = [BIN, f"{BIN}.", "bin", "bin.default", "httpbin", "httpbin.default.svc.cluster.local"]
    assert [name for name in names if rule(snapshot, name, port) == "a"] == taken
    assert [name for name in names if rule(snapshot, f"{name}:{port}", port) == "a"] == taken
    assert rule(snapshot, "httpbin") == "default"


def test_to_aliases(compiled: Compile, mesh: str) -> None:
    """What is sent to an alias is sent to its service, whose only port is meant."""
    alias = ALIAS.format("httpbin.default.svc.cluster.local", "[]")
    compiled_rules = compiled(mesh, service("b", 80), alias, to("a", "[b]", http=TO.replace("host: httpbin", "host: bin, subset: v1")))
    assert compiled_rules.problems == ()
    host = compiled_rules.snapshot.virtual_host(b"b", 80)
    assert host is not None and host.routes[0].clusters[0].cluster == "outbound|8000|v1|httpbin.default.svc.cluster.local"


def test_aliases_of_nobody(compiled: Compile, mesh: str) -> None:
    """Rules count for an alias of an outside host as well, of which nobody tells who answers."""
    alias = ALIAS.format("www.example.com", "[{name: http, port: 8000}]")
    snapshot = compiled(mesh, alias, to("a", "[bin]")).snapshot
    assert [rule(snapshot, name) for name in ("bin", "bin.default", f"{BIN}.", "httpbin")] == ["a", "a", "a", "default"]
    assert rule(compiled(mesh, alias).snapshot, "bin") is None
    assert "outbound|8000||bin.default.svc.cluster.local" not in snapshot.clusters


def test_http_routes_and_wildcards(compiled: Compile, mesh: str) -> None:
    """An HTTPRoute names its service more closely than a wildcard does, for all ports and clients."""
    wild = to("a", "['*.default.svc.cluster.local']")
    backend = "[{backendRefs: [{name: httpbin, namespace: default, port: 8000}]}]"
    parent = '{group: "", kind: Service, name: httpbin, namespace: default'
    assert rule(compiled(mesh, wild).snapshot, "httpbin") == "a"
    assert rule(compiled(mesh, wild, http_route(backend, f"{parent}, port: 9}}")).snapshot, "httpbin") == "default"
    assert rule(compiled(mesh, wild, http_route(backend, f"{parent}}}", namespace="other")).snapshot, "httpbin") == "default"


def test_other_hosts_beside_http_routes(compiled: Compile, mesh: str) -> None:
    """A VirtualService that loses one of its hosts to an HTTPRoute keeps the others on that service's port."""
    route = http_route("[{name: r, backendRefs: [{name: httpbin, port: 8000}]}]", age="2020-01-01T00:00:00Z")
    snapshot = compiled(mesh, to("a", "[httpbin, x.example]", created="2021-01-01T00:00:00Z"), route).snapshot
    assert (rule(snapshot, "httpbin"), rule(snapshot, "x.example")) == ("r", "a")


@pytest.mark.parametrize(("created", "wins"), [("2020-01-01T00:00:00Z", "a"), ("2022-01-01T00:00:00Z", "r")])
def test_names_between_rules(compiled: Compile, mesh: str, created: str, wins: str) -> None:
    """A name that a VirtualService and a service with an HTTPRoute both have is that of the older rule."""
    alias = ALIAS.format("httpbin.default.svc.cluster.local", "[]")
    parent = '{group: "", kind: Service, name: httpbin, namespace: default}'
    backend = "[{name: r, backendRefs: [{name: httpbin, namespace: default, port: 8000}]}]"
    route = http_route(backend, parent, age="2021-01-01T00:00:00Z")
    literal = to("a", "[bin.default, httpbin.default.svc]", created=created, namespace="third")
    found = compiled(mesh.replace("port: 8000", "port: 80"), alias, route, literal, workload=Workload(namespace="client")).snapshot
    assert [rule(found, name, 80) for name in ("bin.default", "httpbin.default.svc", "httpbin.default")] == [wins, wins, "r"]
