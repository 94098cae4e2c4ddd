"""What a route does before it sends a request on, or instead: CORS, faults, redirects, direct responses. In Envoy's order."""

from typing import TYPE_CHECKING

from meshcar.rules.cors import grants, preflight
from meshcar.rules.policies import Answer
from meshcar.rules.redirects import own_headers
from meshcar.rules.snapshot import Route, WeightedCluster

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange
    from meshcar.proxy.outbound import Outbound


def act(side: "Outbound", exchange: "Exchange", route: Route) -> None:
    """Carries out a route that is not plain."""
    weighted = route.pick(side.roll()) if route.clusters else None
    if weighted is not None:
        exchange.cluster = side.parts.clusters.get(weighted.cluster)
    if route.cors is not None:
        exchange.grants = grants(route.cors, exchange.head)
        allowed = preflight(route.cors, exchange.head)
        if allowed is not None:
            exchange.reply(200, b"", "cors_response", allowed)
            return
    fault = route.fault
    if fault is not None and side.roll() * 100 < fault.delay_percent:
        exchange.add_flag("DI")
        exchange.wait(fault.delay_seconds, lambda: _go_on(side, exchange, route, weighted))
    else:
        _go_on(side, exchange, route, weighted)


def _go_on(side: "Outbound", exchange: "Exchange", route: Route, weighted: WeightedCluster | None) -> None:
    """Aborts the request, answers it or sends it on."""
    fault = route.fault
    if fault is not None and side.roll() * 100 < fault.abort_percent:
        exchange.response_change = weighted.response if weighted is not None else None
        exchange.add_flag("FI")
        exchange.reply(fault.abort_status, b"fault filter abort", "fault_filter_abort", grpc_status=fault.grpc_status)
    elif weighted is not None:
        exchange.cluster = side.parts.clusters.get(weighted.cluster)  # again: rules may have changed during a delay
        side.take(exchange, route, weighted)
    elif route.answer is not None:
        _answer(side, exchange, route.answer)


def _answer(side: "Outbound", exchange: "Exchange", answer: Answer) -> None:
    headers = own_headers(answer, exchange.head)
    if answer.response is not None:
        side.change(exchange, headers, answer.response)
    exchange.reply(answer.status, answer.body, "direct_response", headers)
