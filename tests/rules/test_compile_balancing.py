"""How clusters balance, and where endpoints stand."""

from typing import Any

import pytest

from meshcar.rules.balancing import Balancing, Cookie, HashOn, Warmup
from meshcar.rules.compile import compile_rules
from meshcar.rules.compile_balancing import Placing
from meshcar.rules.read import read
from meshcar.rules.registry import Instance
from meshcar.rules.schema_balancing import LoadBalancer
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload

NAME = "outbound|8000|{}|httpbin.default.svc.cluster.local"
HEADER = HashOn("header", b"x-user")


def rule(text: str, more: str = "") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: lb, creationTimestamp: "2020-01-01T00:00:00Z"}}
spec: {{host: httpbin, trafficPolicy: {{{text}}}{more}}}
"""


def virtual_service(routes: str) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin}}
spec: {{hosts: [httpbin], http: [{{name: r, {routes}}}]}}
"""


@pytest.fixture
def snapshot(mesh: str) -> Any:
    def compile_text(*texts: str) -> Snapshot:
        found = read("".join((mesh, *texts)), "a.yaml")
        assert not [one for one in found.problems if one.severity == "error"]
        return compile_rules(found.resources, Workload(), 1).snapshot

    return compile_text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("simple: UNSPECIFIED", Balancing()),
        ("simple: LEAST_CONN", Balancing()),
        ("simple: RANDOM", Balancing("RANDOM")),
        ("simple: PASSTHROUGH", Balancing("PASSTHROUGH")),
        ("consistentHash: {httpHeaderName: x-user}", Balancing("RING_HASH", 16384)),
        ("consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 100000}}", Balancing("RING_HASH", 100000)),
        ("consistentHash: {httpHeaderName: x-user, minimumRingSize: 20000}", Balancing("RING_HASH", 20000)),
        ("consistentHash: {useSourceIp: true, maglev: {tableSize: 101}}", Balancing("MAGLEV", 101, by_source=True)),
        ("warmup: {duration: 30s}", Balancing(warmup=Warmup(30.0))),
        ("warmupDurationSecs: 30s", Balancing(warmup=Warmup(30.0))),
        (
            "simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 20, aggression: 2}",
            Balancing("ROUND_ROBIN", warmup=Warmup(30.0, 0.2, 2.0)),
        ),
        ("simple: RANDOM, warmup: {duration: 30s}", Balancing("RANDOM")),
    ],
)
def test_policies(snapshot: Any, text: str, wanted: Balancing) -> None:
    """Each field in its place."""
    assert snapshot(rule(f"loadBalancer: {{{text}}}")).clusters[NAME.format("")].balance == wanted


def test_passthrough(snapshot: Any) -> None:
    """Somebody stands for endpoints that nobody declares, with the rule's TLS."""
    made = snapshot(rule("loadBalancer: {simple: PASSTHROUGH}, tls: {mode: SIMPLE, sni: x}")).clusters[NAME.format("")]
    assert made.elsewhere.tls.mode == "SIMPLE"
    assert snapshot().clusters[NAME.format("")].elsewhere is None


# -- what routes hash


def hashes(snapshot: Snapshot) -> tuple[HashOn, ...]:
    route = snapshot.virtual_host(b"httpbin:8000", 8000).routes[0]  # type: ignore[union-attr]
    return route.hashes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("httpHeaderName: X-User", (HEADER,)),
        ("httpQueryParameterName: q", (HashOn("query", b"q"),)),
        ("useSourceIp: true", (HashOn("source_ip"),)),
        ("useSourceIp: false", ()),
        ("httpCookie: {name: s}", (HashOn("cookie", b"s", Cookie()),)),
        (
            "httpCookie: {name: s, path: /a, ttl: 1.5s, attributes: [{name: A, value: b}, {name: C}]}",
            (HashOn("cookie", b"s", Cookie(b"/a", 1, ((b"A", b"b"), (b"C", b"")))),),
        ),
        ("maglev: {tableSize: 7}", ()),
    ],
)
def test_hash_of_a_service(snapshot: Any, text: str, wanted: tuple[HashOn, ...]) -> None:
    """Without a VirtualService the default route hashes; its tries stay at one endpoint."""
    made = snapshot(rule(f"loadBalancer: {{consistentHash: {{{text}}}}}"))
    assert hashes(made) == wanted
    assert made.virtual_host(b"httpbin", 8000).routes[0].retries.spread is not bool(wanted)


