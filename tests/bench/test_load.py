"""What is sent by wrk, and what is read from it."""

from pathlib import Path

import pytest

from bench.load import parse, write_requests
from bench.processes import Failed


def test_parse() -> None:
    """The one line of JSON among wrk's own; microseconds become seconds and milliseconds."""
    text = 'Running 1s test @ http://127.0.0.1:1/\n  1 threads\n{"requests":200,"us":500000,"errors":3,"p99_us":2500}\n'
    got = parse(text)
    assert (got.requests, got.rate, got.errors, got.p99_ms) == (200, 400.0, 3, 2.5)


def test_parse_says_what_wrk_said() -> None:
    """Without a result its own words are the error."""
    with pytest.raises(Failed, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_requests_differ(tmp_path: Path) -> None:
    """400 requests, no two alike, of eight headers each, the hosts in turn."""
    write_requests(tmp_path / "requests", ("a:1", "b:1"), "/api/%d")
    requests = (tmp_path / "requests").read_bytes().decode().split("~")[:-1]
    assert len(set(requests)) == 400
    assert all(each.endswith("\r\n\r\n") and each.count("\r\n") == 10 for each in requests)
    assert [each.split("\r\n")[1] for each in requests[:3]] == ["Host: a:1", "Host: b:1", "Host: a:1"]
