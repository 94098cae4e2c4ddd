"""Clusters: endpoints, limits, TLS."""

from collections.abc import Callable

import pytest

from meshcar.rules.policies import Keepalive, OutlierPolicy, RetryBudget, UpstreamTls
from meshcar.rules.snapshot import ClusterConfig
from tests.rules.conftest import Compile

NAME = "outbound|8000|{}|httpbin.default.svc.cluster.local"
HOST = b"httpbin.default.svc.cluster.local"
Find = Callable[..., ClusterConfig]
ID = "spiffe://cluster.local/ns/default/sa/"


def rule(policy: str, more: str = "", name: str = "extra", host: str = "httpbin", namespace: str = "default") -> str:
    """A DestinationRule of its own with a traffic policy."""
    metadata = f"{{name: {name}, namespace: {namespace}}}"
    spec = f"{{host: {host}, trafficPolicy: {{{policy}}}{more}}}"
    return f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {metadata}\nspec: {spec}"


@pytest.fixture
def cluster(compiled: Compile, mesh: str) -> Find:
    """A cluster of httpbin, by subset, with more documents around it."""

    def find(subset: str, *texts: str) -> ClusterConfig:
        found: ClusterConfig = compiled(mesh, *texts).snapshot.clusters[NAME.format(subset)]
        return found

    return find


def test_endpoints(cluster: Find) -> None:
    """The service's workloads, and of a subset those with its labels, on the target port."""
    assert [(one.address, one.port) for one in cluster("").endpoints] == [("10.44.0.11", 80), ("10.44.0.12", 80)]
    assert [one.address for one in cluster("v2").endpoints] == ["10.44.0.12"]
    assert (cluster("v1").destination.subset, cluster("v1").destination.port) == ("v1", 8000)


def test_automatic_mtls(cluster: Find) -> None:
    """Who has a sidecar is spoken to by mTLS and must be its own service account; others get plaintext."""
    first, second = cluster("").endpoints
    sni = b"outbound_.8000_._.httpbin.default.svc.cluster.local"
    assert first.tls == UpstreamTls("ISTIO_MUTUAL", sni, frozenset({ID + "one"}))
    assert second.tls is None
    assert cluster("v1").endpoints[0].tls.sni == b"outbound_.8000_.v1_.httpbin.default.svc.cluster.local"


def test_peer_authentication_disables(cluster: Find) -> None:
    """An endpoint whose own port takes no mTLS is spoken to in plaintext."""
    text = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: x}
spec: {selector: {matchLabels: {version: v1}}, portLevelMtls: {PORT: {mode: DISABLE}}}
"""
    assert cluster("v1", text.replace("PORT", "80")).endpoints[0].tls is None
    assert cluster("v1", text.replace("PORT", "81")).endpoints[0].tls is not None


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        ("{mode: DISABLE}", None),
        ("{mode: SIMPLE}", UpstreamTls("SIMPLE", HOST, name=HOST.decode(), by_host=True, named=True)),
        ("{mode: SIMPLE, sni: x.y, caCertificates: system}", UpstreamTls("SIMPLE", b"x.y")),
        (
            "{mode: SIMPLE, subjectAltNames: [a], caCrl: /r}",
            UpstreamTls("SIMPLE", HOST, frozenset({"a"}), crl_file="/r", by_host=True),
        ),
        (
            "{mode: MUTUAL, sni: x.y, subjectAltNames: [a, b], caCertificates: /ca, clientCertificate: /c, privateKey: /k}",
            UpstreamTls("MUTUAL", b"x.y", frozenset({"a", "b"}), "/ca", "/c", "/k"),
        ),
        ("{mode: SIMPLE, insecureSkipVerify: true}", UpstreamTls("SIMPLE", HOST, insecure_skip_verify=True, by_host=True)),
        (
            "{mode: ISTIO_MUTUAL}",
            UpstreamTls("ISTIO_MUTUAL", b"outbound_.8000_.v2_.httpbin.default.svc.cluster.local"),
        ),
        ("{mode: ISTIO_MUTUAL, sni: s, subjectAltNames: [spiffe://x/y]}", UpstreamTls("ISTIO_MUTUAL", b"s", frozenset({"spiffe://x/y"}))),
    ],
)
def test_tls(cluster: Find, tls: str, wanted: UpstreamTls | None) -> None:
    """What a DestinationRule says holds for every endpoint, with a sidecar or without."""
    assert cluster("v2", rule(f"tls: {tls}")).endpoints[0].tls == wanted


def test_unknown_account(compiled: Compile) -> None:
    """An endpoint without a pod may be anybody of the trust domain."""
    text = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: a}
subsets: [{addresses: [{ip: 1.1.1.1}], ports: [{name: http, port: 80}]}]
"""
    found = compiled(text, rule("tls: {mode: ISTIO_MUTUAL}", host="a")).snapshot.clusters["outbound|80||a.default.svc.cluster.local"]
    assert found.endpoints[0].tls.identities == frozenset()


