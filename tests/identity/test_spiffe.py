"""SPIFFE ids, by the tables of the SPIFFE-ID standard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.identity.spiffe import SpiffeId


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        ("spiffe://cluster.local/ns/default/sa/sleep", "cluster.local", "/ns/default/sa/sleep"),
        ("spiffe://a", "a", ""),
        ("spiffe://1.2.3.4/x", "1.2.3.4", "/x"),
        ("spiffe://under_score-dash/A.b_c-D", "under_score-dash", "/A.b_c-D"),
        ("spiffe://td/.../..a", "td", "/.../..a"),
    ],
)
def test_parse(text: str, trust_domain: str, path: str) -> None:
    """What the standard allows is taken apart, and spelled the same again."""
    parsed = SpiffeId.parse(text)
    assert (parsed.trust_domain, parsed.path, str(parsed)) == (trust_domain, path, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///path",
        "SPIFFE://td/x",
        "spiffe:/td/x",
        "https://td/x",
        " spiffe://td/x",
        "spiffe://TD/x",
        "spiffe://td:80/x",
        "spiffe://user@td/x",
        "spiffe://[::1]/x",
        "spiffe://t%64/x",
        "spiffe://td/",
        "spiffe://td/x/",
        "spiffe://td//x",
        "spiffe://td/.",
        "spiffe://td/x/../y",
        "spiffe://td/%61",
        "spiffe://td/a b",
        "spiffe://td/a;b",
        "spiffe://td/x?q",
        "spiffe://td/x#f",
        "spiffe://td/x\n",
        "spiffe://td/x\0",
        "spiffe://td/é",
        "spiffe://" + "a" * 256 + "/x",
        "spiffe://td/" + "a" * 2048,
    ],
)
def test_refused(text: str) -> None:
    """What the standard forbids is no id, with one line that says why."""
    with pytest.raises(ValueError, match="SPIFFE id") as caught:
        SpiffeId.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60).map("spiffe://{}".format))
def test_round_trip(text: str) -> None:
    """Whatever parses is spelled exactly as it came."""
    try:
        assert str(SpiffeId.parse(text)) == text
    except ValueError:
        pass


def test_workload() -> None:
    """Istio's form gives namespace and service account; other forms give none."""
    assert SpiffeId.of_workload("td", "prod", "web").workload == ("prod", "web")
    assert SpiffeId.parse("spiffe://td/ns/prod/sa/web/x").workload is None
    assert SpiffeId.parse("spiffe://td").workload is None


def test_of_workload_checks() -> None:
    """A service account that is no path segment is refused."""
    with pytest.raises(ValueError, match="SPIFFE id"):
        SpiffeId.of_workload("td", "prod", "a/b c")
