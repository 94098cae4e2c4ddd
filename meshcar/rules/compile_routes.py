"""VirtualServices to routes: every match entry of every rule one route, order kept, all decided that can be decided early."""

from collections.abc import Iterator, Mapping
from typing import cast

import attrs

from meshcar.rules.balancing import HashOn
from meshcar.rules.compile_clusters import cluster_name
from meshcar.rules.cors import cors
from meshcar.rules.destination_rules import DestinationRules
from meshcar.rules.header_changes import header_change
from meshcar.rules.matchers import all_of, conditions
from meshcar.rules.policies import Answer, Destination, Fault, Mirror, RetryPolicy, Rewrite, shares
from meshcar.rules.read import Resource
from meshcar.rules.redirects import redirect
from meshcar.rules.registry import KnownService, aliases, full_name
from meshcar.rules.rewrites import path_rewrite
from meshcar.rules.schema_actions import Retries, RewriteRule
from meshcar.rules.schema_headers import Headers
from meshcar.rules.schema_routes import HttpMatch, HttpRule, RouteDestination, VirtualService
from meshcar.rules.schema_targets import RouteTarget
from meshcar.rules.snapshot import Route, WeightedCluster
from meshcar.rules.workload import Workload, selects

MESH = "mesh"
_GRPC_HTTP_STATUS = 200
_LEAST_PERCENT = 0.0001
"""One of a million: Envoy's least fraction."""


