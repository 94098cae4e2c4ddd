"""What a workload sees: Sidecars, exportTo, and which of several services with one host is meant."""



import pytest

from meshcar.rules.host_patterns import covers, overlap
from meshcar.rules.snapshot import InboundListener, Snapshot
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile, http_route, virtual_service

HEADER = "apiVersion: networking.istio.io/v1\nkind: {}\nmetadata: {{name: {}, namespace: {}}}\nspec: "


def service(name: str, namespace: str = "default", ports: str = "[{name: http, port: 80}]") -> str:
    """A Service."""
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: {ports}}}"


def entry(host: str, namespace: str, address: str, more: str = "") -> str:
    """A ServiceEntry that one address answers for."""
    ports = "ports: [{number: 80, name: http, protocol: HTTP}]"
    spec = f"{{hosts: ['{host}'], resolution: STATIC, {ports}, endpoints: [{{address: {address}}}]{more}}}"
    return HEADER.format("ServiceEntry", f"e{address}", namespace) + spec


def sidecar(spec: str, name: str = "default", namespace: str = "default", more: str = "") -> str:
    """A Sidecar."""
    return HEADER.format("Sidecar", name, f"{namespace}{more}") + f"{{{spec}}}"


def hosts(snapshot: Snapshot) -> set[str]:
    """The hosts that can be called, by the first label."""
    return {name.rpartition("|")[2].partition(".")[0] for name in snapshot.clusters}


MESH = (service("a"), service("b"), service("c", "other"), service("d", "istio-system"))


def test_no_sidecar(compiled: Compile) -> None:
    """Everything that is exported."""
    found = compiled(*MESH)
    assert hosts(found.snapshot) == {"a", "b", "c", "d"}
    assert found.snapshot.allow_any is None


def test_egress_hosts(compiled: Compile) -> None:
    """Namespaces, hosts, wildcards, and what is taken away."""
    for words, wanted in (
        ("./*", "ab"), ("./*, istio-system/*", "abd"), ("'*/*'", "abcd"), ("~/*", ""), ("./a.default.svc.cluster.local", "a"),
        ("other/*.svc.cluster.local", "c"), ("other/*.example.com", ""), ("'*/*', ~other/*", "abd"),
        ("'*/*', ~./b.default.svc.cluster.local", "acd"), ("'*/*', ~/*.istio-system.svc.cluster.local", "abc"), ("nowhere/*", ""),
    ):  # fmt: skip
        assert hosts(compiled(*MESH, sidecar(f"egress: [{{hosts: [{words}]}}]")).snapshot) == set(wanted), words


def test_a_wildcard_service_needs_a_wildcard(compiled: Compile) -> None:
    """`*.x.y` is not all meant by `a.x.y`."""
    wild = entry("*.x.y", "default", "1.1.1.1")
    for words, seen in (("./*.y", True), ("'./*.x.y'", True), ("./a.x.y", False), ("'./*.a.x.y'", False)):
        snapshot = compiled(wild, sidecar(f"egress: [{{hosts: [{words}]}}]")).snapshot
        assert ("outbound|80||*.x.y" in snapshot.clusters) is seen


def test_which_sidecar(compiled: Compile) -> None:
    """One that selects the workload, then the namespace's, then the mesh's; the older of two; none of another namespace."""
    ours = "egress: [{hosts: [%s/*]}]"
    labelled = sidecar("workloadSelector: {labels: {app: x}}, " + ours % "other", "one")
    wide = sidecar(ours % ".", "two")
    mesh = sidecar(ours % "istio-system", "three", "istio-system")
    workload = Workload(labels={"app": "x"})
    assert hosts(compiled(*MESH, mesh, wide, labelled, workload=workload).snapshot) == {"c"}
    assert hosts(compiled(*MESH, mesh, wide, labelled).snapshot) == {"a", "b"}
    assert hosts(compiled(*MESH, mesh, labelled).snapshot) == {"d"}
    assert hosts(compiled(*MESH, sidecar(ours % "other", "four", "other")).snapshot) == {"a", "b", "c", "d"}
    young = sidecar(ours % "other", "young", more=", creationTimestamp: '2'")
    old = sidecar(ours % "istio-system", "old", more=", creationTimestamp: '1'")
    assert hosts(compiled(*MESH, young, old).snapshot) == {"d"}


def test_mesh_wide_sidecar_means_the_workloads_namespace(compiled: Compile) -> None:
    """`.` in the one of istio-system is each workload's own namespace."""
    mesh = sidecar("egress: [{hosts: [./*]}]", namespace="istio-system")
    assert hosts(compiled(*MESH, mesh, workload=Workload(namespace="other")).snapshot) == {"c"}


