"""apply, get, delete and reload against a real admin port with real rules behind it."""

import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
import yaml
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from meshcar.admin.site import admin_site
from meshcar.app.reload import LiveRules
from meshcar.cli.main import main
from meshcar.cli.rules import Body, join_files
from meshcar.rules.steps import discarded
from meshcar.rules.workload import Workload
from meshcar.sources.rule_files import RuleFiles
from tests.admin.fakes import RULE, operator

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: httpbin}\nspec:\n  ports: [{name: http, port: 8000}]\n"


@attrs.frozen
class Sidecar:
    """A port on a Unix socket, the file its rules come from, and the command that talks to it."""

    admin: str
    source: Path
    token: Path

    async def meshcar(self, *argv: str) -> int:
        """Runs the command in a thread: it blocks."""
        return int(await deferToThread(main, [*argv, "--admin", self.admin, "--admin-token", str(self.token)]))


@pytest_twisted.async_yield_fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    """A Service httpbin in its source, nothing applied."""
    source, token, path = tmp_path / "rules.yaml", tmp_path / "token", tmp_path / "admin"
    source.write_text(SERVICE)
    token.write_text("secret\n")
    files = RuleFiles([str(source)], reactor, lambda: None)
    rules = LiveRules(files.reading, Workload(), lambda snapshot: discarded([]), reactor, sources=[str(source)])
    assert rules.load().errors == ()
    port = reactor.listenUNIX(str(path), admin_site(operator(rules=rules), reactor, token=b"secret"))
    yield Sidecar(f"unix:{path}", source, token)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_apply(sidecar: Sidecar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """created, then unchanged, then configured, as kubectl says it."""
    file = tmp_path / "vs.yaml"
    file.write_text(RULE)
    name = "virtualservice.networking.istio.io/httpbin"
    assert await sidecar.meshcar("apply", "-f", str(file), "--dry-run") == 0
    assert capsys.readouterr().out == f"{name} created (dry run)\n"
    for expected in ("created", "unchanged"):
        assert await sidecar.meshcar("apply", "-f", str(file)) == 0
        assert capsys.readouterr() == (f"{name} {expected}\n", "")
    file.write_text(RULE + "    timeout: 3s\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n")
    assert await sidecar.meshcar("apply", "-f", str(file)) == 0
    assert capsys.readouterr().out == f"{name} configured\ndeployment.apps/d skipped\n"


@pytest_twisted.ensureDeferred
async def test_apply_refused(sidecar: Sidecar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every error with the file and line where its author finds it, exit 1, and nothing of the good file either."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULE)
    bad.write_text("# mine\n" + RULE.replace("hosts", "hots"))
    assert await sidecar.meshcar("apply", "-f", str(good), "-f", str(bad)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert any(line.startswith(f"{bad}:6:3: error UNKNOWN_FIELD VirtualService/httpbin: ") for line in err.splitlines())
    assert await sidecar.meshcar("get", "vs") == 0
    assert capsys.readouterr().err == "No resources found\n"


@pytest_twisted.ensureDeferred
async def test_apply_stdin(sidecar: Sidecar, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`-f -` is what a here-document gives."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RULE.encode())))
    assert await sidecar.meshcar("apply", "-f", "-") == 0
    assert capsys.readouterr().out == "virtualservice.networking.istio.io/httpbin created\n"


@pytest_twisted.ensureDeferred
async def test_get(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    """A table; one kind or name of it; whole documents."""
    assert await sidecar.meshcar("get") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [["NAMESPACE", "KIND", "NAME", "SOURCE"], ["default", "Service", "httpbin", f"{sidecar.source}:1"]]
    assert await sidecar.meshcar("get", "svc/httpbin", "-o", "name") == 0
    assert capsys.readouterr().out == "service/httpbin\n"
    assert await sidecar.meshcar("get", "services", "httpbin", "-o", "yaml") == 0
    expected = yaml.safe_load(SERVICE)
    expected["metadata"]["namespace"] = "default"
    assert yaml.safe_load(capsys.readouterr().out) == expected
    assert await sidecar.meshcar("get", "service/httpbin", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert await sidecar.meshcar("get", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"apiVersion": "v1", "kind": "List", "items": [expected]}


@pytest_twisted.ensureDeferred
async def test_get_nothing(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind without documents is no error; a name that is not there is."""
    for output in ([], ["-o", "yaml"]):
        assert await sidecar.meshcar("get", "svc/other", *output) == 1
        assert capsys.readouterr().err == 'Error (NotFound): service "other" not found\n'
    assert await sidecar.meshcar("get", "-n", "elsewhere") == 0
    assert await sidecar.meshcar("get", "nonsense") == 1
    assert "'nonsense' is no kind of rule" in capsys.readouterr().err


@pytest_twisted.ensureDeferred
async def test_delete(sidecar: Sidecar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An applied document goes; one of a source, or none, does not."""
    file = tmp_path / "vs.yaml"
    file.write_text(RULE)
    await sidecar.meshcar("apply", "-f", str(file))
    capsys.readouterr()
    assert await sidecar.meshcar("delete", "vs/httpbin") == 0
    assert capsys.readouterr().out == 'virtualservice.networking.istio.io "httpbin" deleted\n'
    assert await sidecar.meshcar("delete", "service", "httpbin") == 1
    assert capsys.readouterr().err == "meshcar delete: Service/default/httpbin: not among the applied documents\n"


@pytest_twisted.ensureDeferred
async def test_reload(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    """What changed, and the generation; a bad file is told with its place."""
    assert await sidecar.meshcar("reload") == 0
    assert capsys.readouterr().out == "generation 1, nothing changed\n"
    sidecar.source.write_text(SERVICE.replace("8000", "8001"))
    assert await sidecar.meshcar("reload") == 0
    assert capsys.readouterr().out == "service/httpbin changed\ngeneration 2\n"
    sidecar.source.write_text(SERVICE + "nonsense: 1\n")
    assert await sidecar.meshcar("reload") == 1
    assert capsys.readouterr().err.startswith(f"{sidecar.source}:6:1: error UNKNOWN_FIELD Service/httpbin: ")


@pytest_twisted.ensureDeferred
async def test_token_is_asked_for(sidecar: Sidecar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong token is the sidecar's own words, exit 1."""
    wrong = attrs.evolve(sidecar, token=tmp_path / "wrong")
    wrong.token.write_text("guess")
    for argv in (["get"], ["get", "-o", "yaml"], ["reload"]):
        assert await wrong.meshcar(*argv) == 1
        assert "Authorization: Bearer" in capsys.readouterr().err


@pytest_twisted.ensureDeferred
async def test_wait(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]) -> None:
    """A sidecar that is ready is not waited for."""
    assert await sidecar.meshcar("wait") == 0
    assert capsys.readouterr().out == "ready\n"


def test_lines_of_joined_files(tmp_path: Path) -> None:
    """A line of the whole is a line of one of its files."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1\n2\n\n")
    second.write_text("1\n2")
    body = join_files([str(first), str(second), str(first)])
    assert body.text == b"1\n2\n---\n1\n2\n---\n1\n2\n\n"
    places = [(str(first), 1), (str(first), 2), (str(second), 1), (str(second), 2), (str(first), 1)]
    assert [body.place(line) for line in (1, 2, 4, 5, 7)] == places
    assert Body(b"", (("-", 0),)).place(0) == ("-", 0)