def test_limits(cluster: Find) -> None:
    """Every limit by its own name; 0 is none."""
    http = "{http1MaxPendingRequests: 3, http2MaxRequests: 4, maxRequestsPerConnection: 5, maxRetries: 6}"
    pool = f"{{tcp: {{maxConnections: 1, connectTimeout: 2s}}, http: {http}}}"
    made = cluster("v1", rule(f"connectionPool: {pool}, loadBalancer: {{simple: ROUND_ROBIN}}"))
    limits = (made.max_connections, made.connect_timeout, made.max_pending_requests, made.max_requests, made.max_requests_per_connection)
    assert (*limits, made.max_retries, made.balance.policy) == (1, 2.0, 3, 4, 5, 6, "ROUND_ROBIN")
    plain = cluster("v1")
    assert (plain.max_connections, plain.connect_timeout, plain.max_requests, plain.balance.policy) == (None, 10.0, None, "LEAST_REQUEST")


def test_subset_over_host(cluster: Find) -> None:
    """A subset's settings replace the host's one by one; a port's all of them."""
    subset = ", subsets: [{name: s, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]"
    of_port = "portLevelSettings: [{port: {number: PORT}, connectionPool: {tcp: {maxConnections: 9}}}]"
    wide = f"loadBalancer: {{simple: ROUND_ROBIN}}, tls: {{mode: DISABLE}}, {of_port}"
    made = cluster("s", rule(wide.replace("PORT", "1"), subset))
    assert (made.balance.policy, made.endpoints[0].tls) == ("RANDOM", None)
    assert cluster("", rule(wide.replace("PORT", "1"), subset)).balance.policy == "ROUND_ROBIN"
    own = cluster("s", rule(wide.replace("PORT", "8000"), subset))
    assert (own.balance.policy, own.max_connections, own.endpoints[0].tls is None) == ("RANDOM", 9, False)
    assert cluster("", rule(wide.replace("PORT", "8000"), subset)).balance.policy == "LEAST_REQUEST"


def test_port_of_subset(cluster: Find) -> None:
    """A port's settings in a subset replace all four that a port can have, but not the retry budget and the PROXY header."""
    of_port = "portLevelSettings: [{port: {number: 8000}, connectionPool: {tcp: {maxConnections: 9}}}]"
    subset = f", subsets: [{{name: s, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}, {of_port}}}}}]"
    wide = "loadBalancer: {simple: ROUND_ROBIN}, tls: {mode: DISABLE}, outlierDetection: {}, retryBudget: {percent: 5}, proxyProtocol: {}"
    made = cluster("s", rule(wide, subset))
    assert (made.balance.policy, made.max_connections, made.outliers, made.endpoints[0].tls is None) == ("LEAST_REQUEST", 9, None, False)
    assert (made.retry_budget, made.proxy_protocol) == (RetryBudget(5.0, 3), "V1")
    assert cluster("", rule(wide, subset)).outliers == OutlierPolicy()


