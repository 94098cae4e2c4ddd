"""Resources become one snapshot: who is reached under which name, and what listens where."""

import pytest

from meshcar.rules.snapshot import InboundListener, Snapshot
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile, virtual_service

NAME = "httpbin.default.svc.cluster.local"
TO = "[{name: NAME, route: [{destination: {host: httpbin}}]}]"


def route_name(snapshot: Snapshot, authority: str, port: int = 8000) -> str | None:
    """The name of the first route of an authority."""
    host = snapshot.virtual_host(authority.encode(), port)
    return host.routes[0].name if host else None


@pytest.mark.parametrize(
    "authority",
    [
        "httpbin", "httpbin:8000", "HTTPBIN:8000", "httpbin.default", "httpbin.default.svc", NAME, f"{NAME}:8000", "httpbin:9",
        "10.96.0.100", "10.96.0.100:8000", "Httpbin.Default", f"{NAME}.", f"{NAME}.:8000",
    ],
)
def test_names(compiled: Compile, mesh: str, authority: str) -> None:
    """A service is known by all its names and its address, in any case, whatever port stands behind."""
    host = compiled(mesh).snapshot.virtual_host(authority.encode(), 8000)
    assert host is not None and host.name == f"{NAME}:8000"
    (route,) = host.routes
    assert (route.name, route.clusters[0].cluster) == ("default", f"outbound|8000||{NAME}")


@pytest.mark.parametrize(
    "authority",
    [
        "httpbin.", "httpbin.default.", f"{NAME}..", "u@httpbin", "httpbin.other", "other", "", ":8000", "10.96.0.101",
        "httpbin:8000:8000",
    ],
)
def test_strangers(compiled: Compile, mesh: str, authority: str) -> None:
    """A dot behind a short name, or userinfo, makes another host."""
    assert compiled(mesh).snapshot.virtual_host(authority.encode(), 8000) is None


def test_rules_for_names_with_a_dot_at_their_end(compiled: Compile) -> None:
    """They are for requests that write the dot, and for no others, as with Envoy."""
    rule = virtual_service("[{name: NAME, directResponse: {status: 200}}]", "[www.a.example., '*.b.example.']")
    snapshot = compiled(rule).snapshot
    assert [route_name(snapshot, name, 80) for name in ("www.a.example.", "WWW.a.example.:80", "x.b.example.")] == ["NAME"] * 3
    assert [snapshot.virtual_host(name, 80) for name in (b"www.a.example", b"x.b.example", b"b.example.")] == [None] * 3


def test_wildcards_for_a_part_of_a_label(compiled: Compile) -> None:
    """Stand for at least one character; of several wildcards, of whatever kind, the longest counts, and a whole name before them all."""
    named = {"'*-api.example.com'": "dash", "'*pi.example.com'": "part", "'*.example.com'": "whole", "exact-api.example.com": "exact"}
    rules = [virtual_service(f"[{{name: {name}, directResponse: {{status: 200}}}}]", f"[{host}]", name) for host, name in named.items()]
    snapshot = compiled(*rules).snapshot
    hosts = {
        "v1-api.example.com": "dash", "V1-API.example.com:80": "dash", "api.example.com": "part", "a.v1-api.example.com": "dash",
        "exact-api.example.com": "exact", "other.example.com": "whole", "x.pi.example.com": "part",
    }  # fmt: skip
    assert {host: route_name(snapshot, host, 80) for host in hosts} == hosts
    assert snapshot.virtual_host(b"-api.example.co", 80) is None
    assert route_name(snapshot, "pi.example.com", 80) == "whole"
    assert route_name(snapshot, "-api.example.com", 80) == "part"


def test_a_partial_wildcard_means_services(compiled: Compile) -> None:
    """Services that it covers are routed by it on their ports, unless a rule with a longer wildcard covers them."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{name: http, port: 8000}]}"
    hosts = {"'*api.default.svc.cluster.local'": "part", "'*.default.svc.cluster.local'": "whole"}
    rules = [virtual_service(f"[{{name: {name}, directResponse: {{status: 200}}}}]", f"[{host}]", name) for host, name in hosts.items()]
    snapshot = compiled(service % "my-api", service % "api", service % "web", *rules).snapshot
    assert [route_name(snapshot, name) for name in ("my-api", "api", "web")] == ["part", "part", "whole"]


def test_other_port(compiled: Compile, mesh: str) -> None:
    """A service is not known on ports that it does not have."""
    assert compiled(mesh).snapshot.virtual_host(b"httpbin", 8001) is None


def test_namespaces(compiled: Compile, mesh: str) -> None:
    """The first label alone means a service only in the workload's own namespace."""
    snapshot = compiled(mesh, workload=Workload(namespace="other")).snapshot
    assert snapshot.virtual_host(b"httpbin", 8000) is None
    assert snapshot.virtual_host(b"httpbin.default", 8000) is not None


def test_virtual_service_routes_all_names(compiled: Compile, mesh: str) -> None:
    """Whatever the client calls the service."""
    snapshot = compiled(mesh, virtual_service(TO)).snapshot
    assert {route_name(snapshot, name) for name in ("httpbin:8000", NAME, "10.96.0.100")} == {"NAME"}


def test_ipv6(compiled: Compile) -> None:
    """An IPv6 address stands in brackets."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 'fd00::1', ports: [{name: http, port: 80}]}"
    snapshot = compiled(service).snapshot
    assert route_name(snapshot, "[fd00::1]", 80) == route_name(snapshot, "[fd00::1]:80", 80) == "default"


def test_same_resource_twice(compiled: Compile, mesh: str) -> None:
    """Is an error that tells where the first one stands."""
    problems = compiled(mesh, mesh).problems
    assert {problem.code for problem in problems if problem.severity == "error"} == {"DUPLICATE_RESOURCE"}
    assert problems[0].message == "Service/default/httpbin stands in rules.yaml:2 already"


def test_inbound(compiled: Compile, mesh: str) -> None:
    """Own ports by the services that select this workload, modes by PeerAuthentication; others are sniffed."""
    peers = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: x}
spec: {selector: {matchLabels: {app: httpbin}}, mtls: {mode: DISABLE}, portLevelMtls: {80: {mode: STRICT}, 90: {mode: PERMISSIVE}}}
"""
    own = Workload(labels={"app": "httpbin"}, default_mtls="STRICT")
    snapshot = compiled(mesh, peers, workload=own).snapshot
    service = f"{NAME}:8000"
    assert snapshot.inbound(80) == InboundListener("http", "STRICT", service)
    assert snapshot.inbound(90) == InboundListener("auto", "PERMISSIVE")
    assert snapshot.inbound(91) == InboundListener("auto", "DISABLE")
    assert compiled(mesh, workload=own).snapshot.inbound(80) == InboundListener("http", "STRICT", service)
    assert compiled(mesh, workload=Workload()).snapshot.inbound(80) == InboundListener("auto", "PERMISSIVE")


def test_nothing(compiled: Compile) -> None:
    """No rules are rules, too."""
    snapshot = compiled("").snapshot
    assert (snapshot.clusters, snapshot.listeners.get("1.1.1.1", 1), snapshot.virtual_host(b"a", 1)) == ({}, None, None)
