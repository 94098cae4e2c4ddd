"""Istio's own sample documents: each loads, or is refused by a named field or kind."""

import os
from pathlib import Path

import pytest

import meshcar
from meshcar.rules.compile import compile_rules
from meshcar.rules.read import read
from meshcar.rules.workload import Workload

SHARED = Path(os.environ.get("MESHCAR_SHARED") or Path(meshcar.__file__).parents[1].parent / "shared")
DOCUMENTS = sorted((SHARED / "istio" / "documents").glob("*.yaml"))


@pytest.mark.skipif(not DOCUMENTS, reason="Istio's documents are not here; MESHCAR_SHARED says where they are")
def test_documents() -> None:
    """Refusals name the field; everything else compiles without an error."""
    for path in DOCUMENTS:
        found = read(path.read_text(), path.name)
        for problem in found.problems:
            named = problem.code in ("UNSUPPORTED_KIND", "UNSUPPORTED_FIELD", "INVALID_VALUE") and problem.path in (
                "kind",
                *("." in problem.path and [problem.path] or []),
            )
            assert problem.severity == "warning" or named or problem.path == "spec.resolution", str(problem)
        compiled = compile_rules(found.resources, Workload(), 1)
        assert not [problem for problem in compiled.problems if problem.severity == "error"], path.name
