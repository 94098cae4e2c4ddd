"""The operator's port: which call is answered where, and who is let in."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.web.server import Request

from meshcar.admin import dump, life_calls, logging_call, rules_calls, stats_call
from meshcar.admin.guards import FETCH_SITE, wrong_host, wrong_origin, wrong_token
from meshcar.admin.http import Answering, QuietSite, refusal
from meshcar.admin.operator import Operator


@attrs.frozen
class Call:
    """What answers a path. `secret`: reading it takes the token, too, where there is one."""

    method: str
    answer: Callable[[Operator, Request], Answering]
    secret: bool = False


CALLS: Mapping[str, Call] = {
    "/rules": Call("GET", rules_calls.list_rules, secret=True),
    "/rules/apply": Call("POST", rules_calls.apply_rules),
    "/reload": Call("POST", rules_calls.reload_rules),
    "/ready": Call("GET", dump.ready),
    "/clusters": Call("GET", dump.clusters),
    "/listeners": Call("GET", dump.listeners),
    "/certs": Call("GET", dump.certificates),
    "/config_dump": Call("GET", dump.config_dump, secret=True),
    "/server_info": Call("GET", dump.server_info),
    "/stats/prometheus": Call("GET", dump.metrics),
    "/stats": Call("GET", stats_call.stats),
    "/explain": Call("POST", rules_calls.explain),
    "/logging": Call("POST", logging_call.logging),
    "/drain_listeners": Call("POST", life_calls.drain_listeners),
    "/healthcheck/fail": Call("POST", life_calls.fail_health),
    "/healthcheck/ok": Call("POST", life_calls.pass_health),
    "/quitquitquit": Call("POST", life_calls.quit_process),
}
"""Every path but DELETE's, which carries a name."""


def admin_site(operator: Operator, reactor: Any, *, token: bytes | None = None, own_name: str = "") -> QuietSite:
    """The Site of `--admin`. With a `token`, mutations, /rules and /config_dump need it. `own_name` is this machine's host name."""
    return QuietSite(lambda request: _respond(operator, token, own_name, request), reactor)


def _respond(operator: Operator, token: bytes | None, own_name: str, request: Request) -> Answering:
    if refused := wrong_host(_headers(request, "host"), own_name):
        return refused
    path, method = request.path.decode("latin-1"), request.method.decode("latin-1")
    call = _call(path)
    if call is None:
        return refusal(404, f"there is no {path}")
    if ("GET" if method == "HEAD" else method) != call.method:
        return refusal(405, f"{path} is a {call.method}", ("allow", "GET, HEAD" if call.method == "GET" else call.method))
    changes = call.method != "GET"
    if changes and (refused := wrong_origin(_headers(request, "origin"), _headers(request, FETCH_SITE))):
        return refused
    if token is not None and (changes or call.secret) and (refused := wrong_token(_headers(request, "authorization"), token)):
        return refused
    return call.answer(operator, request)


def _call(path: str) -> Call | None:
    if path in CALLS:
        return CALLS[path]
    return Call("DELETE", rules_calls.delete_rule) if path.startswith(rules_calls.DELETE_PREFIX) else None


def _headers(request: Request, name: str) -> list[str]:
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name.encode(), [])]
