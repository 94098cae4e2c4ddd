"""Tests of meshcar.observe.operators."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from meshcar.observe.operators import field, render, word
from meshcar.observe.record import Record
from meshcar.wire.formats import COMMANDS, Command, parse
from meshcar.wire.trace import B3_MANY, TraceContext


def record(**known: Any) -> Record:
    """A record with some attributes set."""
    made = Record()
    for name, value in known.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "text, value",
    [
        ("%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%", "GET /r?a HTTP/1.1"),
        ("%REQ(:AUTHORITY)% %REQ(Host)%", "reviews:9080 reviews:9080"),
        ("%REQ(X-ONE)%", "first"),
        ("%REQ(X-NONE?X-ONE)% %REQ(X-ONE?:PATH)% %REQ(X-NONE?X-NONE)%", "first first "),
        ("%REQ(X-ONE):3%|%REQ(X-NONE):3%", "fir|"),
        ("%RESP(:STATUS)% %RESP(X-R)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "200 r 6"),
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "10.0.0.1:4000 10.0.0.1 4000"),
        ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", "[fd00::1]:80 fd00::1 80"),
        ("%UPSTREAM_HOST%%UPSTREAM_REMOTE_PORT%%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", ""),
        ("%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_FINGERPRINT_256%", "spiffe://a,spiffe://b |00ff"),
        ("100%% %BYTES_SENT%", "100% 0"),
    ],
)
def test_header_values(text: str, value: str) -> None:
    """Each operator says its part of the record; what is missing leaves nothing in a header."""
    peer = SimpleNamespace(uris=("spiffe://a", "spiffe://b"), dns=(), subject="", hash="00ff")
    known = record(
        method=b"GET", target=b"/r?a", protocol="HTTP/1.1", authority=b"reviews:9080", status=200, service_ms=6, flags="URX,UF", peer=peer,
        headers=[(b"x-one", b"first"), (b"x-one", b"second")], response_headers=[(b"x-r", b"r")],
        downstream_remote="10.0.0.1:4000", downstream_local="[fd00::1]:80",
    )  # fmt: skip
    assert render(parse(text), known) == value.encode()


@pytest.mark.parametrize(
    "text, value",
    [
        ("%PATH%|%PATH(NQ)%|%PATH(WQ:PATH)%|%PATH(NQ:PATH)%|%PATH(NQ:ORIG)%", "/o?x=1|/o|/n?x=1|/n|/o"),
        ("%QUERY_PARAM(a)%|%QUERY_PARAM(b c):2%|%QUERY_PARAM(none)%|%QUERY_PARAMS%", "1|x |z|a=1&b%20c=x%20yz&a=2".replace("|z|", "||")),
        ("%HOSTNAME% %TRACE_ID% %UPSTREAM_REQUEST_ATTEMPT_COUNT%", "pod-1 abc 2"),
        ("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %UPSTREAM_PROTOCOL%", "10.0.0.2:80 10.0.0.2 HTTP/1.1"),
        ("%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_PORT%", "10.0.0.3:81 81"),
    ],
)
def test_more_header_values(text: str, value: str) -> None:
    """The path as it came and as it goes on, parameters decoded, the machine, the trace, the tries."""
    known = record(
        target=b"/n?x=1" if "PATH" in text else b"/n?a=1&b%20c=x%20yz&a=2", headers=[(b"x-envoy-original-path", b"/o?x=1")],
        hostname="pod-1", trace=TraceContext(B3_MANY, b"abc", b"1", b"", False), attempts=2, upstream_host="10.0.0.2:80",
        upstream_local="10.0.0.9:9", downstream_local="10.0.0.3:81",
    )  # fmt: skip
    assert render(parse(text), known) == value.encode()


def test_nothing_to_say() -> None:
    """Without an original path, a query, or an endpoint there is nothing; of flags there is a dash, as with Envoy."""
    for operator in ("PATH(NQ:ORIG)", "QUERY_PARAMS", "UPSTREAM_PROTOCOL", "TRACE_ID", "RESPONSE_CODE_DETAILS"):
        assert render(parse(f"[%{operator}%]"), record(target=b"/")) == b"[]"
    assert render(parse("%PATH%%RESPONSE_FLAGS%%RESPONSE_FLAGS_LONG%"), record(target=b"/a")) == b"/a--"
    assert render(parse("[%TRAILER(x)%]", frozenset({"TRAILER"})), record()) == b"[]"


def test_no_peer() -> None:
    """On plaintext nothing is said of a peer."""
    assert render(parse("a%DOWNSTREAM_PEER_URI_SAN%%DOWNSTREAM_PEER_CERT%b"), record()) == b"ab"
    assert render(parse("%REQ(:SCHEME)%"), record()) == b"http"


def test_plain_text() -> None:
    """A value without operators is itself."""
    assert render(parse("v1 100%%"), record()) == b"v1 100%"


def test_bytes_pass() -> None:
    """A header's bytes come out as they came in, whatever they are."""
    assert render(parse("%REQ(X)%"), record(headers=[(b"x", b"\xff\xc3\xa9 ok")])) == b"\xff\xc3\xa9 ok"


@pytest.mark.parametrize(
    "text, value",
    [
        ("%START_TIME%", "2023-11-14T22:13:20.125Z"),
        ("%START_TIME(%s.%3f)%", "1700000000.125"),
        ("%START_TIME(%s%6f)%", "1700000000125000"),
        ("%START_TIME(%H {0} %9f)%", "22 {0} 125000000"),
        ("%START_TIME(%Y/%m/%d)%", "2023/11/14"),
        ("%START_TIME(%f)%", "125000000"),
    ],
)
def test_start_time(text: str, value: str) -> None:
    """Times are UTC, with fractions as long as asked for."""
    assert render(parse(text), record(start=1700000000.125)) == value.encode()


def test_start_time_moves() -> None:
    """What is remembered of one record is not said of another."""
    (command,) = parse("%START_TIME(%S.%3f)%")
    assert isinstance(command, Command)
    say = field(command)
    starts = [0.0, 0.0, 0.001, 0.9994, 0.9996, 59.5, 0.001, 61.0]
    assert [say(record(start=start)) for start in starts] == "00.000 00.000 00.001 00.999 01.000 59.500 00.001 01.000".split()


def test_every_operator() -> None:
    """Whatever a format may name can be filled in, and an empty record has nothing to say but numbers."""
    for name, takes in COMMANDS.items():
        said = field(Command(name, "x-name" if takes.argument in ("header", "must") else None))(record())
        assert said in (None, "-", 0) or name == "START_TIME", name


def test_word() -> None:
    """A server name can not hold what ends a field or a line."""
    assert word(b"outbound_.8000_.v1_.httpbin") == "outbound_.8000_.v1_.httpbin"
    assert re.fullmatch(r"a[_]+b", word(b'a \n"\xffb'))
    assert word(b"") == "-"
