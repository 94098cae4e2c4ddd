"""Explanations for people."""

from meshcar.cli.explain_text import lines
from tests.rules.test_explain import CORS, V1, rule, told

HOST = "httpbin.default.svc.cluster.local"


def test_everything() -> None:
    """Each thing that a rule does has its line."""
    found = rule(
        "[{name: r, match: [{uri: {prefix: /a}}], rewrite: {uri: /b, authority: new}, timeout: 2s, "
        "retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx'}, "
        "fault: {delay: {percentage: {value: 5}, fixedDelay: 1s}, abort: {percentage: {value: 0.5}, httpStatus: 503}}, "
        f"headers: {{request: {{set: {{s: '1'}}, remove: [r]}}, response: {{add: {{t: '2'}}}}}}, {CORS}, "
        "mirror: {host: httpbin, subset: v3}, "
        "route: [{destination: {host: httpbin, subset: v1}, weight: 3, headers: {request: {add: {o: '3'}}}}, "
        "{destination: {host: httpbin, subset: v2}, weight: 1}]}]",
        url="http://httpbin:8000/a/x", headers=[("origin", "http://b")],
    )  # fmt: skip
    assert "\n".join(lines("GET x", found)) == f"""\
GET x
  rule      VirtualService default/httpbin r, f.yaml:32
  does      send it on
  to        3  outbound|8000|v1|{HOST} (1 endpoint)
    request add o: 3
  to        1  outbound|8000|v2|{HOST} (1 endpoint)
  as        new /b/x
  request   remove r
  request   set s: 1
  response  add t: 2
  copy      100 %  outbound|8000|v3|{HOST} (missing) as new-shadow
  timeout   2 s
  retries   3, 1 s each, on 5xx
  fault     5 % wait 1 s
  fault     0.5 % get 503
  cors      this origin is allowed nothing
  note      outbound|8000|v3|{HOST} does not exist (NC): no copy is sent there"""


def test_short_ones() -> None:
    """What the sidecar answers or passes on by itself."""
    assert list(lines("GET a", told(url="a")))[:4] == [
        "GET a", "  rule      none, allow_any", "  does      pass it on unrouted", "  as        a /",
    ]  # fmt: skip
    assert list(lines("GET a", told(url="a", allow_any=False)))[1:3] == ["  rule      none, block_all", "  does      refuse it, 502"]
    missing = rule(f"[{{match: [{{uri: {{exact: /x}}}}], {V1}}}]")
    assert list(lines("GET a", missing))[1:3] == [
        "  rule      VirtualService default/httpbin, f.yaml:29", "  does      answer that nothing is found, 404",
    ]  # fmt: skip
    assert list(lines("", rule("[{directResponse: {status: 418, body: {string: \"tea\\nö\"}}}]")))[2] == (
        "  does      answer by itself, 418: tea\\n\\xf6"
    )
    assert list(lines("", rule("[{directResponse: {status: 204}}]")))[2] == "  does      answer by itself, 204"
    assert list(lines("", rule("[{route: [{destination: {host: nobody.x}}]}]")))[2] == "  does      answer 503"
    assert list(lines("GET a\x1b", told(method="get")))[:2] == ["GET a\\x1b", "  rule      none"]


def test_a_host_of_its_own() -> None:
    """A destination that has one says so."""
    v2 = "{destination: {host: httpbin, subset: v2}, weight: 1, headers: {request: {set: {Host: other}}}}"
    found = rule(f"[{{route: [{{destination: {{host: httpbin, subset: v1}}, weight: 1}}, {v2}]}}]")
    assert list(lines("GET x", found))[4:7] == [
        f"  to        1  outbound|8000|v2|{HOST} (1 endpoint)", "    as      other", "  as        httpbin:8000 /",
    ]  # fmt: skip
