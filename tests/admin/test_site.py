"""The operator's port: who is let in, and which call is answered where."""

from typing import Any

import pytest
from twisted.web.server import Site

from meshcar.admin.http import BODY_LIMIT, DRAIN_LIMIT
from meshcar.admin.site import CALLS, admin_site
from tests.admin.fakes import RULE, FakeRules, call, clock, exchange, operator, parsed

LOCAL = ["127.0.0.1", "127.0.0.1:15000", "[::1]:15000", "10.1.2.3", "localhost", "LOCALHOST:1", "a.localhost", "pod-1"]
PAGES = [{"origin": "http://127.0.0.1:15000"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}]
CHANGES = [(one.method, path) for path, one in CALLS.items() if one.method != "GET"] + [("DELETE", "/rules/VirtualService/default/httpbin")]


def site(token: bytes | None = None, **changes: Any) -> Site:
    """The admin Site of a fake process."""
    return admin_site(operator(**changes), clock(), token=token, own_name="pod-1")


@pytest.mark.parametrize("host", LOCAL)
def test_local_hosts(host: str) -> None:
    """Addresses and local names may call."""
    assert call(site(), "GET", "/ready", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost", "1.2.3"])
def test_rebound_hosts(host: str) -> None:
    """A name that somebody's DNS may point at 127.0.0.1 is 403, for every call."""
    assert call(site(), "GET", "/ready", host=host).status == 403
    assert call(site(), "POST", "/reload", host=host).status == 403


@pytest.mark.parametrize("lines", ["", "Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", "Host:\r\n", "Host: [::1\r\n", "Host: a:b\r\n"])
def test_unusable_host(lines: str) -> None:
    """No Host, two, or one that is none: 400."""
    assert parsed(exchange(site(), f"GET /ready HTTP/1.1\r\n{lines}\r\n".encode())).status == 400


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_pages_change_nothing(method: str, path: str) -> None:
    """A mutation with any Origin, or from another site, is 403 and is not carried out."""
    rules = FakeRules()
    for headers in PAGES:
        assert call(site(rules=rules), method, path, **headers).status == 403
    assert rules.asked == []


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_mutation_by_get(method: str, path: str) -> None:
    """GET and HEAD change nothing: 405, with what is allowed."""
    for wrong in ("GET", "HEAD", "PUT"):
        reply = call(site(), wrong, path)
        assert (reply.status, reply.headers["allow"]) == (405, method)


@pytest.mark.parametrize(("method", "path"), [*CHANGES, ("GET", "/rules"), ("GET", "/config_dump")])
def test_token(method: str, path: str) -> None:
    """Mutations, /rules and /config_dump need the token where there is one; a wrong one is as good as none."""
    rules = FakeRules()
    guarded = site(token=b"secret", rules=rules)
    for headers in ({}, {"authorization": "Bearer secre"}, {"authorization": "Bearer"}, {"authorization": "Basic secret"}):
        reply = call(guarded, method, path, **headers)
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert rules.asked == []
    assert call(guarded, method, path, authorization="bearer secret").status in (200, 400, 409)


def test_open_calls_need_no_token() -> None:
    """What tells no rule and changes nothing stays open to probes."""
    for path in ("/ready", "/stats/prometheus", "/clusters", "/listeners", "/certs", "/server_info"):
        assert call(site(token=b"secret"), "GET", path).status == 200


def test_unknown_path() -> None:
    """404, in JSON."""
    assert call(site(), "GET", "/nothing").status == 404
    assert "there is no /nothing" in call(site(), "GET", "/nothing").value["error"]


def test_head() -> None:
    """HEAD is GET without the body."""
    reply = call(site(), "HEAD", "/ready")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "5")


def test_answers_say_little() -> None:
    """No version in `server`, no guessing of types, no caching."""
    headers = call(site(), "GET", "/rules").headers
    assert (headers["server"], headers["x-content-type-options"], headers["content-type"]) == ("meshcar", "nosniff", "application/json")


def test_long_body() -> None:
    """Over 1 MiB is 413, by its length or by its chunks; exactly 1 MiB is taken."""
    rules = FakeRules()
    assert call(site(rules=rules), "POST", "/rules/apply", b"#" * BODY_LIMIT).status == 200
    assert call(site(rules=rules), "POST", "/rules/apply", b"#" * (BODY_LIMIT + 1)).status == 413
    chunk = b"10000\r\n" + b"#" * 65536 + b"\r\n"
    head = b"POST /rules/apply HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert parsed(exchange(site(rules=rules), head + chunk * 17 + b"0\r\n\r\n")).status == 413
    assert len(rules.asked) == 1


def test_endless_body() -> None:
    """A body that does not end, or says it will be huge, is cut off with 413."""
    chunk = b"100000\r\n" + b"#" * (1 << 20) + b"\r\n"
    head = b"POST /rules/apply HTTP/1.1\r\nHost: localhost\r\n"
    endless = exchange(site(), head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20)
    assert endless.startswith(b"HTTP/1.1 413 ") and endless.count(b"HTTP/1.1") == 1
    assert exchange(site(), head + b"Content-Length: %d\r\n\r\n" % (DRAIN_LIMIT + 1)).startswith(b"HTTP/1.1 413 ")


def test_form_is_no_form() -> None:
    """curl's default Content-Type does not change what the body is."""
    rules = FakeRules()
    call(site(rules=rules), "POST", "/rules/apply", RULE.encode(), content_type="application/x-www-form-urlencoded")
    call(site(rules=rules), "POST", "/rules/apply", RULE.encode(), content_type="multipart/form-data; boundary=x")
    assert rules.asked == [("apply", RULE, False)] * 2