def test_hidden_services_stay_hidden(compiled: Compile) -> None:
    """What is not exported cannot be imported."""
    hidden = entry("x.y", "other", "1.1.1.1", ", exportTo: ['.']")
    assert hosts(compiled(hidden, sidecar("egress: [{hosts: ['*/*']}]")).snapshot) == set()


def test_outbound_traffic_policy(compiled: Compile) -> None:
    """An empty one means REGISTRY_ONLY; without egress everything is seen."""
    for words, wanted in (("{}", False), ("{mode: REGISTRY_ONLY}", False), ("{mode: ALLOW_ANY}", True)):
        snapshot = compiled(*MESH, sidecar(f"outboundTrafficPolicy: {words}")).snapshot
        assert snapshot.allow_any is wanted
        assert hosts(snapshot) == {"a", "b", "c", "d"}
    assert compiled(*MESH, sidecar("egress: [{hosts: [./*]}]")).snapshot.allow_any is None


def test_routes(compiled: Compile) -> None:
    """A VirtualService counts where one of its hosts is imported from its own namespace; where it leads is then reached, but only so."""
    route = virtual_service("[{route: [{destination: {host: c.other.svc.cluster.local}}]}]", hosts="[a.default.svc.cluster.local]")
    imported = compiled(*MESH, route, sidecar("egress: [{hosts: [./a.default.svc.cluster.local]}]")).snapshot
    assert hosts(imported) == {"a", "c"}
    assert imported.virtual_host(b"a.default.svc.cluster.local", 80) is not None
    assert imported.virtual_host(b"c.other.svc.cluster.local", 80) is None
    elsewhere = compiled(*MESH, route, sidecar("egress: [{hosts: [other/*]}]")).snapshot
    assert hosts(elsewhere) == {"c"}
    assert elsewhere.virtual_host(b"a.default.svc.cluster.local", 80) is None


def test_routes_of_wildcards(compiled: Compile) -> None:
    """A VirtualService for `*.x.y` may route `a.x.y`, and is seen with it."""
    route = virtual_service("[{directResponse: {status: 200}}]", hosts="['*.x.y']")
    snapshot = compiled(entry("a.x.y", "default", "1.1.1.1"), route, sidecar("egress: [{hosts: [./a.x.y]}]")).snapshot
    found = snapshot.virtual_host(b"a.x.y", 80)
    assert found is not None
    assert found.routes[0].answer is not None


def test_inferred_ports(compiled: Compile) -> None:
    """Of a destination that is only inferred those ports are seen that routes name."""
    two = service("e", ports="[{name: http-a, port: 80}, {name: http-b, port: 81}]")
    route = "[{route: [{destination: {host: e, port: {number: 81}}}]}]"
    narrow = sidecar("egress: [{hosts: [./a.default.svc.cluster.local]}]")
    snapshot = compiled(service("a"), two, virtual_service(route, hosts="[a]"), narrow).snapshot
    assert [name for name in snapshot.clusters if name.endswith("|e.default.svc.cluster.local")] == [
        "outbound|81||e.default.svc.cluster.local"
    ]
    for rule, seen in (("[{match: [{sourceNamespace: x}], ", False), ("[{match: [{sourceNamespace: default}], ", True)):
        text = virtual_service(rule + route.removeprefix("[{"), hosts="[a]")
        assert ("e" in hosts(compiled(service("a"), two, text, narrow).snapshot)) is seen


def test_one_host_in_several_namespaces(compiled: Compile) -> None:
    """The workload's own namespace counts, else the oldest; the others are told. A Sidecar may choose another one."""
    one, two = entry("x.y", "one", "1.1.1.1"), entry("x.y", "two", "2.2.2.2")

    def answers(*texts: str, workload: Workload | None = None) -> str:
        found = compiled(*texts, workload=workload)
        return found.snapshot.clusters["outbound|80||x.y"].endpoints[0].address

    assert answers(one, two) == "1.1.1.1"
    assert [problem.code for problem in compiled(one, two).problems] == ["DUPLICATE_HOST"]
    assert answers(one, two, workload=Workload(namespace="two")) == "2.2.2.2"
    assert answers(one, two, sidecar("egress: [{hosts: [two/*]}]")) == "2.2.2.2"
    assert answers(one, two.replace("STATIC", "STATIC, exportTo: [default]")) == "2.2.2.2"


