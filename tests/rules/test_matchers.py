"""Match conditions on request heads."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.matchers import first_query_value, predicate
from meshcar.rules.schema_routes import HttpMatch
from meshcar.rules.shapes import Faults, message
from meshcar.wire.head import RequestHead

READ = message(HttpMatch)


def matches(text: str, target: str = "/", *headers: tuple[str, str], method: str = "GET", host: str = "httpbin:8000") -> bool:
    """Whether a match, written in YAML, takes a request."""
    faults = Faults()
    match = READ(yaml.safe_load(text), (), faults)
    assert not faults
    test = predicate(match)
    lines = [(name.encode(), value.encode()) for name, value in headers]
    return test is None or test(RequestHead(method.encode(), target.encode(), host.encode(), lines))


@pytest.mark.parametrize(
    ("text", "target", "wanted"),
    [
        ("{uri: {exact: /a}}", "/a", True),
        ("{uri: {exact: /a}}", "/a?x=1", True),
        ("{uri: {exact: /a}}", "/a/", False),
        ("{uri: {exact: /a}}", "/A", False),
        ("{uri: {exact: /a}, ignoreUriCase: true}", "/A?x", True),
        ("{uri: {exact: '/a?x'}}", "/a?x", False),
        ("{uri: {prefix: /a}}", "/ab?c", True),
        ("{uri: {prefix: /a}}", "/b", False),
        ("{uri: {prefix: '/a?'}}", "/a?b", False),
        ("{uri: {prefix: /}}", "/b", True),
        ("{uri: {prefix: /API}, ignoreUriCase: true}", "/api/x", True),
        ("{uri: {prefix: /API}, ignoreUriCase: true}", "/ap", False),
        ("{uri: {regex: '/u/[0-9]+'}}", "/u/42?x=1", True),
        ("{uri: {regex: '/u/[0-9]+'}}", "/u/42/x", False),
        ("{uri: {regex: '/u'}, ignoreUriCase: true}", "/U", False),
        ("{uri: {prefix: ''}}", "/anything", True),
        ("{uri: {}}", "/anything", True),
        ("{uri: {exact: ''}}", "/", False),
    ],
)
def test_uri(text: str, target: str, wanted: bool) -> None:
    """On the path without its query; a regex has to match all of it, and heeds the case."""
    assert matches(text, target) is wanted


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("{headers: {x-a: {exact: one}}}", ["one"], True),
        ("{headers: {x-a: {exact: one}}}", ["two", "one"], True),
        ("{headers: {x-a: {exact: 'two,one'}}}", ["two", "one"], False),
        ("{headers: {X-A: {prefix: o}}}", ["one"], True),
        ("{headers: {x-a: {regex: 'o.e'}}}", ["ones"], False),
        ("{headers: {x-a: {}}}", [""], True),
        ("{headers: {x-a: {regex: '*'}}}", [""], True),
        ("{headers: {x-a: {}}}", [], False),
        ("{headers: {x-a: {exact: ''}}}", [], False),
        ("{withoutHeaders: {x-a: {exact: one}}}", [], True),
        ("{withoutHeaders: {x-a: {exact: one}}}", ["two"], True),
        ("{withoutHeaders: {x-a: {exact: one}}}", ["two", "one"], False),
        ("{withoutHeaders: {x-a: {exact: ''}}}", [], False),
        ("{withoutHeaders: {x-a: {}}}", [], True),
        ("{withoutHeaders: {x-a: {}}}", ["x"], False),
    ],
)
def test_headers(text: str, values: list[str], wanted: bool) -> None:
    """Any line of a header may match; absent is not the same as empty, but for withoutHeaders."""
    assert matches(text, "/", *(("x-a", value) for value in values)) is wanted


def test_host_as_header() -> None:
    """Host and :authority mean the authority; the other pseudo-headers are there, too, but for a response's."""
    assert matches("{headers: {':path': {exact: '/a?b'}}}", "/a?b")
    assert matches("{headers: {':method': {exact: GET}, ':scheme': {exact: http}}}")
    assert not matches("{headers: {':status': {}}}")
    assert matches("{withoutHeaders: {':status': {}}}")
    assert not matches("{withoutHeaders: {':path': {}}}")
    assert matches("{headers: {Host: {exact: 'httpbin:8000'}}}")
    assert matches("{headers: {':authority': {prefix: httpbin}}}")
    assert not matches("{withoutHeaders: {host: {prefix: httpbin}}}")


@pytest.mark.parametrize(
    ("text", "target", "wanted"),
    [
        ("{a: {exact: '1'}}", "/?a=1", True),
        ("{a: {exact: '1'}}", "/?b=2&a=1", True),
        ("{a: {exact: '1'}}", "/?a=2&a=1", False),
        ("{a: {exact: '1'}}", "/?A=1", False),
        ("{a: {exact: 'x y'}}", "/?a=x%20y", False),
        ("{a: {regex: '[0-9]+'}}", "/?a=12", True),
        ("{a: {prefix: p}}", "/?a=pq", True),
        ("{a: {}}", "/?a", True),
        ("{a: {}}", "/?ab", False),
        ("{a: {}}", "/", False),
    ],
)
def test_query(text: str, target: str, wanted: bool) -> None:
    """The first value counts, names heed the case, nothing is decoded."""
    assert matches(f"{{queryParams: {text}}}", target) is wanted


def test_method_and_authority() -> None:
    """Both heed the case; the authority is the client's, with its port."""
    assert matches("{method: {exact: POST}}", method="POST")
    assert not matches("{method: {exact: post}}", method="POST")
    assert matches("{authority: {exact: 'httpbin:8000'}}")
    assert not matches("{authority: {exact: httpbin}}")


def test_all_conditions_hold() -> None:
    """Two, three, more: one that fails is enough."""
    text = "{uri: {prefix: /a}, method: {exact: GET}, headers: {x-a: {}}, queryParams: {q: {}}}"
    assert matches(text, "/a?q", ("x-a", ""))
    assert not matches(text, "/a?q")
    assert not matches(text, "/a?q", ("x-a", ""), method="PUT")
    assert not matches("{uri: {prefix: /a}, method: {exact: GET}}", "/b")


def test_nothing_to_match() -> None:
    """A match that takes everything costs nothing."""
    assert predicate(None) is None
    assert predicate(READ({"uri": {"prefix": "/"}, "method": {}}, (), Faults())) is None


def test_hostile_regex() -> None:
    """RE2 stays linear where a backtracking engine would take minutes."""
    assert not matches("{uri: {regex: '/(a+)+'}}", "/" + "a" * 100_000 + "b")


@given(st.text("ab/?=&", max_size=12), st.text("ab/", max_size=4))
def test_prefix_and_exact(tail: str, text: str) -> None:
    """The shortcuts around the query change nothing."""
    target, path = "/" + tail, re.split(r"\?", "/" + tail)[0]
    assert matches(f"{{uri: {{exact: '/{text}'}}}}", target) is (path == "/" + text)
    assert matches(f"{{uri: {{prefix: '/{text}'}}}}", target) is path.startswith("/" + text)


@given(st.binary(max_size=30))
def test_query_value(query: bytes) -> None:
    """Any bytes are a query."""
    value = first_query_value(query, b"a")
    assert value is None or b"a" in query
