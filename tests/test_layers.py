"""The order in which packages may know each other, held by a test."""

import ast
from pathlib import Path

import pytest

import meshcar

LINE = "compiled errors current latest wire identity rules manifests policy observe net upstream sources proxy admin app cli".split()
PURE = LINE[: LINE.index("net")]
ROOT = Path(meshcar.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of the modules a file imports, at any depth in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", FILES)
def test_line(name: str) -> None:
    """A package imports only packages before it in the line; up to `observe` none imports Twisted."""
    home = name.partition("/")[0].removesuffix(".py")
    for other in imported(ROOT / name) if home in LINE else ():
        if other.startswith("meshcar."):
            package = other.split(".")[1]
            assert package not in LINE or LINE.index(package) <= LINE.index(home), other
        assert home not in PURE or other.partition(".")[0] not in ("twisted", "treq", "OpenSSL"), other


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("cli/") and name != "app/tap.py"])
def test_reactor(name: str) -> None:
    """Only app/tap.py knows the global reactor."""
    assert "twisted.internet.reactor" not in imported(ROOT / name)


def test_homes() -> None:
    """Every package has its place in the line."""
    assert {name.partition("/")[0].removesuffix(".py") for name in FILES} - {"__init__"} <= set(LINE)


def test_sizes() -> None:
    """No file is longer than 400 lines; an __init__ holds a docstring and, at the top, the version."""
    long = [name for name in FILES if len((ROOT / name).read_text().splitlines()) > 400]
    full = [name for name in FILES if name.endswith("/__init__.py") and len(ast.parse((ROOT / name).read_text()).body) > 1]
    assert (long, full) == ([], [])
