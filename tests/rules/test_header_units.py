"""Names and values of headers."""

from collections.abc import Callable

import pytest

from meshcar.rules import header_units


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (
            header_units.matched_header,
            ["x-a", "X-A", "funky!$#_", ":authority", ":status", "@request.auth.claims.sub"],
            ["", "::", 'a"b', ":x", "@a"],
        ),
        (header_units.changeable_header, ["x-a", "Host", ":authority"], ["", "a b", "Content-Length", "transfer-encoding", "TE"]),
        (header_units.header_or_any, ["*", "X-A"], ["", "a b"]),
        (header_units.method_or_any, ["*", "GET", "TRACE"], ["", "get", "PUTT"]),
        (header_units.header_format, ["", "x", "%PROTOCOL%", "100%%", "a\tb"], ["a\r\nb", "\x00", "%NO_SUCH%", "50%", "a" * 16385]),
    ],
)
def test_values(make: Callable[[object], object], good: list[object], bad: list[object]) -> None:
    """The good ones pass, the bad ones say why in a ValueError."""
    for value in good:
        make(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"."):
            make(value)


def test_case() -> None:
    """Names stay as they are written: two that differ in case alone are two operations."""
    assert header_units.changeable_header("X-A") == "X-A"
    assert header_units.matched_header("X-A") == "X-A"


def test_empty_operators() -> None:
    """What Envoy's other filters would fill in has nothing to say; a rule may name it all the same."""
    form = header_units.header_format("%DYNAMIC_METADATA(com.test.my_filter)%%DOWNSTREAM_PEER_CERT_V_END(%b %d %H:%M:%S %Y %Z)%%PROTOCOL%")
    assert list(header_units.says_nothing(form)) == ["DYNAMIC_METADATA", "DOWNSTREAM_PEER_CERT_V_END"]


def test_claims() -> None:
    """A claim of a JWT has a name behind the prefix."""
    assert header_units.is_claim("@request.auth.claims[a][b]")
    assert not header_units.is_claim("@request.auth.claims")
