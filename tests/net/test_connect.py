"""Opening connections."""

import socket
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshcar.net.connect import ConnectFailed, connect


def _refusing() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _fail(made: Any) -> None:
    raise AssertionError("connected")


async def _failure(host: str, port: int, **options: Any) -> ConnectFailed:
    failed: Deferred[ConnectFailed] = Deferred()
    connect(reactor, host, port, connected=_fail, failed=failed.callback, timeout=5, **options)
    assert not failed.called, "no callback before connect returns"
    return await failed


@pytest_twisted.ensureDeferred
async def test_refused(loopback: Any) -> None:
    """A closed port, with Envoy's words for it."""
    failure = await _failure("127.0.0.1", _refusing())
    assert failure.reason == "refused"
    assert failure.text == "delayed_connect_error:_Connection_refused"


@pytest_twisted.ensureDeferred
async def test_impossible_address() -> None:
    """What the kernel refuses at once is told in the next turn."""
    failure = await _failure("255.255.255.255", 1)
    assert failure.text.startswith("immediate_connect_error:_")
    assert failure.reason in ("unreachable", "other")


@pytest_twisted.ensureDeferred
async def test_source(loopback: Any) -> None:
    """The connection comes from the address asked for; where there is none such, from another."""
    for source, seen in (("127.0.0.6", "127.0.0.6"), ("192.0.2.1", "127.0.0.1"), (None, "127.0.0.1")):
        port = loopback.listen(lambda transport: None)
        client = await loopback.connect(port, source=source)
        assert client.local.host == seen
        assert client.peer == port.address


@pytest_twisted.ensureDeferred
async def test_cancel(loopback: Any, recorder: Any) -> None:
    """After cancel neither callback comes, and the socket is closed; a late cancel does nothing."""
    port = loopback.listen(lambda transport: recorder())
    connecting = connect(reactor, "127.0.0.1", port.address.port, connected=_fail, failed=_fail, timeout=5)
    connecting.cancel()
    connecting.cancel()
    assert connecting.fileno() == -1
    impossible = connect(reactor, "255.255.255.255", 1, connected=_fail, failed=_fail, timeout=5)
    impossible.cancel()
    await loopback.connect(port)


class Stuck(Clock):
    """A reactor whose sockets never become writable."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()
        self.addWriter = self.writers.add
        self.removeWriter = self.writers.discard


def test_timeout(loopback: Any) -> None:
    """A connection that does not come about in time fails once, and is forgotten."""
    clock, failures = Stuck(), list[ConnectFailed]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        connecting = connect(
            clock,
            "127.0.0.1",
            server.getsockname()[1],
            connected=_fail,
            failed=failures.append,
            timeout=3,  # type: ignore[arg-type]
        )
        clock.advance(2.9)
        assert not failures
        clock.advance(0.2)
    assert [failure.reason for failure in failures] == ["timeout"]
    assert not clock.writers
    assert connecting.fileno() == -1


def test_reset_by_the_peer() -> None:
    """An error the kernel learns later is told by its name."""
    clock, failures = Stuck(), list[ConnectFailed]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        connecting = connect(
            clock,
            "127.0.0.1",
            server.getsockname()[1],
            connected=_fail,
            failed=failures.append,
            timeout=3,  # type: ignore[arg-type]
        )
        connecting.connectionLost(None)  # type: ignore[arg-type]
    assert failures[0].text == "delayed_connect_error:_Software_caused_connection_abort"
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_raising_callback_closes(loopback: Any, recorder: Any) -> None:
    """A `connected` that raises does not leak the socket."""
    server = recorder()
    port = loopback.listen(lambda transport: server)

    def broken(transport: Any) -> None:
        raise KeyError("broken")

    connect(reactor, "127.0.0.1", port.address.port, connected=broken, failed=_fail, timeout=5)
    await server.lost()