def test_pool(cluster: Find) -> None:
    """Time limits and keepalive; HTTP's idle timeout is TCP's where it has none, and 0 is none."""
    tcp = "{idleTimeout: 2s, maxConnectionDuration: 3s, tcpKeepalive: {probes: 4, time: 5500ms, interval: 1ms}}"
    made = cluster("", rule(f"connectionPool: {{tcp: {tcp}}}"))
    assert (made.idle_timeout, made.relay_idle_timeout, made.max_connection_duration, made.relay_max_duration) == (2.0, 2.0, 3.0, 3.0)
    assert made.keepalive == Keepalive(4, 5, 1)
    made = cluster("", rule("connectionPool: {tcp: {idleTimeout: 0s, tcpKeepalive: {}}, http: {idleTimeout: 7s}}"))
    assert (made.idle_timeout, made.relay_idle_timeout, made.keepalive) == (7.0, None, Keepalive())
    plain = cluster("")
    assert (plain.idle_timeout, plain.relay_idle_timeout, plain.max_connection_duration, plain.keepalive) == (3600.0, 3600.0, None, None)


def test_relay_limits_are_the_hosts(cluster: Find) -> None:
    """Opaque connections have the time limits of the host's own policy, whatever a subset or a port says, as in Istio."""
    pool = "connectionPool: {tcp: {idleTimeout: SECONDS}}"
    subset = f", subsets: [{{name: s, trafficPolicy: {{{pool.replace('SECONDS', '9s')}}}}}]"
    made = cluster("s", rule(pool.replace("SECONDS", "2s"), subset))
    assert (made.idle_timeout, made.relay_idle_timeout) == (9.0, 2.0)
    of_port = f"portLevelSettings: [{{port: {{number: 8000}}, {pool.replace('SECONDS', '9s')}}}]"
    made = cluster("", rule(of_port))
    assert (made.idle_timeout, made.relay_idle_timeout) == (9.0, 3600.0)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("{}", OutlierPolicy()),
        ("{consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}", OutlierPolicy(errors=0, gateway_errors=3)),
        ("{splitExternalLocalOriginErrors: true}", OutlierPolicy(local_failures=5)),
        ("{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}", OutlierPolicy(local_failures=2)),
        (
            "{interval: 1s, baseEjectionTime: 2m, maxEjectionPercent: 100, minHealthPercent: 50, outlierDetectionHttpErrorCodes: [429]}",
            OutlierPolicy(interval=1.0, ejection=120.0, max_percent=100, statuses=frozenset({429})),
        ),
    ],
)
def test_outliers(cluster: Find, given: str, wanted: OutlierPolicy) -> None:
    """What is not given is as Istio and Envoy have it."""
    assert cluster("", rule(f"outlierDetection: {given}")).outliers == wanted


def test_several_rules(cluster: Find) -> None:
    """Rules for one host add up; the first traffic policy and the first subset of a name count."""
    first = rule("loadBalancer: {simple: RANDOM}", ", subsets: [{name: v1, labels: {version: none}}, {name: s}]")
    second = rule("loadBalancer: {simple: ROUND_ROBIN}", name="later")
    assert cluster("", first, second).balance.policy == "RANDOM"
    assert len(cluster("v1", first).endpoints) == 1
    assert len(cluster("s", first).endpoints) == 2


def test_whose_rule(cluster: Find) -> None:
    """Rules of third namespaces do not count."""
    other = rule("loadBalancer: {simple: RANDOM}", host=HOST.decode(), namespace="other")
    assert cluster("", other).balance.policy == "LEAST_REQUEST"


