"""Listening and accepting."""

import errno
import os
import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from meshcar.errors import SettingsError
from meshcar.net.listen import PAUSE_WITHOUT_DESCRIPTORS, Port, listen


@pytest_twisted.ensureDeferred
async def test_every_address(loopback: Any, recorder: Any) -> None:
    """Without a host IPv4 arrives, IPv6 too where there is any, and an IPv4 peer is named as such."""
    for host in ("", "*"):
        server = recorder()
        port = loopback.listen(lambda transport, server=server: server, host)
        client = await loopback.connect(port)
        await server.until(lambda server=server: server.transport is not None)
        assert server.transport.peer == client.local
        if port.address.host == "::":
            await loopback.connect(port, "::1")


def test_bind_errors() -> None:
    """A port in use, and an address that is not here, are one-line SettingsErrors that name the address."""
    taken = listen(reactor, "127.0.0.1", 0, lambda transport: None)
    try:
        with pytest.raises(SettingsError, match=rf"^cannot listen on {taken.address}: Address already in use$"):
            listen(reactor, "127.0.0.1", taken.address.port, lambda transport: None)
    finally:
        taken.stop()
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1:0: Cannot assign"):
        listen(reactor, "192.0.2.1", 0, lambda transport: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs NET_ADMIN")
def test_transparent() -> None:
    """A transparent socket may be bound to an address that is nobody's here."""
    for host, bound in (("192.0.2.1", {"192.0.2.1"}), ("", {"::", "0.0.0.0"})):
        port = listen(reactor, host, 0, lambda transport: None, transparent=True)
        assert port.address.host in bound
        port.stop()


def test_at_a_turn() -> None:
    """Of those that wait so many are taken, and the rest is left to others, or to the next turn."""
    taken: list[object] = []
    port = listen(reactor, "127.0.0.1", 0, taken.append)
    clients = [socket.create_connection(("127.0.0.1", port.address.port)) for _ in range(3)]
    port.at_a_turn = 1
    port.doRead()
    assert len(taken) == 1
    port.at_a_turn = 64
    port.doRead()
    assert len(taken) == 3
    port.stop()
    for client in clients:
        client.close()


@pytest_twisted.ensureDeferred
async def test_limit(loopback: Any, recorder: Any) -> None:
    """Connections over the limit are closed and counted; when one ends there is room again."""
    servers = [recorder(), recorder()]
    waiting = iter(servers)
    port = loopback.listen(lambda transport: next(waiting), limit=1)
    first, second, third = recorder(), recorder(), recorder()
    (await loopback.connect(port)).attach(first)
    (await loopback.connect(port)).attach(second)
    await second.lost()
    assert (port.open, port.refused) == (1, 1)
    first.transport.loseConnection()
    await servers[0].lost()
    assert port.open == 0
    (await loopback.connect(port)).attach(third)
    await servers[1].until(lambda: servers[1].transport is not None)
    assert (port.open, port.refused) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_refused_by_build(loopback: Any, recorder: Any) -> None:
    """None, or an exception (logged), resets the connection; the port goes on."""
    served = recorder()
    builds: list[Any] = [lambda: None, lambda: 1 // 0, lambda: served]
    port = loopback.listen(lambda transport: builds.pop(0)())
    for _ in range(2):
        client = recorder()
        (await loopback.connect(port)).attach(client)
        await client.lost()
    await loopback.connect(port)
    await served.until(lambda: served.transport is not None)
    assert port.open == 1


@pytest_twisted.ensureDeferred
async def test_stop(loopback: Any, recorder: Any) -> None:
    """After stop the address refuses; what was accepted lives on; stop may be called again."""
    ends = await loopback.pair()
    ends.port.stop()
    ends.port.stop()
    with socket.socket() as late:
        assert late.connect_ex((ends.port.address.host, ends.port.address.port)) == errno.ECONNREFUSED
    ends.client.transport.write(b"still")
    await ends.server.got(5)


def test_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no IPv6, every address is every IPv4 address."""

    class Socket(socket.socket):
        def __init__(self, family: int = -1, *rest: Any, **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Socket)
        port = listen(reactor, "", 0, lambda transport: None)
    port.stop()
    assert port.address.host == "0.0.0.0"


class Fds(Clock):
    """A reactor that only notes who reads."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard


class Exhausted:
    """A listening socket in a process without descriptors."""

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    def accept(self) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        self.fileno = lambda: -1  # type: ignore[method-assign]


def test_no_descriptors_left() -> None:
    """Accepting pauses instead of spinning, and goes on; a stop meanwhile leaves nothing behind."""
    reactor = Fds()
    port = Port(reactor, Exhausted(), lambda transport: None, 1)  # type: ignore[arg-type]
    port.doRead()
    assert not reactor.readers
    reactor.advance(PAUSE_WITHOUT_DESCRIPTORS)
    assert reactor.readers == {port}
    port.doRead()
    port.stop()
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize("shared", [False, True])
def test_stop_and_the_queue(shared: bool) -> None:
    """Connections that wait when it stops are taken; of a shared socket they are left to the other process."""
    ours = socket.create_server(("127.0.0.1", 0))
    ours.setblocking(False)
    other = ours.dup()
    port = Port(Fds(), ours, lambda transport: Protocol(), 10, shared=shared)  # type: ignore[arg-type]
    with other, socket.create_connection(other.getsockname()):
        port.stop()
        assert not port.listening and port.accepted == (not shared)
        if shared:
            other.accept()[0].close()
        else:
            with pytest.raises(BlockingIOError):
                other.accept()
    for transport in port.connections:
        transport.socket.close()


def test_inherited() -> None:
    """A socket that listens already is served as it is."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        port = listen(Fds(), "", 1, lambda transport: None, inherited=given)  # type: ignore[arg-type]
        assert port.shared and port.listener is given and port.address.port == given.getsockname()[1]
        port.stop()