@attrs.frozen
class RouteCompiler:
    """Makes routes of VirtualServices, for one workload and the services that it may reach."""

    services: Mapping[str, KnownService]
    workload: Workload
    rules: DestinationRules
    _aliases: Mapping[str, str] = attrs.field(init=False)

    @_aliases.default
    def _find_aliases(self) -> Mapping[str, str]:
        return aliases(self.services)

    def routes(self, resource: Resource, port: int) -> tuple[Route, ...]:
        """The routes of a VirtualService for requests to a port."""
        spec: VirtualService = resource.spec
        found: list[Route] = []
        for number, rule in enumerate(spec.http):
            found += self._of_rule(resource, number, rule, port)
        return tuple(found)

    def default_route(self, service: KnownService, port: int) -> Route:
        """Where requests to a service go that has no VirtualService."""
        destination = Destination(service.host, "", port)
        hashed = self.rules.of(service.host, service.namespace).hash_on_port(port)
        made = Route("default", None, None, (WeightedCluster(cluster_name(destination), destination, 100),), (1.0,))
        return made if hashed is None else attrs.evolve(made, retries=RetryPolicy(spread=False), hashes=(hashed,))

    def depends_on_port(self, resource: Resource) -> bool:
        """Whether the routes of a VirtualService differ from port to port."""
        spec: VirtualService = resource.spec
        return any(
            any(match.port is not None for match in rule.match)
            or len(rule.route) > 1  # what traces call it names the port
            or (rule.redirect is not None and rule.redirect.derive_port == "FROM_REQUEST_PORT")
            or any(target.port is None and self._only_port(target, resource) is None for target in targets(rule))
            for rule in spec.http
        )

    def destination(self, target: RouteTarget, resource: Resource, port: int) -> Destination:
        """Where a target leads: its port, else the service's only one, else the one that was asked for. An alias leads to its service."""
        number = target.port.number if target.port else self._only_port(target, resource) or port
        return Destination(self._host(target, resource), target.subset, number)

    def _only_port(self, target: RouteTarget, resource: Resource) -> int | None:
        service = self.services.get(self._host(target, resource))
        return service.ports[0].number if service and len(service.ports) == 1 else None

    def _host(self, target: RouteTarget, resource: Resource) -> str:
        host = full_name(target.host, resource.namespace)
        return self._aliases.get(host, host)

    def _of_rule(self, resource: Resource, number: int, rule: HttpRule, port: int) -> Iterator[Route]:
        all_matches: tuple[HttpMatch | None, ...] = rule.match or (None,)
        matches = [(at, match) for at, match in enumerate(all_matches) if match is None or inapplicable(match, port, self.workload) is None]
        if not matches:
            return
        clusters = self._weighted(resource, rule, port)
        hashes = tuple(self._hashes(resource, rule))
        answers = rule.redirect is not None or rule.direct_response is not None
        shared = Route(
            name=rule.name or "-",
            virtual_service=resource.namespaced_name,
            matches=None,
            clusters=clusters,
            shares=shares(one.weight for one in clusters),
            timeout=rule.timeout or None,
            retries=_retries(rule.retries, spread=not hashes or len(rule.route) > 1),
            hashes=hashes,
            mirrors=() if answers else tuple(self._mirrors(resource, rule, port)),
            fault=_fault(rule),
            cors=cors(rule.cors_policy) if rule.cors_policy and not answers else None,
        )
        for at, match in matches:
            name = f"{rule.name}.{match.name}" if match and match.name else shared.name
            asked = conditions(match) if match else ()
            yield attrs.evolve(
                shared, name=name, matches=all_of(asked), conditions=asked, rewrite=_rewrite(rule.rewrite, match),
                answer=_answer(rule, match, port), place=(number, at), operation=_operation(resource.name, rule, clusters, match, port),
            )  # fmt: skip

    def _weighted(self, resource: Resource, rule: HttpRule, port: int) -> tuple[WeightedCluster, ...]:
        weighted = len(rule.route) > 1
        chosen = [one for one in rule.route if one.weight or not weighted]
        return tuple([self._cluster(resource, rule, one, port, weighted) for one in chosen])

    def _cluster(self, resource: Resource, rule: HttpRule, one: RouteDestination, port: int, weighted: bool) -> WeightedCluster:
        destination = self.destination(one.destination, resource, port)
        own, wide = one.headers or Headers(), rule.headers or Headers()
        host = not (rule.rewrite and rule.rewrite.authority)
        return WeightedCluster(
            cluster=cluster_name(destination),
            destination=destination,
            weight=(one.weight or 0) if weighted else 100,
            request=header_change(wide.request, own.request, weighted, host),
            response=header_change(wide.response, own.response, weighted, host=False),
        )

    def _hashes(self, resource: Resource, rule: HttpRule) -> Iterator[HashOn]:
        """What is hashed for the destinations of a rule: for all of them together, whichever is chosen, as with istiod."""
        for one in rule.route:
            target = one.destination
            host = full_name(target.host, resource.namespace)
            service = self.services.get(host)
            if one.weight or len(rule.route) == 1:
                policy = self.rules.of(host, service.namespace if service else resource.namespace)
                found = policy.hash_on(target.subset, target.port.number if target.port else None)
                if found is not None:
                    yield found

    def _mirrors(self, resource: Resource, rule: HttpRule, port: int) -> Iterator[Mirror]:
        """Mirrors of 0 % are none, and so are those of less than one request of a million."""
        for target, percent in mirrors(rule):
            if percent >= _LEAST_PERCENT:
                destination = self.destination(target, resource, port)
                yield Mirror(cluster_name(destination), percent, destination)


def inapplicable(match: HttpMatch, port: int, workload: Workload) -> str | None:
    """Why a match can never be met on this port, by this workload, in the mesh; None: it can. With gateways the source does not count."""
    if match.port not in (None, port):
        return f"port is {port}, not {match.port}"
    if match.gateways:
        return None if MESH in match.gateways else f"gateways are {', '.join(match.gateways)}, not {MESH}"
    if match.source_namespace not in ("", workload.namespace):
        return f'sourceNamespace is "{workload.namespace}", not "{match.source_namespace}"'
    if selects(match.source_labels, workload.labels):
        return None
    for name, wanted in match.source_labels.items():
        has = workload.labels.get(name)
        if has != wanted:
            return f"sourceLabels[{name}] is " + ("absent" if has is None else f'"{has}"') + f', not "{wanted}"'
    return None


