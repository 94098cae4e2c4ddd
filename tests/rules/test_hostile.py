"""Rules that are meant to do harm: a clear word in well under a second, whatever they hold."""

import time

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.problems import Problem
from meshcar.rules.read import MAX_ERRORS, read
from meshcar.rules.workload import Workload

MIB = 1 << 20
RULE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n"
ROUTE = "  - route: [{destination: {host: a}}]\n"
POLICY = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, trafficPolicy: %s}\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"b{one}: &b{one} [{','.join('*a' for _ in range(9))}]\n" for one in range(9))

ONE_LINE = {
    "brackets": ("[" * 50_000, "YAML_LIMIT", 1),
    "braces in a field": (RULE + ROUTE + "    x: " + "{" * 50_000, "YAML_LIMIT", 8),
    "dashes": ("- " * 50_000 + "a", "YAML_LIMIT", 1),
    "question marks": ("? " * 500_000, "YAML_LIMIT", 1),
    "deep mappings": ("".join(" " * depth + "a:\n" for depth in range(1000)), "YAML_LIMIT", 65),
    "a million values": ("[" + "a," * 500_000 + "]", "YAML_LIMIT", 1),
    "a pattern of 1 MiB": (RULE + f"  - match: [{{uri: {{regex: '{'a' * MIB}'}}}}]\n{ROUTE.replace('-', ' ')}", "INVALID_VALUE", 7),
    "a huge key": (RULE + ROUTE + f"    ? {'k' * 900_000}\n    : 1\n", "UNKNOWN_FIELD", 8),
    "a line that is too long for a key": (RULE + ROUTE + f"    {'k' * 900_000}: 1\n", "YAML_SYNTAX", 8),
    "NUL": (RULE + "  - name: a\x00b\n", "YAML_SYNTAX", 7),
    "a bell": (RULE + "  - name: a\x07b\n", "YAML_SYNTAX", 7),
    "half of a pair": ("a: '\ud800'\n", "YAML_SYNTAX", 1),
    "tabs": (RULE + "\t- route: []\n", "YAML_SYNTAX", 7),
    "an object of Python's": (RULE + ROUTE + "    name: !!python/object/apply:os.system [id]\n", "YAML_TAG", 8),
    "colons": (":" * 1_000_000, "YAML_SYNTAX", 1),
    "commas": (f"[{',' * 1_000_000}]", "YAML_SYNTAX", 1),
    "percent signs": ("%" * 1_000_000, "YAML_SYNTAX", 1),
}

NUMBERS = ["1e999", "1e-9999", "-0.0", ".inf", "-.inf", ".nan", "1" * 400, "18446744073709551616", "0x10", "1_0", "08"]


def problems(text: str) -> tuple[Problem, ...]:
    """All there is to say, as `meshcar check` finds it; fails where it takes long."""
    begin = time.process_time()
    found = read(text, "hostile.yaml")
    said = (*found.problems, *compile_rules(found.resources, Workload(), 1).problems)
    assert time.process_time() - begin < 2
    return said


@pytest.mark.parametrize("name", list(ONE_LINE))
def test_one_line(name: str) -> None:
    """One problem, at its place, short, and printable."""
    text, code, line = ONE_LINE[name]
    (problem,) = problems(text)
    assert (problem.code, problem.line) == (code, line)
    assert len(str(problem)) < 300
    assert str(problem).isprintable()


def test_bomb() -> None:
    """Aliases are refused where they stand, not followed."""
    assert {problem.code for problem in problems(BOMB)} == {"YAML_ALIAS"}


@pytest.mark.parametrize("document", ["---\na\n", "--- {}\n", "--- [\n", "%YAML 1.1\n---\na\n...\n", "---\na: on\n"])
def test_a_mebibyte_of_documents(document: str) -> None:
    """After a thousand errors the rest is not read, and the last line says so."""
    said = problems(document * (MIB // len(document)))
    assert MAX_ERRORS < len(said) < MAX_ERRORS + 20
    assert (said[-1].code, said[-1].line) == ("TOO_MANY", said[-2].line)


@pytest.mark.parametrize("text", ["---\n" * (MIB // 4), "#" * MIB, " " * MIB, "\n" * MIB, "#\n" * (MIB // 2)])
def test_a_mebibyte_of_nothing(text: str) -> None:
    """Is nothing."""
    assert problems(text) == ()


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers(number: str) -> None:
    """No number gets where none of its size or kind may stand."""
    route = f"  - route: [{{destination: {{host: a, port: {{number: {number}}}}}}}]\n"
    policy = f"{{outlierDetection: {{maxEjectionPercent: {number}}}}}"
    warmup = f"{{loadBalancer: {{warmup: {{duration: 1s, minimumPercent: {number}}}}}}}"
    for text in (RULE + route, POLICY % policy, POLICY % warmup):
        codes = {problem.code for problem in problems(text) if problem.severity == "error"}
        assert codes <= {"WRONG_TYPE", "INVALID_VALUE", "YAML_AMBIGUOUS"}
        assert codes or (number in ("1e-9999", "-0.0") and text != RULE + route)  # these are 0


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends(end: str) -> None:
    """Windows' and old ones are ends of lines; lines are counted alike."""
    (problem,) = problems((RULE + ROUTE + "    bogus: 1\n").replace("\n", end))
    assert (problem.code, problem.line, problem.column) == ("UNKNOWN_FIELD", 8, 5)


@pytest.mark.parametrize(
    "text",
    [
        RULE.replace("[a]", "[" + ",".join(f"'{one}!'" for one in range(30_000)) + "]") + ROUTE,
        RULE + ROUTE + "".join(f"    k{one}: 1\n" for one in range(30_000)),
        RULE + ROUTE + "    name: a\n" * 30_000,
    ],
)
def test_many_faults(text: str) -> None:
    """Two hundred are told, then how many more there are; the last line stands where the next one would."""
    said = problems(text)
    assert len(said) <= 201
    assert [problem.line for problem in said] == sorted(problem.line for problem in said)
