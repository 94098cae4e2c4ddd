"""mTLS modes of workloads."""

import pytest

from meshcar.rules.peer_authentication import MtlsModes
from meshcar.rules.read import read

POLICY = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{age}"}}
spec: {spec}
"""
LABELS = {"app": "a", "v": "1"}


def modes(*policies: tuple[str, str, str]) -> MtlsModes:
    """Modes of policies (namespace, age, spec)."""
    texts = [
        POLICY.format(name=f"p{index}", namespace=namespace, age=age, spec=spec)
        for index, (namespace, age, spec) in enumerate(policies)
    ]
    found = read("---".join(texts), "f")
    assert found.problems == ()
    return MtlsModes(found.resources, "PERMISSIVE")


STRICT, DISABLE, UNSET = ("{mtls: {mode: " + mode + "}}" for mode in ("STRICT", "DISABLE", "UNSET"))
SELECTED = "{selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}, portLevelMtls: {80: {mode: STRICT}, 81: {mode: UNSET}}}"


@pytest.mark.parametrize(
    ("policies", "wanted"),
    [
        ([], "PERMISSIVE"),
        ([("istio-system", "", STRICT)], "STRICT"),
        ([("istio-system", "", STRICT), ("shop", "", DISABLE)], "DISABLE"),
        ([("istio-system", "", STRICT), ("shop", "", UNSET)], "STRICT"),
        ([("istio-system", "", STRICT), ("shop", "", "{}")], "STRICT"),
        ([("other", "", STRICT)], "PERMISSIVE"),
        ([("shop", "2", STRICT), ("shop", "1", DISABLE)], "DISABLE"),
        ([("shop", "", STRICT), ("shop", "", SELECTED)], "DISABLE"),
        ([("istio-system", "", SELECTED)], "PERMISSIVE"),
        ([("shop", "", "{selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}}")], "PERMISSIVE"),
        ([("shop", "", STRICT), ("shop", "", "{selector: {matchLabels: {app: a}}}")], "STRICT"),
    ],
)
def test_mode(policies: list[tuple[str, str, str]], wanted: str) -> None:
    """Workload before namespace before mesh, the oldest of equals; UNSET asks the wider one; a selector stays in its namespace."""
    assert modes(*policies).mode("shop", LABELS) == wanted


def test_ports() -> None:
    """A port's own mode comes first; an unset one is the workload's."""
    found = modes(("shop", "", SELECTED))
    assert [found.mode("shop", LABELS, port) for port in (80, 81, 82)] == ["STRICT", "DISABLE", "DISABLE"]
    assert found.ports("shop", LABELS) == {80, 81}
    assert found.ports("shop", {}) == frozenset()
