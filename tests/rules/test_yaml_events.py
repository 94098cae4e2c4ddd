"""YAML text to values with places."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshcar.rules.problems import Fault
from meshcar.rules.yaml_events import Document, chunks, documents

PLAIN = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abcdefgh -:'\"#é\n", max_size=8)
TREES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz", min_size=1), inner, max_size=4))


def place(document: Document, *path: str | int, at_key: bool = False) -> tuple[int, int]:
    """Where something stands in a document."""
    return document.places([Fault(path, "", "", at_key)])[0]


def code(text: str) -> str:
    """The code of the first fault of the last document."""
    return list(documents(text))[-1].faults[0].code


def test_values() -> None:
    """Scalars are what YAML 1.1 and 1.2 agree on."""
    (document,) = documents("a: 1\nb: 'on'\nc: ~\nd: true\ne: 1.5\nf: x y\ng:\nh: 2020-01-01\ni: y\nj: -7\n")
    assert document.value == {
        "a": 1, "b": "on", "c": None, "d": True, "e": 1.5, "f": "x y", "g": None, "h": "2020-01-01", "i": "y", "j": -7,
    }
    assert document.faults == ()


def test_place() -> None:
    """Every key and value knows its line and column."""
    (document,) = documents("a:\n- b: 1\n  c: [x, {d: 2}]\n- 3\ne: {}\n")
    assert place(document, "a", 0, "c", 1, "d") == (3, 14)
    assert place(document, "a", 0, "c", 1, "d", at_key=True) == (3, 11)
    assert place(document, "a", 1) == (4, 3)
    assert place(document, "e", at_key=True) == (5, 1)
    assert place(document) == document.start() == (1, 1)


def test_place_of_what_is_missing() -> None:
    """A path that does not exist is placed where it ends."""
    (document,) = documents("a:\n  b: 1\n")
    assert place(document, "a", "x", 3) == (2, 3)
    assert place(document, "x", at_key=True) == (1, 1)


@given(TREES)
def test_same_as_pyyaml(tree: object) -> None:
    """What PyYAML wrote is read back, and each node has a place inside the text."""
    text = yaml.safe_dump(tree)
    (document,) = documents(text)
    if not document.faults:
        assert document.value == tree
        for path in paths(tree):
            line, column = place(document, *path)
            assert 1 <= line <= len(text.split("\n")) and column >= 1


def paths(tree: object) -> list[tuple[str | int, ...]]:
    """Every path into a tree."""
    found: list[tuple[str | int, ...]] = [()]
    if isinstance(tree, dict):
        found += [(key, *rest) for key, child in tree.items() for rest in paths(child)]
    if isinstance(tree, list):
        found += [(index, *rest) for index, child in enumerate(tree) for rest in paths(child)]
    return found


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """No text raises."""
    list(documents(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: 1\na: 2\n", "DUPLICATE_KEY"),
        ("a: &x [1]\nb: *x\n", "YAML_ALIAS"),
        ("a: &x 1\n", "YAML_ALIAS"),
        ("a: {<<: {b: 1}}\n", "YAML_ALIAS"),
        ("a: on\n", "YAML_AMBIGUOUS"),
        ("a: 0777\n", "YAML_AMBIGUOUS"),
        ("a: 1:30\n", "YAML_AMBIGUOUS"),
        ("a: 1_000\n", "YAML_AMBIGUOUS"),
        ("a: !!python/object/apply:os.system [x]\n", "YAML_TAG"),
        ("a: !x 1\n", "YAML_TAG"),
        ("a: [1\nb: 2\n", "YAML_SYNTAX"),
        ("? [a]\n: 1\n", "YAML_SYNTAX"),
        ("a: \x00\n", "YAML_SYNTAX"),
        ("a: '\ud800'\n", "YAML_SYNTAX"),
        ("[" * 100 + "]" * 100, "YAML_LIMIT"),
        ("[" * 50000, "YAML_LIMIT"),
        ("{a: " * 50000, "YAML_LIMIT"),
    ],
)
def test_fault(text: str, wanted: str) -> None:
    """What could be read in two ways, or is hostile, is a fault with a name."""
    assert code(text) == wanted


def test_all_faults_at_once() -> None:
    """A document tells all its faults; the documents around it are whole."""
    first, second, third = documents("a: 1\n---\nb: on\nc: 1\nc: 2\n---\nd: 4\n")
    assert (first.value, third.value) == ({"a": 1}, {"d": 4})
    assert [(fault.line, fault.column) for fault in second.faults] == [(3, 4), (5, 1)]


def test_documents_before_a_syntax_error() -> None:
    """They are given; the error has its line and column."""
    first, last = documents("a: 1\n---\nb: [\n---\n")
    assert first.value == {"a": 1}
    assert (last.faults[0].line, last.faults[0].code) == (4, "YAML_SYNTAX")


def test_hostile_texts_are_quick() -> None:
    """Deep nesting and a bomb of aliases end in well under a second."""
    bomb = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a,*a,*a]\n" for i in range(100))
    before = time.process_time()
    for text in ("[" * 1_000_000, bomb, "a: " + "9" * 1_000_000):
        list(documents(text))
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [(0, "")]),
        ("a: 1\n", [(0, "a: 1\n")]),
        ("---\na: 1\n---\nb: 1\n", [(0, "---\na: 1\n"), (2, "---\nb: 1\n")]),
        ("# x\n--- {a: 1}\n---", [(0, "# x\n"), (1, "--- {a: 1}\n"), (2, "---")]),
        ("a: |\n  ---\n ---\nb: ----\n---x: 1\n", [(0, "a: |\n  ---\n ---\nb: ----\n---x: 1\n")]),
        ("%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 1\n", [(0, "%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n---\nb: 1\n")]),
        ("a: 1\r\n---\r\nb: 1\r\n", [(0, "a: 1\r\n"), (1, "---\r\nb: 1\r\n")]),
    ],
)
def test_chunks(text: str, wanted: list[tuple[int, str]]) -> None:
    """A text is cut at document markers, and nowhere else."""
    assert list(chunks(text)) == wanted


LINES = ["---", "--- ", "--- # x", "a: 1", "b: on", "c: |", "  ---", "...", "# ---", "", "d: [", "]", "'---'"]


@given(st.lists(st.sampled_from(LINES), max_size=9))
def test_chunks_are_the_text(lines: list[str]) -> None:
    """Together they are the text, each where it says; and where the text is right, they hold its documents in their places."""
    text = "\n".join(lines)
    assert "".join(chunk for _, chunk in chunks(text)) == text
    assert all(text.startswith(chunk, len("\n".join(lines[:before])) + bool(before)) for before, chunk in chunks(text))
    whole = list(documents(text))
    if not any(fault.code == "YAML_SYNTAX" for one in whole for fault in one.faults):
        cut = [one for before, chunk in chunks(text) for one in documents(chunk, before)]
        told = [[(one.value, one.start(), one.faults) for one in found if one.value is not None] for found in (whole, cut)]
        assert told[0] == told[1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: {b: c\n", "did not find expected ',' or '}' while parsing a flow mapping that begins in line 1"),
        ("a: 1\nb: 'c\n", "found unexpected end of stream while scanning a quoted scalar that begins in line 2"),
        ("a: [fd00::]\n", "quote a text that ends with a colon"),
        ("\ta: 1\n", "found character that cannot start any token; indent with blanks, not with tabs"),
        ("é: 1\né: é\x07\n", "control characters are not allowed (U+0007)"),
    ],
)
def test_syntax_errors_say_more(text: str, wanted: str) -> None:
    """Where what is not closed begins, and what to do."""
    (document,) = documents(text)
    (fault,) = document.faults
    assert wanted in fault.message
    if "U+" in wanted:
        assert (fault.line, fault.column) == (2, 5)
