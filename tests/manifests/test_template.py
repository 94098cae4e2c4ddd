"""The template: variables, and what a pod says on top."""

from typing import Any

import pytest

from meshcar.manifests.documents import read, value_of
from meshcar.manifests.template import filled, overlaid, read_template

LEAST = "init: {name: i}\nsidecar: {name: s}\n"


def parsed(text: str) -> Any:
    """A part of a template."""
    ((document,),) = [piece.documents for piece in read(text)]
    return document


@pytest.mark.parametrize(("part", "variables", "result"), [
    ("a: ${x}", {"x": 5}, {"a": 5}),
    ("a: ${x}", {"x": {"b": [1]}}, {"a": {"b": [1]}}),
    ("a: v${x}-${y}", {"x": 1, "y": "z"}, {"a": "v1-z"}),
    ("a: ${x}\nb: 1", {"x": None}, {"b": 1}),
    ("a: {b: '${x}'}", {"x": None}, {"a": {}}),
    ("- a\n- ${x}\n- b", {"x": ["1", "2"]}, ["a", "1", "2", "b"]),
    ("- a\n- ${x}", {"x": None}, ["a"]),
    ("- {name: a, value: '${x}'}\n- {name: b}", {"x": None}, [{"name": "b"}]),
    ("- [a]\n- {b: c}", {}, [["a"], {"b": "c"}]),
    ("a: $(POD) $x ${}", {}, {"a": "$(POD) $x ${}"}),
    ("a: ${x}", {"x": ""}, {"a": ""}),
    ("a: ${x}", {"x": False}, {"a": False}),
])  # fmt: skip
def test_filled(part: str, variables: dict[str, Any], result: Any) -> None:
    """Alone, a variable is its value; within a text, the value's text; nothing takes its key or its entry along."""
    assert value_of(filled(parsed(part), variables)) == result


def test_unknown_variable() -> None:
    """A misspelt variable is named, with those that there are."""
    with pytest.raises(ValueError, match=r"\$\{imgae\} is none of the template's variables: image"):
        filled({"a": "${imgae}"}, {"image": "x"})


def test_overlaid() -> None:
    """Mappings are merged, lists with names by name, others replaced."""
    generated = {
        "image": "a", "args": ["1"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "securityContext": {"runAsUser": 1337, "privileged": False}, "ports": [{"containerPort": 1, "name": "x"}],
    }  # fmt: skip
    own = {
        "image": "b", "args": ["2", "3"], "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
        "securityContext": {"runAsUser": 5}, "ports": [{"containerPort": 2}], "tty": True,
    }  # fmt: skip
    assert overlaid(generated, own) == {
        "image": "b", "args": ["2", "3"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
        "securityContext": {"runAsUser": 5, "privileged": False}, "ports": [{"containerPort": 1, "name": "x"}, {"containerPort": 2}],
        "tty": True,
    }  # fmt: skip


def test_least() -> None:
    """Two containers with names are enough."""
    template = read_template(LEAST)
    assert (template.init, template.labels, template.volumes) == ({"name": "i"}, {}, [])


@pytest.mark.parametrize(("text", "why"), [
    ("[]", "one mapping"), ("", "one mapping"), (f"{LEAST}---\n{LEAST}", "one mapping"), (f"{LEAST}more: 1\n", "'more' is none of labels"),
    ("init: {name: i}\n", "sidecar must be a container with a name"), ("init: {}\nsidecar: {name: s}\n", "init must be"),
    (f"{LEAST}volumes: {{}}\n", None), (f"{LEAST}volumes: {{a: b}}\n", "volumes must be a list"),
    (f"{LEAST}labels: [a]\n", "labels must be"),
])  # fmt: skip
def test_bad(text: str, why: str | None) -> None:
    """What is no template says why not."""
    if why is None:
        read_template(text)
        return
    with pytest.raises(ValueError) as raised:
        read_template(text)
    assert why in str(raised.value)
