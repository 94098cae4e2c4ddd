"""Documents that another process has read already."""

from pathlib import Path

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.read import Resource, read, retaken
from meshcar.rules.steps import finish
from meshcar.rules.workload import Workload

PAGE = Path(__file__).parents[2] / "meshcar/cli/page"
TEXTS = {path.name: path.read_text() for path in PAGE.glob("*.yaml")}
WARNED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: [nowhere]
  http:
  - route: [{destination: {host: nowhere, subset: none}}]
"""


def lines(*resources: Resource) -> list[bytes]:
    return [resource.origin.json for resource in resources]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_same(name: str) -> None:
    """What comes out says the same, in the same order, and compiles to the same clusters."""
    first = read(TEXTS[name], name, "shop").resources
    again = tuple(finish(retaken(lines(*first), "shop", {})).values())
    assert [(one.key, one.spec, one.metadata) for one in again] == [(one.key, one.spec, one.metadata) for one in first]
    workload = Workload(namespace="shop")
    assert compile_rules(again, workload, 1).snapshot.clusters == compile_rules(first, workload, 1).snapshot.clusters


def test_known() -> None:
    """What is known is not made anew; what is there no more is forgotten."""
    first = read(WARNED + "---\n" + WARNED.replace("name: one", "name: two"), "-").resources
    known = finish(retaken(lines(*first), "default", {}))
    again = finish(retaken(lines(first[1]), "default", known))
    assert [*again.values()] == [known[lines(first[1])[0]]] and len(known) == 2


def test_warnings() -> None:
    """They have no place, and can be made all the same."""
    again = finish(retaken(lines(*read(WARNED, "-").resources), "default", {}))
    problems = compile_rules(again.values(), Workload(), 1).problems
    assert problems and all(problem.line == 0 for problem in problems)


@pytest.mark.parametrize("line", [b"{}", b"[]", b"nonsense", b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}'])
def test_none(line: bytes) -> None:
    """Nobody sends such."""
    with pytest.raises(ValueError):
        finish(retaken([line], "default", {}))