def mirrors(rule: HttpRule) -> Iterator[tuple[RouteTarget, float]]:
    """The mirrors of a rule with their percentages, 0 to 100."""
    if rule.mirror is not None:
        old = 100.0 if rule.mirror_percent is None else float(rule.mirror_percent)
        yield rule.mirror, rule.mirror_percentage.value if rule.mirror_percentage else old
    for one in rule.mirrors:
        yield one.destination, one.percentage.value if one.percentage else 100.0


def targets(rule: HttpRule) -> Iterator[RouteTarget]:
    """Everything that a rule sends requests or copies to."""
    yield from (one.destination for one in rule.route)
    yield from (target for target, _ in mirrors(rule))


def _operation(name: str, rule: HttpRule, clusters: tuple[WeightedCluster, ...], match: HttpMatch | None, port: int) -> bytes:
    """What a trace calls a route: its only destination, or its VirtualService, then the path. Source: istiod's GetRouteOperation."""
    if not clusters:
        return b""
    one = clusters[0].destination
    where = f"{one.host}:{one.port}" if len(rule.route) == 1 else f"{name}:{port}"
    uri = match.uri if match is not None else None
    if uri is not None and uri.regex is not None:
        return where.encode() + cast(bytes, uri.regex.pattern)
    path = "/*" if uri is None or (uri.exact is None and uri.prefix is None) else uri.exact if uri.exact is not None else f"{uri.prefix}*"
    return f"{where}{path}".encode()


def _retries(rule: Retries | None, spread: bool) -> RetryPolicy | None:
    """Istio's default where nothing is said; none for 0 attempts. `spread` is the default of retryIgnorePreviousHosts."""
    if rule is None:
        return RetryPolicy(spread=spread)
    if not rule.attempts:
        return None
    words = rule.retry_on.split(",") if rule.retry_on else []
    if rule.retry_ignore_previous_hosts is not None:
        spread = rule.retry_ignore_previous_hosts
    remote = bool(rule.retry_remote_localities)
    made = RetryPolicy(attempts=rule.attempts, per_try_timeout=rule.per_try_timeout or None, spread=spread, remote=remote)
    made = made.backing_off(rule.backoff)
    if not words:
        return made
    codes = frozenset(int(word) for word in words if word.isdigit())
    named = frozenset(word for word in words if not word.isdigit())
    return attrs.evolve(made, conditions=named | ({"retriable-status-codes"} if codes else set()), status_codes=codes)


def _fault(rule: HttpRule) -> Fault | None:
    """None where no request is delayed or aborted."""
    if rule.fault is None:
        return None
    delay, abort = rule.fault.delay, rule.fault.abort
    if delay is not None and delay.fixed_delay is None:
        delay = None
    if abort is not None and abort.http_status is None and abort.grpc_status is None:
        abort = None
    made = Fault(
        abort_percent=abort.percentage.value if abort and abort.percentage else 0.0,
        abort_status=(abort.http_status or _GRPC_HTTP_STATUS) if abort else 0,
        delay_percent=delay.share if delay else 0.0,
        delay_seconds=(delay.fixed_delay or 0.0) if delay else 0.0,
        grpc_status=abort.grpc_status if abort else None,
    )
    return made if made.abort_percent or made.delay_percent else None


def _answer(rule: HttpRule, match: HttpMatch | None, port: int) -> Answer | None:
    """What a rule answers by itself."""
    change = header_change(rule.headers.response, None, False, host=False) if rule.headers else None
    if rule.redirect is not None:
        return Answer(rule.redirect.redirect_code, redirect=redirect(rule.redirect, match, port), response=change)
    if rule.direct_response is not None:
        return Answer(rule.direct_response.status, rule.direct_response.content, response=change)
    return None


def _rewrite(rule: RewriteRule | None, match: HttpMatch | None) -> Rewrite | None:
    if rule is None:
        return None
    path = path_rewrite(rule, match)
    authority = rule.authority.encode() if rule.authority else None
    return Rewrite(authority, path) if path or authority else None
