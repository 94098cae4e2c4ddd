"""What systemd is told."""

import socket
from pathlib import Path

from meshcar.app.notify import READY, notify


def test_told(tmp_path: Path) -> None:
    """One datagram to NOTIFY_SOCKET, also to one without a path."""
    for address, name in ((str(tmp_path / "n"), str(tmp_path / "n")), ("\0meshcar-test", "@meshcar-test")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address)
            notify({"NOTIFY_SOCKET": name}, READY)
            assert systemd.recv(100).splitlines()[0] == b"READY=1"


def test_nobody(tmp_path: Path) -> None:
    """Nobody who wants to know, or nobody there any more."""
    notify({}, READY)
    notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, READY)
    assert list(tmp_path.iterdir()) == []
