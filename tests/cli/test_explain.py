"""`meshcar explain`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshcar.cli import explain
from meshcar.cli.main import main
from tests.rules.conftest import MESH, virtual_service

RULES = f"""{MESH}---{virtual_service('''[
  {name: v2, match: [{headers: {x-user: {exact: anna}}}], route: [{destination: {host: httpbin, subset: v2}}]},
  {match: [{sourceLabels: {app: shop}}], route: [{destination: {host: httpbin, subset: v1}}]},
  {redirect: {uri: /gone}}]''')}"""

Answer = Callable[..., Any]


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A file with rules."""
    file = tmp_path / "r.yaml"
    file.write_text(RULES)
    return str(file)


@pytest.fixture
def answer(rules: str, capsys: pytest.CaptureFixture[str]) -> Answer:
    """The object that `--json` prints."""

    def ask(*words: str) -> Any:
        assert main(["explain", "--rules", rules, "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def test_json(answer: Answer) -> None:
    """Method, headers and labels of the request count."""
    url = "http://httpbin:8000/"
    assert answer(url)["redirect"] == {"code": 301, "location": "http://httpbin:8000/gone"}
    assert answer("-H", "X-User: anna", url)["route"] == "v2"
    assert answer("--labels", "app=shop,version=1", url)["route"] == "http[1]"
    assert answer("-X", "get", url)["status"] == 400


def test_text(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What happens, a line each, then what was passed over."""
    assert main(["explain", "--rules", rules, "http://httpbin:8000/"]) == 0
    assert capsys.readouterr().out == f"""\
GET http://httpbin:8000/
  rule      VirtualService default/httpbin http[2], {rules}:33
  does      redirect, 301 to http://httpbin:8000/gone
passed over
  default/httpbin v2: headers[x-user] is absent, not exact "anna"
  default/httpbin http[1]: sourceLabels[app] is absent, not "shop"
"""


def test_several_sources(rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stand behind one --rules, or each behind its own; the URL may be the last of them."""
    other = tmp_path / "other.yaml"
    other.write_text(virtual_service("[{directResponse: {status: 418}}]", "[tea.example]", "tea"))
    url, both = "http://tea.example/", ["--rules", rules, str(other)]
    each = ["--rules", rules, "--rules", str(other)]
    for words in ([*both, "--json", url], [url, *both, "--json"], ["--json", *both, url], ["--json", *each, url]):
        assert main(["explain", *words]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == 418


def test_options(answer: Answer) -> None:
    """The sidecar's options that matter are taken, with the sidecar's defaults."""
    assert answer("http://nobody/")["action"] == "passthrough"
    assert answer("--outbound-traffic", "registry_only", "http://nobody/")["action"] == "blackhole"
    assert answer("--namespace", "other", "http://httpbin.other:8000/")["route"] == "http[2]"
    assert answer("--path-normalization", "merge_slashes", "http://nobody//a")["request"]["path"] == "/a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://a/"], "ftp is neither http nor https"),
        (["http://a/", "-H", "x"], "'x' is no 'name: value'"),
        (["http://a/", "-X", ""], "'' is no method"),
        ([], "URL is missing"),
    ],
)
def test_no_request(rules: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """One line, exit 2."""
    assert main(["explain", "--rules", rules, *words]) == 2
    assert tuple(capsys.readouterr()) == ("", f"meshcar explain: {said}\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--rules", "a", "--admin", "1", "http://a/"], ["--labels", "a", "http://a/"], ["--namespace", "A B", "--rules", "a", "http://a/"],
        ["--json", "http://a/", "http://b/"],
    ],
)  # fmt: skip
def test_usage(words: list[str]) -> None:
    """What the options do not take is exit 2, too."""
    with pytest.raises(SystemExit, match="2"):
        main(["explain", *words])


def test_options_of_a_running_sidecar(capsys: pytest.CaptureFixture[str]) -> None:
    """Are its own."""
    assert main(["explain", "--admin", "1", "--namespace", "a", "http://a/"]) == 2
    assert capsys.readouterr().err == "meshcar explain: --namespace is for --rules; a running sidecar has its own\n"


def test_wrong_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every error, a line each, and no answer; a file that is not there is one line."""
    file = tmp_path / "r.yaml"
    file.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  ports: [{name: http}]\n")
    assert main(["explain", "--rules", str(file), "http://a/"]) == 1
    assert tuple(capsys.readouterr()) == ("", f"{file}:5:11: error REQUIRED Service/b: port is missing\n")
    assert main(["explain", "--rules", "/nonexistent", "http://a/"]) == 1
    assert capsys.readouterr().err == "meshcar explain: /nonexistent: No such file or directory\n"


def test_running_sidecar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: Answer) -> None:
    """Gets the question as JSON; its answer is shown in the same way."""
    asked: list[Any] = []
    told = answer("http://httpbin:8000/")

    class Admin:
        def ask(self, *call: Any) -> Any:
            asked.append((call[0], call[1], json.loads(call[2])))
            return told

    monkeypatch.setattr(explain, "admin_of", lambda args: Admin())
    assert main(["explain", "--admin", "1", "-X", "POST", "-H", "a: b:c", "--labels", "x=y", "httpbin:8000"]) == 0
    assert capsys.readouterr().out.startswith("POST httpbin:8000\n  rule      VirtualService default/httpbin http[2], ")
    body = {"method": "POST", "url": "httpbin:8000", "headers": ["a: b:c"], "labels": {"x": "y"}}
    assert asked == [("POST", "/explain", body)]
    main(["explain", "httpbin"])
    assert asked[1][2] == {"method": "GET", "url": "httpbin", "headers": []}
