"""Header rules merged in Envoy's order."""

import pytest
import yaml

from meshcar.rules.header_changes import header_change
from meshcar.rules.schema_headers import HeaderOperations
from meshcar.rules.shapes import Faults, message

ROUTE = "{remove: [r1], set: {S1: a}, add: {x: vs}}"
DESTINATION = "{remove: [r2], set: {s2: b}, add: {x: dest}}"


def operations(text: str) -> HeaderOperations | None:
    """Header operations written in YAML."""
    faults = Faults()
    made: HeaderOperations = message(HeaderOperations)(yaml.safe_load(text), (), faults)
    return made


def merged(route: str, destination: str, weighted: bool = False, host: bool = True) -> list[tuple[str, str, str]]:
    """The operations, with plain values."""
    change = header_change(operations(route), operations(destination), weighted, host)
    return [(verb, name.decode(), b"".join(map(bytes, text)).decode()) for verb, name, text in change.operations] if change else []


def test_one_destination() -> None:
    """Removes, sets, adds; the route's before the destination's in each."""
    assert merged(ROUTE, DESTINATION) == [
        ("remove", "r1", ""), ("remove", "r2", ""), ("set", "s1", "a"), ("set", "s2", "b"), ("add", "x", "vs"), ("add", "x", "dest"),
    ]


def test_weighted() -> None:
    """All of the destination's come before the route's."""
    assert merged(ROUTE, DESTINATION, weighted=True) == [
        ("remove", "r2", ""), ("set", "s2", "b"), ("add", "x", "dest"), ("remove", "r1", ""), ("set", "s1", "a"), ("add", "x", "vs"),
    ]


def test_empty_values() -> None:
    """Setting or adding nothing does nothing; no operation at all is None."""
    assert merged("{set: {a: ''}, add: {b: ''}}", "{}") == []
    assert header_change(None, None, weighted=False, host=True) is None


def test_names_in_order() -> None:
    """Sorted, as istiod sorts them."""
    assert [name for _, name, _ in merged("{set: {b: x, a: x}, add: {d: x, c: x}}", "{}")] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("route", "destination", "wanted"),
    [
        ("{set: {Host: a}}", "{}", "a"),
        ("{add: {host: a}}", "{}", "a"),
        ("{set: {':authority': a}}", "{set: {host: b}}", "a"),
        ("{}", "{set: {host: b}}", "b"),
    ],
)
def test_host(route: str, destination: str, wanted: str) -> None:
    """The Host is rewritten; the route's goes before the destination's, weighted or not."""
    for weighted in (False, True):
        ((verb, name, text),) = merged(route, destination, weighted)
        assert (verb, text) == ("set", wanted) and name in (":authority", "host")
    assert merged(route, destination, host=False) == []


def test_host_stays() -> None:
    """It cannot be removed, nor can other pseudo-headers be changed."""
    assert merged("{remove: [host, ':path'], set: {':path': x}}", "{}") == []


def test_host_of_one_of_several() -> None:
    """A weighted destination's Host is rewritten without a word of the old one; the route's goes before it."""
    assert merged("{}", "{set: {Host: d}}") == [("set", ":authority", "d")]
    assert merged("{}", "{set: {Host: d}}", weighted=True) == [("set", "host", "d")]
    assert merged("{add: {':authority': r}}", "{set: {Host: d}}", weighted=True) == [("set", ":authority", "r")]
