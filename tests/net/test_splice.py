"""Two connections joined into one, through the kernel and by copying."""

import hashlib
import os
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.logger import capturedLogs

from meshcar.net.splice import SPARE_PIPES, Joined, Pipes, join

MUCH = os.urandom(1 << 16) * 256  # 16 MiB


class Relay:
    """client <-> a, b <-> server, with a and b joined."""

    def __init__(self, client: Any, server: Any, a: Any, b: Any) -> None:
        self.client, self.server, self.a, self.b = client, server, a, b
        self.pipes = Pipes()
        self.done: Deferred[Joined] = Deferred()

    def join(self) -> Joined:
        return join(self.a, self.b, self.pipes, self.done.callback)

    def held(self) -> int:
        """How many pipes it keeps open."""
        return len(self.pipes._spare)


@pytest.fixture(params=["spliced", "copied"])
def relay(loopback: Any, half_recorder: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a Relay; `copied` as if TLS were between, which only the reading and sending functions of a transport know."""

    async def make() -> Relay:
        client_transport, a = await loopback.transports()
        server_transport, b = await loopback.transports()
        client, server = half_recorder(), half_recorder()
        client_transport.attach(client)
        server_transport.attach(server)
        made = Relay(client, server, a, b)
        if request.param == "copied":
            monkeypatch.setattr("meshcar.net.splice._plain", lambda a, b: False)
        return made

    yield make


@pytest_twisted.ensureDeferred
async def test_both_directions(relay: Any) -> None:
    """Everything arrives, both ways at once; half-close passes; it ends in order when both have ended, counted."""
    r = await relay()
    joined = r.join()
    r.client.transport.write(MUCH)
    r.server.transport.write(MUCH[::-1])
    r.client.transport.loseWriteConnection()
    await r.server.until(lambda: "read lost" in r.server.events)
    await r.client.got(len(MUCH))
    r.server.transport.write(b"last")
    r.server.transport.loseWriteConnection()
    assert await r.done is joined
    await r.client.lost()
    await r.server.lost()
    assert hashlib.sha256(r.server.data).digest() == hashlib.sha256(MUCH).digest()
    assert r.client.data == MUCH[::-1] + b"last"
    assert (joined.sent, joined.received) == (len(MUCH), len(MUCH) + 4)
    assert joined.broken is joined.error is None


@pytest_twisted.ensureDeferred
async def test_written_before_goes_first(relay: Any) -> None:
    """Bytes the transports still hold when they are joined keep their place."""
    r = await relay()
    r.server.transport.pauseProducing()
    r.b.write(MUCH)
    r.client.transport.write(b"after")
    r.join()
    r.server.transport.resumeProducing()
    await r.server.got(len(MUCH) + 5)
    assert r.server.data == MUCH + b"after"


@pytest_twisted.ensureDeferred
async def test_slow_reader_stops_the_writer(relay: Any) -> None:
    """A side that does not read holds the other back; nothing is lost, and nothing piles up."""
    r = await relay()
    joined = r.join()
    r.server.transport.pauseProducing()
    for _ in range(4):
        r.client.transport.write(MUCH)
    r.server.transport.write(b"x")
    await r.client.got(1)
    assert joined.sent < 4 * len(MUCH)
    r.server.transport.resumeProducing()
    await r.server.got(4 * len(MUCH))
    assert joined.sent == 4 * len(MUCH)


@pytest_twisted.ensureDeferred
async def test_reset_passes_on(relay: Any) -> None:
    """A side that resets resets the other; `broken` says which it was."""
    r = await relay()
    joined = r.join()
    r.client.transport.write(b"x")
    await r.server.got(1)
    r.server.transport.abortConnection()
    await r.done
    await r.client.lost()
    assert joined.broken is r.b
    assert isinstance(joined.error, ConnectionLost)


@pytest_twisted.ensureDeferred
async def test_both_reset_at_once(relay: Any) -> None:
    """Who is told of the second side when all is over already says nothing."""
    r = await relay()
    r.join()
    with capturedLogs() as logged:
        r.a.abortConnection()
        r.b.abortConnection()
        await r.done
        await r.client.lost()
        await r.server.lost()
    assert [event for event in logged if "log_failure" in event] == []


@pytest_twisted.ensureDeferred
async def test_reset_while_bytes_wait(relay: Any) -> None:
    """A reset of the side that does not read ends both, though bytes are under way."""
    r = await relay()
    r.join()
    r.server.transport.pauseProducing()
    r.client.transport.write(MUCH)
    r.client.transport.write(MUCH)
    r.server.transport.write(b"x")
    await r.client.got(1)
    r.server.transport.abortConnection()
    await r.done
    await r.client.lost()
    assert not r.a.connected and not r.b.connected


@pytest_twisted.ensureDeferred
async def test_abort(relay: Any) -> None:
    """Its owner may end it; `done` follows."""
    r = await relay()
    joined = r.join()
    joined.abort()
    await r.done
    assert isinstance(joined.error, ConnectionAborted)
    await r.client.lost()
    await r.server.lost()


@pytest_twisted.ensureDeferred
async def test_joined_to_a_dead_one(relay: Any) -> None:
    """A side that was gone when it was joined ends the other."""
    r = await relay()
    r.server.transport.abortConnection()
    await r.server.lost()
    joined = r.join()
    r.client.transport.write(b"x")
    await r.done
    await r.client.lost()
    assert joined.broken is r.b


@pytest_twisted.ensureDeferred
async def test_pipes_are_shared(relay: Any, request: pytest.FixtureRequest) -> None:
    """A pipe goes back when it is empty: idle relays hold none, and one serves both directions."""
    r = await relay()
    r.join()
    r.client.transport.write(b"x")
    await r.server.got(1)
    r.server.transport.write(b"y")
    await r.client.got(1)
    assert r.held() <= 1
    r.pipes.close()
    assert r.held() == 0


@pytest_twisted.ensureDeferred
async def test_no_pipe_to_be_had(relay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor for a pipe the relay ends, and says why not."""
    r = await relay()
    r.join()
    if r.a.watcher is None:
        return  # copied: needs none

    def none_left(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe2", none_left)
    r.client.transport.write(MUCH)
    await r.done
    await r.server.lost()
    assert not r.a.connected and not r.b.connected


def test_small_pipes_must_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user over his share of pipe memory gets pipes of the kernel's size; only so many are kept."""

    def refused(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr("fcntl.fcntl", refused)
    pipes = Pipes()
    taken = [pipes.take() for _ in range(SPARE_PIPES + 1)]
    for pipe in taken:
        pipes.give_back(pipe)
    assert pipes.take() == taken[SPARE_PIPES - 1]
    pipes.give_back(taken[SPARE_PIPES - 1], empty=False)
    pipes.close()
    for reading, _ in taken:
        with pytest.raises(OSError, match="Bad file"):
            os.close(reading)
