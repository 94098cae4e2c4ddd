"""loadBalancer: what is accepted, and what is said of the rest."""

import pytest

from meshcar.rules.read import read

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, trafficPolicy: {loadBalancer: LB}}
"""
START = "spec.trafficPolicy.loadBalancer"


def problems(text: str) -> list[tuple[str, str]]:
    """Codes, and paths below loadBalancer."""
    return [(one.code, one.path.removeprefix(START).lstrip(".")) for one in read(RULE.replace("LB", text), "a.yaml").problems]


HASH = "{consistentHash: {%s}}"
COOKIE = HASH % "httpCookie: {%s}"
PLACE = "{localityLbSetting: {%s}}"
ZONES = "{zoneAwareLbSetting: {%s}}"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        *(f"{{simple: {word}}}" for word in ("UNSPECIFIED", "LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH")),
        "{consistentHash: {}}",
        HASH % "httpHeaderName: X-User",
        HASH % "useSourceIp: true",
        HASH % "useSourceIp: false",
        HASH % "httpQueryParameterName: q",
        HASH % "maglev: {tableSize: 65537}",
        HASH % "maglev: {tableSize: 2}",
        HASH % "httpHeaderName: a, maglev: {tableSize: 4999999}",
        HASH % "httpHeaderName: a, ringHash: {}",
        HASH % "httpHeaderName: a, ringHash: {minimumRingSize: 8388608}",
        COOKIE % "name: s",
        COOKIE % "name: s, ttl: 0s, path: /a",
        COOKIE % "name: s, ttl: 1h, attributes: [{name: SameSite, value: Strict}, {name: Secure}]",
        "{simple: ROUND_ROBIN, warmup: {duration: 30s}}",
        "{warmup: {duration: 30s, minimumPercent: 0, aggression: 0.1}}",
        "{warmup: {duration: 30s, minimumPercent: 100.0, aggression: 7}}",
        "{localityLbSetting: {}}",
        PLACE % "enabled: false",
        PLACE % "distribute: [{from: r/*, to: {r/z1/*: 80, r/z2: 20}}, {from: s/z, to: {'*': 100}}]",
        "{zoneAwareLbSetting: {enabled: false}}",
    ],
)
def test_accepted(text: str) -> None:
    """No word about any of these."""
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("{simple: LEAST_CONN}", "DEPRECATED", "simple"),
        ("{simple: FASTEST}", "INVALID_VALUE", "simple"),
        ("{simple: RANDOM, consistentHash: {}}", "CONFLICT", "consistentHash"),
        (HASH % "httpHeaderName: a, useSourceIp: false", "CONFLICT", "consistentHash.useSourceIp"),
        (HASH % "httpHeaderName: 'a b'", "INVALID_VALUE", "consistentHash.httpHeaderName"),
        (HASH % "httpQueryParameterName: ''", "INVALID_VALUE", "consistentHash.httpQueryParameterName"),
        (HASH % "ringHash: {}, maglev: {tableSize: 7}", "CONFLICT", "consistentHash.maglev"),
        (HASH % "ringHash: {minimumRingSize: 8388609}", "INVALID_VALUE", "consistentHash.ringHash.minimumRingSize"),
        (HASH % "ringHash: {minimumRingSize: -1}", "INVALID_VALUE", "consistentHash.ringHash.minimumRingSize"),
        (HASH % "minimumRingSize: 1024", "DEPRECATED", "consistentHash.minimumRingSize"),
        (HASH % "maglev: {}", "REQUIRED", "consistentHash.maglev.tableSize"),
        (HASH % "maglev: {tableSize: 0}", "REQUIRED", "consistentHash.maglev.tableSize"),
        (HASH % "maglev: {tableSize: 1000}", "INVALID_VALUE", "consistentHash.maglev.tableSize"),
        (HASH % "maglev: {tableSize: 25}", "INVALID_VALUE", "consistentHash.maglev.tableSize"),
        (HASH % "maglev: {tableSize: 5000011}", "INVALID_VALUE", "consistentHash.maglev.tableSize"),
        (COOKIE % "ttl: 1s", "REQUIRED", "consistentHash.httpCookie.name"),
        (COOKIE % "name: ''", "REQUIRED", "consistentHash.httpCookie.name"),
        (COOKIE % "name: 'a;b'", "INVALID_VALUE", "consistentHash.httpCookie.name"),
        (COOKIE % "name: s, path: '/;x'", "INVALID_VALUE", "consistentHash.httpCookie.path"),
        (COOKIE % "name: s, ttl: -1s", "INVALID_VALUE", "consistentHash.httpCookie.ttl"),
        (COOKIE % "name: s, attributes: [{value: a}]", "REQUIRED", "consistentHash.httpCookie.attributes[0].name"),
        (COOKIE % "name: s, attributes: [{name: ''}]", "REQUIRED", "consistentHash.httpCookie.attributes[0].name"),
        (
            COOKIE % "name: s, attributes: [{name: A}, {name: A, value: x}]",
            "INVALID_VALUE",
            "consistentHash.httpCookie.attributes[1].name",
        ),
        ("{warmup: {minimumPercent: 5}}", "REQUIRED", "warmup.duration"),
        ("{warmup: {duration: 0s}}", "INVALID_VALUE", "warmup.duration"),
        ("{warmup: {duration: 1.0005s}}", "INVALID_VALUE", "warmup.duration"),
        ("{warmupDurationSecs: 0s}", "INVALID_VALUE", "warmupDurationSecs"),
        ("{warmup: {duration: 1s, minimumPercent: 150}}", "INVALID_VALUE", "warmup.minimumPercent"),
        ("{warmup: {duration: 1s, minimumPercent: -1}}", "INVALID_VALUE", "warmup.minimumPercent"),
        ("{warmup: {duration: 1s, aggression: 0}}", "INVALID_VALUE", "warmup.aggression"),
        ("{warmup: {duration: 1s, aggression: -0.1}}", "INVALID_VALUE", "warmup.aggression"),
        ("{warmup: {duration: 1s, aggression: fast}}", "WRONG_TYPE", "warmup.aggression"),
        ("{warmupDurationSecs: 1s}", "DEPRECATED", "warmupDurationSecs"),
        ("{simple: RANDOM, warmup: {duration: 1s}}", "NO_EFFECT", "warmup"),
        ("{consistentHash: {useSourceIp: true}, warmup: {duration: 1s}}", "NO_EFFECT", "warmup"),
        ("{localityLbSetting: {}, zoneAwareLbSetting: {enabled: false}}", "CONFLICT", "zoneAwareLbSetting"),
        (PLACE % "distribute: [{from: a, to: {b: 99}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].to"),
        (PLACE % "distribute: [{from: a, to: {b: 0, c: 100}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].to.b"),
        (PLACE % "distribute: [{from: a, to: {b: 101}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].to.b"),
        (PLACE % "distribute: [{from: a, to: {}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].to"),
        (PLACE % "distribute: [{from: a, to: {b: 50, b/*: 50}}]", "INVALID_VALUE", 'localityLbSetting.distribute[0].to["b/*"]'),
        (PLACE % "distribute: [{from: a/*/c, to: {b: 100}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].from"),
        (PLACE % "distribute: [{from: a//c, to: {b: 100}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].from"),
        (PLACE % "distribute: [{to: {b: 100}}]", "INVALID_VALUE", "localityLbSetting.distribute[0].from"),
        (PLACE % "distribute: [{from: a, to: {b: 100}}, {from: a/z, to: {b: 100}}]", "INVALID_VALUE",
         "localityLbSetting.distribute[1].from"),
        (PLACE % "distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]", "CONFLICT", "localityLbSetting.failover"),
        (PLACE % "failoverPriority: [a]", "NO_EFFECT", "localityLbSetting"),
        (PLACE % "failover: [{from: a, to: b}]", "NO_EFFECT", "localityLbSetting"),
    ],
)
def test_refused(text: str, code: str, path: str) -> None:
    """Each by its code and its place."""
    assert (code, path) in problems(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("failover: [{from: a, to: a}]", "failover[0]"),
        ("failover: [{from: a/b, to: c}]", "failover[0].from"),
        ("failover: [{from: a, to: '*'}]", "failover[0].to"),
    ],
)
@pytest.mark.parametrize("setting", ["localityLbSetting", "zoneAwareLbSetting"])
def test_regions(setting: str, text: str, path: str) -> None:
    """Failover names two different regions, whole ones."""
    assert ("INVALID_VALUE", f"{setting}.{path}") in problems(f"{{{setting}: {{{text}}}}}")


def test_failover_and_topology() -> None:
    """failoverPriority may stand beside failover, but not name regions, zones or subzones."""
    both = PLACE % "failover: [{from: a, to: b}], failoverPriority: [LABEL]"
    assert ("CONFLICT", "localityLbSetting.failoverPriority[0]") in problems(both.replace("LABEL", "topology.kubernetes.io/zone"))
    assert problems(both.replace("LABEL", "topology.istio.io/network")) == [("NO_EFFECT", "localityLbSetting")]
    assert ("INVALID_VALUE", "zoneAwareLbSetting.failoverPriority[0]") in problems(ZONES % "failoverPriority: [topology.istio.io/subzone]")


def test_zones() -> None:
    """What a zone aware setting does not do is told; its other faults are told too."""
    assert problems(ZONES % "enabled: true") == [("NO_EFFECT", "zoneAwareLbSetting")]
    assert ("INVALID_VALUE", "zoneAwareLbSetting.minClusterSize") in problems(ZONES % "minClusterSize: 0")
