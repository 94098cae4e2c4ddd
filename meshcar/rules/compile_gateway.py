"""HTTPRoutes to routes: every match of every rule one route, of all HTTPRoutes of a Service the most specific match first.

Source: https://gateway-api.sigs.k8s.io/docs/mesh/, and how istiod makes VirtualServices of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from meshcar.rules.balancing import HashOn
from meshcar.rules.compile_clusters import cluster_name
from meshcar.rules.cors import cors
from meshcar.rules.destination_rules import DestinationRules
from meshcar.rules.gateway_parents import Attachment
from meshcar.rules.header_changes import header_change
from meshcar.rules.matchers import all_of, conditions
from meshcar.rules.patterns import pattern
from meshcar.rules.policies import Answer, Condition, Cors, Destination, Mirror, Redirect, RetryPolicy, Rewrite, shares
from meshcar.rules.problems import Fault, Problem
from meshcar.rules.read import Resource
from meshcar.rules.redirects import redirect
from meshcar.rules.registry import CLUSTER_DOMAIN, NO_ALIASES, KnownService, aliases, full_name
from meshcar.rules.schema_actions import CorsRule, OriginMatch, RedirectRule
from meshcar.rules.schema_filters import BackendTarget, CorsFilter, Filter, HeaderFilter, PathModifier, RedirectFilter, RewriteFilter
from meshcar.rules.schema_gateway import PathMatch, RouteMatch, RouteRule, text_match
from meshcar.rules.schema_headers import HeaderOperations
from meshcar.rules.schema_routes import HttpMatch, StringMatch
from meshcar.rules.segments import on_path, path_condition, replaced_prefix
from meshcar.rules.snapshot import Route, WeightedCluster

Rank = tuple[int, int, bool, int, int]

NO_BACKEND = 500
"""What is answered where a backend is not there or cannot be. Source: HTTPRouteRule.backendRefs."""

_UNKNOWN = "UnknownService"
_RANKS = {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}
_RETRIED = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled"})
_ANY_ORIGIN = r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+"


class HttpRoutes:
    """The HTTPRoutes of services, as workloads of a namespace obey them. Lives as long as one compilation.

    `attached` are those that are imported, by the hosts of their services.
    """

    def __init__(
        self, attached: Mapping[str, list[Attachment]], services: Mapping[str, KnownService], rules: DestinationRules, namespace: str
    ) -> None:  # fmt: skip
        self._attached, self._services, self._rules, self._home = attached, services, rules, namespace
        self._aliases = aliases(services)
        self._lost: dict[tuple[str, str], tuple[Resource, Fault]] = {}

    def name(self, service: KnownService) -> bool:
        """Whether there is an HTTPRoute for a service at all, be it for another port or for other clients."""
        return bool(self._attached.get(service.host))

    def routes(self, service: KnownService, port: int, rivals: Iterator[Resource]) -> tuple[Route, ...]:
        """The routes of a service's port, the one that is asked first in front; none if no HTTPRoute is meant, or if the first of
        `rivals`, VirtualServices with routes for it, goes before.
        """
        chosen = self._chosen(service, port)
        if not chosen or self._loses(chosen, service, next(rivals, None)):
            return ()
        ranked = [one for attached in chosen for one in self._of_resource(attached.resource, port)]
        return tuple([route for _, route in sorted(ranked, key=lambda one: one[0], reverse=True)])

    def rank(self, service: KnownService, port: int) -> tuple[int] | tuple[int, str]:
        """Where the HTTPRoutes of a service's port stand among VirtualServices: `virtual_hosts.rank`."""
        first = self._chosen(service, port)[0].resource
        return (2,) if first.namespace == self._home else (2, first.metadata.creation_timestamp)

    def problems(self) -> list[Problem]:
        """Warnings, once all routes are made: which rules for a host do nothing because others go before them."""
        return [problem for resource, fault in self._lost.values() for problem in resource.problems([fault])]

    def _chosen(self, service: KnownService, port: int) -> list[Attachment]:
        """HTTPRoutes of the client's own namespace replace those of the service's."""
        here = [one for one in self._attached.get(service.host, ()) if one.port in (None, port)]
        own = [one for one in here if one.resource.namespace == self._home]
        return own or [one for one in here if one.resource.namespace == service.namespace]

    def _of_resource(self, resource: Resource, port: int) -> Iterator[tuple[Rank, Route]]:
        """The routes of one HTTPRoute for requests to a port, each with its rank: the highest goes first, of equal ones the first."""
        for index, rule in enumerate(resource.spec.rules):
            shared = _shared(resource, rule, index, self._aliases)
            shared = _hashing(shared, tuple(self._hashes(shared)))
            for number, match in enumerate(rule.matches or (None,)):
                asked = _conditions(match) if match else ()
                path = match.path if match else PathMatch()
                yield _rank(match), attrs.evolve(
                    shared, matches=all_of(asked), conditions=asked, rewrite=_rewrite(rule.rewrite, path),
                    answer=_answer(rule, path, port), place=(index, number), operation=_operation(shared, path),
                )  # fmt: skip

    def _hashes(self, route: Route) -> Iterator[HashOn]:
        """What is hashed for the backends of a rule, as for a VirtualService's destinations."""
        for one in route.clusters:
            where = one.destination
            service = self._services.get(where.host)
            found = self._rules.of(where.host, service.namespace).hash_on("", where.port) if service else None
            if found is not None:
                yield found

    def _loses(self, chosen: list[Attachment], service: KnownService, rival: Resource | None) -> bool:
        """Whether a VirtualService goes before. Source: istiod's SelectVirtualServices: first those that are exported to this namespace
        by name, then the HTTPRoutes of the namespace, then all others by age."""
        if rival is None or service.host.lower() not in [full_name(host, rival.namespace).lower() for host in rival.spec.hosts]:
            return False
        first = chosen[0].resource
        narrow = bool(rival.spec.export_to) and "*" not in rival.spec.export_to
        older = first.namespace != self._home and rival.metadata.creation_timestamp < first.metadata.creation_timestamp
        loses = narrow or older
        winner = rival if loses else first
        message = f"{winner.called} routes {service.host} already; it counts"
        if loses:
            for one in chosen:
                self._lost[one.resource.key, service.host] = one.resource, Fault(one.path, "DUPLICATE_HOST", message)
        else:
            self._lost[rival.key, service.host] = rival, Fault(("spec", "hosts"), "DUPLICATE_HOST", message)
        return loses


