"""Connections in memory: real transports on pretended sockets, and a reactor that turns when the test says so."""

import itertools
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshcar.net.address import Address
from meshcar.net.connect import ConnectFailed
from meshcar.net.outgoing import Outgoing
from meshcar.net.timeouts import Timeouts
from meshcar.net.transport import Transport

ROOM = 1 << 30


class Wire:
    """A non-blocking socket; the test is its other end: `say`, `hang_up` and `reset` are the peer's, `sent` is what the peer got.

    `room` is how many bytes the kernel still takes. `ended` tells that our direction was ended, `closed` that the socket was
    closed, `was_reset` that it was closed with a reset.
    """

    def __init__(self, number: int, local: Address, room: int) -> None:
        self.room = room
        self.sent = bytearray()
        self.ended = self.closed = self.was_reset = False
        self.transport: Any = None
        self._number = number
        self._local = local
        self._come = bytearray()
        self._over = self._broken = False
        self._least = 1

    # -- the peer

    def say(self, data: bytes) -> None:
        """Sends us bytes."""
        self._come += data

    def hang_up(self) -> None:
        """Ends its direction."""
        self._over = True

    def reset(self) -> None:
        """Breaks the connection."""
        self._broken = True

    def heard(self) -> bytes:
        """What came since this was asked last, with what was to leave by the end of this turn."""
        self.transport.release()
        data = bytes(self.sent)
        self.sent.clear()
        return data

    # -- the socket

    @property
    def readable(self) -> bool:
        return len(self._come) >= self._least or self._over or self._broken

    @property
    def writable(self) -> bool:
        return self.room > 0 or self._broken

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._broken:
            raise ConnectionResetError
        if not self._come and not self._over:
            raise BlockingIOError
        data = bytes(self._come[:size])
        if not flags & socket.MSG_PEEK:
            del self._come[:size]
        return data

    def send(self, data: Any) -> int:
        if self._broken or self.ended:
            raise BrokenPipeError
        taken = min(len(data), self.room)
        if data and not taken:
            raise BlockingIOError
        self.room -= taken
        self.sent += data[:taken]
        return taken

    def shutdown(self, how: int) -> None:
        assert not self.closed
        if self._broken:
            raise OSError
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        if name == socket.SO_LINGER:
            self.was_reset = value == struct.pack("ii", 1, 0)
        elif name == socket.SO_RCVLOWAT:
            self._least = value

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        """The first byte of TCP_INFO: ESTABLISHED or CLOSE_WAIT."""
        assert (level, name) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return b"\x08" if self._over else b"\x01"

    def getsockname(self) -> tuple[str, int]:
        assert not self.closed
        return self._local.host, self._local.port

    def fileno(self) -> int:
        return -1 if self.closed else self._number


class Dial:
    """A connection that somebody wants; `accept`, `refuse` or `time_out` decides, at once."""

    def __init__(
        self, loop: "Loop", address: Address, timeout: float, source: str | None, connected: Callable[[Transport], None],
        failed: Callable[[ConnectFailed], None],
    ) -> None:  # fmt: skip
        self.address = address
        self.timeout = timeout
        self.source = source
        self._loop = loop
        self._connected = connected
        self._failed = failed

    def accept(self, room: int = ROOM) -> Wire:
        self._loop.dials.remove(self)
        wire = self._loop.wire(self.address, room)
        self._connected(wire.transport)
        return wire

    def refuse(self) -> None:
        self._loop.dials.remove(self)
        self._failed(ConnectFailed("refused", "delayed_connect_error:_Connection_refused"))

    def time_out(self) -> None:
        self._loop.dials.remove(self)
        self._failed(ConnectFailed("timeout", "connection_timeout"))

    def cancel(self) -> None:
        """For whoever wanted it."""
        self._loop.dials.remove(self)


class Names:
    """A resolver: `known` are the addresses of names, `asked` who waits for those that `answer` will tell."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[tuple[Any, str]] = []

    def resolveHostName(self, receiver: Any, name: str) -> None:
        self.asked.append((receiver, name))

    def answer(self) -> None:
        """Answers the oldest question."""
        receiver, name = self.asked.pop(0)
        receiver.resolutionBegan(None)
        for host in self.known.get(name, ()):
            receiver.addressResolved(IPv4Address("TCP", host, 0))
        receiver.resolutionComplete()


class Loop(Clock):
    """A reactor over wires. `dials` are connections nobody has decided on."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1_000_000_000.0
        self.nameResolver = Names()
        self.outgoing = Outgoing()
        self.timeouts = Timeouts(self)
        self.dials: list[Dial] = []
        self.wires: list[Wire] = []
        self._by_number: dict[int, Wire] = {}
        self._numbers = itertools.count(100)
        self._reading: dict[Any, None] = {}
        self._writing: dict[Any, None] = {}

    def wire(self, peer: Address, room: int = ROOM) -> Wire:
        """A connected socket with its transport, which nobody has attached to."""
        number = next(self._numbers)
        wire = Wire(number, Address("10.0.0.1", 1000 + number), room)
        wire.transport = Transport(self, wire, peer)  # type: ignore[arg-type]
        self._by_number[number] = wire
        self.wires.append(wire)
        return wire

    def connect(
        self, reactor: Any, address: str, port: int, *, connected: Any, failed: Any, timeout: float, source: str | None = None
    ) -> Dial:
        """Stands in for meshcar.net.connect.connect."""
        dial = Dial(self, Address(address, port), timeout, source, connected, failed)
        self.dials.append(dial)
        return dial

    def reads(self, wire: Wire) -> bool:
        """Whether anybody wants to hear of bytes."""
        return wire.transport in self._reading

    def advance(self, amount: float) -> None:
        """Lets time pass; then the turn ends."""
        super().advance(amount)
        self.outgoing.leave()

    def turn(self, seconds: float = 0.0) -> None:
        """Lets time pass, then serves all sockets until nothing more happens."""
        self.advance(seconds)
        while self._serve():
            self.advance(0)

    def _serve(self) -> bool:
        served = False
        for user, read in [*((each, True) for each in self._reading), *((each, False) for each in self._writing)]:
            wire = self._by_number.get(user.fileno())
            wants = user in (self._reading if read else self._writing)
            if wire is None or not wants or not (wire.readable if read else wire.writable):
                continue
            served = True
            why = user.doRead() if read else user.doWrite()
            if why is not None:
                self._disconnect(user, why, read)
        return served

    def _disconnect(self, user: Any, why: Exception, read: bool) -> None:
        """As Twisted's PosixReactorBase."""
        self.removeReader(user)
        if read and isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(user):
            user.readConnectionLost(Failure(why))
            return
        self.removeWriter(user)
        user.connectionLost(Failure(why))

    # -- IReactorFDSet

    def addReader(self, reader: Any) -> None:
        self._reading[reader] = None

    def removeReader(self, reader: Any) -> None:
        self._reading.pop(reader, None)

    def addWriter(self, writer: Any) -> None:
        self._writing[writer] = None

    def removeWriter(self, writer: Any) -> None:
        self._writing.pop(writer, None)


class Stoppable(Clock):
    """A clock that can be stopped."""

    stopped = 0

    def stop(self) -> None:
        self.stopped += 1

    def callFromThread(self, call: Any) -> None:
        call()


class Turns(Clock):
    """A reactor for channels, on real sockets: it turns when the test says so, and runs commands in the test's stead."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def turn(self, times: int = 200) -> None:
        for _ in range(times):
            for one in [*self.writers]:
                one.doWrite()
            for one in [*self.readers]:
                if one.open:
                    one.doRead()
