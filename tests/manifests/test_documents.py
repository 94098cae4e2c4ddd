"""YAML that comes out as it went in: values, whatever a reader makes of them, and order."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshcar.manifests.documents import BadYaml, Plain, is_true, join, read, value_of, whole_number, write

ODD = """\
mode: 0644
octal: 0o644
hex: 0x1F
sexagesimal: 12:30:45
yes: on
"no": "off"
number: 1e3
float: .5
date: 2001-01-01
quoted: "8080"
single: '1'
empty:
tilde: ~
none: ""
spread over
 : x
long: a b
  c
flow: [1, "1", {a: b, c: null}]
block: |
  #!/bin/sh
   exec "$@"

  # last
folded: >-
  a
  b
url: http://x:80/y?z=#w
glob: "*"
colon: "a: b"
dash: "- x"
tab: "a\\tb"
smile: "\\U0001F600 é"
"""


def only(text: str) -> Any:
    """The one document of a text."""
    ((document,),) = [piece.documents for piece in read(text)]
    return document


def test_odd_values() -> None:
    """What YAML 1.1 and 1.2 read differently is written as it stood; an independent reader finds no difference."""
    text = ODD.replace("spread over\n : x\n", "")
    written = write(only(text))
    assert yaml.safe_load(written) == yaml.safe_load(text)
    assert only(written) == only(text)
    for line in ("mode: 0644", "octal: 0o644", "hex: 0x1F", "sexagesimal: 12:30:45", "yes: on", "number: 1e3", 'quoted: "8080"'):
        assert f"{line}\n" in written


def test_pieces() -> None:
    """A text is cut before each `---` and joined again to the last byte; each piece knows its first line."""
    text = "# licence\n---\na: 1\n# end\n--- # b\nb: 2\n...\n---\n---\n{c: 3}"
    pieces = list(read(text))
    assert "".join(piece.text for piece in pieces) == text
    assert [(piece.line, piece.documents) for piece in pieces] == [
        (1, ()), (2, ({"a": "1"},)), (5, ({"b": "2"},)), (8, (None,)), (9, ({"c": "3"},)),
    ]  # fmt: skip


def test_directive() -> None:
    """A directive stays with the document that it is for; a byte order mark goes."""
    assert [piece.documents for piece in read("\ufeff%YAML 1.1\n---\na: 1\n")] == [({"a": "1"},)]


def test_aliases() -> None:
    """Aliases are resolved into values of their own, merge keys as YAML says: own keys first, then the first mapping merged."""
    document = only("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\nd: *a\ne: {<<: *b}\nf: &f text\ng: *f\n")
    assert value_of(document) == {
        "a": {"x": 1, "y": 2}, "b": {"y": 3, "z": 4}, "c": {"x": 5, "y": 2, "z": 4}, "d": {"x": 1, "y": 2}, "e": {"y": 3, "z": 4},
        "f": "text", "g": "text",
    }  # fmt: skip
    assert document["d"] is not document["a"]


@pytest.mark.parametrize(("text", "line", "why"), [
    ("a: 1\na: 2\n", 2, "'a' stands here twice"),
    ("---\na: b: c\n", 2, "mapping values are not allowed in this context"),
    ("a: !!binary aGk=\n", 1, "the tag tag:yaml.org,2002:binary is not for manifests"),
    ("a: !x {}\n", 1, "the tag !x is not for manifests"),
    ("? [a]\n: b\n", 1, "a key must be text"),
    ("a: &a x\n---\nb: *a\n", 3, "found undefined alias"),
    ("a: [*a]\n", 1, "found undefined alias"),
    ("a: &a [*a]\n", 1, "there is no anchor &a before this"),
    ("a: &a x\n? *a\n: b\n", 2, "a key must be text"),
    ("a:\n\tb: 1\n", 2, "found character that cannot start any token"),
    ("[" * 200 + "]" * 200, 1, "nested more than 100 deep"),
    ("a: \x01\n", 1, ""),
])  # fmt: skip
def test_bad(text: str, line: int, why: str) -> None:
    """What cannot be read says where."""
    with pytest.raises(BadYaml) as raised:
        list(read(text))
    assert raised.value.line == line
    assert why in str(raised.value) or "anchor" in str(raised.value)


def test_bomb() -> None:
    """A few lines of aliases do not become a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BadYaml, match="more than 1000000 values"):
        list(read("\n".join(lines)))


def test_values() -> None:
    """Numbers and booleans are what stands without quotes."""
    assert value_of(only('{a: 1, b: "1", c: true, d: "true", e: x, f: -5, g: 0644, h: 1.5, i: null, j: [False]}')) == {
        "a": 1, "b": "1", "c": True, "d": "true", "e": "x", "f": -5, "g": "0644", "h": "1.5", "i": None, "j": [False],
    }  # fmt: skip
    assert [is_true(one) for one in (Plain("true"), "true", True, Plain("Yes"), Plain("on"), Plain("no"), None)] == [
        True, False, True, True, True, False, False,
    ]  # fmt: skip
    assert [whole_number(one) for one in (Plain("8"), "8", 8, True, Plain("x"), None)] == [8, None, 8, None, None, None]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_value(value: Any) -> None:
    """What Python's values are written as, an independent reader takes for the same; so does our own, and for good."""
    written = write(value)
    assert yaml.safe_load(written) == value
    assert write(only(written)) == written


def test_join() -> None:
    """Each part on lines of its own."""
    assert join(["a", "", "b\n"]) == "a\nb\n"