def _hashing(route: Route, hashes: tuple[HashOn, ...]) -> Route:
    """With one backend that is chosen by a hash a further try is not sent elsewhere."""
    retries = route.retries
    if hashes and retries is not None and len(route.clusters) == 1:
        retries = attrs.evolve(retries, spread=False)
    return attrs.evolve(route, hashes=hashes, retries=retries)


def _operation(route: Route, path: PathMatch) -> bytes:
    """What a trace calls a route: its first backend, then the path where the whole of it is matched."""
    where = route.operation.removesuffix(b"/*")
    return where + (b"/*" if path.type == "PathPrefix" else path.value.encode()) if where else b""


def _rank(match: RouteMatch | None) -> Rank:
    """Exact paths before prefixes, those before patterns; long before short ones; then a method, many headers, many parameters."""
    if match is None:
        return (0, 0, False, 0, 0)
    path = match.path
    length = len(path.prefix if path.type == "PathPrefix" else path.value)
    headers = {test.name.lower() for test in match.headers}
    return (_RANKS[path.type], length, match.method is not None, len(headers), len(match.query_params))


def _conditions(match: RouteMatch) -> tuple[Condition, ...]:
    headers: dict[str, StringMatch] = {}
    for test in match.headers:
        headers.setdefault(test.name.lower(), text_match(test))
    path = path_condition(match.path)
    others = HttpMatch(
        method=StringMatch(exact=match.method) if match.method else None,
        headers=headers,
        query_params={test.name: text_match(test) for test in match.query_params},
    )
    return ((path,) if path else ()) + conditions(others)


def _shared(resource: Resource, rule: RouteRule, index: int, aliased: Mapping[str, str]) -> Route:
    """What the routes of a rule have in common. Its name is Istio's."""
    clusters = tuple(_weighted(resource, rule, aliased))
    timeout, retries = _limits(rule)
    return Route(
        name=rule.name or f"{resource.namespace}.{resource.name}.{index}",
        virtual_service=resource.namespaced_name,
        kind="HTTPRoute",
        matches=None,
        clusters=clusters,
        shares=shares(one.weight for one in clusters),
        timeout=timeout,
        retries=retries,
        mirrors=tuple(_mirrors(resource, rule, aliased)) if clusters else (),
        cors=_cors(rule.cors) if rule.cors and clusters else None,
        no_cluster_status=NO_BACKEND,
    )


def _weighted(resource: Resource, rule: RouteRule, aliased: Mapping[str, str]) -> Iterator[WeightedCluster]:
    """Where requests go. A backend that cannot be takes its share all the same; one of weight 0 is none."""
    chosen = [one for one in rule.backend_refs if one.weight]
    weighted = len(chosen) > 1
    host = not (rule.rewrite and rule.rewrite.hostname)
    for one in chosen:
        cluster, destination = backend(one, resource.namespace, aliased)
        yield WeightedCluster(
            cluster=cluster,
            destination=destination,
            weight=one.weight if weighted else 100,
            request=header_change(_request(rule.filters), _request(one.filters), weighted, host),
            response=header_change(_response(rule.filters), _response(one.filters), weighted, host=False),
        )


