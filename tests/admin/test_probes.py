"""The ports for probes and scrapes: one path each, and nothing of the operator's."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from meshcar.admin.probes import health_site, metrics_site
from meshcar.net.slices import Work
from tests.admin.fakes import call, clock


def test_health() -> None:
    """200 when ready, else 503 with the reason; any Host will do, kubelets use the pod's."""
    assert call(health_site(lambda: None, clock()), "GET", "/healthz/ready", host="pod.example").status == 200
    reply = call(health_site(lambda: "no rules", clock()), "GET", "/healthz/ready")
    assert (reply.status, reply.body) == (503, b"no rules\n")


def test_metrics() -> None:
    """The text as the process gives it."""
    assert call(metrics_site(lambda: ["a 1\n", "b 2\n"], clock()), "GET", "/stats/prometheus").body == b"a 1\nb 2\n"


def test_metrics_of_others() -> None:
    """What further processes counted is waited for before anything is told."""
    counted: list[str] = []
    arrives: Deferred[None] = Deferred()

    def news(clusters: bool) -> Work[None]:
        assert not clusters
        yield arrives

    transport = StringTransport()
    protocol = metrics_site(lambda: counted, clock(), news).buildProtocol(None)
    protocol.makeConnection(transport)
    protocol.dataReceived(b"GET /stats/prometheus HTTP/1.1\r\nhost: a\r\n\r\n")
    assert transport.value() == b""
    counted.append("a 1\n")
    arrives.callback(None)
    assert transport.value().endswith(b"\r\n\r\na 1\n")


@pytest.mark.parametrize("site", [health_site(lambda: None, clock()), metrics_site(list, clock())])
def test_nothing_else(site: Site) -> None:
    """No reload button here; and the one path is only read."""
    for method, path in (("POST", "/reload"), ("GET", "/rules"), ("GET", "/"), ("DELETE", "/rules/a/b/c")):
        assert call(site, method, path).status == 404
    path = "/healthz/ready" if call(site, "GET", "/healthz/ready").status == 200 else "/stats/prometheus"
    assert call(site, "POST", path).status == 405
