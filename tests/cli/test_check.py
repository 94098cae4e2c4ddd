"""`meshcar check`."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshcar.cli.main import main

GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: http, port: 80}]}\n"
BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  ports: [{name: http, prot: 80}]\n"
RULE = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: nobody}\n"


def test_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on stdout, 0."""
    (tmp_path / "a.yaml").write_text(GOOD + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")
    assert main(["check", str(tmp_path)]) == 0
    assert tuple(capsys.readouterr()) == ("", "2 documents, 0 errors, 0 warnings; skipped: Secret/default/s\n")


def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, one a line, with their place; 1. Warnings that unread documents may cause are kept back."""
    file = tmp_path / "b.yaml"
    file.write_text(f"{RULE}---\n{BAD}")
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{file}:10:11: error REQUIRED Service/b: port is missing",
        f"{file}:10:24: error UNKNOWN_FIELD Service/b: there is no field prot in ports; is it port?",
    ]


def test_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They do not fail the check."""
    (tmp_path / "r.yaml").write_text(RULE)
    assert main(["check", str(tmp_path)]) == 0
    assert ": warning UNKNOWN_HOST DestinationRule/r: " in capsys.readouterr().out


def test_summary(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every document counts, read or not, but for empty ones; one is one; in one file with the problems, the summary is the end."""
    (tmp_path / "all.yaml").write_text(f"---\n---\n{RULE}---\n")
    (tmp_path / "bad.yaml").write_text(f"{BAD}---\nkind: x\n---\n: [\n")
    assert main(["check", str(tmp_path / "all.yaml")]) == 0
    assert capfd.readouterr().err == "1 document, 0 errors, 1 warning\n"
    with open(tmp_path / "out", "w") as out:
        words = [sys.executable, "-m", "meshcar.cli.main", "check", tmp_path / "bad.yaml"]
        assert subprocess.run(words, stdout=out, stderr=out, check=False).returncode == 1
    assert (tmp_path / "out").read_text().splitlines()[-1] == "3 documents, 4 errors, 0 warnings"


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list that the admin port gives."""
    file = tmp_path / "b.yaml"
    file.write_text(BAD)
    assert main(["check", "--json", str(file)]) == 1
    first = json.loads(capsys.readouterr().out)[0]
    assert first == {
        "severity": "error", "file": str(file), "line": 5, "column": 11, "kind": "Service", "name": "b", "path": "spec.ports[0].port",
        "code": "REQUIRED", "message": "port is missing",
    }


def test_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`-` is standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    assert main(["check", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:5:11: error REQUIRED ")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["check", "-"]) == 1
    assert capsys.readouterr().out == "-:1:1: error UNREADABLE -/-: not UTF-8 at byte 0\n"


def test_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, or no text, is an error among the others."""
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "bad.yaml").write_text(BAD)
    files = [str(tmp_path / name) for name in ("none.yaml", "latin.yaml", "bad.yaml")]
    assert main(["check", "--json", *files, files[2]]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["file"], one["code"]) for one in told] == [
        (files[2], "REQUIRED"), (files[2], "UNKNOWN_FIELD"), (files[1], "UNREADABLE"), (files[0], "UNREADABLE"),
    ]  # fmt: skip
    assert told[2] == {
        "severity": "error", "file": files[1], "line": 1, "column": 1, "kind": "", "name": "", "path": "", "code": "UNREADABLE",
        "message": "not UTF-8 at byte 3",
    }  # fmt: skip


def test_same_resource_in_two_files(tmp_path: Path) -> None:
    """Is an error."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    assert main(["check", str(tmp_path)]) == 1


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One error, 1; no argument at all is usage, 2."""
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().out == f"{tmp_path}/none.yaml:1:1: error UNREADABLE -/-: No such file or directory\n"
    with pytest.raises(SystemExit) as usage:
        main(["check"])
    assert usage.value.code == 2
