"""Clusters: endpoints, limits, TLS."""

from collections.abc import Callable

import pytest

from meshcar.rules.policies import UpstreamTls
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
        ("{mode: SIMPLE}", UpstreamTls("SIMPLE", HOST)),
        (
            "{mode: MUTUAL, sni: x.y, subjectAltNames: [a, b], caCertificates: /ca, clientCertificate: /c, privateKey: /k}",
            UpstreamTls("MUTUAL", b"x.y", frozenset({"a", "b"}), "/ca", "/c", "/k"),
        ),
        ("{mode: SIMPLE, insecureSkipVerify: true}", UpstreamTls("SIMPLE", HOST, insecure_skip_verify=True)),
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
    assert (own.balance.policy, own.max_connections, own.endpoints[0].tls is None) == ("LEAST_REQUEST", 9, False)


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
