"""From one process to the next, both played here."""

import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from meshcar.errors import SettingsError
from meshcar.net.address import PathAddress
from meshcar.net.handover import Offer, Predecessor
from meshcar.net.site_port import listen_for


class Old:
    """A predecessor with one socket; `told` is what became of it."""

    def __init__(self, path: Path, prepared: "Deferred[Any] | None" = None) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.told: list[str] = []
        self._prepared = prepared
        self.port = listen_for(reactor, PathAddress(str(path)), Offer(self._prepare, self._kept, self._gone), None)

    def _prepare(self) -> "Deferred[tuple[list[socket.socket], str]]":
        self.told.append("asked")
        return self._prepared or succeed(([self.socket], "text: é\n" * 50000))

    def _kept(self) -> None:
        self.told.append("kept")

    def _gone(self) -> None:
        self.told.append("gone")

    async def until(self, what: str) -> None:
        for _ in range(200):
            if what in self.told:
                return
            await deferLater(reactor, 0.01, int)  # type: ignore[arg-type]
        raise AssertionError((what, self.told))

    async def close(self) -> None:
        await self.port.stopListening()
        self.socket.close()


@pytest_twisted.ensureDeferred
async def test_handed_over(tmp_path: Path) -> None:
    """Sockets and text arrive; the old one lets go when the new one serves."""
    old = Old(tmp_path / "h")
    new: Predecessor = await deferToThread(Predecessor.ask, str(tmp_path / "h"))
    assert [one.address for one in new.sockets] and new.sockets[0].socket.getsockname() == old.socket.getsockname()
    assert new.text == "text: é\n" * 50000
    await deferToThread(new.serving)
    assert old.told == ["asked", "gone"]
    new.sockets[0].socket.close()
    await old.close()


@pytest_twisted.ensureDeferred
async def test_given_up(tmp_path: Path) -> None:
    """A successor that dies before it serves changes nothing, and the next one is heard; two at a time are not."""
    old = Old(tmp_path / "h")
    new: Predecessor = await deferToThread(Predecessor.ask, str(tmp_path / "h"))
    with pytest.raises(SettingsError, match="hands nothing over"):
        await deferToThread(Predecessor.ask, str(tmp_path / "h"))
    new._connection.close()
    await old.until("kept")
    again: Predecessor = await deferToThread(Predecessor.ask, str(tmp_path / "h"))
    await deferToThread(again.serving)
    assert old.told == ["asked", "kept", "asked", "gone"]
    for one in (*new.sockets, *again.sockets):
        one.socket.close()
    await old.close()


@pytest_twisted.ensureDeferred
async def test_gone_before_ready(tmp_path: Path) -> None:
    """A successor that leaves while it is prepared for: nothing stays held."""
    prepared: Deferred[Any] = Deferred()
    old = Old(tmp_path / "h", prepared)
    with socket.socket(socket.AF_UNIX) as hasty:
        hasty.connect(str(tmp_path / "h"))
        await old.until("asked")
    await deferLater(reactor, 0.05, int)  # type: ignore[arg-type]
    assert old.told == ["asked"]
    prepared.callback(([old.socket], ""))
    assert old.told == ["asked", "kept"]
    await old.close()


@pytest_twisted.ensureDeferred
async def test_cannot(tmp_path: Path) -> None:
    """When the old one fails, the new one says so and ends."""
    old = Old(tmp_path / "h", fail(OSError("no")))
    with pytest.raises(SettingsError, match="ended early"):
        await deferToThread(Predecessor.ask, str(tmp_path / "h"))
    await old.close()


def test_nobody(tmp_path: Path) -> None:
    """No predecessor, or a dead one: this process begins."""
    assert Predecessor.ask(str(tmp_path / "nothing")) is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    assert Predecessor.ask(str(tmp_path / "dead")) is None
    with pytest.raises(SettingsError):
        Predecessor.ask(str(tmp_path / ("x" * 300)))
