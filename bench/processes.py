"""Programs the benchmark starts: pinned to a core, accounted with all their children, stopped by pid."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[1]


class Failed(Exception):
    """A tool is missing, or a process or a check did not do what was asked. The text is one sentence for the user."""


def tool(name: str, source: str) -> str:
    """The path of a program: beside this Python, on PATH, or in /usr/sbin. Raises Failed with where it comes from."""
    for path in (str(Path(sys.executable).with_name(name)), shutil.which(name), f"/usr/sbin/{name}"):
        if path and os.access(path, os.X_OK):
            return path
    raise Failed(f"{name} is missing: {source}")


def free_ports() -> Iterator[int]:
    """TCP ports of 127.0.0.1 that nobody listens on, below those that the kernel gives to outgoing connections."""
    for port in range(20000 + os.getpid() % 5000, 32700):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


class Process:
    """A program in a session of its own on one core; its output goes to NAME.out in `folder`."""

    def __init__(self, name: str, argv: list[str], folder: Path, core: int) -> None:
        self.name, self._out = name, folder / f"{name}.out"
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self._out.open("wb") as out:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(core), *argv],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )

    def pids(self) -> set[int]:
        """The process, everything in its session, and all their descendants."""
        fields = {int(each): _stat(int(each)) for each in os.listdir("/proc") if each.isdigit()}
        found = {self._popen.pid} | {pid for pid, stat in fields.items() if stat and int(stat[3]) == self._popen.pid}
        while more := {pid for pid, stat in fields.items() if stat and int(stat[1]) in found} - found:
            found |= more
        return found

    def cpu(self) -> float:
        """CPU seconds so far, user and system, of all of `pids` and of their children that ended."""
        return sum(int(ticks) for pid in self.pids() for ticks in _stat(pid)[11:15]) / TICK

    def memory(self) -> float:
        """MiB resident, of all of `pids`."""
        return sum(_resident(pid) for pid in self.pids()) / 1024

    def alive(self) -> None:
        """Raises Failed with the last output if the program has ended."""
        if self._popen.poll() is not None:
            said = self._out.read_text(errors="replace").strip()[-300:]
            raise Failed(f"{self.name} ended with {self._popen.returncode}: {said}")

    def ready(self, url: str, seconds: float = 20.0) -> None:
        """Returns once `url` answers 200. Raises Failed if it does not in time."""
        end, last = time.monotonic() + seconds, "no answer"
        while time.monotonic() < end:
            self.alive()
            try:
                with urllib.request.urlopen(url, timeout=1):
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.02)
        raise Failed(f"{self.name} is not ready after {seconds:.0f} s: {last}")

    def stop(self) -> None:
        """SIGTERM, and after 5 seconds SIGKILL."""
        pids = self.pids()
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, sent)
                except ProcessLookupError:
                    pass
            try:
                self._popen.wait(5)
                return
            except subprocess.TimeoutExpired:
                continue


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat behind the name (proc(5)): [1] parent, [3] session, [11:15] ticks; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident(pid: int) -> int:
    """KiB."""
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
