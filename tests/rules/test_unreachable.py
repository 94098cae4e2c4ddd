"""Rules and matches that come too late."""

import time

import pytest
import yaml

from meshcar.rules.problems import spell
from meshcar.rules.schema_routes import HttpRule
from meshcar.rules.shapes import Faults, list_of, message
from meshcar.rules.unreachable import unreachable

READ = list_of(message(HttpRule))
GO = "redirect: {uri: /x}"


def found(*matches: str) -> list[str]:
    """Where rules with these matches, `[...]` or nothing, are unreachable."""
    faults = Faults()
    text = ", ".join(f"{{match: {match}, {GO}}}" if match else f"{{{GO}}}" for match in matches)
    rules = READ(yaml.safe_load(f"[{text}]"), (), faults)
    assert not faults
    return [spell(fault.path).removeprefix("spec.") for fault in unreachable(rules)]


@pytest.mark.parametrize(
    ("matches", "wanted"),
    [
        (["[{uri: {prefix: /a}}]", ""], []),
        (["", "[{uri: {prefix: /a}}]", ""], ["http[1]", "http[2]"]),
        (["[{}]", ""], ["http[1]"]),
        (["[{uri: {prefix: /}}]", "[{uri: {exact: /a}}]"], ["http[1]"]),
        (["[{uri: {prefix: /}}, {uri: {exact: /}, method: {exact: GET}}]"], []),
        (["[{uri: {prefix: /a}}]", "[{name: x, uri: {prefix: /a}}]"], ["http[1]"]),
        (["[{uri: {prefix: /a}}]", "[{uri: {prefix: /a}}, {uri: {prefix: /b}}]"], ["http[1].match[0]"]),
        (["[{uri: {regex: /a}}]", "[{uri: {regex: /a}}]"], ["http[1]"]),
        (["[{uri: {exact: /a}}]", "[{uri: {prefix: /a}}]"], []),
        (["[{uri: {prefix: /a}}, {uri: {prefix: /ab}, method: {exact: GET}}]"], ["http[0].match[1]"]),
        (["[{uri: {prefix: /a}, method: {exact: GET}}]", "[{uri: {prefix: /ab}, method: {exact: GET}}]"], ["http[1]"]),
        (["[{uri: {prefix: /a}, method: {exact: GET}}]", "[{uri: {prefix: /ab}}, {uri: {prefix: /ac}, method: {exact: POST}}]"], []),
        (["[{uri: {prefix: /ab}}]", "[{uri: {prefix: /a}}]"], []),
        (["[{uri: {prefix: /a}, ignoreUriCase: true}]", "[{uri: {prefix: /a}, ignoreUriCase: true}]"], ["http[1]"]),
        (["[{uri: {prefix: /a}}]", "[{uri: {prefix: /ab}, ignoreUriCase: true}]"], []),
        (["[{headers: {x: {exact: a}}}]", "[{headers: {x: {exact: a}}, uri: {prefix: /b}}]"], ["http[1]"]),
        (["[{headers: {x: {exact: a}}}]", "[{headers: {x: {prefix: a}}}]", "[{withoutHeaders: {x: {exact: a}}}]"], []),
        (["[{queryParams: {q: {}}}]", "[{queryParams: {q: {}, r: {}}}]"], ["http[1]"]),
        (["[{port: 80}]", "[{port: 81}]", "[{port: 80, scheme: {exact: http}}]"], ["http[2]"]),
        (["[{sourceLabels: {a: b}}]", "[{sourceLabels: {a: b, c: d}}]", "[{sourceLabels: {a: c}}]"], ["http[1]"]),
        (["[{sourceNamespace: a}]", "[{sourceNamespace: b}]", "[{gateways: [mesh]}]", "[{gateways: [mesh, x]}]"], []),
        (["[{gateways: [mesh], sourceLabels: {a: b}}]", "[{gateways: [mesh], sourceLabels: {c: d}}]"], ["http[1]"]),
    ],
)
def test_found(matches: list[str], wanted: list[str]) -> None:
    """Rules behind one that takes all, and matches that ask for no more than an earlier one under the same path or a shorter prefix."""
    assert found(*matches) == wanted


def test_delegates() -> None:
    """What a delegate takes is not known here."""
    text = "[{delegate: {name: a}}, {match: [{uri: {prefix: /a}}], delegate: {name: a}}, {redirect: {uri: /}}]"
    rules = READ(yaml.safe_load(text), (), Faults())
    assert list(unreachable(rules)) == []


def test_many_matches_are_quick() -> None:
    """However many ask for one path: each is looked up, not compared with all others."""
    before = time.process_time()
    assert found(*(f"[{{uri: {{prefix: /a}}, headers: {{x: {{exact: u{number}}}, y: {{}}}}}}]" for number in range(3000))) == []
    assert time.process_time() - before < 6
