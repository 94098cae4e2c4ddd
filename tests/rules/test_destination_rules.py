"""Which DestinationRule holds: by namespace, by export, by selector, and merged with others of its host."""

import pytest

from meshcar.rules.destination_rules import DestinationRules, HostPolicy
from meshcar.rules.read import read
from meshcar.rules.steps import finish
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile

HOST = "a.there.svc.cluster.local"


def rule(spec: str, namespace: str = "here", name: str = "x", host: str = HOST, created: str = "") -> str:
    """One rule; `spec` is the rest of its spec."""
    stamp = f", creationTimestamp: '{created}'" if created else ""
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}{stamp}}}\nspec: {{host: '{host}'{', ' + spec if spec else ''}}}"


def of(*rules: str, home: str = "here", labels: dict[str, str] | None = None) -> HostPolicy:
    """What holds for the service `a` of namespace `there`, called from `home`."""
    found = read("\n---\n".join(rules), "x.yaml").resources
    return finish(DestinationRules.steps(found, Workload(namespace=home, labels=labels or {}))).of(HOST, "there")


def named(*rules: str, home: str = "here", labels: dict[str, str] | None = None) -> list[str]:
    """The subsets that are there, which tell rules apart."""
    return sorted(of(*rules, home=home, labels=labels).subsets)


def subset(name: str, more: str = "") -> str:
    return f"subsets: [{{name: {name}}}]" + more


def test_namespaces() -> None:
    """The client's namespace speaks first, then the service's, then the root's; third ones do not count."""
    root = rule(subset("root"), "istio-system")
    theirs, ours, third = rule(subset("theirs"), "there"), rule(subset("ours"), "here"), rule(subset("third"), "third")
    assert named(third) == []
    assert named(third, root) == ["root"]
    assert named(third, root, theirs) == ["theirs"]
    assert named(third, root, theirs, ours) == ["ours"]


def test_a_wildcard_at_home_before_a_name_abroad() -> None:
    """Namespaces are asked before hosts are compared."""
    wide = rule(subset("wide"), host="*.svc.cluster.local")
    assert named(wide, rule(subset("theirs"), "there")) == ["wide"]
    assert named(wide, rule(subset("own"))) == ["own"]


def test_exports() -> None:
    """A rule that is not exported to the client does not count, and gives way to the next namespace."""
    root = rule(subset("root"), "istio-system")
    for words, wanted in {"[.]": ["root"], "[third]": ["root"], "[here]": ["theirs"], "['*']": ["theirs"]}.items():
        assert named(rule(subset("theirs", f", exportTo: {words}"), "there"), root) == wanted


def test_exported_elsewhere() -> None:
    """A rule that its own namespace exports to others alone does not count at home."""
    assert named(rule(subset("x", ", exportTo: [third]"))) == []


def test_at_home_in_the_root_namespace() -> None:
    """There only private rules go before those of the service's namespace, else rules for everybody would."""
    theirs = rule(subset("theirs"), "there")
    assert named(rule(subset("public"), "istio-system"), theirs, home="istio-system") == ["theirs"]
    assert named(rule(subset("private", ", exportTo: [.]"), "istio-system"), theirs, home="istio-system") == ["private"]


def test_merged() -> None:
    """Rules of one host add their subsets; of two with one name, and of two policies, the older counts."""
    one = rule("subsets: [{name: v1, labels: {a: b}}], trafficPolicy: {loadBalancer: {simple: RANDOM}}", created="2026-01-02T00:00:00Z")
    two = rule("subsets: [{name: v1}, {name: v2}], trafficPolicy: {tls: {}}", name="y", created="2026-01-01T00:00:00Z")
    found = of(one, two)
    assert sorted(found.subsets) == ["v1", "v2"] and found.subsets["v1"].labels == {}
    assert found.policy is not None and found.policy.tls is not None and found.policy.load_balancer is None


