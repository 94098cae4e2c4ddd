"""Sidecar: what is right, and what is wrong and where."""

import pytest

from meshcar.rules.read import read
from meshcar.rules.schema_sidecar import EgressHost


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
        ("egress: [{hosts: [./*], captureMode: NONE}]", [("INVALID_VALUE", "egress[0].captureMode")]),
        ("ingress: []", [("UNSUPPORTED_FIELD", "ingress")]),
        ("inboundConnectionPool: {}", [("UNSUPPORTED_FIELD", "inboundConnectionPool")]),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {}}", [("UNSUPPORTED_FIELD", "outboundTrafficPolicy.egressProxy")]),
        ("outboundTrafficPolicy: {mode: ALL}", [("INVALID_VALUE", "outboundTrafficPolicy.mode")]),
        ("workloadSelector: {labels: {a: '*'}}, egress: [{hosts: [./*]}]", [("INVALID_VALUE", "workloadSelector.labels.a")]),
        ("workloadSelector: {}, egress: [{hosts: [./*]}]", [("SELECTS_ALL", "workloadSelector.labels")]),
        ("egress: [{hosts: [a/b.c, a/*]}]", [("NO_EFFECT", "egress[0].hosts[1]")]),
        ("egress: [{hosts: [a/b.c, a/b.c]}]", [("NO_EFFECT", "egress[0].hosts[1]")]),
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
