"""AuthorizationPolicies compiled: who may reach this workload, and which rule said so."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import attrs

from meshcar.rules.authz_clauses import Caller, Clause, Clauses, Test, all_of, any_of
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.schema_security import AuthorizationPolicy, AuthorizationRule
from meshcar.rules.steps import Steps
from meshcar.rules.units import FALSE, TRUE
from meshcar.rules.workload import ROOT_NAMESPACE, Workload, selects

DRY_RUN = "istio.io/dry-run"


@attrs.frozen(eq=False)
class Rule:
    """One rule of a policy. `name` is `ns[NAMESPACE]-policy[NAME]-rule[INDEX]`, as istiod calls it."""

    name: str
    holds: Test


@attrs.frozen
class Outcome:
    """What one group of policies came to: `action` is theirs, `dry` tells that it was only tried."""

    action: str
    allowed: bool
    dry: bool = False


@attrs.frozen
class Decision:
    """What the policies say. `rule` is the name of the rule that decided, or empty; `audited` are rules of action AUDIT that matched."""

    allowed: bool
    rule: str = ""
    outcomes: tuple[Outcome, ...] = ()
    audited: tuple[str, ...] = ()

    @property
    def details(self) -> str:
        """Of a refusal. Source: Envoy's RBAC filter, %RESPONSE_CODE_DETAILS% and %CONNECTION_TERMINATION_DETAILS%."""
        return f"rbac_access_denied_matched_policy[{self.rule or 'none'}]"

    @property
    def because(self) -> str:
        """The reason, for people."""
        if self.rule:
            return f"{'allowed' if self.allowed else 'denied'} by {self.rule}"
        return "nothing denies it, and there is no ALLOW policy" if self.allowed else "no rule of an ALLOW policy matches"


@attrs.frozen(eq=False)
class Group:
    """The policies of one action, as one of Envoy's RBAC filters. `dry` are those that are only tried; None where there is no policy."""

    action: str
    rules: tuple[Rule, ...] | None
    dry: tuple[Rule, ...] | None

    def outcomes(self, caller: Caller) -> Iterator[tuple[Outcome, str]]:
        """What is tried, then what counts, with the rule that matched first by name, or nothing."""
        for rules, dry in ((self.dry, True), (self.rules, False)):
            if rules is not None:
                name = next((rule.name for rule in rules if rule.holds(caller)), "")
                yield Outcome(self.action, self.action == "AUDIT" or bool(name) is (self.action == "ALLOW"), dry), name


@attrs.frozen(eq=False)
class Authorization:
    """The policies that apply to this workload: AUDIT, then DENY, then ALLOW; for requests, and for connections that are not HTTP's."""

    http: tuple[Group, ...]
    tcp: tuple[Group, ...]

    def decide(self, caller: Caller) -> Decision:
        """Whether `caller` may pass. Without a policy of action ALLOW everybody may whom none of action DENY refuses."""
        outcomes: list[Outcome] = []
        audited: tuple[str, ...] = ()
        allowed_by = ""
        for group in self.http if caller.head is not None else self.tcp:
            for outcome, rule in group.outcomes(caller):
                outcomes.append(outcome)
                if outcome.dry:
                    continue
                if not outcome.allowed:
                    return Decision(False, rule, tuple(outcomes), audited)
                if group.action == "AUDIT":
                    audited = (rule,) if rule else ()
                else:
                    allowed_by = rule
        return Decision(True, allowed_by, tuple(outcomes), audited)


def authorization(resources: Iterable[Resource], workload: Workload) -> Steps[tuple[Authorization | None, list[Problem]]]:
    """What is in force for a workload, None where no policy is; and what is wrong with annotations. Source: istiod's RBAC builder."""
    applied: list[Resource] = []
    problems: list[Problem] = []
    for resource in resources:
        problems += resource.problems(_annotation_faults(resource))
        if isinstance(resource.spec, AuthorizationPolicy) and _applies(resource, workload):
            applied.append(resource)
        yield
    if not applied:
        return None, problems
    http = yield from _Compiler(workload, tcp=False).groups(applied)
    tcp = yield from _Compiler(workload, tcp=True).groups(applied)
    return Authorization(http, tcp), problems


