"""RE2 patterns, each for itself and all of a document together."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.patterns import Patterns, pattern, pattern_or_any
from meshcar.rules.read import read
from meshcar.rules.units import WrongType

RULE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n"
ROUTE = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n  rules:\n"
LARGE = "[a-z]{1,40}" * 40


@pytest.mark.parametrize("good", ["^(a+)+$", "/u/[0-9]+", ".*", "\x00"])
def test_pattern(good: str) -> None:
    """What RE2 takes."""
    assert pattern(good).pattern == good.encode()


@pytest.mark.parametrize("bad", ["", "(", "[a", "a" * 1025, "(?<=a)b", "(a{1000}){1000}", "(.{1000}){1000}", "\\1"])
def test_refused(bad: str) -> None:
    """What RE2 does not know, and what is too long or too large."""
    with pytest.raises(ValueError, match=r"pattern|RE2"):
        pattern(bad)
    with pytest.raises(WrongType):
        pattern([bad])


def test_any_pattern() -> None:
    """`*` alone means that the thing is there."""
    assert pattern_or_any("*") is None


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Compiled, or refused with ValueError, whatever the text."""
    try:
        pattern(text)
    except ValueError as error:
        assert str(error)


def test_too_large_together() -> None:
    """Is said once; what follows is not even compiled."""
    compile_, said = Patterns().compile, []
    for number in range(1000):
        try:
            compile_(pattern, f"{LARGE}{number}")
        except ValueError as why:
            said.append((number, str(why).partition(" together")[0]))
    assert [one[1] for one in said] == ["all patterns of this document"]
    assert 10 < said[0][0] < 100


@pytest.mark.parametrize(
    ("head", "rule", "path"),
    [
        (RULE, "  - match: [{{uri: {{regex: '{}'}}}}]\n    route: [{{destination: {{host: a}}}}]\n", "spec.http[{}].match[0].uri.regex"),
        (RULE, "  - rewrite: {{uriRegexRewrite: {{match: '{}', rewrite: x}}}}\n    route: [{{destination: {{host: a}}}}]\n",
         "spec.http[{}].rewrite.uriRegexRewrite.match"),
    ],
)  # fmt: skip
def test_thousands_in_a_document(head: str, rule: str, path: str) -> None:
    """One clear line, at the first that is too much, and soon (ISTIO-SECURITY-2026-006)."""
    text = head + "".join(rule.format(f"{LARGE}{number}") for number in range(1500))
    begin = time.perf_counter()
    (problem,) = read(text, "a.yaml").problems
    assert time.perf_counter() - begin < 3
    assert problem.code == "INVALID_VALUE"
    assert "too large for RE2" in problem.message
    number = int("".join(filter(str.isdigit, problem.path.partition("]")[0])))
    assert problem.path == path.format(number)
    assert problem.line == 7 + 2 * number


def test_ordinary_ones_are_not_counted() -> None:
    """A rule of two thousand simple patterns is no attack."""
    rule = "  - match: [{{uri: {{regex: '/v[0-9]+/items/{}(/.*)?'}}}}]\n    route: [{{destination: {{host: a}}}}]\n"
    assert read(RULE + "".join(rule.format(number) for number in range(2000)), "a.yaml").problems == ()


def test_http_routes() -> None:
    """Their patterns count alike, and all that are wrong are told."""
    header = "{{name: x{}, type: RegularExpression, value: '{}'}}"
    many = ", ".join(header.format(number, LARGE + str(number)) for number in range(16))
    matches = "".join(f"    - {{headers: [{many.replace('}}', '}')}]}}\n" for _ in range(10))
    (problem,) = read(f"{ROUTE}  - matches:\n{matches}", "a.yaml").problems
    assert (problem.code, "too large for RE2" in problem.message) == ("INVALID_VALUE", True)
    path, query = "{type: RegularExpression, value: '('}", header.format(1, "[")
    wrong = read(f"{ROUTE}  - matches: [{{path: {path}}}, {{queryParams: [{query}]}}]\n", "a")
    assert [one.path for one in wrong.problems] == [
        "spec.rules[0].matches[0].path.value", "spec.rules[0].matches[1].queryParams[0].value",
    ]  # fmt: skip
