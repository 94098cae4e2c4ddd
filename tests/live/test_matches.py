"""Match conditions beside a real Envoy that was configured as istiod does it: for each match and request, both say the same."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshcar.rules.matchers import predicate
from meshcar.rules.schema_routes import HttpMatch
from meshcar.rules.shapes import Faults, message
from meshcar.wire.head import RequestHead
from tests.live.envoy import routing

Match = dict[str, Any]
Request = tuple[str, str, list[tuple[str, str]]]

READ = message(HttpMatch)
TEXTS: list[Match] = [
    {}, {"exact": "one"}, {"exact": ""}, {"exact": "one,two"}, {"prefix": "on"}, {"prefix": "tw"}, {"regex": "o.*"}, {"regex": "t.*"},
    {"regex": ".*two"}, {"regex": "*"}, {"regex": "(?i)ONE"}, {"exact": "1"}, {"exact": "x y"}, {"exact": "x%20y"},
]  # fmt: skip
PATHS: list[Match] = [
    {"exact": "/x"}, {"exact": "/X"}, {"exact": ""}, {"exact": "/x?a=1"}, {"prefix": ""}, {"prefix": "/x?"}, {"prefix": "/X"},
    {"prefix": "x"}, {"regex": "/x"}, {"regex": "/X"}, {"regex": r"/x\?a=1"}, {"regex": ".*"}, {"exact": "/%C3%A4"}, {"prefix": "/a%2Fb"},
]  # fmt: skip
PSEUDO = (":path", ":method", ":authority", ":scheme", ":status", "Host")
MATCHES: list[Match] = [
    *({field: {"X-A": text}} for field in ("headers", "withoutHeaders") for text in TEXTS),
    *({"queryParams": {name: text}} for name in ("a", "a b", "a%20b") for text in TEXTS),
    *({"uri": path, "ignoreUriCase": ignore} for path in PATHS for ignore in (False, True)),
    *(
        {field: {name: text}}
        for field in ("headers", "withoutHeaders") for name in PSEUDO
        for text in ({}, {"exact": "/x?a=1"}, {"exact": "GET"}, {"prefix": "h"})
    ),
    *({"method": text} for text in ({}, {"exact": "get"}, {"prefix": "G"}, {"regex": "GET|PUT"})),
    *({"authority": text} for text in ({"exact": "h:80"}, {"exact": "H:80"}, {"prefix": "h"})),
    *({"scheme": text} for text in ({"exact": "http"}, {"exact": "https"}, {"prefix": "http"})),
]
REQUESTS: list[Request] = [
    *(("GET", target, []) for target in (
        "/x", "/X", "/x?a", "/x?a=", "/x?a=1", "/x?a=2&a=1", "/x?b=1&a=one", "/x?a=x%20y", "/x?a%20b=1", "/x?=1", "/x?&a=1", "/x?a=b=c",
        "/x?a=one,two", "/%C3%A4", "/%c3%a4", "/a%2Fb", "/x;a=1",
    )),
    *(("GET", "/x", [("x-a", value) for value in values]) for values in (
        ["one"], [""], ["one", "two"], ["two", "one"], ["one,two"], ["one, two"], ["ONE"], ["", "one"],
    )),
    ("PUT", "/x", []),
]  # fmt: skip


def text_of(match: Match) -> dict[str, Any] | None:
    """A StringMatch in Envoy's words; None where it asks only whether the thing is there."""
    if not match or match.get("regex") == "*":
        return None
    ((kind, text),) = match.items()
    return {"safe_regex": {"regex": text}} if kind == "regex" else {kind: text}


def header_of(name: str, match: Match, inverted: bool = False) -> dict[str, Any]:
    """A match on a header."""
    text = text_of(match)
    if text is None:
        return {"name": name, "present_match": True, "invert_match": inverted}
    return {"name": name, "string_match": text, "invert_match": inverted, "treat_missing_header_as_empty": inverted}


def route_of(match: Match, number: int) -> dict[str, Any]:
    """The match as a route for requests that ask for it by its number; 201 says that it holds."""
    headers = [header_of(name, text) for name, text in match.get("headers", {}).items()]
    headers += (header_of(name, text, True) for name, text in match.get("withoutHeaders", {}).items())
    headers += (header_of(f":{field}", match[field]) for field in ("method", "authority", "scheme") if field in match)
    path = {"exact": "path", "prefix": "prefix", "regex": "safe_regex"}
    made: dict[str, Any] = {"prefix": "/"}
    for kind, text in match.get("uri", {}).items():
        made = {path[kind]: {"regex": text} if kind == "regex" else text}
    made["case_sensitive"] = not match.get("ignoreUriCase", False)
    made["query_parameters"] = [
        {"name": name, **({"present_match": True} if text_of(text) is None else {"string_match": text_of(text)})}
        for name, text in match.get("queryParams", {}).items()
    ]
    made["headers"] = [*headers, {"name": "x-number", "string_match": {"exact": str(number)}}]
    return {"match": made, "direct_response": {"status": 201}}


def answers(port: int, number: int) -> Iterator[bool]:
    """What Envoy says of each request, by one match."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for method, target, headers in REQUESTS:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", "h:80"), ("x-number", str(number)), *headers]:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (201, 202), (method, target)
        yield answer.status == 201
    connection.close()


def test_as_envoy(tmp_path: Path) -> None:
    """Texts, patterns, presence, several lines, pseudo-headers, queries, letters of either case."""
    rest = {"match": {"prefix": "/"}, "direct_response": {"status": 202}}
    envoy = routing(tmp_path / "envoy", 9, [*(route_of(match, number) for number, match in enumerate(MATCHES)), rest])
    try:
        for number, match in enumerate(MATCHES):
            faults = Faults()
            holds = predicate(READ(match, (), faults))
            assert not faults, match
            for (method, target, headers), wanted in zip(REQUESTS, answers(envoy.port, number), strict=True):
                lines = [(name.encode(), value.encode()) for name, value in headers]
                found = holds is None or holds(RequestHead(method.encode(), target.encode(), b"h:80", lines))
                assert found is wanted, (match, method, target, headers)
    finally:
        envoy.process.stop()
