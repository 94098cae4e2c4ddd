"""The data path is compiled by a compiler, or not."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_compiled import PACKAGE, form

ROOT = PACKAGE.parent

pytestmark = pytest.mark.skipif(
    find_spec("setuptools") is None or find_spec("mypyc") is None, reason="setup.py needs setuptools and mypyc beside it"
)


def test_compiler_that_fails(tmp_path: Path) -> None:
    """It is told, and is no error: the files run as they are written, and nothing that was compiled of older ones passes for them."""
    for name in ("meshcar", "twisted"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "pyproject.toml", *(one.name for one in ROOT.glob("meshcar__mypyc*.so"))):
        shutil.copy(ROOT / name, tmp_path)
    edited = tmp_path / "meshcar/wire/head.py"
    edited.write_text(edited.read_text() + "\n")
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    environment = {**os.environ, "CC": "false", "MESHCAR_PURE": "0"}
    ran = subprocess.run(build, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "the data path is not compiled: " in ran.stdout
    assert form(tmp_path) == "interpreted"
