"""Out of service, and back."""

from typing import Any

import pytest

from meshcar.admin.site import admin_site
from tests.admin.fakes import FakeLife, call, clock, operator


@pytest.mark.parametrize(("path", "told"), [
    ("/healthcheck/fail", "fail"),
    ("/healthcheck/ok", "ok"),
    ("/quitquitquit", "quit"),
    ("/drain_listeners", set()),
    ("/drain_listeners?graceful", {"graceful"}),
    ("/drain_listeners?inboundonly&graceful", {"graceful", "inbound_only"}),
    ("/drain_listeners?skip_exit=", {"skip_exit"}),
    ("/drain_listeners?other=1", set()),
])
def test_told(path: str, told: Any) -> None:
    """Each is a POST, answered `OK`; a parameter counts when it is there."""
    life = FakeLife()
    reply = call(admin_site(operator(life=life), clock()), "POST", path)
    assert (reply.status, reply.body, life.told) == (200, b"OK\n", [told])


def test_state() -> None:
    """While it leaves, /ready and /server_info say Envoy's word for it."""
    site = admin_site(operator(life=FakeLife("draining"), ready=lambda: "draining"), clock())
    reply = call(site, "GET", "/ready")
    assert (reply.status, reply.body) == (503, b"DRAINING\ndraining\n")
    assert call(site, "GET", "/server_info").value["state"] == "DRAINING"
