"""ServiceEntry and WorkloadEntry: what is right, and what is wrong and where."""

import pytest

from meshcar.rules.read import read

HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]"


def problems(spec: str, kind: str = "ServiceEntry") -> list[tuple[str, str]]:
    """Codes and paths, without `spec.`"""
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}"
    return [(one.code, one.path.removeprefix("spec.")) for one in read(text, "f").problems]


@pytest.mark.parametrize(
    "spec",
    [
        f"hosts: ['*.a.b'], {HTTP}, resolution: DNS, endpoints: [{{address: x.y, ports: {{http: 81}}}}, {{address: 1.1.1.1}}]",
        f"hosts: ['*.a.b'], {HTTP}, resolution: DNS_ROUND_ROBIN, endpoints: [{{address: x.y}}]",
        f"hosts: [a.b], {HTTP}, resolution: DNS_ROUND_ROBIN",
        f"hosts: [a.b], {HTTP}, resolution: DNS, addresses: [10.0.0.1]",
        f"hosts: [foo, bar.com], {HTTP}, resolution: DNS",
        f"hosts: [a.b], {HTTP}, resolution: NONE",
        f"hosts: ['*.a.b'], {HTTP}, resolution: DYNAMIC_DNS",
        f"hosts: ['*-a.b', '*a'], {HTTP}, resolution: DYNAMIC_DNS",
        f"hosts: [a.b], {HTTP}",
        "hosts: [a.b]",
        "hosts: [a.b], addresses: [10.0.0.0/8, 'fd00::/8'], ports: [{number: 80, name: a, protocol: TCP}, {number: 81, name: b}]",
        f"hosts: [a.b], {HTTP}, resolution: STATIC, addresses: [10.0.0.0/8], endpoints: [{{address: 1.1.1.1, weight: 5, locality: r/z}}]",
        f"hosts: [a.b], {HTTP}, resolution: STATIC",
        f"hosts: [a.b, c.d], {HTTP}, resolution: STATIC",
        "hosts: [a.b, c.d], ports: [{number: 443, name: Tls, protocol: tls}], resolution: DNS",
        f"hosts: [a.b], {HTTP}, resolution: DNS, workloadSelector: {{labels: {{app: x}}}}",
        f"hosts: [a.b], {HTTP}, resolution: STATIC, subjectAltNames: [spiffe://x/y], exportTo: ['~']",
        "hosts: [a.b], ports: [{number: 80, name: a, targetPort: 80}, {number: 81, name: b, targetPort: 80}], resolution: DNS",
    ],
)
def test_right(spec: str) -> None:
    """Nothing to say."""
    assert problems(spec) == []


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (f"hosts: [], {HTTP}", [("REQUIRED", "hosts")]),
        (HTTP, [("REQUIRED", "hosts")]),
        (f"hosts: ['*'], {HTTP}", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['-'], {HTTP}", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*-'], {HTTP}", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*-a.b'], {HTTP}, resolution: DNS", [("PARTIAL_WILDCARD", "hosts[0]"), ("CONFLICT", "hosts[0]")]),
        (f"hosts: ['*.a.b'], {HTTP}, resolution: DNS", [("CONFLICT", "hosts[0]")]),
        (f"hosts: ['*.a.b'], {HTTP}, resolution: DNS_ROUND_ROBIN, workloadSelector: {{labels: {{a: b}}}}", [("CONFLICT", "hosts[0]")]),
        (f"hosts: [a.b], {HTTP}, endpoints: [{{address: 1.1.1.1}}]", [("CONFLICT", "endpoints")]),
        (f"hosts: [a.b], {HTTP}, resolution: DNS_ROUND_ROBIN, endpoints: [{{address: a.b}}, {{address: c.d}}]",
         [("CONFLICT", "endpoints[1]")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{address: c.d}}]", [("INVALID_VALUE", "endpoints[0].address")]),
        (f"hosts: [a.b], {HTTP}, resolution: DNS, endpoints: [{{address: '*.c.d'}}]", [("INVALID_VALUE", "endpoints[0].address")]),
        (f"hosts: [a.b], {HTTP}, endpoints: [{{address: 'unix:///x'}}]", [("UNSUPPORTED_VALUE", "endpoints[0].address")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{}}]", [("REQUIRED", "endpoints[0].address")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{network: n}}]", [("UNSUPPORTED_FIELD", "endpoints[0].network")]),
        (
            f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{address: 1.1.1.1, ports: {{https: 1}}}}]",
            [("INVALID_VALUE", "endpoints[0].ports.https")],
        ),
        (f"hosts: [a.b], {HTTP}, resolution: DNS, addresses: [10.0.0.0/8]", [("CONFLICT", "addresses[0]")]),
        (f"hosts: [a.b], {HTTP}, addresses: [a.b]", [("INVALID_VALUE", "addresses[0]")]),
        (
            "hosts: [a.b], ports: [{number: 80, name: a, protocol: HTTP}, {number: 80, name: a, protocol: HTTP}]",
            [("INVALID_VALUE", "ports[1].number"), ("INVALID_VALUE", "ports[1].name")],
        ),
        ("hosts: [a.b], ports: [{number: 80, name: a, protocol: quic}]", [("INVALID_VALUE", "ports[0].protocol")]),
        ("hosts: [a.b], ports: [{number: 80, name: a_b, protocol: HTTP}]", [("INVALID_VALUE", "ports[0].name")]),
        ("hosts: [a.b], ports: [{number: 80, name: a, protocol: HTTP, targetPort: 65536}]", [("INVALID_VALUE", "ports[0].targetPort")]),
        ("hosts: [a.b, c.d], ports: [{number: 80, name: a, protocol: TCP}], resolution: STATIC", [("CONFLICT", "ports[0].protocol")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{address: 1.1.1.1}}], workloadSelector: {{labels: {{a: b}}}}",
         [("CONFLICT", "workloadSelector")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, workloadSelector: {{labels: {{'': b}}}}",
         [("INVALID_VALUE", 'workloadSelector.labels[""]')]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, workloadSelector: {{labels: {{a: '*'}}}}",
         [("INVALID_VALUE", "workloadSelector.labels.a")]),
        ("hosts: ['*.a.b'], ports: [{number: 80, name: a, protocol: TLS}], resolution: DYNAMIC_DNS",
         [("UNSUPPORTED_VALUE", "ports[0].protocol")]),
        ("hosts: ['*.a.b'], ports: [{number: 80, name: a, protocol: MONGO}], resolution: DYNAMIC_DNS", [("CONFLICT", "ports[0].protocol")]),
        (f"hosts: [a.b], {HTTP}, resolution: DYNAMIC_DNS, addresses: [1.1.1.1]", [("CONFLICT", "hosts[0]"), ("CONFLICT", "addresses")]),
        (f"hosts: ['*.a.b'], {HTTP}, resolution: DYNAMIC_DNS, endpoints: [{{address: a.b}}]", [("CONFLICT", "endpoints")]),
        (f"hosts: [a.b], {HTTP}, exportTo: ['*', a]", [("CONFLICT", "exportTo[0]")]),
        # warnings
        (f"hosts: ['*.a.b', '*a.b', '*-a.b'], {HTTP}", [("PARTIAL_WILDCARD", "hosts[1]"), ("PARTIAL_WILDCARD", "hosts[2]")]),
        (f"hosts: [a.b], {HTTP}, workloadSelector: {{labels: {{a: b}}}}", [("NO_EFFECT", "workloadSelector")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, workloadSelector: {{}}", [("SELECTS_ALL", "workloadSelector.labels")]),
        ("hosts: [a.b], ports: [{number: 80, name: a, protocol: TCP}, {number: 81, name: b}]",
         [("NO_ADDRESS", "ports[0]"), ("NO_ADDRESS", "ports[1]")]),
        ("hosts: [a.b, c.d], resolution: DNS, addresses: [1.1.1.1], ports: [{number: 443, name: a, protocol: TLS}]",
         [("AMBIGUOUS_HOSTS", "ports[0]")]),
        (f"hosts: [a.b], {HTTP}, resolution: STATIC, endpoints: [{{address: 1.1.1.1, network: n}}]",
         [("NO_EFFECT", "endpoints[0].network")]),
    ],
)  # fmt: skip
def test_wrong(spec: str, wanted: list[tuple[str, str]]) -> None:
    """Each fault by its code and its path."""
    assert problems(spec) == wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("address: a.b, ports: {Http: 80}, labels: {example.com/a: b}, weight: 3, serviceAccount: me, locality: a/b/c", []),
        ("address: '::1'", []),
        ("", [("REQUIRED", "address")]),
        ("network: n", [("UNSUPPORTED_FIELD", "network")]),
        ("address: 1.1.1.1, network: n", [("NO_EFFECT", "network")]),
        ("address: unix://@x", [("UNSUPPORTED_VALUE", "address")]),
        ("address: a.123", [("INVALID_VALUE", "address")]),
        ("address: 1.1.1.1, ports: {'@': 80}", [("INVALID_VALUE", 'ports["@"]')]),
        ("address: 1.1.1.1, ports: {a: 99999}", [("INVALID_VALUE", "ports.a")]),
        ("address: 1.1.1.1, labels: {a: 'b c'}", [("INVALID_VALUE", "labels.a")]),
        ("address: 1.1.1.1, weight: -1", [("INVALID_VALUE", "weight")]),
    ],
)
def test_workload_entry(spec: str, wanted: list[tuple[str, str]]) -> None:
    """An address or a name; no Unix socket, no network by itself."""
    assert problems(spec, "WorkloadEntry") == wanted


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("ServiceEntry", f"hosts: [{', '.join(f'h{one}.b' for one in range(257))}], {HTTP}", "hosts"),
        ("ServiceEntry", "hosts: [a.b], ports: [" + ", ".join(f"{{number: {one}, name: p{one}}}" for one in range(1, 258)) + "]", "ports"),
        ("ServiceEntry", f"hosts: [a.b], {HTTP}, addresses: [{', '.join(f'fd::{one:x}' for one in range(257))}]", "addresses"),
        ("ServiceEntry", f"hosts: [a.b], {HTTP}, workloadSelector: {{labels: {{a: {'x' * 64}}}}}", "workloadSelector.labels.a"),
        ("WorkloadEntry", "address: 1.1.1.1, labels: {" + ", ".join(f"l{one}: x" for one in range(257)) + "}", "labels"),
        ("WorkloadEntry", "address: 1.1.1.1, ports: {" + ", ".join(f"p{one}: 1" for one in range(129)) + "}", "ports"),
        ("WorkloadEntry", f"address: 1.1.1.1, locality: {'x' * 2049}", "locality"),
        ("WorkloadEntry", f"address: 1.1.1.1, serviceAccount: {'x' * 254}", "serviceAccount"),
    ],
)
def test_limits(kind: str, spec: str, path: str) -> None:
    """Istio takes no more, and neither do we."""
    assert ("INVALID_VALUE", path) in problems(spec, kind)


def test_too_many_endpoints_in_all() -> None:
    """Each port of each host has endpoints of its own: few lines must not make a hundred million."""
    ports = ", ".join(f"{{number: {one}, name: p{one}, protocol: HTTP}}" for one in range(1, 201))
    hosts = ", ".join(f"h{one}.b" for one in range(200))
    endpoints = "resolution: STATIC, endpoints: [{address: 1.1.1.1}, {address: 1.1.1.2}, {address: 1.1.1.3}]"
    assert problems(f"hosts: [{hosts}], ports: [{ports}], {endpoints}") == [("INVALID_VALUE", "hosts")]
