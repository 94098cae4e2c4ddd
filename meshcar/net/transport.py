"""A connected TCP socket under the reactor: writes leave at once, reads go straight to the protocol."""

import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import classImplements

from meshcar.net.address import Address
from meshcar.net.events import Reactor, Records, Watcher
from meshcar.net.first_bytes import FirstBytes, Look
from meshcar.net.linger import close_gently
from meshcar.net.outgoing import Outgoing
from meshcar.net.tls_transport import Handshake, end_records, forget

READ_SIZE = 65536
LARGE_READ_SIZE = 262144
HIGH_WATER = 65536
SMALL = 4096  # bytes that may wait for the end of the reactor's turn
STALL_SECONDS = 10.0  # how long a peer may take nothing of what a closing connection still has for it
_DONE = Failure(CONNECTION_DONE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _nobody_asks(transport: "Transport") -> None:
    """Who was not accepted is not counted."""


class Transport:
    """One connection, made by `listen` or `connect`, silent until `attach`, `start_tls` or a watcher; ends with connectionLost.

    `protocol` may be replaced at any time. `peer` is who is at the other end, `tls` the OpenSSL connection once a handshake
    succeeded. `closed(transport)` is called once, when the descriptor is free. What cannot be sent is kept: whoever writes much registers a
    push producer, which is paused above HIGH_WATER bytes and resumed when all are sent.
    """

    __slots__ = (
        "_closed", "_held", "_outgoing", "_producer", "_producer_paused", "_read_open", "_read_size", "_records", "_send", "_unsent",
        "_write_ending", "_write_open", "connected", "disconnecting", "fileno", "peer", "protocol", "reactor", "socket", "tls", "watcher",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, sock: socket.socket, peer: Address, closed: Callable[["Transport"], None] = _nobody_asks) -> None:
        self.reactor = reactor
        self.socket = sock
        self.fileno = sock.fileno
        self.protocol: Any = None
        self.tls: SSL.Connection | None = None
        self.watcher: Watcher | None = None
        self.connected = self._read_open = self._write_open = True
        self.disconnecting = self._write_ending = False
        self._records: Records | None = None
        self._send: Callable[[bytes | bytearray], int] = sock.send
        self._read_size = READ_SIZE
        self._outgoing: Outgoing | None = getattr(reactor, "outgoing", None)
        self._held = b""
        self._unsent = bytearray()
        self._producer: Any = None
        self._producer_paused = False
        self._closed = closed
        self.peer = peer

    # ---- who gets the bytes

    def attach(self, protocol: Any) -> None:
        """Gives the connection to `protocol`: starts reading and calls its makeConnection."""
        self.protocol = protocol
        self.resumeProducing()
        protocol.makeConnection(self)

    def watch(self, watcher: Watcher | None) -> None:
        """Sends readiness events to `watcher` from now on, or to the protocol again (None)."""
        self.release()
        before, self.watcher = self.watcher, watcher
        if isinstance(before, FirstBytes):
            before.released()
        if watcher is None and (self._unsent or self._write_ending):
            self.reactor.addWriter(self)

    def sniff(self, look: Look) -> None:
        """Shows `look(data, last)` what has come, and leaves it in the socket, until `look` answers 0 or `watch(None)` is called.

        Any other answer is how many bytes must be there at the next look. `last` says there will be no more: the peer ended, or
        this is too much; then an answer other than 0 closes the connection. `look` may itself attach, start_tls or close.
        """
        self.watch(FirstBytes(self, look))
        self.resumeProducing()

    def start_tls(
        self, connection: SSL.Connection, done: Callable[[], None], failed: Callable[[Exception], None], server: bool
    ) -> None:
        """Shakes hands with `connection`, an OpenSSL connection made on `self.socket`; reads and writes then go through it.

        `done()` is called with reading on: give the transport a protocol there. `failed(error)` gets the SSL.Error, or why the
        connection was lost, when it is closed already; the protocol is not told. The caller limits the time: abortConnection.
        """
        self.release()
        self._send = _blocked
        Handshake(self, connection, done, failed).start(server)

    def encrypt(self, connection: SSL.Connection, records: Records) -> None:
        """From now on bytes pass through `records`, the Records of `connection`; called by the handshake when it is done."""
        self.tls = connection
        self._records = records
        self._send = records.send

    def peek(self, size: int) -> bytes:
        """Up to `size` bytes that have come, left in the socket. Empty if none has, or none ever will."""
        try:
            return self.socket.recv(size, socket.MSG_PEEK)
        except OSError:
            return b""

    @property
    def local(self) -> Address:
        """Our end, as the kernel names it now."""
        return Address.of(self.socket.getsockname())

    # ---- writing

    def write(self, data: bytes) -> None:
        """Sends what the socket takes, the small at the end of the turn, and keeps the rest. After the write side was closed: nothing."""
        if not self._write_open:
            return
        held, outgoing = self._held, self._outgoing
        if outgoing is not None and len(held) + len(data) <= SMALL and not self._unsent:
            if not held:
                outgoing.add(self)
            self._held = held + data if held else data
            return
        if held:
            self.release()
        self._write(data)

    def release(self) -> None:
        """Sends what was held back."""
        held = self._held
        if held:
            self._held = b""
            self._write(held)

    def _write(self, data: bytes) -> None:
        unsent = self._unsent
        if unsent:
            unsent += data
        else:
            try:
                sent = self._send(data)
            except OSError:  # it would block, or is broken: doWrite finds out which
                sent = 0
            if sent == len(data):
                return
            unsent += memoryview(data)[sent:]
            self.reactor.addWriter(self)
        if self._producer is not None and not self._producer_paused and len(unsent) > HIGH_WATER:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """Writes the parts as one."""
        self.write(b"".join(data))

    def flush(self) -> bool:
        """Sends what the socket takes of what is unsent; True: nothing is left. Raises OSError when the connection is broken."""
        self.release()
        unsent = self._unsent
        if unsent:
            try:
                del unsent[: self._send(unsent)]
            except BlockingIOError:
                return False
        return not unsent

    @property
    def backlogged(self) -> bool:
        """Whether so much is unsent that a producer would be held."""
        return len(self._unsent) > HIGH_WATER

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """`producer` is paused while much is unsent, and stopped when the connection is lost. Push producers only."""
        if not streaming:
            raise ValueError("only push producers are served")
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        if len(self._unsent) > HIGH_WATER:
            self._producer_paused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forgets the producer; a close that waited for it goes on."""
        self._producer = None
        self._producer_paused = False
        if self.disconnecting:
            self.reactor.callLater(0, self._close_if_sent)
        elif self._write_ending:
            self.reactor.addWriter(self)

    # ---- reading

    def pauseProducing(self) -> None:
        """Leaves what comes in the socket."""
        if self.connected:
            self.reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Reads on, unless the peer has ended or we are closing."""
        if self._read_open:
            self.reactor.addReader(self)

    def startWriting(self) -> None:
        """Hears when the socket takes bytes; for watchers."""
        if self.connected:
            self.reactor.addWriter(self)

    def stopWriting(self) -> None:
        """Hears it no more."""
        if self.connected:
            self.reactor.removeWriter(self)

    def stopProducing(self) -> None:
        """The other side of a relay is gone: closes."""
        self.loseConnection()

    # ---- closing

    def loseConnection(self) -> None:
        """Closes when all is sent and no producer is registered. Nothing is read any more; `close_gently` says how it ends."""
        if self.connected and not self.disconnecting:
            self.release()
            self.disconnecting = True
            self._read_open = False
            self.reactor.removeReader(self)
            self.reactor.callLater(0, self._close_if_sent)
            if self._unsent:
                self.reactor.callLater(STALL_SECONDS, self._cut_if_stalled, len(self._unsent))

    def loseWriteConnection(self) -> None:
        """Ends our direction when all is sent and no producer is registered; reading goes on."""
        if self._write_open:
            self.release()
            self._write_ending = True
            self.reactor.addWriter(self)

    def abortConnection(self) -> None:
        """Resets the connection and forgets what is unsent; connectionLost(ConnectionAborted) follows in the next turn."""
        if self.connected:
            self.release()
            self._leave()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            # not now: the poll that is being worked off may hold an event for this descriptor, which would find its next owner
            self.reactor.callLater(0, self._close, Failure(ConnectionAborted()))

    # ---- called by the reactor

    def doRead(self) -> Exception | None:
        """Takes one portion from the socket to the protocol."""
        if self.watcher is not None:
            return self.watcher.doRead()
        if self._records is not None:
            data, why = self._records.read()
            if data:
                self.protocol.dataReceived(data)
            return why
        size = self._read_size
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if len(data) >= READ_SIZE:
            self._read_size = LARGE_READ_SIZE
        elif not data:
            return CONNECTION_DONE
        elif size != READ_SIZE:
            self._read_size = READ_SIZE  # a large buffer for a small read costs 12 µs
        self.protocol.dataReceived(data)
        return None

    def doWrite(self) -> Exception | None:
        """Sends what is unsent; then resumes the producer or closes, whichever waited for it."""
        if self.watcher is not None:
            return self.watcher.doWrite()
        try:
            if not self.flush():
                return None
        except OSError:
            return CONNECTION_LOST
        self.reactor.removeWriter(self)
        if self._producer is not None:
            if self._producer_paused:
                self._producer_paused = False
                self._producer.resumeProducing()
            return None
        if self.disconnecting:
            self._close_if_sent()
            return None
        return self._end_writing() if self._write_ending else None

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer ended its direction: half-closed if the protocol can live with it, else closed."""
        self._read_open = False
        if self._write_open and self.watcher is None and interfaces.IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.connectionLost(reason)

    def writeConnectionLost(self, reason: Failure) -> None:
        """Twisted's interface wants it; no reactor calls it."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Closes the socket at once and tells, once, the watcher or the protocol."""
        if self.connected:
            self._leave()
            self._close(reason)

    def logPrefix(self) -> str:
        """Names these connections in Twisted's log."""
        return "meshcar.net"

    def getPeer(self) -> IPv4Address | IPv6Address:
        """`peer`, as Twisted says it."""
        return self.peer.as_twisted()

    def getHost(self) -> IPv4Address | IPv6Address:
        """`local`, as Twisted says it."""
        return self.local.as_twisted()

    def _close_if_sent(self) -> None:
        self.release()
        if self.connected and (self.watcher is not None or (not self._unsent and self._producer is None)):
            self._leave()
            close_gently(self.reactor, self.socket, partial(self._closed, self))
            self._tell(_DONE)

    def _cut_if_stalled(self, unsent: int) -> None:
        if len(self._unsent) < unsent:
            self.reactor.callLater(STALL_SECONDS, self._cut_if_stalled, len(self._unsent))
        else:
            self.abortConnection()

    def _leave(self) -> None:
        self.reactor.removeReader(self)
        self.reactor.removeWriter(self)
        self.connected = self._read_open = self._write_open = self._write_ending = False
        self._held = b""
        self._unsent.clear()
        if self.tls is not None:
            forget(self.tls)

    def _close(self, reason: Failure) -> None:
        self.socket.close()
        self._closed(self)
        self._tell(reason)

    def _tell(self, reason: Failure) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        heir, self.watcher = self.watcher or self.protocol, None
        if heir is not None:
            heir.connectionLost(reason)
        self.protocol = None  # who knows us: no cycle is left for the collector

    def _end_writing(self) -> Exception | None:
        self._write_open = self._write_ending = False
        try:
            if self.tls is not None:
                end_records(self.tls)
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return CONNECTION_LOST
        if not self._read_open:
            return CONNECTION_DONE
        if interfaces.IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()
        return None


classImplements(Transport, interfaces.IReadWriteDescriptor, interfaces.IHalfCloseableDescriptor)
classImplements(Transport, interfaces.ITransport, interfaces.IConsumer, interfaces.IPushProducer)


def _blocked(data: bytes | bytearray) -> int:
    """Takes no plaintext while hands are shaken."""
    raise BlockingIOError