PORTS = "portLevelSettings: [{port: {number: 8000}, loadBalancer: {consistentHash: {httpHeaderName: x-port}}}]"
WIDE = "loadBalancer: {consistentHash: {httpHeaderName: x-user}}"
SUBSET = (
    ", subsets: [{name: s, labels: {version: v1}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-subset}}}},"
    " {name: t, labels: {version: v1}, trafficPolicy: {portLevelSettings: [{port: {number: 8000},"
    " loadBalancer: {consistentHash: {httpHeaderName: x-both}}}]}}]"
)


@pytest.mark.parametrize(
    ("destination", "name"),
    [
        ("{host: httpbin}", "x-user"),
        ("{host: httpbin, port: {number: 8000}}", "x-port"),
        ("{host: httpbin, subset: s}", "x-subset"),
        ("{host: httpbin, subset: s, port: {number: 8000}}", "x-subset"),
        ("{host: httpbin, subset: t}", "x-user"),
        ("{host: httpbin, subset: t, port: {number: 8000}}", "x-both"),
    ],
)
def test_hash_of_a_destination(snapshot: Any, destination: str, name: str) -> None:
    """A subset's port, a subset, a port, the host; a port counts only where the destination names it."""
    made = snapshot(rule(f"{WIDE}, {PORTS}", SUBSET), virtual_service(f"route: [{{destination: {destination}}}]"))
    assert hashes(made) == (HashOn("header", name.encode()),)


def test_hash_of_a_service_by_port(snapshot: Any) -> None:
    """The default route of a port looks at its settings, then at the host's."""
    assert hashes(snapshot(rule(f"{WIDE}, {PORTS}"))) == (HashOn("header", b"x-port"),)
    assert hashes(snapshot(rule(f"{WIDE}, {PORTS.replace('8000', '1')}"))) == (HEADER,)


def test_hashes_of_weighted_destinations(snapshot: Any) -> None:
    """All that have a weight count, whichever is chosen; further tries then spread, as with istiod."""
    routes = "route: [{destination: {host: httpbin}, weight: 1}, {destination: {host: httpbin, subset: s}, weight: 1}, WEIGHTLESS]"
    text = virtual_service(routes.replace("WEIGHTLESS", "{destination: {host: httpbin}, weight: 0}"))
    made = snapshot(rule(WIDE, SUBSET), text)
    assert hashes(made) == (HEADER, HashOn("header", b"x-subset"))
    assert made.virtual_host(b"httpbin", 8000).routes[0].retries.spread


@pytest.mark.parametrize(("retries", "spread"), [("attempts: 1", False), ("attempts: 1, retryIgnorePreviousHosts: true", True)])
def test_tries_of_a_hashed_route(snapshot: Any, retries: str, spread: bool) -> None:
    """They go to the same endpoint, unless the rule says that tried ones are to be avoided."""
    text = virtual_service(f"route: [{{destination: {{host: httpbin}}}}], retries: {{{retries}}}")
    assert snapshot(rule(WIDE), text).virtual_host(b"httpbin", 8000).routes[0].retries.spread is spread


@pytest.mark.parametrize(
    ("policy", "more", "subset", "by_source"),
    [
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", "", "", True),
        ("loadBalancer: {consistentHash: {httpHeaderName: a}}", "", "", False),
        ("portLevelSettings: [{port: {number: 8000}, loadBalancer: {consistentHash: {useSourceIp: true}}}]", "", "", False),
        (WIDE, SUBSET.replace("httpHeaderName: x-subset", "useSourceIp: true"), "s", True),
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", SUBSET, "s", False),
    ],
)
def test_opaque_connections(snapshot: Any, policy: str, more: str, subset: str, by_source: bool) -> None:
    """Only useSourceIp concerns them, of the host or the subset; settings of ports do not count, as with istiod."""
    assert snapshot(rule(policy, more)).clusters[NAME.format(subset)].balance.by_source is by_source


# -- where endpoints stand

LOCALITIES = ("r/z/s", "r/z/t", "r/y/s", "q/z/s", "p/z/s")


