"""Runs the demo's commands: each is printed as a shell would take it, with its true output."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meshcar.errors import MeshError

_PATIENCE = 10.0


class DemoFailed(MeshError):
    """A step of the demo did not do, or show, what it should."""


class Shell:
    """Commands that are waited for, and processes that stay. `state` is the demo's folder; who runs is written there, so that
    a later `meshcar demo --stop` finds them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._running = state / "processes"

    def say(self, text: str) -> None:
        """A line for the reader."""
        print(text, flush=True)

    def run(self, words: Sequence[str], files: Sequence[Path] = (), environ: Mapping[str, str] | None = None) -> str:
        """The output of a command that must succeed, with `files` on its standard input. Raises DemoFailed."""
        given = dict(environ or {})
        prefix = "".join(f"{name}={value} " for name, value in given.items())
        source = f"{shlex.join(['cat', *map(str, files)])} | " if files else ""
        self.say(f"$ {source}{prefix}{shlex.join(words)}")
        done = self._finished(words, b"".join(file.read_bytes() for file in files), os.environ | given)
        output = done.stdout.decode(errors="replace")
        if output:
            self.say(output.rstrip("\n"))
        if done.returncode:
            raise DemoFailed(f"{shlex.join(words)}: exit {done.returncode}")
        return output

    @staticmethod
    def _finished(words: Sequence[str], stdin: bytes, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60, env=environ)
        except OSError as e:
            raise DemoFailed(f"{words[0]}: {e.strerror}") from None
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{shlex.join(words)}: no end after 60 s") from None

    def start(self, words: Sequence[str], log: Path) -> None:
        """Starts a process that stays, in a session of its own; what it says goes to `log`."""
        self.say(f"$ {shlex.join(words)} > {log} 2>&1 &")
        with open(log, "wb") as out:
            try:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
            except OSError as e:
                raise DemoFailed(f"{words[0]}: {e.strerror}") from None
        with open(self._running, "a") as file:
            file.write(f"{process.pid} {_started(process.pid)}\n")

    def stop_all(self) -> None:
        """Ends what `start` started, in this run or an earlier one: first by asking."""
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
            for pid in self._alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            wait_for(lambda: not self._alive(), patience)

    def _alive(self) -> list[int]:
        lines = self._running.read_text().splitlines() if self._running.exists() else []
        return [int(pid) for pid, since in map(str.split, lines) if _started(int(pid)) == since]


def wait_for(happened: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
    """Whether it happened, asked again for at most so long."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _started(pid: int) -> str | None:
    """When a process began (ticks since boot), as its number may have gone to another one; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] == "Z":
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return None
    return fields[19]
