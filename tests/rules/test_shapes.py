"""Message classes become readers of YAML."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault, spell
from meshcar.rules.shapes import Faults, camel, message


@attrs.frozen
class Inner:
    """One field, required."""

    port: Annotated[int, units.port]


@attrs.frozen
class Outer:
    """Something of everything."""

    REFUSED: ClassVar = frozenset({"later"})
    BESIDE: ClassVar = frozenset({"whatever"})
    SPELLINGS: ClassVar = {"old_name": ("oldName", "old_name")}

    name: str
    mode: Literal["A", "B"] = "A"
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    by_port: Mapping[Annotated[int, units.port_key], bool] = attrs.field(factory=dict)
    old_name: str = ""

    def faults(self) -> Iterator[Fault]:
        if self.name == "bad":
            yield Fault(("name",), "CONFLICT", "no")
        if self.name == "odd":
            yield Fault(("name",), "DEPRECATED", "hm")


READ = message(Outer)


def faults(value: object) -> list[tuple[str, str]]:
    """Code and path of each fault."""
    found = Faults()
    READ(value, ("spec",), found)
    return [(fault.code, spell(fault.path)) for fault in found]


def test_values() -> None:
    """Names are camelCase in YAML, lists become tuples, null is as good as absent."""
    found = Faults()
    given = {"name": "x", "mode": None, "inner": {"port": 1}, "many": [{"port": 2}], "byPort": {"80": True}, "old_name": "o", "whatever": 1}
    assert READ(given, (), found) == Outer("x", "A", Inner(1), (Inner(2),), {80: True}, "o")
    assert found == []


def test_all_faults_at_once() -> None:
    """Each with its code and its path."""
    given = {
        "mode": "C", "inner": {}, "many": [{"port": 0}, 3], "byPort": {"x": True, "1": 5}, "later": 1, "nmae": 1, "oldName": 5,
    }
    assert sorted(faults(given)) == sorted([
        ("INVALID_VALUE", "spec.mode"), ("REQUIRED", "spec.inner.port"), ("INVALID_VALUE", "spec.many[0].port"),
        ("WRONG_TYPE", "spec.many[1]"), ("INVALID_VALUE", "spec.byPort.x"), ("WRONG_TYPE", 'spec.byPort["1"]'),
        ("UNSUPPORTED_FIELD", "spec.later"), ("UNKNOWN_FIELD", "spec.nmae"), ("WRONG_TYPE", "spec.oldName"), ("REQUIRED", "spec.name"),
    ])


def test_near_miss() -> None:
    """A misspelled field is told the right one, a number where text belongs to be quoted."""
    found = Faults()
    READ({"nmae": "x", "name": 5}, (), found)
    assert found[0].message.endswith("; is it name?")
    assert found[1].message.endswith("; quote it")


def test_wrong_types() -> None:
    """Every kind of value says what it wants."""
    for value in (None, 5, "x", []):
        assert faults(value) == [("WRONG_TYPE", "spec")]
    assert faults({"name": "x", "many": {}, "byPort": []}) == [("WRONG_TYPE", "spec.many"), ("WRONG_TYPE", "spec.byPort")]
    assert faults({"name": "x", "mode": 5}) == [("WRONG_TYPE", "spec.mode")]


def test_faults_between_fields() -> None:
    """They come with their path; a warning does not keep the value from being used."""
    assert faults({"name": "bad"}) == [("CONFLICT", "spec.name")]
    found = Faults()
    assert READ({"name": "odd"}, (), found) == Outer("odd")
    assert [fault.code for fault in found] == ["DEPRECATED"]


def test_camel() -> None:
    """snake_case to camelCase."""
    assert camel("per_try_timeout") == "perTryTimeout"
    assert camel("http1_max_pending_requests") == "http1MaxPendingRequests"


def test_equal_values_are_one() -> None:
    """What documents say alike is kept once; equality, not identity, decides."""
    known: dict[object, object] = {}
    first, second = (READ({"name": "x", "many": [{"port": 1}]}, (), Faults(known)) for _ in range(2))
    assert first == second
    assert first.many is second.many