def backend(ref: BackendTarget, namespace: str, aliased: Mapping[str, str] = NO_ALIASES) -> tuple[str, Destination]:
    """The cluster behind a reference from a namespace, and its host; that of its service, if it is among `aliased`. Of a kind that Istio
    does not know there is no cluster."""
    host = f"{ref.name}.{ref.namespace or namespace}.{CLUSTER_DOMAIN}" if ref.is_service else ref.name
    destination = Destination(aliased.get(host, host), "", ref.port or 0)
    return cluster_name(destination) if ref.is_service or ref.is_hostname else _UNKNOWN, destination


def _limits(rule: RouteRule) -> tuple[float | None, RetryPolicy | None]:
    """Time for a whole request, and retries. A limit for one try is one for the request where nothing is said of retries, as in Istio."""
    request, one_try, retry = rule.timeouts.request or None, rule.timeouts.backend_request or None, rule.retry
    if retry is None:
        return one_try or request, RetryPolicy()
    codes = frozenset(retry.codes)
    made = RetryPolicy(
        attempts=retry.attempts,
        per_try_timeout=one_try,
        conditions=_RETRIED | ({"retriable-status-codes"} if codes else set()),
        status_codes=codes,
    )
    return request, made.backing_off(retry.backoff)


def _mirrors(resource: Resource, rule: RouteRule, aliased: Mapping[str, str]) -> Iterator[Mirror]:
    """Mirrors of 0 %, and those that lead nowhere, are none."""
    for one in rule.mirrors:
        cluster, destination = backend(one.backend_ref, resource.namespace, aliased)
        if one.share > 0 and cluster != _UNKNOWN:
            yield Mirror(cluster, one.share, destination)


def _request(filters: Sequence[Filter]) -> HeaderOperations | None:
    return _operations(next((one.request_header_modifier for one in filters if one.request_header_modifier), None))


def _response(filters: Sequence[Filter]) -> HeaderOperations | None:
    return _operations(next((one.response_header_modifier for one in filters if one.response_header_modifier), None))


def _operations(given: HeaderFilter | None) -> HeaderOperations | None:
    """A filter's changes as VirtualServices have them."""
    if given is None:
        return None
    changed, added = ({pair.name.lower(): pair.value for pair in reversed(pairs)} for pairs in (given.set, given.add))
    return HeaderOperations(set=changed, add=added, remove=tuple(name.lower() for name in given.remove))


def _cors(given: CorsFilter) -> Cors:
    """A filter as the data path obeys it. A preflight of an origin that may not ask goes no further."""
    return cors(CorsRule(
        allow_origins=tuple(map(_origin, given.allow_origins)),
        allow_methods=given.allow_methods,
        allow_headers=given.allow_headers,
        expose_headers=given.expose_headers,
        max_age=float(given.max_age),
        allow_credentials=given.allow_credentials,
        unmatched_preflights="IGNORE",
    ))  # fmt: skip


def _origin(given: str) -> OriginMatch:
    """`*` alone is anything that looks like an origin, within one it is any text."""
    if given == "*":
        return OriginMatch(regex=pattern(_ANY_ORIGIN))
    if "*" in given:
        return OriginMatch(regex=pattern(".*".join(map(re.escape, given.split("*")))))
    return OriginMatch(exact=given)


def _answer(rule: RouteRule, path: PathMatch, port: int) -> Answer | None:
    """What a rule answers by itself: a redirect; or 500 where no backend has a weight."""
    change = header_change(None, _response(rule.filters), False, host=False)
    if rule.redirect is not None:
        return Answer(rule.redirect.status_code, redirect=_redirect(rule.redirect, path, port), response=change)
    if not any(one.weight for one in rule.backend_refs):
        return Answer(NO_BACKEND, response=change)
    return None


def _redirect(given: RedirectFilter, path: PathMatch, port: int) -> Redirect:
    """The port is the given one; that of a given scheme; else the one that was asked for."""
    derived: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    if given.port is None:
        derived = "FROM_PROTOCOL_DEFAULT" if given.scheme else "FROM_REQUEST_PORT"
    full = given.path.replace_full_path if given.path else None
    made = redirect(
        RedirectRule(uri=full or "", authority=given.hostname, scheme=given.scheme or "", port=given.port, derive_port=derived), None, port
    )
    if given.path is None or given.path.replace_prefix_match is None:
        return made
    return attrs.evolve(made, target=on_path(replaced_prefix(path.prefix, given.path.replace_prefix_match)))


def _rewrite(given: RewriteFilter | None, path: PathMatch) -> Rewrite | None:
    """An empty path takes no other's place, as in Envoy."""
    if given is None:
        return None
    authority, change = given.hostname.encode() if given.hostname else None, _path_change(given.path, path)
    return Rewrite(authority, change) if authority or change else None


def _path_change(given: PathModifier | None, path: PathMatch) -> Callable[[bytes], bytes] | None:
    if given is None:
        return None
    if given.replace_full_path:
        full = given.replace_full_path.encode()
        return lambda _: full
    return replaced_prefix(path.prefix, given.replace_prefix_match) if given.replace_prefix_match is not None else None
