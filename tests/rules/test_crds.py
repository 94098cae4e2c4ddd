"""Istio's custom resource definitions against our own reading: no field is forgotten, and verdicts on structure agree."""

import copy
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshcar.rules.problems import Path as Where
from meshcar.rules.read import KINDS, Kind, read
from tests.rules.test_istio_documents import DOCUMENTS, SHARED
from tests.test_docs import TABLES

FILE = SHARED / "istio" / "crd-all.yaml"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="Istio's CRDs are not here; MESHCAR_SHARED says where they are")

STRUCTURE = {"UNKNOWN_FIELD", "WRONG_TYPE"}
"""The codes by which we say that a document has not the shape of its kind."""
OTHER_VALUES = ["", "x", "5s", "80", 0, 1, -1, 70000, 1 << 40, 0.5, True, [], {}, ["x"], [{}], {"x": "y"}, "x" * 3000]
OTHER_KEYS = ["bogus", "Host", "host", "name", "exact", "value", "port", "mode", "labels"]


def crds() -> Mapping[str, Any]:
    """The schema of each kind's spec."""
    if not FILE.exists():
        return {}
    found = {}
    for crd in yaml.load_all(FILE.read_text(), Loader=yaml.CSafeLoader):
        if crd is not None:
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            found[crd["spec"]["names"]["kind"]] = schema
    return found


CRDS = crds()
OURS: list[tuple[str, Kind]] = [(name, kind) for (group, name), kind in KINDS.items() if group.endswith("istio.io")]


def below(schema: Any) -> Any:
    """The schema of what is within lists and maps."""
    while True:
        if schema.get("type") == "array":
            schema = schema["items"]
        elif "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        else:
            return schema


def differences(message: type, schema: Any, path: str) -> Iterator[str]:
    """Fields of a schema that a message neither reads nor names, and fields of the message that the schema has not."""
    hints = dict(TABLES._hints(message))
    other = {name for attribute in ("REFUSED", "BESIDE") for name in getattr(message, attribute, ())}
    old = {name for spellings in getattr(message, "SPELLINGS", {}).values() for name in spellings[1:]}
    fields = schema.get("properties", {})
    yield from (f"{path}.{name} is read by nobody" for name in fields.keys() - hints.keys() - other if not getattr(message, "OPEN", False))
    yield from (f"{path}.{name} is no field of Istio's" for name in (hints.keys() | other) - fields.keys() - old)
    for name in fields.keys() & hints.keys():
        inner, _ = TABLES._message_in(hints[name])
        within = below(fields[name])
        if inner is not None:
            yield from differences(inner, within, f"{path}.{name}")
        elif "properties" in within:
            yield f"{path}.{name} is read without its fields"


@pytest.mark.parametrize("name", [name for name, _ in OURS])
def test_every_field(name: str) -> None:
    """Read, refused by name, or known to mean nothing to a sidecar: every field of a CRD, and no other."""
    spec = TABLES.SPECS[name]
    assert sorted(differences(spec, CRDS[name], "spec")) == []


def strict(schema: Any) -> Any:
    """A schema that knows no other fields than those it names, as `kubectl --validate=strict`."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(one) for key, one in schema.items()}
    if "properties" in schema and "type" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def validators() -> Mapping[str, Any]:
    """By kind."""
    return {name: jsonschema.Draft7Validator(strict(CRDS[name])) for name, _ in OURS if name in CRDS}


VALIDATORS = validators()


def examples() -> list[dict[str, Any]]:
    """Istio's documents of the kinds that are read."""
    found = []
    for path in DOCUMENTS:
        for document in yaml.load_all(Path(path).read_text(), Loader=yaml.CSafeLoader):
            if isinstance(document, dict) and document.get("kind") in VALIDATORS and isinstance(document.get("spec"), dict):
                found.append(document)
    return found


EXAMPLES = examples()


def places(value: Any, path: Where = ()) -> Iterator[Where]:
    """Every place in a value, but the top."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))


def at(value: Any, path: Where) -> Any:
    for step in path:
        value = value[step]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """One of Istio's documents with one to three things in it lost, renamed, replaced or added."""
    document = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        every = list(places(document["spec"]))
        if not every:
            break
        path = draw(st.sampled_from(every))
        parent, key = at(document["spec"], path[:-1]), path[-1]
        change = draw(st.sampled_from(["lose", "rename", "replace", "add", "move"]))
        if change == "lose":
            del parent[key]
        elif change == "replace":
            parent[key] = copy.deepcopy(draw(st.sampled_from(OTHER_VALUES)))
        elif change == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from([*OTHER_KEYS, str(key) + "s", str(key).upper()]))] = parent.pop(key)
        elif change == "add" and isinstance(at(document["spec"], path), dict):
            at(document["spec"], path)[draw(st.sampled_from(OTHER_KEYS))] = copy.deepcopy(draw(st.sampled_from(OTHER_VALUES)))
        elif change == "move":
            parent[key] = copy.deepcopy(at(document["spec"], draw(st.sampled_from(every))))
    return document


@pytest.mark.skipif(not EXAMPLES, reason="Istio's documents are not here; MESHCAR_SHARED says where they are")
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_verdicts(document: dict[str, Any]) -> None:
    """What has not the shape of its CRD is an error here; what has it is never said to have a wrong type or an unknown field."""
    wrong = [f"{list(error.absolute_path)}: {error.message[:200]}" for error in VALIDATORS[document["kind"]].iter_errors(document["spec"])]
    found = read(yaml.safe_dump(document), "x.yaml").problems
    errors = [str(problem) for problem in found if problem.severity == "error"]
    if wrong:
        assert errors, wrong
    else:
        assert [problem for problem in found if problem.code in STRUCTURE] == [], document["spec"]


def test_hints_are_types() -> None:
    """The walk above sees every field: each message's annotations can be resolved."""
    assert all(typing.get_type_hints(spec, include_extras=True) for spec in TABLES.SPECS.values())
