"""The benchmark of copies measures what it says."""

import pytest

from bench import copies
from bench.copies import KINDS, Scene
from meshcar.compiled import form
from meshcar.upstream import opening


@pytest.mark.skipif(form() == "compiled", reason="it replaces transports, which the compiled data path does not allow")
@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered, and all copies become what the kind says."""
    monkeypatch.setattr(opening, "connect", opening.connect)
    monkeypatch.setattr(copies, "TURNS", 3)
    scene = Scene(kind)
    dropped = scene.mesh.drops().get(kind, 0)
    scene.run()
    asked = 3 * copies.SIZE
    assert sum(scene.mesh.requests().values()) == asked + copies.SIZE
    assert scene.mesh.drops().get(kind, 0) - dropped == (asked if kind not in ("none", "copied") else 0)
    assert scene.mesh.outbound.copies == (copies.SIZE if kind == "copied" else 0)
