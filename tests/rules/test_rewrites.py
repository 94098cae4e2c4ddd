"""Paths rewritten."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules import patterns
from meshcar.rules.policies import Rewrite
from meshcar.rules.rewrites import path_rewrite, pieces, replace_all, rewrite
from meshcar.rules.schema_actions import RewriteRule
from meshcar.rules.schema_routes import HttpMatch
from meshcar.rules.shapes import Faults, message
from meshcar.wire.head import RequestHead


def rewritten(rule: str, match: str | None, path: str) -> str:
    """A path after a rewrite and under a match, both written in YAML."""
    faults = Faults()
    value = message(RewriteRule)(yaml.safe_load(rule), (), faults)
    condition = message(HttpMatch)(yaml.safe_load(match), (), faults) if match else None
    assert not faults
    made = path_rewrite(value, condition)
    return path if made is None else made(path.encode()).decode()


@pytest.mark.parametrize(
    ("rule", "match", "path", "wanted"),
    [
        ("{uri: /}", "{uri: {prefix: /api}}", "/api/x", "//x"),
        ("{uri: /v2}", "{uri: {prefix: /api}}", "/apix", "/v2x"),
        ("{uri: /base}", "{uri: {prefix: /}}", "/x", "/basex"),
        ("{uri: /base}", None, "/x", "/basex"),
        ("{uri: /base}", "{method: {exact: GET}}", "/x", "/basex"),
        ("{uri: /v2}", "{uri: {prefix: /api/}}", "/api/x", "/v2x"),
        ("{uri: /v2}", "{uri: {prefix: /api}, ignoreUriCase: true}", "/API/x", "/v2/x"),
        ("{uri: /b/c}", "{uri: {exact: /a}}", "/a", "/b/c"),
        ("{uri: /users}", "{uri: {regex: '/u/[0-9]+'}}", "/u/42", "/users"),
        ("{uriRegexRewrite: {match: o, rewrite: '0'}}", None, "/foo/boo", "/f00/b00"),
        ("{uriRegexRewrite: {match: '(?i)/ABC', rewrite: /x}}", None, "/abc/d", "/x/d"),
        ("{uriRegexRewrite: {match: '/(a)/(b)', rewrite: '/\\2/\\1\\\\\\0'}}", None, "/a/b/c", "/b/a\\/a/b/c"),
        ("{uriRegexRewrite: {match: zzz, rewrite: y}}", None, "/a", "/a"),
        ("{authority: x}", None, "/a", "/a"),
    ],
)
def test_rewrite(rule: str, match: str | None, path: str, wanted: str) -> None:
    """A prefix as text, an exact or regex match as a whole, a regex everywhere."""
    assert rewritten(rule, match, path) == wanted


@given(st.sampled_from(["a", "a+", "ab?", "[ab]", "b*c"]), st.text("abc/", max_size=20))
def test_as_re(pattern: str, text: str) -> None:
    """Where RE2 and Python's re agree on matches (leftmost ones that are not empty), replacing gives the same."""
    if re.search(pattern, "") is None:
        assert replace_all(patterns.pattern(pattern), pieces("<\\0>"), text.encode()).decode() == re.sub(pattern, r"<\g<0>>", text)


def test_empty_matches() -> None:
    """As RE2::GlobalReplace: none right behind another match."""
    assert replace_all(patterns.pattern("o*"), (b"X",), b"foo") == b"XfX"
    assert replace_all(patterns.pattern("()"), (b"-",), b"ab") == b"-a-b-"
    assert replace_all(patterns.pattern("^/x"), (b"Y",), b"/x/x") == b"Y/x"


def test_group_without_match() -> None:
    """It is empty."""
    assert replace_all(patterns.pattern("a(b)?"), (b"<", 1, b">"), b"a") == b"<>"


def test_rewritten_request() -> None:
    """Authority and path are the new ones, the query stays, and headers tell what they were."""
    head = RequestHead(b"GET", b"/a/b?c=/a", b"x:80", [])
    rewrite(head, Rewrite(b"y", lambda path: path.replace(b"/a", b"/z")))
    assert (head.authority, head.target) == (b"y", b"/z/b?c=/a")
    assert head.headers == [(b"x-envoy-original-host", b"x:80"), (b"x-envoy-original-path", b"/a/b?c=/a")]
    assert head.noted == {b"x-envoy-original-path": b"/a/b?c=/a"}
    same = RequestHead(b"GET", b"/a", b"x", [])
    rewrite(same, Rewrite())
    assert (same.authority, same.target, same.headers) == (b"x", b"/a", [])
