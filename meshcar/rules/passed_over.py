"""Which rules a request passed by on its way, and why each did not take it."""

from collections.abc import Collection, Iterator, Sequence

import attrs

from meshcar.rules.compile_routes import inapplicable
from meshcar.rules.delegates import MergedRule, delegated
from meshcar.rules.host_patterns import covers
from meshcar.rules.policies import Condition
from meshcar.rules.problems import shorten
from meshcar.rules.read import Resource
from meshcar.rules.registry import CLUSTER_DOMAIN
from meshcar.rules.schema_routes import HttpMatch, HttpRule, VirtualService
from meshcar.rules.scope import Scope
from meshcar.rules.snapshot import Route, VirtualHost, without_port
from meshcar.rules.steps import finish
from meshcar.rules.virtual_hosts import HTTP_PORT, by_precedence, hosts_of, obstacle
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead


@attrs.frozen
class Rejected:
    """A rule, or a whole VirtualService (`route` is None), and why it did not take the request."""

    virtual_service: str
    route: str | None
    because: str


@attrs.frozen
class Candidates:
    """The VirtualServices that have a request's host, in order of precedence; and those that have it but are not meant for us, with why.

    `names` are what the host is called: as the client has it, and the full name of the service that it means or would mean.
    `scope` is what we see of the mesh at all.
    """

    names: tuple[str, ...]
    ordered: tuple[Resource, ...]
    others: tuple[tuple[Resource, str], ...]
    scope: Scope

    @classmethod
    def find(cls, resources: Sequence[Resource], workload: Workload, authority: bytes, host: VirtualHost | None) -> "Candidates":
        """Among all resources; those that delegate have the rules of their delegates."""
        asked = without_port(authority).decode("latin-1").lower()
        names = {asked, _full(asked, workload.namespace) if host is None else host.name.rpartition(":")[0]}
        having, scope = _having(resources, names), Scope(resources, workload)
        meant = by_precedence(having, workload.namespace)
        ordered = finish(scope.virtual_services(meant))
        others = [(one, why) for one in having if (why := obstacle(one, workload.namespace)) is not None]
        if scope.sidecar is not None:
            why = f"{scope.sidecar.called} imports none of its hosts"
            others += ((one, why) for one in meant if one not in ordered)
        return cls(tuple(names), tuple(ordered), tuple(others), scope)

    def named(self, name: str | None) -> Resource | None:
        """The VirtualService of that `namespace/name`."""
        return next((one for one in self.ordered if one.namespaced_name == name), None)


def rejections(
    candidates: Candidates, workload: Workload, host: VirtualHost | None, head: RequestHead, port: int, taken: Route | None
) -> Iterator[Rejected]:
    """What was passed over: VirtualServices that do not count, and of the one that does the rules before `taken` (None: all)."""
    for resource, why in candidates.others:
        yield Rejected(resource.namespaced_name, None, why)
    if host is not None and host.routes[0].kind != "VirtualService":
        before = f"{host.routes[0].kind} {host.routes[0].virtual_service} goes before"
        yield from (Rejected(resource.namespaced_name, None, before) for resource in candidates.ordered)
        return
    chosen = candidates.named(host.routes[0].virtual_service) if host is not None else None
    for resource in candidates.ordered:
        if resource is chosen and host is not None:
            yield from _rules_before(resource, workload, host, head, port, taken)
            continue
        whys = [_out_of_reach(rule, port, workload) for rule in resource.spec.http]
        if all(whys):
            for number, reason in enumerate(whys):
                yield Rejected(resource.namespaced_name, label(resource, number), reason or "")
        else:
            yield Rejected(resource.namespaced_name, None, _instead(candidates, resource, chosen, port))


def label(resource: Resource, number: int) -> str:
    """What a rule is called: its name, else its place, `http[0]`; of an unnamed rule of a delegate with that one's place, too."""
    rule: HttpRule = resource.spec.http[number]
    if rule.name:
        return rule.name
    if not isinstance(rule, MergedRule):
        return f"http[{number}]"
    own = f"http[{rule.number}]"
    return own if rule.leaf is None else f"{own}: {rule.leaf.namespaced_name} http[{rule.leaf_number}]"


def _full(name: str, home: str) -> str:
    """The Service that one of its short names would mean."""
    if name.endswith(f".{CLUSTER_DOMAIN}"):
        return name
    first, _, namespace = name.removesuffix(".svc").partition(".")
    return f"{first}.{namespace or home}.{CLUSTER_DOMAIN}"


