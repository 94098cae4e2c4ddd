"""The two small ports that anybody may reach: health for the kubelet, metrics for Prometheus."""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.web.server import Request

from meshcar.admin.http import Answer, Answering, QuietSite, as_text, in_pieces, refusal
from meshcar.admin.operator import nothing_new
from meshcar.net.slices import Work
from meshcar.observe.prometheus import CONTENT_TYPE

READY_PATH = b"/healthz/ready"
METRICS_PATH = b"/stats/prometheus"


def health_site(ready: Callable[[], str | None], reactor: Any) -> QuietSite:
    """The Site of `--health`: `GET /healthz/ready` is 200, or 503 with the reason that `ready` gives."""
    return _one_path(READY_PATH, lambda: readiness(ready), reactor)


def readiness(ready: Callable[[], str | None]) -> Answer:
    """200, or 503 with the reason that `ready` gives."""
    reason = ready()
    return as_text("ready\n") if reason is None else as_text(f"{reason}\n", 503)


def metrics_site(
    metrics: Callable[[], Iterable[str]], reactor: Any, news: Callable[[bool], Work[None]] = nothing_new
) -> QuietSite:
    """The Site of `--metrics`: `GET /stats/prometheus` is the exposition text, of which `metrics` gives the parts, after `news`."""
    def respond() -> Work[Answer]:
        yield from news(False)
        return (yield from in_pieces(metrics(), CONTENT_TYPE))
    return _one_path(METRICS_PATH, respond, reactor)


def _one_path(path: bytes, respond: Callable[[], Answering], reactor: Any) -> QuietSite:
    def answer(request: Request) -> Answering:
        if request.path != path:
            return refusal(404, f"there is only {path.decode()}")
        if request.method not in (b"GET", b"HEAD"):
            return refusal(405, f"{path.decode()} is a GET", ("allow", "GET, HEAD"))
        return respond()
    return QuietSite(answer, reactor)
