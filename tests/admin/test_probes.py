"""The ports for probes and scrapes: one path each, and nothing of the operator's."""

import pytest
from twisted.web.server import Site

from meshcar.admin.probes import health_site, metrics_site
from tests.admin.fakes import call, clock


def test_health() -> None:
    """200 when ready, else 503 with the reason; any Host will do, kubelets use the pod's."""
    assert call(health_site(lambda: None, clock()), "GET", "/healthz/ready", host="pod.example").status == 200
    reply = call(health_site(lambda: "no rules", clock()), "GET", "/healthz/ready")
    assert (reply.status, reply.body) == (503, b"no rules\n")


def test_metrics() -> None:
    """The text as the process gives it."""
    assert call(metrics_site(lambda: ["a 1\n", "b 2\n"], clock()), "GET", "/stats/prometheus").body == b"a 1\nb 2\n"


@pytest.mark.parametrize("site", [health_site(lambda: None, clock()), metrics_site(list, clock())])
def test_nothing_else(site: Site) -> None:
    """No reload button here; and the one path is only read."""
    for method, path in (("POST", "/reload"), ("GET", "/rules"), ("GET", "/"), ("DELETE", "/rules/a/b/c")):
        assert call(site, method, path).status == 404
    path = "/healthz/ready" if call(site, "GET", "/healthz/ready").status == 200 else "/stats/prometheus"
    assert call(site, "POST", path).status == 405
