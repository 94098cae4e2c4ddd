"""Tests of meshcar.wire.formats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.wire.formats import Command, Format, parse, spelled


@pytest.mark.parametrize(
    "text, form",
    [
        ("", ()),
        ("plain", (b"plain",)),
        ("100%%", (b"100%",)),
        ("%PROTOCOL%", (Command("PROTOCOL"),)),
        ("a %REQ(X-A?:PATH):10% b", (b"a ", Command("REQ", "X-A?:PATH", 10), b" b")),
        ("%%%PROTOCOL%%%", (b"%", Command("PROTOCOL"), b"%")),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z)%", (Command("START_TIME", "%Y/%m/%dT%H:%M:%S%z"),)),
        ("caf\u00e9", ("caf\u00e9".encode(),)),
        ("%QUERY_PARAM(a b):2%%PATH%%PATH(NQ:ORIG)%", (Command("QUERY_PARAM", "a b", 2), Command("PATH"), Command("PATH", "NQ:ORIG"))),
    ],
)
def test_parse(text: str, form: Format) -> None:
    """Literal text and operators come apart, in order."""
    assert parse(text) == form


@pytest.mark.parametrize(
    "text, why",
    [
        ("50% off", "column 3: "),
        ("ab%", "column 3: "),
        ("%NO_SUCH%", "column 1: operator NO_SUCH is not known"),
        ("%PROTOCOL(x)%", "column 1: operator PROTOCOL takes no argument"),
        ("%REQ%", "column 1: operator REQ needs the name of a header"),
        ("%REQ(a b)%", "column 1: operator REQ needs the name of a header"),
        ("x %RESP()%", "column 3: operator RESP needs the name of a header"),
        ("%REQ(x):y%", "column 1: "),
        ("%START_TIME%%", "column 13: "),
        ("%PROTOCOL:3%", "column 1: operator PROTOCOL takes no length"),
        ("%START_TIME:4%", "column 1: operator START_TIME takes no length"),
        ("%QUERY_PARAM%", "column 1: operator QUERY_PARAM needs a name"),
        ("%PATH(X)%", "column 1: operator PATH takes WQ"),
        ("%PROTOCL%", "column 1: operator PROTOCL is not known here; PROTOCOL is"),
        ("%COMMON_DURATION(a:b)%", "column 1: operator COMMON_DURATION of Envoy's is not supported"),
        ("%TRAILER(x)%", "column 1: operator TRAILER is not known"),
    ],
)
def test_refused(text: str, why: str) -> None:
    """Each mistake is named with its column."""
    with pytest.raises(ValueError) as refused:
        parse(text)
    assert str(refused.value).startswith(why)


def test_empty_operators() -> None:
    """Operators for which there is nothing to fill in pass where they are asked for, with any argument."""
    assert parse('%TRAILER(x):3%%A(["b","c"])%', frozenset({"TRAILER", "A"})) == (Command("TRAILER", "x", 3), Command("A", '["b","c"]'))


@pytest.mark.parametrize("text", ["a", "a%%b", "100%%", "", "%PROTOCOL%", "%REQ(X?Y):3% b", "%START_TIME(%s)%"])
def test_spelled(text: str) -> None:
    """A format gives its text back."""
    assert spelled(parse(text)) == text


@given(st.text())
def test_escaped_text_is_itself(text: str) -> None:
    """Any text with its percent signs doubled is literal text."""
    assert b"".join(part for part in parse(text.replace("%", "%%")) if isinstance(part, bytes)) == text.encode("utf-8", "surrogatepass")


@given(st.text(alphabet="%REQSP()?:AX0 ", max_size=20))
def test_any_text(text: str) -> None:
    """No text does more harm than a ValueError."""
    try:
        parse(text)
    except ValueError as refused:
        assert str(refused).startswith("column ")
