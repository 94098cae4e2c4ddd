"""Pairs of real sockets on loopback, and a protocol that writes down what it hears."""

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from meshcar.net.connect import connect
from meshcar.net.listen import Port, listen
from meshcar.net.transport import Transport


class Recorder:
    """A protocol that keeps what came, and lets a test wait for it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.events: list[str] = []
        self.reason: BaseException | None = None
        self.transport: Any = None
        self._waits: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def makeConnection(self, transport: Transport) -> None:
        self.transport = transport
        self.heard("made")

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self.heard("data")

    def connectionLost(self, reason: Any) -> None:
        self.reason = reason.value
        self.heard("lost")

    def heard(self, event: str) -> None:
        self.events.append(event)
        due = [wait for wait in self._waits if wait[0]()]
        self._waits = [wait for wait in self._waits if wait not in due]
        for _, fired in due:
            fired.callback(None)

    def until(self, true: Callable[[], bool]) -> Deferred[None]:
        """Fires when `true()` is, asked after every event; fails after five seconds."""
        fired: Deferred[None] = Deferred()
        fired.addTimeout(5, reactor)
        self._waits.append((true, fired))
        if true():
            self._waits.remove((true, fired))
            fired.callback(None)
        return fired

    def got(self, size: int) -> Deferred[None]:
        return self.until(lambda: len(self.data) >= size)

    def lost(self) -> Deferred[None]:
        return self.until(lambda: "lost" in self.events)


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """One that can live with half a connection."""

    def readConnectionLost(self) -> None:
        self.heard("read lost")

    def writeConnectionLost(self) -> None:
        self.heard("write lost")


@attrs.frozen
class Ends:
    """The two ends of one connection, and the port between them."""

    client: Any
    server: Any
    port: Port


class Loopback:
    """Makes connections for a test and ends them after it."""

    def __init__(self) -> None:
        self._ports: list[Port] = []
        self._transports: list[Transport] = []

    def listen(self, build: Callable[[Transport], Any], host: str = "127.0.0.1", **options: Any) -> Port:
        port = listen(reactor, host, 0, build, **options)
        self._ports.append(port)
        return port

    async def connect(self, port: Port, host: str = "127.0.0.1", **options: Any) -> Transport:
        """A connected transport, not yet attached."""
        connected: Deferred[Transport] = Deferred()
        connect(reactor, host, port.address.port, connected=connected.callback, failed=connected.errback, timeout=5, **options)
        transport = await connected
        self._transports.append(transport)
        return transport

    async def transports(self) -> tuple[Transport, Transport]:
        """Both ends, bare: the client's and the server's."""
        accepted: Deferred[Transport] = Deferred()

        class Silent(Recorder):
            def makeConnection(self, transport: Transport) -> None:
                transport.pauseProducing()
                accepted.callback(transport)

        client = await self.connect(self.listen(lambda transport: Silent()))
        server = await accepted
        self._transports.append(server)
        return client, server

    async def pair(self, client: Any = None, server: Any = None) -> Ends:
        """Two protocols, joined."""
        client, server = client or Recorder(), server or Recorder()
        port = self.listen(lambda transport: server)
        (await self.connect(port)).attach(client)
        await server.until(lambda: server.transport is not None)
        self._transports.append(server.transport)
        return Ends(client, server, port)

    def close(self) -> None:
        for port in self._ports:
            port.stop()
        for transport in self._transports:
            transport.abortConnection()


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    made = Loopback()
    yield made
    made.close()


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def half_recorder() -> type[HalfRecorder]:
    return HalfRecorder
