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
from meshcar.net.address import Address, PathAddress
from meshcar.net.inherited import Given, Inherited
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


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["", "127.0.0.1"])
async def test_every_address(host: str) -> None:
    """Where a port listens is told as the kernel has it: without a host as captured ports are, IPv6 too where the machine has it."""
    ports = Ports(reactor, OwnListeners(), Inherited())
    ports.capture("outbound", Address(host, 0), lambda transport: None, False)
    ports.serve("health", Address(host, 0), Site(Resource()))
    outbound, health = ports.statuses
    assert health.address == outbound.address == (host or outbound.address)
    assert host or outbound.address in ("::", "0.0.0.0")
    await ports.close()


def test_no_socket(tmp_path: Path) -> None:
    """A file that is no socket is not removed."""
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(SettingsError, match="cannot listen on unix:"):
        Ports(reactor, OwnListeners(), Inherited()).serve("admin", PathAddress(str(path)), Site(Resource()))
    assert path.read_text() == "mine"


def test_handed_over_and_taken_over() -> None:
    """While another process has the ports, too, what waits is left to it; when it has let go, it is ours. Systemd never does."""
    with socket.create_server(("127.0.0.1", 0)) as ours, socket.create_server(("127.0.0.1", 0)) as systemds:
        given = [Given(name, sock.dup()) for name, sock in (("inbound", ours), ("outbound", systemds))]
        ports = Ports(reactor, OwnListeners(), Inherited(given[:1], ours=True))
        ports.capture("inbound", Address("127.0.0.1", 1), lambda transport: None, False)
        ports._inherited = Inherited(given[1:])
        ports.capture("outbound", Address("127.0.0.1", 1), lambda transport: None, False)
    assert [ports.captured[name].shared for name in ("inbound", "outbound")] == [True, True] and ports.shared == ["outbound"]
    ports.take_over()
    assert [ports.captured[name].shared for name in ("inbound", "outbound")] == [False, True]
    assert ports.descriptors() == {name: port.fileno() for name, port in ports.captured.items()}
    ports.leave_shared()
    assert list(ports.descriptors()) == ["inbound"]
    ports.hand_over()
    assert ports.descriptors() == {} and ports.shared == ["inbound", "outbound"]
