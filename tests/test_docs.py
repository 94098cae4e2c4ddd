"""The documentation: links lead somewhere, tables are as the code has it, rules can be read, words of metrics are explained."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from meshcar.rules.read import read

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT).as_posix() for pattern in ("*.md", "docs/*.md", "certs/*.md") for path in ROOT.glob(pattern))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def make_tables() -> ModuleType:
    """docs/make_tables.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = make_tables()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    """Every relative link names a file, and the part behind # one of its headings."""
    page = ROOT / name
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", TABLES.TABLES)
def test_tables(name: str) -> None:
    """Made anew, the tables would be the same; if not: .venv/bin/python docs/make_tables.py"""
    assert (ROOT / "docs" / name).read_text() == TABLES.rendered(name)


@pytest.mark.parametrize("name", PAGES)
def test_rules(name: str) -> None:
    """Every YAML shown is one that can be used."""
    for language, text in _FENCE.findall((ROOT / name).read_text()):
        if language == "yaml":
            found = read(text, name)
            assert found.resources and not [str(one) for one in found.problems if one.severity == "error"]


def test_mirror_words() -> None:
    """Each outcome and reason of a copy is explained."""
    source = "".join((ROOT / "meshcar/proxy" / file).read_text() for file in ("mirror.py", "outbound.py", "exchange.py"))
    words = set(re.findall(r'(?:cut|_cut_copies|_drop|_end|mirrors\.drop|self\.drop)\((?:mirror, )?"(\w+)"\)', source))
    words |= set(re.findall(r'return "(\w+)"(?:$| if )', (ROOT / "meshcar/proxy/mirror.py").read_text(), re.MULTILINE))
    page = (ROOT / "docs/mirroring.md").read_text()
    assert len(words) > 8
    assert [word for word in words if f"| `{word}` |" not in page] == []


def test_everything_is_listed() -> None:
    """The index names every page."""
    index = (ROOT / "docs/README.md").read_text()
    assert [name for name in PAGES if name.startswith("docs/") and name != "docs/README.md" and f"({Path(name).name})" not in index] == []
