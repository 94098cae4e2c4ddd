"""Values of the Gateway API."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

from meshcar.rules import gateway_units as units


@pytest.mark.parametrize(
    ("make", "given", "made"),
    [
        (units.duration, "0s", 0.0),
        (units.duration, "1h2m3s4ms", 3723.004),
        (units.duration, "500ms", 0.5),
        (units.hostname, "*.example.com", "*.example.com"),
        (units.group, "", ""),
        (units.group, "networking.istio.io", "networking.istio.io"),
        (units.kind, "ServiceEntry", "ServiceEntry"),
        (units.weight, 0, 0),
        (units.weight, 1_000_000, 1_000_000),
        (units.retry_code, 400, 400),
        (units.redirect_code, 303, 303),
        (units.match_name, "X-User", "X-User"),
        (units.field_value, "a b\tc", "a b\tc"),
        (units.field_format, "100%%", (b"100%",)),
        (units.new_path, "", ""),
        (units.origin, "*", "*"),
        (units.origin, "http://*", "http://*"),
        (units.origin, "https://*.example.com:8443", "https://*.example.com:8443"),
    ],
)  # fmt: skip
def test_good(make: Callable[[object], Any], given: object, made: object) -> None:
    """What is allowed."""
    assert make(given) == made


@pytest.mark.parametrize(
    ("make", "given"),
    [
        *((units.duration, text) for text in ("", "1", "0.5s", "1us", "500ns", "1d", "-1s", "100000s", "1s1s1s1s1s", "1s ")),
        *((units.hostname, text) for text in ("*", "Example.com", "a..b", "*.*.com", "a-", "a" * 254)),
        *((units.kind, text) for text in ("", "1a", "a" * 64)),
        (units.object_name, ""),
        (units.object_name, "a" * 254),
        (units.weight, -1),
        (units.weight, 1_000_001),
        (units.positive, 0),
        (units.retry_code, 399),
        (units.retry_code, 600),
        *((units.redirect_code, number) for number in (0, 300, 304, 305)),
        *((units.match_name, text) for text in ("", ":path", "a b", "a" * 257)),
        (units.changeable_name, "Transfer-Encoding"),
        *((units.field_value, text) for text in ("", " a", "a ", "a  b", "ä", "a\r\nb", "a" * 4097)),
        (units.field_format, "50%"),
        (units.new_path, "/a b"),
        (units.new_path, "/" + "a" * 1024),
        *((units.origin, text) for text in (
            "", "example.com", "http://a/b", "spiffe://a", "http://a:", "http://a:111111", "http://*a.com", "http://a.*.com", "x http://a",
        )),
    ],
)  # fmt: skip
def test_bad(make: Callable[[object], Any], given: object) -> None:
    """What the CRD refuses."""
    with pytest.raises(ValueError, match=r"."):
        make(given)


def test_hostile_value() -> None:
    """A long value that fails at its end costs no more than its length."""
    start = perf_counter()
    with pytest.raises(ValueError, match="printable"):
        units.field_value("a" * 4000 + "\x01")
    assert perf_counter() - start < 0.1
