"""Leaving when the application has left."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshcar.app.companion import GONE_LOOKS, Companion, Following, listening_ports, read_companion
from meshcar.errors import SettingsError


def test_read() -> None:
    """A process, or a port."""
    assert (read_companion("pid:12"), str(read_companion("port:80"))) == (Companion("pid", 12), "port:80")


@pytest.mark.parametrize("text", ["", "12", "pid:", "pid:x", "pid:0", "port:65536", "name:x", "pid:-1", "port:80:1"])
def test_unreadable(text: str) -> None:
    """Anything else is an error."""
    with pytest.raises(ValueError, match="neither pid:NUMBER nor port:NUMBER"):
        read_companion(text)


@pytest_twisted.ensureDeferred
async def test_process() -> None:
    """The end of the process is seen."""
    process = subprocess.Popen(["sleep", "60"])
    left: Deferred[None] = Deferred()
    following = Following(reactor, Companion("pid", process.pid), lambda: left.callback(None))
    following.start()
    process.kill()
    await left.addTimeout(5, reactor)
    following.stop()
    process.wait()
    with pytest.raises(SettingsError, match=f"--exit-with pid:{process.pid}: "):
        Following(reactor, Companion("pid", process.pid), int)


def test_port() -> None:
    """A port on which nobody listens yet is waited for; one that misses some looks is not gone."""
    clock, ports, left = Clock(), set[int](), list[str]()

    def listening() -> Iterator[int]:
        return iter(ports)

    following = Following(clock, Companion("port", 80), lambda: left.append("left"), listening)
    following.start()
    clock.pump([1] * 10)
    ports.add(80)
    clock.advance(1)
    ports.clear()
    clock.pump([1] * (GONE_LOOKS - 1))
    ports.add(80)
    clock.advance(1)
    ports.clear()
    clock.pump([1] * (GONE_LOOKS - 1))
    assert left == []
    clock.pump([1, 1, 1])
    assert left == ["left"] and not clock.getDelayedCalls()


def test_who_listens(tmp_path: Path) -> None:
    """As the kernel tells it, in hexadecimal; connections do not count."""
    (tmp_path / "tcp").write_text(
        "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A\n   1: 0100007F:0050 0100007F:1234 01\n")
    assert list(listening_ports(tmp_path)) == [8080]
    assert os.path.exists("/proc/net/tcp") and list(listening_ports()) is not None
