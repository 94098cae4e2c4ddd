"""The documentation: links lead somewhere, tables are as the code has it, rules can be read, words of metrics are explained."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from meshcar.admin.site import CALLS
from meshcar.cli.main import VERBS
from meshcar.observe.flags import LONG
from meshcar.rules.problems import WARNINGS, severity
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


def nodes(*packages: str) -> Iterator[ast.AST]:
    """Every node of the source of some packages or files below meshcar/."""
    for package in packages:
        place = ROOT / "meshcar" / package
        for file in [place] if place.suffix else sorted(place.rglob("*.py")):
            yield from ast.walk(ast.parse(file.read_text()))


def texts(node: ast.AST | None) -> set[str]:
    """The texts that an expression may be; of one that is put together, the beginning."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    if isinstance(node, ast.JoinedStr):
        return texts(node.values[0])
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def arguments(call: ast.Call) -> set[str]:
    """The texts among the arguments of a call."""
    return set().union(*(texts(one) for one in (*call.args, *(keyword.value for keyword in call.keywords))))


def called(call: ast.Call) -> str:
    """The name of the function that is called, without what it belongs to."""
    return ast.unparse(call.func).rpartition(".")[2]


def table(page: str, head: str) -> list[tuple[str, ...]]:
    """The rows of the table of a page whose head begins so, as cells."""
    text = (ROOT / "docs" / page).read_text()
    rows = re.search(rf"^{re.escape(head)}.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows is not None, head
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in rows[1].splitlines()]


def words(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return re.findall(r"`([^`]+)`", cell)


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
    words = set(re.findall(r'(?:cut|_cut_copies|_drop|_end|target\.drop)\("(\w+)"\)', source))
    words |= set(re.findall(r'(?:return|else) "(\w+)"(?:$| if )', (ROOT / "meshcar/proxy/mirror.py").read_text(), re.MULTILINE))
    page = (ROOT / "docs/mirroring.md").read_text()
    assert len(words) > 8
    assert [word for word in words if f"| `{word}` |" not in page] == []


def test_codes() -> None:
    """Every code of a problem is explained, and as what it is: an error or a warning."""
    makers = ("Fault", "Problem", "YamlFault", "_fault", "_made", "_failure")
    calls = (node for node in nodes("rules", "app", "cli/check.py") if isinstance(node, ast.Call) and called(node) in makers)
    codes = {text for call in calls for text in arguments(call) if re.fullmatch("[A-Z][A-Z_]{3,}", text)}
    told = {code: kind for cell, kind, _ in table("rules.md", "| code |") for code in words(cell)}
    assert len(codes) > 30
    assert told == {code: severity(code) for code in codes | WARNINGS}


def test_flags() -> None:
    """Every response flag that the data path can set is explained, and no other."""
    constants = (text for node in nodes("proxy", "upstream", "net", "wire", "errors.py") for text in texts(node))
    flags = {flag for text in constants for flag in text.split(",") if flag in LONG}
    assert {flag for cell, _ in table("operations.md", "| flag |") for flag in words(cell)} == flags


def details(node: ast.AST) -> set[str]:
    """The texts that a node of the source says %RESPONSE_CODE_DETAILS% are."""
    match node:
        case ast.Call():
            named = [keyword.value for keyword in node.keywords if keyword.arg == "details"]
            place = {"reply": 2, "BadMessage": 2, "time_out": 0}.get(called(node), len(node.args))
            given = [*named, *node.args[place : place + 1]]
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            given = [value for target, value in zip(targets, values, strict=True) if is_details(target)]
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            given = [node.value] if node.value is not None and is_details(target) else []
        case ast.FunctionDef(name="details"):
            given = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
        case _:
            given = []
    return set().union(*map(texts, given))


def is_details(target: ast.AST) -> bool:
    """Whether something is called so."""
    return ast.unparse(target).rpartition(".")[2] == "details"


def test_details() -> None:
    """Every word of %RESPONSE_CODE_DETAILS% is explained, and no other."""
    sources = nodes("proxy", "upstream", "net", "wire", "errors.py", "rules/authz.py")
    found = {re.split(r"[{\[]", text)[0] for node in sources for text in details(node)} - {"-", ""}
    told = {re.split(r"[{\[]", word)[0] for cell, *_ in table("operations.md", "| details |") for word in words(cell)}
    assert len(found) > 20
    assert told == found


def test_calls_and_verbs() -> None:
    """Each call of the admin port is in its table, each verb of the command on some page."""
    told = set(re.findall(r"`(?:GET|POST) (/[a-z_/]*)", " ".join(cell for cell, _ in table("admin.md", "| call | answer"))))
    assert told == set(CALLS) | {"/drain_listeners"}
    pages = " ".join((ROOT / name).read_text() for name in PAGES)
    assert [verb for verb in VERBS if f"meshcar {verb}" not in pages] == []


def test_handshakes() -> None:
    """Each result of a TLS handshake is explained."""
    found: set[str] = set()
    for node in nodes("identity", "net"):
        match node:
            case ast.Call(args=[_, reason]) if called(node) == "IdentityMismatch":
                found |= texts(reason)
            case ast.Assign(targets=[ast.Name(id="_VERDICTS")], value=ast.Dict(values=values)):
                found |= set().union(*map(texts, values))
            case ast.FunctionDef(name="refusal"):
                found |= {text for one in ast.walk(node) if isinstance(one, ast.Return) for text in texts(one.value)}
    assert {word for _, cell, _ in table("identity.md", "| certificate | result") for word in words(cell)} == found


def test_refusals() -> None:
    """Each reason for which a connection is refused is named."""
    found: set[str] = set()
    for node in nodes("proxy", "upstream", "app/status.py"):
        if isinstance(node, ast.Call) and (called(node) == "refuse" or "REFUSED" in map(ast.unparse, node.args)):
            found |= texts(node.args[-1])
    told = (ROOT / "docs/operations.md").read_text().partition("Reasons of `meshcar_connections_refused_total`:")[2].partition("\n\n")[0]
    assert set(words(told)) - {"--intercept none"} == found


def test_everything_is_listed() -> None:
    """The index names every page."""
    index = (ROOT / "docs/README.md").read_text()
    assert [name for name in PAGES if name.startswith("docs/") and name != "docs/README.md" and f"({Path(name).name})" not in index] == []
