"""Sidecar: what is right, and what is wrong and where."""

import pytest

from meshcar.rules.read import read
from meshcar.rules.schema_sidecar import EgressHost, application_endpoint


def problems(spec: str) -> list[tuple[str, str]]:
    """Codes and paths, without `spec.`"""
    text = f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a}}\nspec: {{{spec}}}"
    return [(one.code, one.path.removeprefix("spec.")) for one in read(text, "f").problems]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("egress: [{hosts: [./*, istio-system/*, '*/a.example.com', ns/*.example.com, ~prod/*, ~/x.y]}]", []),
        ("egress: [{hosts: ['~/*'], captureMode: IPTABLES}]", []),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", []),
        ("outboundTrafficPolicy: {}", []),
        ("workloadSelector: {labels: {app: a}}, egress: [{hosts: ['*/*']}]", []),
        ("", [("REQUIRED", "spec")]),
        ("workloadSelector: {labels: {app: a}}", [("REQUIRED", "spec")]),
        ("egress: [{hosts: []}]", [("REQUIRED", "egress[0].hosts")]),
        ("egress: [{}]", [("REQUIRED", "egress[0].hosts")]),
        ("egress: [{hosts: [a.example.com]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [./short]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [a_b/*]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [/*]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [a/]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [a/*b.c]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [a/b/c.d]}]", [("INVALID_VALUE", "egress[0].hosts[0]")]),
        ("egress: [{hosts: [./*]}, {hosts: [./*]}]", [("CONFLICT", "egress[1]")]),
        ("egress: [{hosts: [./*], port: {number: 80}}]", [("UNSUPPORTED_FIELD", "egress[0].port")]),
        ("egress: [{hosts: [./*], bind: 1.1.1.1}]", [("UNSUPPORTED_FIELD", "egress[0].bind")]),
        ("egress: [{hosts: [./*], captureMode: NONE}]", [("UNSUPPORTED_VALUE", "egress[0].captureMode")]),
        ("egress: [{hosts: [./*], captureMode: none}]", [("INVALID_VALUE", "egress[0].captureMode")]),
        ("ingress: []", [("REQUIRED", "spec")]),
        ("ingress: [{port: {number: 80, protocol: HTTP, name: a}, defaultEndpoint: '127.0.0.1:81'}]", []),
        ("ingress: [{port: {number: 80, protocol: TCP}, defaultEndpoint: ':81'}, {port: {number: 81}}]", []),
        ("ingress: [{port: {number: 80}}, {port: {number: 80}}]", [("INVALID_VALUE", "ingress[1].port.number")]),
        ("ingress: [{}]", [("REQUIRED", "ingress[0].port")]),
        ("ingress: [{port: {protocol: HTTP}}]", [("REQUIRED", "ingress[0].port.number")]),
        ("ingress: [{port: {number: 80, protocol: quic}}]", [("INVALID_VALUE", "ingress[0].port.protocol")]),
        ("ingress: [{port: {number: 80, protocol: GRPC}}]", [("OPAQUE_PROTOCOL", "ingress[0].port.protocol")]),
        ("ingress: [{port: {number: 80, targetPort: 1}}]", [("UNSUPPORTED_FIELD", "ingress[0].port.targetPort")]),
        ("ingress: [{port: {number: 80}, defaultEndpoint: '10.0.0.1:81'}]", [("INVALID_VALUE", "ingress[0].defaultEndpoint")]),
        ("ingress: [{port: {number: 80}, defaultEndpoint: '127.0.0.1'}]", [("INVALID_VALUE", "ingress[0].defaultEndpoint")]),
        ("ingress: [{port: {number: 80}, defaultEndpoint: '127.0.0.1:0'}]", [("INVALID_VALUE", "ingress[0].defaultEndpoint")]),
        ("ingress: [{port: {number: 80}, defaultEndpoint: 'unix:///x'}]", [("UNSUPPORTED_VALUE", "ingress[0].defaultEndpoint")]),
        ("ingress: [{port: {number: 80}, tls: {}}]", [("UNSUPPORTED_FIELD", "ingress[0].tls")]),
        ("ingress: [{port: {number: 80}, bind: 1.1.1.1}]", [("UNSUPPORTED_FIELD", "ingress[0].bind")]),
        ("ingress: [{port: {number: 80}, connectionPool: {}}]", [("UNSUPPORTED_FIELD", "ingress[0].connectionPool")]),
        ("inboundConnectionPool: {}", [("UNSUPPORTED_FIELD", "inboundConnectionPool")]),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {}}", [("UNSUPPORTED_FIELD", "outboundTrafficPolicy.egressProxy")]),
        ("outboundTrafficPolicy: {mode: ALL}", [("INVALID_VALUE", "outboundTrafficPolicy.mode")]),
        ("workloadSelector: {labels: {a: '*'}}, egress: [{hosts: [./*]}]", [("INVALID_VALUE", "workloadSelector.labels.a")]),
        ("workloadSelector: {}, egress: [{hosts: [./*]}]", [("SELECTS_ALL", "workloadSelector.labels")]),
        (f"workloadSelector: {{labels: {{a: {'x' * 64}}}}}, egress: [{{hosts: [./*]}}]", [("INVALID_VALUE", "workloadSelector.labels.a")]),
    ],
)
def test_sidecar(spec: str, wanted: list[tuple[str, str]]) -> None:
    """Each fault by its code and its path."""
    assert problems(spec) == wanted


def test_egress_hosts() -> None:
    """`~` before a namespace excludes; alone it means all of them."""
    text = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\nspec: {egress: [{hosts: [./A.b, ~c/*.d, ~/*]}]}"
    (resource,) = read(text, "f").resources
    wanted = (EgressHost(".", "a.b"), EgressHost("c", "*.d", excluded=True), EgressHost("*", "*", excluded=True))
    assert resource.spec.egress[0].hosts == wanted


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), ("0.0.0.0:80", ("", 80)), ("[::]:80", ("", 80)), (":80", ("", 80))],
)
def test_application_endpoint(given: str, wanted: tuple[str, int]) -> None:
    """Loopback, or the address that was meant."""
    assert application_endpoint(given) == wanted
