"""Where redirects lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.policies import Answer, Redirect
from meshcar.rules.redirects import location, own_headers, redirect
from meshcar.rules.schema_actions import RedirectRule
from meshcar.rules.schema_routes import HttpMatch, StringMatch
from meshcar.wire.head import RequestHead


def request(target: bytes = b"/old?q=1", authority: bytes = b"a:8000", forwarded: bytes = b"http", scheme: bytes = b"") -> RequestHead:
    return RequestHead(b"GET", target, authority, [(b"x-forwarded-proto", forwarded)], given_scheme=scheme)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (RedirectRule(uri="/new"), b"http://a:8000/new?q=1"),
        (RedirectRule(uri="/new?x=1"), b"http://a:8000/new?x=1"),
        (RedirectRule(uri="new"), b"http://a:8000new?q=1"),
        (RedirectRule(authority="b:81"), b"http://b:81/old?q=1"),
        (RedirectRule(authority="b", port=82), b"http://b:82/old?q=1"),
        (RedirectRule(scheme="https"), b"https://a:8000/old?q=1"),
        (RedirectRule(scheme="https", port=8443), b"https://a:8443/old?q=1"),
        (RedirectRule(scheme="https", port=443), b"https://a:8000/old?q=1"),
        (RedirectRule(port=80), b"http://a:8000/old?q=1"),
        (RedirectRule(port=443), b"http://a:443/old?q=1"),
        (RedirectRule(derive_port="FROM_REQUEST_PORT"), b"http://a:9000/old?q=1"),
        (RedirectRule(derive_port="FROM_PROTOCOL_DEFAULT"), b"http://a:8000/old?q=1"),
    ],
)
def test_location(rule: RedirectRule, wanted: bytes) -> None:
    """What is not given stays, the Host's port too; a default port counts as none, as in Istio."""
    assert location(redirect(rule, None, 9000), request()) == wanted


@pytest.mark.parametrize(
    ("uri", "target", "wanted"),
    [
        (StringMatch(prefix="/api"), b"/api/x?q", b"/v2/x?q"),
        (StringMatch(prefix="/api/"), b"/api/x", b"/v2x"),
        (StringMatch(exact="/api"), b"/api?q", b"/v2?q"),
        (None, b"/x?", b"/v2x?"),
    ],
)
def test_prefix_rewrite(uri: StringMatch | None, target: bytes, wanted: bytes) -> None:
    """The matched prefix is replaced as text, as a rewrite does it; the query stays."""
    rule = redirect(RedirectRule(prefix_rewrite="/v2"), HttpMatch(uri=uri) if uri else None, 80)
    assert location(rule, request(target)) == b"http://a:8000" + wanted


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (request(forwarded=b"https"), b"https://a:8000/old?q=1"),
        (request(forwarded=b"gopher"), b"http://a:8000/old?q=1"),
        (request(forwarded=b"HTTPS"), b"https://a:8000/old?q=1"),
        (request(scheme=b"https"), b"https://a:8000/old?q=1"),
        (request(authority=b"a:80"), b"http://a:80/old?q=1"),
        (request(authority=b"[::1]:80"), b"http://[::1]:80/old?q=1"),
        (request(authority=b"[::1]"), b"http://[::1]/old?q=1"),
    ],
)
def test_as_the_client_asked(head: RequestHead, wanted: bytes) -> None:
    """The scheme is the target's own, else X-Forwarded-Proto's, else http."""
    assert location(Redirect(), head) == wanted


def test_port_of_the_scheme_that_is_left() -> None:
    """http's 80 does not follow to https, nor https' 443 to http; IPv6 addresses keep their brackets."""
    assert location(Redirect(scheme=b"https"), request(authority=b"a:80")) == b"https://a/old?q=1"
    assert location(Redirect(scheme=b"https"), request(authority=b"[::1]:80")) == b"https://[::1]/old?q=1"
    assert location(Redirect(scheme=b"http"), request(authority=b"a:443", forwarded=b"https")) == b"http://a/old?q=1"
    assert location(Redirect(scheme=b"https", port=8443), request(authority=b"[::1]:80")) == b"https://[::1]:8443/old?q=1"


@given(st.binary(max_size=30), st.binary(max_size=30), st.sampled_from(["", "/b", "/b?c"]))
def test_any_request(target: bytes, authority: bytes, uri: str) -> None:
    """A peer's bytes never raise."""
    for rule in (RedirectRule(uri=uri), RedirectRule(prefix_rewrite=uri, port=9)):
        assert location(redirect(rule, None, 80), request(b"/" + target, authority)).startswith(b"http://")


@pytest.mark.parametrize("status", [200, 201, 299, 300, 308, 399, 400, 503])
def test_own_headers(status: int) -> None:
    """A 201 or 3xx tells where, by default where the client was; others tell nothing."""
    wanted = [(b"location", b"http://a/old?q=1")] if status in (201, 300, 308, 399) else []
    assert own_headers(Answer(status), request(authority=b"a")) == wanted
    if wanted:
        assert own_headers(Answer(status, redirect=Redirect(authority=b"b")), request()) == [(b"location", b"http://b/old?q=1")]