def test_root_rule(compiled: Compile) -> None:
    """A rule of the root namespace for `*` holds where nothing nearer does."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}"
    text = rule("loadBalancer: {simple: RANDOM}", host="'*'", namespace="istio-system")
    wide = rule("loadBalancer: {simple: ROUND_ROBIN}", host="'*.svc.cluster.local'")
    name = "outbound|80||a.default.svc.cluster.local"
    assert compiled(service, text).snapshot.clusters[name].balance.policy == "RANDOM"
    assert compiled(service, text, wide).snapshot.clusters[name].balance.policy == "ROUND_ROBIN"


def test_equal_values(compiled: Compile, mesh: str) -> None:
    """Compiling the same twice gives equal clusters, so that nothing need be made anew."""
    assert compiled(mesh).snapshot.clusters == compiled(mesh).snapshot.clusters


def entry(resolution: str, more: str = "", host: str = "a.example", ports: str = "{number: 80, name: http, protocol: HTTP}") -> str:
    """A ServiceEntry for one host."""
    header = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x}\n"
    return f"{header}spec: {{hosts: ['{host}'], resolution: {resolution}, ports: [{ports}]{more}}}"


@pytest.mark.parametrize(
    ("resolution", "more", "discovery", "addresses", "passes"),
    [
        ("STATIC", ", endpoints: [{address: 1.1.1.1}]", "STATIC", ["1.1.1.1"], False),
        ("DNS", "", "STRICT_DNS", ["a.example"], False),
        ("DNS_ROUND_ROBIN", ", endpoints: [{address: b.example}]", "LOGICAL_DNS", ["b.example"], False),
        ("NONE", "", "STATIC", [], True),
    ],
)
def test_resolution(compiled: Compile, resolution: str, more: str, discovery: str, addresses: list[str], passes: bool) -> None:
    """How the endpoints of a ServiceEntry are found."""
    made = compiled(entry(resolution, more)).snapshot.clusters["outbound|80||a.example"]
    assert (made.discovery, [one.address for one in made.endpoints], made.elsewhere is not None) == (discovery, addresses, passes)


def test_each_request_resolved(compiled: Compile) -> None:
    """DYNAMIC_DNS has no endpoints, and goes where the Host leads."""
    made = compiled(entry("DYNAMIC_DNS", host="*.example")).snapshot.clusters["outbound|80||*.example"]
    assert (made.discovery, made.endpoints) == ("DYNAMIC_DNS", ())
    assert made.elsewhere is not None


def test_original_port_and_tls(compiled: Compile) -> None:
    """With resolution NONE the targetPort stands in for the port, and a DestinationRule says what TLS is spoken."""
    text = entry("NONE", ports="{number: 80, name: http, protocol: HTTP, targetPort: 443}")
    elsewhere = compiled(text, rule("tls: {mode: SIMPLE}", host="a.example")).snapshot.clusters["outbound|80||a.example"].elsewhere
    assert elsewhere is not None
    assert elsewhere.tls is not None
    assert (elsewhere.port, elsewhere.tls.mode, elsewhere.tls.sni) == (443, "SIMPLE", b"a.example")


def test_pass_through_by_name(compiled: Compile) -> None:
    """A DestinationRule that passes through needs no names."""
    made = compiled(entry("DNS"), rule("loadBalancer: {simple: PASSTHROUGH}", host="a.example")).snapshot.clusters["outbound|80||a.example"]
    assert (made.discovery, made.endpoints) == ("STATIC", ())


def test_headless(compiled: Compile) -> None:
    """A headless Service's pods are known, and meant by their addresses."""
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None, ports: [{name: http, port: 80, targetPort: 81}]}"
    listed = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\n"
    listed += "subsets: [{addresses: [{ip: 1.1.1.1}], ports: [{name: http, port: 81}]}]"
    made = compiled(text, listed).snapshot.clusters["outbound|80||a.default.svc.cluster.local"]
    assert [one.port for one in made.endpoints] == [81]
    assert made.elsewhere is not None
    assert made.elsewhere.port == 0


@pytest.mark.parametrize(("location", "mesh"), [("MESH_INTERNAL", True), ("MESH_EXTERNAL", False)])
def test_location(compiled: Compile, location: str, mesh: bool) -> None:
    """Who is outside of the mesh is not spoken to by mTLS of its own accord; a DestinationRule may say so."""
    labels = "labels: {security.istio.io/tlsMode: istio}, serviceAccount: one"
    text = entry("STATIC", f", location: {location}, subjectAltNames: [spiffe://x/y], endpoints: [{{address: 1.1.1.1, {labels}}}]")
    (one,) = compiled(text).snapshot.clusters["outbound|80||a.example"].endpoints
    assert (one.tls is not None) is mesh
    mutual = rule("tls: {mode: ISTIO_MUTUAL}", host="a.example")
    (one,) = compiled(text, mutual).snapshot.clusters["outbound|80||a.example"].endpoints
    assert one.tls is not None
    assert one.tls.identities == {"spiffe://x/y", ID + "one"}
