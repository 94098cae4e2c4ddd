"""The calls by which an operator takes this sidecar out of service, and back."""

from twisted.web.server import Request

from meshcar.admin.http import Answer, as_text, query
from meshcar.admin.operator import Operator


def fail_health(operator: Operator, request: Request) -> Answer:
    """`POST /healthcheck/fail`."""
    operator.life.fail_health()
    return as_text("OK\n")


def pass_health(operator: Operator, request: Request) -> Answer:
    """`POST /healthcheck/ok`."""
    operator.life.pass_health()
    return as_text("OK\n")


def drain_listeners(operator: Operator, request: Request) -> Answer:
    """`POST /drain_listeners`, with `graceful`, `inboundonly` and `skip_exit`: that they are there is enough, as with Envoy."""
    asked = query(request)
    operator.life.drain_listeners(graceful="graceful" in asked, inbound_only="inboundonly" in asked, skip_exit="skip_exit" in asked)
    return as_text("OK\n")


def quit_process(operator: Operator, request: Request) -> Answer:
    """`POST /quitquitquit`."""
    operator.life.quit()
    return as_text("OK\n")
