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
    return MtlsModes(found.resources)


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


def test_root_namespace_has_no_selected_policies() -> None:
    """In the root namespace a selector makes a policy count for nothing, even for that namespace's own workloads, and it is told."""
    found = read(POLICY.format(name="p", namespace="istio-system", age="", spec=SELECTED), "f")
    one = MtlsModes(found.resources)
    assert (one.mode("istio-system", LABELS, 80), one.mode("a", LABELS, 80)) == ("PERMISSIVE", "PERMISSIVE")
    assert one.ports("istio-system", LABELS) == frozenset()
    assert [(problem.code, problem.path) for problem in one.problems] == [("NO_EFFECT", "spec.selector")]


def test_second_policy_of_a_namespace() -> None:
    """Of two for a whole namespace the older counts, and the younger is told so."""
    found = read("---".join(POLICY.format(name=name, namespace="a", age=age, spec=spec) for name, age, spec in (
        ("young", "2026-02-01T00:00:00Z", STRICT), ("old", "2026-01-01T00:00:00Z", DISABLE))), "f")
    one = MtlsModes(found.resources)
    assert one.mode("a", LABELS) == "DISABLE"
    assert [(problem.code, problem.name, problem.severity) for problem in one.problems] == [("NO_EFFECT", "young", "warning")]


def test_same_second() -> None:
    """Of policies of one second the first by name counts, as with istiod; of those of unknown age the first by place."""
    def mode(age: str) -> str:
        texts = [POLICY.format(name=name, namespace="a", age=age, spec=spec) for name, spec in (("b", STRICT), ("a", DISABLE))]
        return MtlsModes(read("---".join(texts), "f").resources).mode("a", LABELS)
    assert (mode("2026-01-01T00:00:00Z"), mode("")) == ("DISABLE", "STRICT")


def test_default_of_the_caller() -> None:
    """What a workload's own option says holds where no policy does, and for nobody else."""
    assert modes().mode("a", LABELS, None, "STRICT") == "STRICT"
    assert modes(("a", "", UNSET)).mode("a", LABELS, 80, "DISABLE") == "DISABLE"
    assert modes(("istio-system", "", UNSET)).mode("a", LABELS) == "PERMISSIVE"
