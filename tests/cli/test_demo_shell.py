"""Commands are shown as they are, and what was started ends."""

import os
from pathlib import Path

import pytest

from meshcar.cli.demo_shell import DemoFailed, Shell, wait_for


def test_run_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command as one could paste it, then what it said."""
    (tmp_path / "in").write_text("hello")
    assert Shell(tmp_path).run(["cat"], files=[tmp_path / "in"]) == "hello"
    Shell(tmp_path).run(["sh", "-c", "echo $X; echo err >&2"], environ={"X": "y"})
    assert capsys.readouterr().out == f"$ cat {tmp_path}/in | cat\nhello\n$ X=y sh -c 'echo $X; echo err >&2'\ny\nerr\n"


@pytest.mark.parametrize(("words", "why"), [(["false"], "exit 1"), (["/nowhere"], "No such file")])
def test_run_fails(tmp_path: Path, words: list[str], why: str) -> None:
    """A command that fails ends the demo."""
    with pytest.raises(DemoFailed, match=why):
        Shell(tmp_path).run(words)


def test_stop_all(tmp_path: Path) -> None:
    """Another run finds what was started, and ends it; a number that went to another process is left alone."""
    Shell(tmp_path).start(["sleep", "60"], tmp_path / "log")
    (tmp_path / "processes").write_text((tmp_path / "processes").read_text() + f"{os.getpid()} 1\n")
    other = Shell(tmp_path)
    other.stop_all()
    pid = int((tmp_path / "processes").read_text().split()[0])
    assert not Path(f"/proc/{pid}").exists()


def test_wait_for() -> None:
    """It asks until it is so, or the time is over."""
    answers = iter([False, False, True])
    assert wait_for(lambda: next(answers))
    assert not wait_for(lambda: False, seconds=0.0)
