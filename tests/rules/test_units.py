"""Single values of rules."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules import header_units, units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("1.5s", 1.5), ("250ms", 0.25), ("1m30s", 90), ("1h", 3600), ("0s", 0), (".5s", 0.5), ("10us", 1e-5), ("2h3m4s", 7384)],
)
def test_duration(text: str, seconds: float) -> None:
    """Go's spelling."""
    assert units.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "-1s", "1d", "1s1", "1.s.s", "1e3s", "999999999h", "٣s"])
def test_bad_duration(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"duration|years"):
        units.duration(text)


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (units.port, [1, 65535], [0, 65536, -1]),
        (units.port_key, ["80"], ["0", "x", "", "٨٠", "065536"]),
        (units.percent, [0, 0.1, 100], [-1, 100.1, float("inf")]),
        (units.status, [200, 599, 600], [199, 601]),
        (units.timespan, ["1ms", "1.5s", "100ms"], ["0s", "999us", "1.0005s", "1ns", "x"]),
        (units.fault_percent, [0, 0.0001, 100], [0.00009, -1, 101]),
        (units.parameter_name, ["q", "a b", "ä"], ["", "a" * 1025]),
        (units.port_or_none, [0, 1, 65535], [65536, -1]),
        (units.gateway_name, ["mesh", "a/b", "gateway.example.com"], ["b@d", "ns/*", "*/gw", "/a", "a/", ""]),
        (units.label_key, ["app", "a.b/c", "A_b-c.d"], ["", "-a", "a/b/c", "a b"]),
        (units.label_value, ["", "v1", "A_b-c.d"], ["-a", "a/b", "a b"]),
        (units.label_or_none, ["", "a"], ["A", "a.b"]),
        (units.count, [0, 1], [-1, 1 << 31]),
        (units.host, ["httpbin", "a.b", "1.2.3.4", "EXAMPLE.com"], ["", "a..b", "a_b", "-a", "a.", "*.a", "é", "a" * 64, "a." * 127 + "b"]),
        (units.label, ["http", "v1"], ["", "V1", "a.b", "a" * 64]),
        (units.address, ["10.0.0.1", "fd00::1"], ["10.0.0", "host", "unix:///x", ""]),
        (units.header_name, ["x-a", ":authority", "X_b"], ["", "a b", "a:b", "ä", "a\n"]),
        (header_units.header_format, ["", "x", "%PROTOCOL%", "100%%", "a\tb"], ["a\r\nb", "\x00", "%NO_SUCH%", "50%"]),
        (units.authority, ["", "a", "a:80", "[::1]:80"], ["a b", "a\r\n", "é"]),
    ],
)
def test_values(make: Callable[[object], object], good: list[object], bad: list[object]) -> None:
    """The good ones pass, the bad ones say why in a ValueError."""
    for value in good:
        make(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"."):
            make(value)


@pytest.mark.parametrize("make", [units.text, units.boolean, units.integer, units.duration, units.percent, units.host])
def test_wrong_type(make: Callable[[object], object]) -> None:
    """Lists fit nowhere."""
    with pytest.raises(units.WrongType):
        make([])


def test_whole_numbers_with_a_point() -> None:
    """`100.0` is 100; a part of one is none."""
    assert (units.count(100.0), type(units.count(100.0))) == (100, int)
    for value in (0.5, float("inf"), float("nan")):
        with pytest.raises(units.WrongType):
            units.count(value)


def test_true_is_no_number() -> None:
    """YAML's booleans are not Python's integers."""
    with pytest.raises(units.WrongType):
        units.port(True)
    with pytest.raises(units.WrongType):
        units.percent(True)


def test_address_is_spelled_short() -> None:
    """One address has one spelling, the one that the kernel's socket calls give."""
    assert units.address("fd00:0:0:0:0:0:0:1") == "fd00::1"


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Each function returns or raises ValueError, whatever the text."""
    makers = (
        units.duration, units.host, header_units.header_format, units.address, units.port_key, units.authority,
        units.gateway_name, header_units.matched_header,
    )  # fmt: skip
    for make in makers:
        try:
            make(text)
        except ValueError:
            pass


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "upgrade"])
def test_framing_is_no_rules_matter(name: str) -> None:
    """A rule that changed where a message ends would let a second request be smuggled past."""
    with pytest.raises(ValueError, match="must not be changed by a rule"):
        header_units.changeable_header(name)


@pytest.mark.parametrize("path", ["/a b", "/a\n", "/café", " /"])
def test_path_text(path: str) -> None:
    """What a rule writes into a request line cannot end it."""
    with pytest.raises(ValueError, match="percent-encode"):
        units.path_text(path)