def placed(text: str, *, own: str = "r/z/s", labels: dict[str, str] | None = None, ejects: bool = True, who: Any = None) -> Any:
    """Priorities by locality (or by name), and the weights of localities."""
    spec = f"spec: {{host: a, trafficPolicy: {{loadBalancer: {{{text}}}}}}}"
    found = read(f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n{spec}", "a.yaml")
    lb: LoadBalancer = found.resources[0].spec.traffic_policy.load_balancer
    instances = who or [Instance(where, 80, "default", locality=where) for where in LOCALITIES]
    placing = Placing.of(Workload(labels={"istio-locality": own, **(labels or {})}), lambda one: None, ejects)
    endpoints, weights = placing.endpoints(instances, lb)
    return {one.address: one.priority for one in endpoints}, {(rank, name): weight for rank, name, weight in weights}


def test_nothing_fails_over_without_outlier_detection() -> None:
    """All are alike then, and also where locality balancing is switched off."""
    alike = dict.fromkeys(LOCALITIES, 0), {}
    assert placed("simple: RANDOM", ejects=False) == alike
    assert placed("localityLbSetting: {failover: [{from: r, to: q}]}", ejects=False) == alike
    assert placed("localityLbSetting: {enabled: false}") == alike
    assert placed("zoneAwareLbSetting: {enabled: false}") == alike


def test_by_distance() -> None:
    """With outlierDetection the nearest first, without a word about localities; whole priorities are balanced then."""
    assert placed("simple: RANDOM") == ({"r/z/s": 0, "r/z/t": 1, "r/y/s": 2, "q/z/s": 3, "p/z/s": 3}, {})
    assert placed("simple: RANDOM", own="q/x") == ({"r/z/s": 1, "r/z/t": 1, "r/y/s": 1, "q/z/s": 0, "p/z/s": 1}, {})
    assert placed("simple: RANDOM", own="elsewhere") == (dict.fromkeys(LOCALITIES, 0), {})


def test_failover() -> None:
    """A region that takes over stands before all others."""
    priorities, weights = placed("localityLbSetting: {failover: [{from: r, to: p}]}")
    assert priorities == {"r/z/s": 0, "r/z/t": 1, "r/y/s": 2, "p/z/s": 3, "q/z/s": 4}
    assert weights[0, "r/z/s"] == weights[3, "p/z/s"] == 1
    assert placed("localityLbSetting: {failover: [{from: q, to: p}]}")[0]["q/z/s"] == 3


def labelled(**labels: str) -> Instance:
    return Instance(",".join(f"{key}={value}" for key, value in labels.items()), 80, "default", labels)


WHO = [labelled(a="1", b="1"), labelled(a="1", b="2"), labelled(a="2", b="1"), labelled()]


@pytest.mark.parametrize(
    ("wanted", "priorities"),
    [
        ("[a, b]", [0, 1, 2, 2]),
        ("[b, a]", [0, 2, 1, 2]),
        ("['a=2']", [1, 1, 0, 1]),
        ("['b=2', a]", [1, 0, 1, 1]),
        ("[a]", [0, 0, 1, 1]),
        ("[c]", [0, 0, 0, 0]),
    ],
)
def test_failover_priority(wanted: str, priorities: list[int]) -> None:
    """By how many of the labels, from the first on, an endpoint shares with us, or with the values that are given."""
    found, _ = placed(f"localityLbSetting: {{failoverPriority: {wanted}}}", own="", labels={"a": "1", "b": "1"}, who=WHO)
    assert list(found.values()) == priorities


def test_failover_priority_by_place() -> None:
    """Topology labels are those of the localities."""
    labels = "topology.istio.io/network, topology.kubernetes.io/region, topology.kubernetes.io/zone"
    found, weights = placed(f"localityLbSetting: {{failoverPriority: [{labels}]}}")
    assert found == {"r/z/s": 0, "r/z/t": 0, "r/y/s": 1, "q/z/s": 2, "p/z/s": 2}
    assert weights == {(0, "r/z/s"): 1, (0, "r/z/t"): 1, (1, "r/y/s"): 1, (2, "q/z/s"): 1, (2, "p/z/s"): 1}


def test_networks_come_last() -> None:
    """Another network is worse than all that the other labels say, and those still order its endpoints."""
    key = "topology.istio.io/network"
    who = [Instance(f"{net}{a}", 80, "default", {key: net, "a": a}) for net in ("x", "y") for a in ("1", "2")]
    found, _ = placed(f"localityLbSetting: {{failoverPriority: [{key}, a]}}", own="", labels={key: "x", "a": "1"}, who=who)
    assert found == {"x1": 0, "x2": 1, "y1": 2, "y2": 3}


def test_labels_then_regions() -> None:
    """failoverPriority and failover together: labels first, then places."""
    who = [Instance(f"{region}{a}", 80, "default", {"a": a}, locality=region) for region in ("r", "q") for a in ("1", "2")]
    text = "localityLbSetting: {failoverPriority: [a], failover: [{from: r, to: q}]}"
    assert placed(text, own="r", labels={"a": "1"}, who=who)[0] == {"r1": 0, "q1": 1, "r2": 2, "q2": 3}


def test_distribute() -> None:
    """Shares of localities, with or without outlierDetection; who is in none is left out; several in one pattern share by weight."""
    text = "localityLbSetting: {distribute: [{from: q, to: {q: 100}}, {from: r/z/*, to: {r/z/*: 70, r/y: 20, q/*: 10}}]}"
    for ejects in (True, False):
        priorities, weights = placed(text, ejects=ejects)
        assert priorities == {"r/z/s": 0, "r/z/t": 0, "r/y/s": 0, "q/z/s": 0}
        assert weights == {(0, "r/z/s"): 35, (0, "r/z/t"): 35, (0, "r/y/s"): 20, (0, "q/z/s"): 10}
    who = [Instance("a", 80, "default", locality="r/z/s", weight=3), Instance("b", 80, "default", locality="r/z/t")]
    assert placed(text, who=who)[1] == {(0, "r/z/s"): 53, (0, "r/z/t"): 18}


def test_distribute_from_elsewhere() -> None:
    """Where nothing is said of our locality, localities weigh what their endpoints do."""
    priorities, weights = placed("localityLbSetting: {distribute: [{from: x, to: {r: 100}}]}")
    assert priorities == dict.fromkeys(LOCALITIES, 0) and set(weights.values()) == {1}


def test_zone_aware() -> None:
    """The own region, then the one that takes over, then all others; whatever the outlierDetection."""
    text = "zoneAwareLbSetting: {failover: [{from: r, to: p}]}"
    assert placed(text, ejects=False) == ({"r/z/s": 0, "r/z/t": 0, "r/y/s": 0, "p/z/s": 1, "q/z/s": 2}, {})


@pytest.mark.parametrize(
    ("header", "spec", "near"),
    [
        ("", "trafficDistribution: PreferClose", True),
        ("", "trafficDistribution: PreferSameZone", True),
        ("", "trafficDistribution: PreferSameNode", True),
        (", annotations: {networking.istio.io/traffic-distribution: preferclose}", "type: ClusterIP", True),
        (", annotations: {networking.istio.io/traffic-distribution: Any}", "type: ClusterIP", False),
        ("", "type: ClusterIP", False),
    ],
)
@pytest.mark.parametrize(("rules", "counts"), [("", True), (rule("loadBalancer: {localityLbSetting: {enabled: false}}"), False)])
def test_a_service_prefers_near_endpoints(header: str, spec: str, near: bool, rules: str, counts: bool) -> None:
    """Without outlierDetection too; what a DestinationRule says of localities goes before that."""
    entries = "".join(
        f"---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{index}}}\n"
        f"spec: {{address: 10.0.0.{index}, labels: {{app: httpbin}}, locality: {place}}}\n"
        for index, place in enumerate(("r/z/s", "r/y", "q/z"))
    )
    service = (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: httpbin{header}}}\n"
        f"spec: {{selector: {{app: httpbin}}, ports: [{{name: http, port: 8000}}], {spec}}}\n"
    )
    found = read(service + entries + rules, "a.yaml")
    made = compile_rules(found.resources, Workload(labels={"istio-locality": "r.z.s"}), 1).snapshot.clusters[NAME.format("")]
    assert [one.priority for one in made.endpoints] == ([0, 1, 2] if near and counts else [0, 0, 0])
    assert bool(made.balance.localities) is (near and counts)
