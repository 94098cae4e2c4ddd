"""Options in force, and where they came from."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshcar.cli import admin
from meshcar.cli.main import main
from meshcar.errors import SettingsError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("verysecret")
    for name, value in {"RULES": "a,b", "NAMESPACE": "front", "DRAIN": "7", "ADMIN_TOKEN": str(tmp_path / "token"), "TYPO": "1"}.items():
        monkeypatch.setenv(f"MESHCAR_{name}", value)


def rows(out: str) -> dict[str, list[str]]:
    """By option: value and origin."""
    return {words[0]: words[1:] for words in (line.split(maxsplit=2) for line in out.splitlines())}


def test_here(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line wins over the environment, that over defaults; no secret is shown; a misspelt variable is told of."""
    assert main(["config", "--", "--drain", "9", "--intercept", "none", "--metrics", "off", "--labels", "app=a"]) == 0
    said = capsys.readouterr()
    shown = rows(said.out)
    assert shown["OPTION"] == ["VALUE", "FROM"]
    assert shown["--rules"] == ["a,b", "environment, MESHCAR_RULES"]
    assert shown["--drain"] == ["9", "command line"]
    assert shown["--namespace"] == ["front", "environment, MESHCAR_NAMESPACE"]
    assert shown["--labels"] == ["app=a", "command line"] and shown["--metrics"] == ["off", "command line"]
    assert shown["--outbound"] == ["127.0.0.1:15001", "default"] and shown["--app-address"] == ["127.0.0.1", "default"]
    assert shown["--certs"] == ["none", "default"]
    assert shown["--agent"] == ["off", "default"] and shown["--shadow-suffix"] == ["on", "default"]
    assert "verysecret" not in said.out and "(not shown)" in said.out
    assert said.err == "meshcar config: MESHCAR_TYPO is no option's variable\n"


def test_environment_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, with the variable of each option."""
    assert main(["config", "--here", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["drain"] == {"value": 7.0, "from": "environment", "variable": "MESHCAR_DRAIN"}
    assert shown["admin_token"]["value"] == "(not shown)" and shown["app_address"]["value"] is None


def test_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong options are told as the sidecar would."""
    with pytest.raises(SystemExit) as done:
        main(["config", "--", "--mtls", "maybe"])
    assert done.value.code == 1 and "--mtls" in capsys.readouterr().err


def test_running(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without options the running sidecar is asked."""
    def ask(self: admin.Admin, method: str, path: str, body: bytes | None = None) -> Any:
        assert (method, path) == ("GET", "/server_info")
        origins = {"drain": "command line", "admin_token": "environment"}
        return {"command_line_options": {"rules": ["x"], "drain": 3.0}, "option_origins": origins}

    monkeypatch.setattr(admin.Admin, "ask", ask)
    assert main(["config"]) == 0
    shown = rows(capsys.readouterr().out)
    assert shown["--drain"] == ["3", "command line"] and shown["--admin-token"] == ["(not", "shown)  environment, MESHCAR_ADMIN_TOKEN"]


def test_nobody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line where none answers."""
    def ask(self: admin.Admin, *_: Any) -> Any:
        raise SettingsError("no answer")

    monkeypatch.setattr(admin.Admin, "ask", ask)
    assert main(["config"]) == 1 and capsys.readouterr().err == "meshcar config: no answer\n"
