"""VirtualServices that delegate: their rules replaced by those of the VirtualServices without hosts that they name.

Source: Istio's Delegate. What a rule of the delegate does not say, the delegating rule says for it; its matches may only narrow.
"""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.registry import full_name
from meshcar.rules.schema_routes import HttpMatch, HttpRule, StringMatch, VirtualService
from meshcar.rules.schema_targets import RouteTarget
from meshcar.rules.visibility import visible


@attrs.frozen
class MergedRule(HttpRule):
    """A rule of a VirtualService that delegates. `number` is that of the rule there; `leaf` the VirtualService whose rule `leaf_number`
    stands in its place, None for a rule of its own."""

    number: int = 0
    leaf: Resource | None = None
    leaf_number: int = 0


_INHERITED = (
    "rewrite", "timeout", "retries", "fault", "cors_policy", "headers", "mirror", "mirrors", "mirror_percent", "mirror_percentage",
)  # fmt: skip
"""Field by field: a mirror of the leaf without a percentage takes the root's."""


def delegated(resources: Iterable[Resource]) -> tuple[list[Resource], list[Problem]]:
    """The VirtualServices that have hosts, with every delegation resolved; and warnings."""
    ours = [one for one in resources if isinstance(one.spec, VirtualService)]
    leaves = {(one.namespace, one.name): one for one in ours if not one.spec.hosts}
    used: set[int] = set()
    problems: list[Problem] = []
    roots: list[Resource] = []
    for root in ours:
        if not root.spec.hosts:
            continue
        if any(rule.delegate for rule in root.spec.http):
            faults: list[Fault] = []
            rules = tuple(_resolved(root, leaves, used, faults))
            problems += root.problems(faults)
            root = attrs.evolve(root, spec=attrs.evolve(root.spec, http=rules))
        roots.append(root)
    for leaf in leaves.values():
        if id(leaf) not in used:
            problems += leaf.problems([Fault(("spec",), "NO_EFFECT", "it has no hosts, and no VirtualService delegates to it")])
    return roots, problems


def _resolved(root: Resource, leaves: Mapping[tuple[str, str], Resource], used: set[int], faults: list[Fault]) -> Iterator[HttpRule]:
    for index, rule in enumerate(root.spec.http):
        if rule.delegate is None:
            yield _numbered(rule, index)
            continue
        path = ("spec", "http", index, "delegate")
        namespace = rule.delegate.namespace or root.namespace
        leaf = leaves.get((namespace, rule.delegate.name))
        name = f"{namespace}/{rule.delegate.name}"
        if leaf is None:
            faults.append(Fault(path, "UNKNOWN_DELEGATE", f"there is no VirtualService {name} without hosts; the rule does nothing"))
            continue
        used.add(id(leaf))
        if not visible(leaf.spec.export_to, leaf.namespace, root.namespace):
            faults.append(Fault(path, "UNKNOWN_DELEGATE", f"{name} is not exported to {root.namespace}; the rule does nothing"))
            continue
        for number, one in enumerate(leaf.spec.http):
            merged = _merged(rule, _at_home(one, leaf.namespace))
            if merged is not None:
                yield _numbered(merged, index, leaf, number)
            else:
                message = f"http[{number}] of {name} matches what this rule does not let through; it is left out"
                faults.append(Fault(path, "UNREACHABLE", message))


def _numbered(rule: HttpRule, number: int, leaf: Resource | None = None, leaf_number: int = 0) -> MergedRule:
    return MergedRule(**attrs.asdict(rule, recurse=False), number=number, leaf=leaf, leaf_number=leaf_number)


def _at_home(rule: HttpRule, namespace: str) -> HttpRule:
    """A rule whose short host names are those of its own namespace."""

    def named(target: RouteTarget) -> RouteTarget:
        return attrs.evolve(target, host=full_name(target.host, namespace))

    return attrs.evolve(
        rule,
        route=tuple(attrs.evolve(one, destination=named(one.destination)) for one in rule.route),
        mirror=named(rule.mirror) if rule.mirror else None,
        mirrors=tuple(attrs.evolve(one, destination=named(one.destination)) for one in rule.mirrors),
    )


def _merged(root: HttpRule, leaf: HttpRule) -> HttpRule | None:
    """The leaf's rule under the root's; None if the two exclude each other."""
    match = _merged_matches(root.match, leaf.match)
    if match is None:
        return None
    changes = {name: getattr(root, name) for name in _INHERITED if getattr(leaf, name) in (None, ())}
    return attrs.evolve(leaf, name=_joined(root.name, leaf.name), match=match, **changes)


def _merged_matches(root: tuple[HttpMatch, ...], leaf: tuple[HttpMatch, ...]) -> tuple[HttpMatch, ...] | None:
    """Every match of the leaf within every one of the root that it narrows; None if one narrows none."""
    if not root or not leaf:
        return root or leaf
    merged: list[HttpMatch] = []
    for inner in leaf:
        found = [_merged_match(outer, inner) for outer in root if _narrows(outer, inner)]
        if not found:
            return None
        merged += found
    return tuple(merged)


def _merged_match(root: HttpMatch, leaf: HttpMatch) -> HttpMatch:
    return HttpMatch(
        name=_joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers={**root.headers, **leaf.headers},
        without_headers={**root.without_headers, **leaf.without_headers},
        query_params={**root.query_params, **leaf.query_params},
        ignore_uri_case=leaf.ignore_uri_case,
        port=leaf.port or root.port,
        gateways=leaf.gateways or root.gateways,
        source_labels={**root.source_labels, **leaf.source_labels},
        source_namespace=leaf.source_namespace or root.source_namespace,
    )


def _narrows(root: HttpMatch, leaf: HttpMatch) -> bool:
    """Whether a match stays within another, as far as one can tell. Source: istiod's hasConflict."""
    single = ((root.uri, leaf.uri), (root.scheme, leaf.scheme), (root.method, leaf.method), (root.authority, leaf.authority))
    named = (
        (root.headers, leaf.headers), (root.without_headers, leaf.without_headers), (root.query_params, leaf.query_params),
    )  # fmt: skip
    return (
        all(_text_narrows(*pair) for pair in single)
        and all(_text_narrows(outer.get(name), test) for outer, inner in named for name, test in inner.items())
        and all(root.source_labels.get(name, value) == value for name, value in leaf.source_labels.items())
        and root.ignore_uri_case == leaf.ignore_uri_case
        and (not root.port or leaf.port in (None, root.port))
        and (not root.source_namespace or leaf.source_namespace == root.source_namespace)
        and (not root.gateways or set(leaf.gateways) <= set(root.gateways))
    )


def _text_narrows(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    if root is None or leaf is None:
        return True
    if root.exact:
        return leaf.exact == root.exact
    inner = leaf.prefix or leaf.exact
    return bool(root.prefix and inner and inner.startswith(root.prefix))


def _joined(root: str, leaf: str) -> str:
    return f"{root}-{leaf}" if root and leaf else root or leaf