def test_inbound_is_not_scoped(compiled: Compile) -> None:
    """A Service that the workload cannot call is served all the same."""
    ours = service("a").replace("spec: {", "spec: {selector: {app: a}, ")
    snapshot = compiled(ours, sidecar("egress: [{hosts: ['~/*']}]"), workload=Workload(labels={"app": "a"})).snapshot
    assert snapshot.inbound(80).service == "a.default.svc.cluster.local:80"


@pytest.mark.parametrize(
    ("pattern", "host", "covered", "common"),
    [
        ("a.b", "a.b", True, True), ("a.b", "x.b", False, False), ("*.b", "a.b", True, True), ("*.b", "b", False, False),
        ("*.b", "*.b", True, True), ("*.b", "*.a.b", True, True), ("*.a.b", "*.b", False, True), ("a.b", "*.b", False, True),
        ("*", "a", True, True), ("*", "*.a", True, True), ("*.a", "*", False, True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, host: str, covered: bool, common: bool) -> None:
    """A wildcard covers what ends like it, narrower wildcards too."""
    assert covers(pattern, host) is covered
    assert overlap(pattern, host) is overlap(host, pattern) is common


def test_inferred_by_other_rules(compiled: Compile) -> None:
    """tcp rules and HTTPRoutes of what is imported lead to services that are then reached, too, but have no listeners."""
    narrow = sidecar("egress: [{hosts: [./a.default.svc.cluster.local]}]")
    tcp = HEADER.format("VirtualService", "t", "default") + "{hosts: [a], tcp: [{route: [{destination: {host: b}}]}]}"
    assert hosts(compiled(*MESH, tcp, narrow).snapshot) == {"a", "b"}
    other = service("z", ports="[{name: tcp, port: 99}]")
    listeners = compiled(*MESH, other, tcp.replace("host: b", "host: z"), narrow).snapshot.listeners
    assert sorted(listeners.anywhere) == [80]
    route = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: PARENT}]
  rules: [{backendRefs: [{name: b, port: 80}]}]
"""
    assert hosts(compiled(*MESH, route.replace("PARENT", "a"), narrow).snapshot) == {"a", "b"}
    assert hosts(compiled(*MESH, route.replace("PARENT", "b"), narrow).snapshot) == {"a"}


def test_ingress(compiled: Compile) -> None:
    """The ports that a Sidecar names are served, and where it says; those of services are not, then."""
    ours = service("a").replace("spec: {", "spec: {selector: {app: a}, ")
    listens = "ingress: [{port: {number: 90, protocol: HTTP}, defaultEndpoint: '127.0.0.1:91'}, {port: {number: 92, protocol: TCP}}]"
    strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec: {mtls: {mode: STRICT}}"
    snapshot = compiled(ours, sidecar(listens, "narrow"), strict, workload=Workload(labels={"app": "a"})).snapshot
    assert snapshot.inbound(90) == InboundListener("http", "STRICT", "narrow.default:90", ("127.0.0.1", 91))
    assert snapshot.inbound(92) == InboundListener("tcp", "STRICT", "narrow.default:92")
    assert snapshot.inbound(80).service == ""


@pytest.mark.parametrize(
    ("hosts", "taken"),
    [("./*, other/*", "mine"), ("other/*", "theirs"), ("'*/c.other.svc.cluster.local'", "mine"), ("./a.x, other/*", "theirs")],
)
def test_http_routes(compiled: Compile, hosts: str, taken: str) -> None:
    """An HTTPRoute counts where the host of its Service is imported from the HTTPRoute's own namespace."""
    parent = '{group: "", kind: Service, name: c, namespace: other}'
    mine, theirs = (
        http_route(f"[{{name: {name}, backendRefs: [{{name: c, namespace: other, port: 80}}]}}]", parent, name, namespace)
        for name, namespace in (("mine", "default"), ("theirs", "other"))
    )
    snapshot = compiled(*MESH, mine, theirs, sidecar(f"egress: [{{hosts: [{hosts}]}}]")).snapshot
    found = snapshot.virtual_host(b"c.other", 80)
    assert found is not None and [route.name for route in found.routes] == [taken]


def test_aliases(compiled: Compile) -> None:
    """A service has the names that other Services give it where these are imported as well."""
    alias = service("e").replace("ports:", "type: ExternalName, externalName: a.default.svc.cluster.local, ports:")
    a = "./a.default.svc.cluster.local"
    for words, known in (("./*", True), ("'*/*'", True), (a, False), (f"'*/*', {a}", False)):
        snapshot = compiled(*MESH, alias, sidecar(f"egress: [{{hosts: [{words}]}}]")).snapshot
        assert (snapshot.virtual_host(b"e", 80) is not None) is known, words
        assert snapshot.virtual_host(b"a", 80) is not None
