"""Ports: Unix sockets that others left behind."""

import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from meshcar.app.ports import Ports
from meshcar.errors import SettingsError
from meshcar.net.address import PathAddress
from meshcar.net.inherited import Inherited
from meshcar.upstream.opener import OwnListeners


@pytest_twisted.ensureDeferred
async def test_stale_socket(tmp_path: Path) -> None:
    """A killed process leaves its socket; whoever comes next, under whatever number, takes its place."""
    path = str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    ports = Ports(reactor, OwnListeners(), Inherited())
    ports.serve("admin", PathAddress(path), Site(Resource()))
    assert [(one.name, one.address) for one in ports.statuses] == [("admin", path)]
    assert Path(path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="cannot listen on unix:"):
        Ports(reactor, OwnListeners(), Inherited()).serve("admin", PathAddress(path), Site(Resource()))
    await ports.close()
    assert not Path(path).exists()


def test_no_socket(tmp_path: Path) -> None:
    """A file that is no socket is not removed."""
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="cannot listen on unix:"):
        Ports(reactor, OwnListeners(), Inherited()).serve("admin", PathAddress(str(path)), Site(Resource()))
    assert path.read_text() == "mine"
