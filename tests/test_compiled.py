"""Which of its two forms the data path runs in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import meshcar
from meshcar import compiled

PACKAGE = Path(meshcar.__file__).parent
needs_compiled = pytest.mark.skipif(not compiled.is_fresh(), reason="nothing, or nothing of these files, is compiled: `make compile`")


def form(folder: Path, **environment: str) -> str:
    """What the package in a folder says when the sidecar's modules are imported."""
    code = "import meshcar.app.world; from meshcar import compiled; print(compiled.form())"
    path = {"PATH": "/usr/bin", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, env=path, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the package as it is, both forms of it."""
    shutil.copytree(PACKAGE, tmp_path / "meshcar", ignore=shutil.ignore_patterns("__pycache__"))
    for library in PACKAGE.parent.glob("meshcar__mypyc*.so"):
        shutil.copy(library, tmp_path)
    return tmp_path


def test_modules() -> None:
    """Each has a file, and is named once."""
    assert [name for name in compiled.MODULES if not (PACKAGE.parent / f"{name.replace('.', '/')}.py").is_file()] == []
    assert len(set(compiled.MODULES)) == len(compiled.MODULES)


def test_digest(copied: Path) -> None:
    """It is that of the files' contents."""
    package = copied / "meshcar"
    before = compiled.digest(package)
    assert before == compiled.digest(PACKAGE)
    file = package / "wire/head.py"
    file.write_text(file.read_text() + "\n")
    assert compiled.digest(package) != before


@needs_compiled
def test_compiled(copied: Path) -> None:
    """What is compiled runs, unless MESHCAR_PURE=1 asks for what is written."""
    assert (form(copied), form(copied, MESHCAR_PURE="1")) == ("compiled", "interpreted")


@needs_compiled
def test_edited(copied: Path) -> None:
    """A change to a file is not passed over: all of the data path is interpreted then."""
    file = copied / "meshcar/proxy/session.py"
    file.write_text(file.read_text() + "\n")
    assert form(copied) == "interpreted"


def test_not_compiled(copied: Path) -> None:
    """Without a compiled form there is the written one."""
    for library in copied.rglob("*.so"):
        library.unlink()
    (copied / "meshcar" / compiled.STAMP).unlink(missing_ok=True)
    assert form(copied) == "interpreted"
