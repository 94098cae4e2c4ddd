"""The agent's port, 15020 in an injected container: readiness and the application's probes for the kubelet, the way out for a Job."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.web.server import Request

from meshcar.admin.app_probes import AppProbes
from meshcar.admin.guards import FETCH_SITE, wrong_host, wrong_origin
from meshcar.admin.http import Answer, Answering, QuietSite, as_text, refusal
from meshcar.admin.probes import READY_PATH, readiness

QUIT_PATH = b"/quitquitquit"
PROBE_PREFIXES = (b"/app-health/", b"/app-lifecycle/")


def agent_site(ready: Callable[[], str | None], stop: Callable[[], object], probes: AppProbes, reactor: Any) -> QuietSite:
    """The Site of `--agent`: `GET /healthz/ready`; the application's own probes; and `POST /quitquitquit` from this machine alone,
    which drains and ends the process."""

    def respond(request: Request) -> Answering:
        if request.path == READY_PATH:
            return readiness(ready)
        if request.path.startswith(PROBE_PREFIXES):
            is_read = request.method in (b"GET", b"HEAD")
            return probes.answer(request) if is_read else refusal(405, "a probe is a GET", ("allow", "GET, HEAD"))
        if request.path != QUIT_PATH:
            return refusal(404, f"there are only {READY_PATH.decode()}, {QUIT_PATH.decode()} and the application's probes")
        refused = _refused_quit(request)
        if refused is not None:
            return refused
        reactor.callLater(0, stop)
        return as_text("OK\n")

    return QuietSite(respond, reactor)


def _refused_quit(request: Request) -> Answer | None:
    """Neither a stranger, nor a page in a browser, nor a link may end the process."""
    if request.method != b"POST":
        return refusal(405, "/quitquitquit is a POST", ("allow", "POST"))
    host = getattr(request.getClientAddress(), "host", "")
    if not host or not ip_address(host.removeprefix("::ffff:")).is_loopback:
        return refusal(403, "only from this machine")

    def headers(name: str) -> list[str]:
        return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name.encode(), [])]

    return wrong_host(headers("host"), "") or wrong_origin(headers("origin"), headers(FETCH_SITE))