def _having(resources: Sequence[Resource], names: Collection[str]) -> list[Resource]:
    """The VirtualServices with a host of these names, delegations resolved."""
    ours = [one for one in resources if isinstance(one.spec, VirtualService)]
    having = [one for one in ours if any(covers(pattern, name) for pattern in hosts_of(one) for name in names)]
    asked = {(rule.delegate.namespace or one.namespace, rule.delegate.name) for one in having for rule in one.spec.http if rule.delegate}
    leaves = [one for one in ours if not one.spec.hosts and (one.namespace, one.name) in asked]
    return delegated([*having, *leaves])[0]


def _rules_before(
    resource: Resource, workload: Workload, host: VirtualHost, head: RequestHead, port: int, taken: Route | None
) -> Iterator[Rejected]:
    routes = {route.place: route for route in host.routes}
    for number, rule in enumerate(resource.spec.http):
        if taken is not None and number >= taken.place[0]:
            return
        matches: tuple[HttpMatch | None, ...] = rule.match or (None,)
        whys = [_why(match, routes.get((number, at)), workload, head, port) for at, match in enumerate(matches)]
        yield Rejected(resource.namespaced_name, label(resource, number), _joined(whys))


def _out_of_reach(rule: HttpRule, port: int, workload: Workload) -> str | None:
    """Why no match of a rule applies to this port and workload; None: one does."""
    whys = [inapplicable(match, port, workload) for match in rule.match]
    return _joined([why or "" for why in whys]) if whys and all(whys) else None


def _why(match: HttpMatch | None, route: Route | None, workload: Workload, head: RequestHead, port: int) -> str:
    why = inapplicable(match, port, workload) if match is not None else None
    if why is not None or route is None:
        return why or "it does not apply"
    return unmet(route, head)


def unmet(route: Route, head: RequestHead) -> str:
    """The first condition of a route that a request does not meet, in words."""
    return next((told(condition, head) for condition in route.conditions if not condition.holds(head)), "it does not hold")


def told(condition: Condition, head: RequestHead) -> str:
    """A condition that does not hold, in words: `uri is "/b", not prefix "/a"`."""
    found = condition.found(head)
    has = "absent" if found is None else f'"{shorten(found.decode("utf-8", "replace"))}"'
    joint = ", and must not be" if condition.field.startswith("withoutHeaders") else ", not"
    return f"{condition.field} is {has}{joint} {condition.wanted}"


def _joined(whys: Sequence[str]) -> str:
    return whys[0] if len(whys) == 1 else "; ".join(f"match[{at}]: {why}" for at, why in enumerate(whys))


def _instead(candidates: Candidates, resource: Resource, chosen: Resource | None, port: int) -> str:
    """Why a VirtualService that has the host, and rules for it, does not get the request."""
    mine = _closest(resource, candidates.names)
    if chosen is not None:
        other, theirs = chosen.called, _closest(chosen, candidates.names)
        if _distance(theirs) < _distance(mine):
            return f"{other} names {theirs}, which is closer than {mine}"
        if candidates.ordered.index(chosen) < candidates.ordered.index(resource):
            return f"{other} has {theirs} too, and comes before it"
    nearer = min((_closest(one, candidates.names) for one in candidates.ordered), key=_distance)
    if _distance(nearer) < _distance(mine):
        return f"another VirtualService names {nearer}, which is closer than {mine}"
    if mine.startswith("*"):
        routed = candidates.scope.http_routes()
        if any(routed.get(name) for name in candidates.names):
            return f"an HTTPRoute names the service, which is closer than {mine}"
        return f"{mine} stands for the services that it covers on port {port}, and for other hosts on port {HTTP_PORT} where it covers none"
    return f"no service on port {port} is {mine}; such a host counts on port {HTTP_PORT}, and on those of services beside it"


def _distance(pattern: str) -> tuple[bool, int]:
    """An exact host is closer than any wildcard, a long wildcard closer than a short one."""
    return pattern.startswith("*"), -len(pattern) if pattern.startswith("*") else 0


def _closest(resource: Resource, names: Sequence[str]) -> str:
    """The host of a VirtualService that has one of the names: an exact one, else the longest wildcard."""
    having = [pattern for pattern in hosts_of(resource) if any(covers(pattern, name) for name in names)]
    return min(having, key=_distance)
