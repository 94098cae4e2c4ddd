"""Ports for twisted.web, on sockets of ours and of others."""

import os
import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress
from meshcar.net.site_port import listen_for


class Hello(Protocol):
    """Says so, and hangs up."""

    def connectionMade(self) -> None:
        self.transport.write(b"hello")  # type: ignore[union-attr, call-arg]
        self.transport.loseConnection()  # type: ignore[union-attr, misc]


FACTORY = Factory.forProtocol(Hello)


def nonblocking(sock: socket.socket) -> socket.socket:
    copy = sock.dup()
    copy.setblocking(False)
    return copy


def heard(family: int, address: object) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)  # type: ignore[arg-type]
        return client.recv(100)


@pytest_twisted.ensureDeferred
async def test_bound() -> None:
    """An address of one's own, or every one."""
    for host in ("127.0.0.1", ""):
        port = listen_for(reactor, Address(host, 0), FACTORY, None)
        assert await deferToThread(heard, socket.AF_INET, ("127.0.0.1", port.getHost().port)) == b"hello"
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_inherited_goes_on() -> None:
    """When a port on an inherited socket stops, others that have it go on."""
    with socket.create_server(("127.0.0.1", 0)) as kept:
        port = listen_for(reactor, Address("127.0.0.1", 0), FACTORY, nonblocking(kept))
        assert await deferToThread(heard, socket.AF_INET, kept.getsockname()) == b"hello"
        await port.stopListening()
        with socket.create_connection(kept.getsockname()), kept.accept()[0]:
            pass


@pytest_twisted.ensureDeferred
async def test_path(tmp_path: Path) -> None:
    """A Unix socket of its owner's alone; the path stays, and may be another's."""
    path = str(tmp_path / "sock")
    port = listen_for(reactor, PathAddress(path), FACTORY, None)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert await deferToThread(heard, socket.AF_UNIX, path) == b"hello"
    await port.stopListening()
    assert os.path.exists(path)


def test_refused(tmp_path: Path) -> None:
    """What cannot be bound is an error in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(SettingsError, match=f"cannot listen on {address}: Address already in use"):
            listen_for(reactor, address, FACTORY, None)
    with pytest.raises(SettingsError, match="cannot listen on unix:"):
        listen_for(reactor, PathAddress(str(tmp_path / "no" / "sock")), FACTORY, None)
