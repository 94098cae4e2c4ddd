"""Tests of meshcar.observe.accesslog."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.observe.accesslog import ISTIO_TEXT, AccessLog, line_format, text_line
from meshcar.observe.record import Record
from meshcar.wire.formats import parse

KNOWN: dict[str, Any] = {
    "start": 1700000000.25, "duration_ms": 7, "service_ms": 6, "method": b"GET", "target": b"/headers",
    "protocol": "HTTP/1.1", "authority": b"httpbin:8000",
    "headers": [(b"user-agent", b"curl/7.35.0"), (b"x-forwarded-for", b"10.44.0.10")], "request_id": b"9c2b",
    "status": 200, "sent": 3, "details": "via_upstream", "route": "default", "cluster": "inbound|80||",
    "upstream_host": "10.44.0.12:80", "upstream_local": "127.0.0.6:4711", "downstream_local": "10.44.0.12:80",
    "downstream_remote": "10.44.0.10:0", "sni": "outbound_.8000_.v2_.httpbin.default.svc.cluster.local",
}  # fmt: skip


def record(**known: Any) -> Record:
    """A record with some attributes set; the reader of heads notes some headers, the first line of each."""
    made = Record()
    for name, value in known.items():
        setattr(made, name, value)
    made.noted = dict(reversed(made.headers))
    return made


def test_istio_text() -> None:
    """The line that Istio's sidecar writes."""
    assert line_format("text")(record(**KNOWN)) == (
        b'[2023-11-14T22:13:20.250Z] "GET /headers HTTP/1.1" 200 - via_upstream - "-" 0 3 7 6 "10.44.0.10" "curl/7.35.0" "9c2b" '
        b'"httpbin:8000" "10.44.0.12:80" inbound|80|| 127.0.0.6:4711 10.44.0.12:80 10.44.0.10:0 '
        b"outbound_.8000_.v2_.httpbin.default.svc.cluster.local default\n"
    )


def test_nothing_known() -> None:
    """What is missing is a dash, numbers are 0: so a refused opaque connection looks."""
    line = line_format("text")(record(flags="UF,URX", failure="delayed_connect_error:_Connection_refused", cluster="PassthroughCluster"))
    assert line == (
        b'[1970-01-01T00:00:00.000Z] "- - -" 0 UF,URX - - "delayed_connect_error:_Connection_refused" 0 0 0 - "-" "-" "-" "-" "-" '
        b"PassthroughCluster - - - - -\n"
    )


def test_original_path() -> None:
    """After a rewrite the line shows what the client asked for."""
    line = line_format("text")(record(target=b"/v2", headers=[(b"x-envoy-original-path", b"/api?x")]))
    assert b'"- /api?x -"' in line


@pytest.mark.parametrize(
    "agent, shown",
    [
        (b'a" 200 "b', rb"a\x22 200 \x22b"),
        (b"a\nb\x00\x1b[31m\x7f", rb"a\x0ab\x00\x1b[31m\x7f"),
        ("caf\u00e9".encode(), "caf\u00e9".encode()),
        (b"caf\xe9", rb"caf\xe9"),
        ("a\u0085\u2028b".encode(), rb"a\xc2\x85\xe2\x80\xa8b"),
    ],
)
def test_escapes(agent: bytes, shown: bytes) -> None:
    """A peer can neither end a field nor a line nor colour a terminal."""
    assert line_format("%REQ(USER-AGENT)%|")(record(headers=[(b"user-agent", agent)])) == shown + b"|\n"
    assert b'"%b"' % shown in line_format("text")(record(headers=[(b"user-agent", agent)]))


@given(st.binary(), st.binary(), st.binary())
def test_one_line_with_all_quotes(agent: bytes, target: bytes, host: bytes) -> None:
    """Whatever bytes come, there is one line with Istio's number of fields in quotes, and it is UTF-8."""
    line = line_format("text")(record(headers=[(b"user-agent", agent)], target=target, authority=host))
    assert line.count(b'"') == 14 and line.count(b"\n") == 1 and line.endswith(b"\n")
    line.decode()


names = st.sampled_from([b"user-agent", b"x-forwarded-for", b"x-envoy-original-path", b"accept"])
values = st.binary(max_size=9) | st.sampled_from([b"-", b"curl/8.1", b"10.0.0.1,10.0.0.2"])


@given(st.lists(st.tuples(names, values), max_size=5), values, st.text(max_size=5), st.none() | st.integers(0))
def test_fast_as_careful(headers: list[tuple[bytes, bytes]], target: bytes, route: str, service_ms: int | None) -> None:
    """Istio's line is the same, whether made fast or as any other format is."""
    known = record(**KNOWN | {"headers": headers, "target": target, "route": route, "service_ms": service_ms})
    assert line_format("text")(known) == text_line(parse(ISTIO_TEXT))(known)


@given(st.binary(), st.text())
def test_json(agent: bytes, route: str) -> None:
    """One object on one line in ASCII; numbers are numbers, what is missing is null."""
    line = line_format("json")(record(**KNOWN | {"headers": [(b"user-agent", agent)], "route": route}))
    assert line.isascii() and line.count(b"\n") == 1
    said = json.loads(line)
    assert (said["response_code"], said["upstream_service_time"], said["x_forwarded_for"]) == (200, "6", None)
    assert said["method"] == "GET"


def test_own_format() -> None:
    """A format of one's own ends its line though it does not say so; percent signs and braces are only text."""
    assert line_format("100%% {0} %s %RESPONSE_CODE%".replace("%s", "%%s"))(record(status=204)) == b"100% {0} %s 204\n"
    with pytest.raises(ValueError, match="column 1"):
        line_format("%NO%")


def test_batches() -> None:
    """Lines are written together; many lines do not wait for the flush."""
    written: list[bytes] = []
    log = AccessLog(written.append, line_format("%RESPONSE_CODE%"))
    log.flush()
    log.add(record(status=1))
    log.add(record(status=2))
    assert not written
    log.flush()
    assert written == [b"1\n2\n"]
    for _ in range(512):
        log.add(record(status=3))
    assert written[1:] == [b"3\n" * 512]


def test_dropped() -> None:
    """Lines that can not be written are counted and forgotten; later ones have their chance."""
    written: list[bytes] = []

    def full(data: bytes) -> None:
        raise OSError("no space left")

    log = AccessLog(full, line_format("%RESPONSE_CODE%"))
    log.add(record(status=1))
    log.flush()
    assert log.dropped == 1
    log._write = written.append
    log.add(record(status=2))
    log.flush()
    assert (written, log.dropped) == ([b"2\n"], 1)
