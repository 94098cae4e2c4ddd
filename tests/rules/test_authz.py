"""Which AuthorizationPolicies count, in which order, for requests and for connections that are not HTTP's."""

import json
from typing import Any

import attrs
import pytest

from meshcar.rules.authz import authorization
from meshcar.rules.read import read
from meshcar.rules.steps import finish
from tests.rules.authz_policies import CALLER, PLAIN, WORKLOAD, allows, compiled, decide, head, operation, policy, source, when


def test_nothing() -> None:
    """Without a policy for this workload there is nothing to ask."""
    assert compiled() is None
    others = [policy({}, namespace="other"), policy({"selector": {"matchLabels": {"app": "cart"}}})]
    target = policy({"targetRefs": [{"kind": "Service", "name": "store"}]})
    assert compiled(*others, target) is None


@pytest.mark.parametrize("namespace", ["shop", "istio-system"])
@pytest.mark.parametrize("selector", [{}, {"selector": {"matchLabels": {"app": "store"}}}, {"selector": {"matchLabels": {}}}])
def test_everything_refused(namespace: str, selector: dict[str, Any]) -> None:
    """ALLOW without rules lets nobody in: of this namespace or of the whole mesh, and where its selector meets our labels."""
    made = compiled(policy(selector, namespace=namespace))
    assert made is not None
    for caller in (CALLER, PLAIN, attrs.evolve(CALLER, head=None)):
        decision = made.decide(caller)
        assert (decision.allowed, decision.details) == (False, "rbac_access_denied_matched_policy[none]")


def test_everything_allowed() -> None:
    """An empty rule matches everything."""
    assert decide(CALLER, policy({"rules": [{}]})).because == "allowed by ns[shop]-policy[p]-rule[0]"
    assert decide(attrs.evolve(PLAIN, head=None), policy({"rules": [{}]})).allowed
    denied = decide(CALLER, policy({"rules": [{}]}, "all"), policy({"action": "DENY", "rules": [{}]}, "none"))
    assert denied.details == "rbac_access_denied_matched_policy[ns[shop]-policy[none]-rule[0]]"


def test_deny_comes_first() -> None:
    """What a DENY matches is refused though an ALLOW matches; what none matches is allowed where there is no ALLOW."""
    deny = policy({"action": "DENY", "rules": [operation(paths=["/admin*"])]}, "deny")
    allow = policy({"rules": [source(namespaces=["shop"])]}, "allow", "istio-system")
    admin = attrs.evolve(CALLER, head=head(target="/admin/x?a"))
    assert [decide(one, deny).allowed for one in (CALLER, admin)] == [True, False]
    assert [decide(one, deny, allow).allowed for one in (CALLER, admin, PLAIN)] == [True, False, False]
    assert decide(CALLER, deny).because == "nothing denies it, and there is no ALLOW policy"
    assert decide(PLAIN, deny, allow).because == "no rule of an ALLOW policy matches"
    assert decide(admin, deny, allow).because == "denied by ns[shop]-policy[deny]-rule[0]"


def test_first_by_name() -> None:
    """Of several rules that match the first by name is told, as in Envoy's table: 10 stands before 2."""
    rules = [source(namespaces=["other"])] * 2 + [{}] * 9
    assert decide(CALLER, policy({"action": "DENY", "rules": rules})).rule == "ns[shop]-policy[p]-rule[10]"


def test_audit() -> None:
    """AUDIT refuses nobody; what it matches is told."""
    audit = policy({"action": "AUDIT", "rules": [operation(methods=["GET"])]}, "audit")
    deny = policy({"action": "DENY", "rules": [source(namespaces=["shop"])]}, "deny")
    assert decide(CALLER, audit).audited == ("ns[shop]-policy[audit]-rule[0]",)
    assert decide(attrs.evolve(CALLER, head=head("POST")), audit) == attrs.evolve(decide(CALLER, audit), audited=())
    assert (decide(CALLER, audit, deny).allowed, decide(CALLER, audit, deny).audited) == (False, ("ns[shop]-policy[audit]-rule[0]",))


def test_dry_run() -> None:
    """A policy with the annotation is tried and counted, and changes nothing, not even by being an ALLOW."""
    tried = policy({"rules": [source(namespaces=["other"])]}, "tried", dry="true")
    decision = decide(CALLER, tried)
    assert (decision.allowed, [(one.action, one.allowed, one.dry) for one in decision.outcomes]) == (True, [("ALLOW", False, True)])
    both = decide(CALLER, tried, policy({"rules": [{}]}, "real", dry="false"))
    assert (both.allowed, [(one.allowed, one.dry) for one in both.outcomes]) == (True, [(False, True), (True, False)])
    deny = decide(CALLER, policy({"action": "DENY", "rules": [{}]}, dry="1"))
    assert (deny.allowed, [(one.action, one.allowed, one.dry) for one in deny.outcomes]) == (True, [("DENY", False, True)])


@pytest.mark.parametrize(
    ("kind", "action", "value", "code"),
    [("AuthorizationPolicy", "ALLOW", "yes", "INVALID_VALUE"), ("AuthorizationPolicy", "AUDIT", "true", "CONFLICT"),
     ("PeerAuthentication", "", "true", "INVALID_VALUE"), ("AuthorizationPolicy", "DENY", "False", "")],
)
def test_bad_dry_run(kind: str, action: str, value: str, code: str) -> None:
    """The annotation is a truth value, of a policy that allows or denies."""
    document = policy({"action": action, "rules": [{}]} if action else {}, dry=value) | {"kind": kind}
    _, problems = finish(authorization(read(json.dumps(document), "f").resources, WORKLOAD))
    assert [(one.code, one.path) for one in problems] == [(code, 'metadata.annotations["istio.io/dry-run"]')] * bool(code)


# -- connections that are not HTTP


OPAQUE = attrs.evolve(CALLER, head=None)
HTTP_ONLY = [operation(methods=["GET"]), operation(hosts=["a"]), operation(notPaths=["/a"]), when("request.headers[a]", notValues=["b"])]


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_opaque(rule: dict[str, Any]) -> None:
    """A rule that asks of HTTP allows no other connection; one that denies or audits refuses as if it did not ask."""
    assert not allows(rule, OPAQUE)
    assert not allows(rule | source(namespaces=["shop"]), OPAQUE)
    assert not decide(OPAQUE, policy({"action": "DENY", "rules": [rule]})).allowed
    assert not decide(OPAQUE, policy({"action": "DENY", "rules": [rule | source(namespaces=["shop"])]})).allowed
    assert decide(OPAQUE, policy({"action": "DENY", "rules": [rule | source(namespaces=["other"])]})).allowed
    assert decide(OPAQUE, policy({"action": "AUDIT", "rules": [rule]})).audited


def test_opaque_mixed() -> None:
    """One operation of several that asks of HTTP spoils an ALLOW's rule; in a DENY ports go on counting."""
    two = {"to": [{"operation": {"ports": ["8080"]}}, {"operation": {"methods": ["GET"]}}]}
    assert not allows(two, OPAQUE)
    assert decide(OPAQUE, policy({"rules": [two, operation(ports=["8080"])]})).rule == "ns[shop]-policy[p]-rule[1]"
    other_port = operation(ports=["81"], methods=["GET"])
    assert decide(OPAQUE, policy({"action": "DENY", "rules": [other_port]})).allowed
    assert not decide(OPAQUE, policy({"action": "DENY", "rules": [operation(ports=["8080"], methods=["GET"])]})).allowed