def test_policy_of_the_second() -> None:
    """A policy is taken from where there is one, whole."""
    found = of(rule(subset("v1")), rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", name="y"))
    assert found.policy is not None and found.policy.load_balancer is not None and list(found.subsets) == ["v1"]


def test_what_does_not_count(compiled: Compile) -> None:
    """A subset or a policy that an older rule of the host has is warned of, once; what only one of them has is not."""
    one = rule("subsets: [{name: v1}], trafficPolicy: {tls: {}}")
    two = rule("subsets: [{name: v2}, {name: v1}], trafficPolicy: {proxyProtocol: {}}", name="y")
    found = [(one.name, one.path, one.message) for one in compiled(one, two).problems if one.code == "NO_EFFECT"]
    assert [(name, path) for name, path, _ in found] == [("y", "spec.subsets[1].name"), ("y", "spec.trafficPolicy")]
    assert found[0][2] == f"DestinationRule here/x (rules.yaml:1) has the subset v1 for {HOST} already; it counts"


def test_not_merged_with_other_readers() -> None:
    """Rules that are exported differently stay apart; the one read last counts."""
    assert named(rule(subset("v1", ", exportTo: ['*']")), rule(subset("v2"), name="y")) == ["v2"]
    assert named(rule(subset("v1", ", exportTo: [.]")), rule(subset("v2", ", exportTo: [.]"), name="y")) == ["v1", "v2"]


def test_merged_with_fewer_readers() -> None:
    """What more namespaces may read adds to what fewer may."""
    few, more = rule(subset("v1", ", exportTo: [here]"), "there"), rule(subset("v2", ", exportTo: [here, third]"), "there", "y")
    assert named(few, more) == ["v1", "v2"]


SELECTING = subset("chosen", ", workloadSelector: {matchLabels: {app: b}}")


def test_selector() -> None:
    """A rule with a selector is for the clients it selects, whatever its age, and alone; others have the general one."""
    rules = rule(subset("general")), rule(SELECTING, name="y")
    assert named(*rules, labels={"app": "b", "more": "c"}) == ["chosen"]
    assert named(*rules, labels={"app": "c"}) == named(*rules) == ["general"]
    assert named(rule(SELECTING)) == []


def test_selector_abroad() -> None:
    """It is for its own namespace."""
    assert named(rule(SELECTING, "there"), labels={"app": "b"}) == []


def test_empty_selector() -> None:
    """A selector without labels selects every client of the namespace."""
    assert named(rule(subset("x", ", workloadSelector: {}"))) == ["x"]


def test_selectors_merge() -> None:
    """Equal selectors merge, others do not; a private rule without one adds to one with, and stands by itself too."""
    other = subset("other", ", workloadSelector: {matchLabels: {app: c}}")
    again = subset("again", ", workloadSelector: {matchLabels: {app: b}}")
    rules = rule(SELECTING), rule(other, name="y"), rule(again, name="z")
    assert named(*rules, labels={"app": "b"}) == ["again", "chosen"]
    assert named(*rules, labels={"app": "c"}) == ["other"]
    private = rule(subset("private", ", exportTo: [.]"), name="p")
    assert named(rule(SELECTING), private, labels={"app": "b"}) == ["chosen", "private"]
    assert named(rule(SELECTING), private) == ["private"]


@pytest.mark.parametrize(
    ("words", "code", "path"),
    [
        ("exportTo: [., here]", "INVALID_VALUE", "spec.exportTo[1]"),
        ("exportTo: [here], workloadSelector: {matchLabels: {a: b}}", None, None),
        ("exportTo: [there], workloadSelector: {matchLabels: {a: b}}", "CONFLICT", "spec.exportTo"),
        ("exportTo: ['*'], workloadSelector: {matchLabels: {a: b}}", "CONFLICT", "spec.exportTo"),
    ],
)
def test_exports_by_name(compiled: Compile, words: str, code: str | None, path: str | None) -> None:
    """The own namespace may be meant by its name, but not twice; a rule with a selector goes nowhere else."""
    problems = [(one.code, one.path) for one in compiled(rule(words)).problems if one.severity == "error"]
    assert problems == ([] if code is None else [(code, path)])
