"""The command itself: verbs found, failures in one line, exit codes."""

import re
import subprocess
import sys

import pytest

from meshcar import __version__
from meshcar.cli import main as command
from meshcar.cli.main import VERBS, main


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists what there is."""
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^    {verb}\s", out, re.MULTILINE) for verb in VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is one line."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"meshcar {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["delete"], ["apply"], ["wait", "--timeout", "soon"], ["get", "--admin", "ftp://x"]])
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is exit 2, on stderr."""
    with pytest.raises(SystemExit) as done:
        main(argv)
    assert done.value.code == 2
    assert capsys.readouterr().out == ""


def test_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What goes wrong is said with the verb's name, exit 1."""
    assert main(["get", "--admin", "unix:/nonexistent/admin"]) == 1
    assert capsys.readouterr().err == "meshcar get: no answer from unix:/nonexistent/admin: No such file or directory\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """^C is exit 130 without a traceback."""
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt
    monkeypatch.setattr(command, "import_module", interrupted)
    assert main(["wait"]) == 130


def test_reader_leaves() -> None:
    """`meshcar ... | head -1` ends quietly."""
    shell = f"{sys.executable} -m meshcar.cli.main iptables --print | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
