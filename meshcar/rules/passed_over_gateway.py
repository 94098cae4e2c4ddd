"""Which HTTPRoutes, and which of their rules, a request passed by on its way, and why each did not take it."""

from collections.abc import Iterator, Sequence

from meshcar.rules.gateway_parents import Attachment
from meshcar.rules.passed_over import Rejected, unmet
from meshcar.rules.scope import Scope
from meshcar.rules.snapshot import Route, VirtualHost
from meshcar.wire.head import RequestHead


def gateway_rejections(
    scope: Scope, home: str, host: VirtualHost | None, head: RequestHead, port: int, taken: Route | None
) -> Iterator[Rejected]:
    """HTTPRoutes of the host that do not count for clients of the namespace `home`; of those that do the rules of which no match
    takes the request and one stands before `taken` (None: all)."""
    if host is None:
        return
    name = host.name.rpartition(":")[0]
    attached = scope.attached.get(name, [])
    meant = {route.virtual_service for route in host.routes if route.kind == "HTTPRoute"}
    known = set(meant)
    for one in attached:
        key = one.resource.namespaced_name
        if key not in known:
            known.add(key)
            here = [each for each in attached if each.resource is one.resource]
            hidden = _hidden(scope, name, one.resource.namespace)
            yield Rejected(key, None, hidden or _instead(one, here, host.routes[0], home, port))
    if meant:
        yield from _rules(host, head, taken)


def _rules(host: VirtualHost, head: RequestHead, taken: Route | None) -> Iterator[Rejected]:
    """One for each rule, in the order in which their matches are asked."""
    passed: dict[tuple[str | None, int], list[tuple[Route, str]]] = {}
    for route in host.routes:
        if route is taken:
            passed.pop((route.virtual_service, route.place[0]), None)
            break
        passed.setdefault((route.virtual_service, route.place[0]), []).append((route, unmet(route, head)))
    for (key, _), whys in passed.items():
        whys.sort(key=lambda one: one[0].place)
        because = whys[0][1] if len(whys) == 1 else "; ".join(f"matches[{route.place[1]}]: {why}" for route, why in whys)
        yield Rejected(key or "", whys[0][0].name, because)


def _hidden(scope: Scope, host: str, namespace: str) -> str | None:
    """Why an HTTPRoute of a namespace is not seen; None: it is."""
    if scope.sidecar is None or scope.imports(host, namespace):
        return None
    return f"{scope.sidecar.called} does not import {host} from namespace {namespace}"


def _instead(one: Attachment, here: Sequence[Attachment], first: Route, home: str, port: int) -> str:
    """Why an HTTPRoute with the host as parent does not count."""
    namespace = one.resource.namespace
    if namespace not in (home, one.namespace):
        return f"it is for clients of its own namespace, {namespace}, not of {home}"
    if all(each.port not in (None, port) for each in here):
        return f"it is for port {' and '.join(str(each.port) for each in here)}, not {port}"
    if first.kind == "HTTPRoute":
        return f"the HTTPRoutes of namespace {home} take the place of the service's own"
    return f"VirtualService {first.virtual_service} goes before"