def _applies(resource: Resource, workload: Workload) -> bool:
    policy: AuthorizationPolicy = resource.spec
    if resource.namespace not in (ROOT_NAMESPACE, workload.namespace) or policy.target_ref or policy.target_refs:
        return False
    return policy.selector is None or selects(policy.selector.match_labels, workload.labels)


def _annotation_faults(resource: Resource) -> Iterator[Fault]:
    """Only policies that allow or deny can be tried out. Source: istiod's validation."""
    value = resource.metadata.annotations.get(DRY_RUN)
    if value is None or "istio.io/" not in resource.api_version:
        return
    where = ("metadata", "annotations", DRY_RUN)
    if not isinstance(resource.spec, AuthorizationPolicy):
        yield Fault(where, "INVALID_VALUE", f"{DRY_RUN} is for AuthorizationPolicy only; remove it")
    elif resource.spec.action not in ("ALLOW", "DENY"):
        yield Fault(where, "CONFLICT", f"only policies of action ALLOW or DENY can be tried out, not {resource.spec.action}")
    elif value not in TRUE | FALSE:
        yield Fault(where, "INVALID_VALUE", f'{DRY_RUN} must be "true" or "false"')


@attrs.frozen
class _Compiler:
    """Makes groups of policies, for requests or (`tcp`) for other connections."""

    workload: Workload
    tcp: bool

    def groups(self, policies: Sequence[Resource]) -> Steps[tuple[Group, ...]]:
        """In the order in which they are asked. Rules stand by name, as in Envoy's table, so that of several the same one is told."""
        made: list[Group] = []
        for action in ("AUDIT", "DENY", "ALLOW"):
            found: dict[bool, list[Rule]] = {}
            for policy in policies:
                if policy.spec.action == action:
                    dry = policy.metadata.annotations.get(DRY_RUN) in TRUE
                    found.setdefault(dry, []).extend(self._rules(policy))
                    yield
            if found:
                made.append(Group(action, _by_name(found.get(False)), _by_name(found.get(True))))
        return tuple(made)

    def _rules(self, policy: Resource) -> Iterator[Rule]:
        clauses = Clauses(policy.namespace, self.workload.trust_domain)
        for index, rule in enumerate(policy.spec.rules):
            holds = self._rule(rule, clauses, policy.spec.action == "ALLOW")
            if holds is not None:
                yield Rule(f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]", holds)

    def _rule(self, rule: AuthorizationRule, clauses: Clauses, allows: bool) -> Test | None:
        """None: the rule counts for nothing, as does one that allows and asks for HTTP where there is none.

        In one that denies or audits only what it asks of HTTP is left out there, so that it reaches further: the safe side, too.
        """
        sources = [list(clauses.of_source(one.source)) for one in rule.sources or ()]
        operations = [list(clauses.of_operation(one.operation)) for one in rule.operations or ()]
        conditions = list(chain.from_iterable(map(clauses.of_condition, rule.conditions)))
        if self.tcp:
            if allows and any(clause.http for clause in chain(*sources, *operations, conditions)):
                return None
            sources, operations = ([list(filter(_is_tcp, one)) for one in given] for given in (sources, operations))
            conditions = list(filter(_is_tcp, conditions))
        return all_of([*_one_of(sources), *_one_of(operations), *(clause.holds for clause in conditions)])


def _by_name(rules: list[Rule] | None) -> tuple[Rule, ...] | None:
    return None if rules is None else tuple(sorted(rules, key=lambda rule: rule.name))


def _is_tcp(clause: Clause) -> bool:
    return not clause.http


def _one_of(groups: Sequence[Sequence[Clause]]) -> list[Test]:
    """One test that all clauses of some group hold; none where there are no groups, or one that asks nothing."""
    if not all(groups):
        return []
    return [any_of([all_of([clause.holds for clause in group]) for group in groups])] if groups else []
