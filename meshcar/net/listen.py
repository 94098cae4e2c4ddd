"""Accepts connections and gives each, as a Transport, to whoever serves it."""

import errno
import socket
from collections.abc import Callable
from os import strerror
from typing import Any

from twisted.internet import interfaces
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshcar.errors import SettingsError
from meshcar.net.address import Address
from meshcar.net.events import Reactor
from meshcar.net.transport import Transport

IP_TRANSPARENT = 19  # linux/in.h
IPV6_TRANSPARENT = 75  # linux/in6.h
ACCEPTS_A_TURN = 64
PAUSE_WITHOUT_DESCRIPTORS = 1.0  # seconds
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Build = Callable[[Transport], Any]


def listen(
    reactor: Reactor, host: str, port: int, build: Build, *, backlog: int = 4096, limit: int = 1 << 20, transparent: bool = False,
    inherited: socket.socket | None = None,
) -> "Port":  # fmt: skip
    """Listens, and gives `build(transport)`, a protocol or None (refuse), every connection; `limit` of them at a time.

    `host` is an IP literal; "" or "*" is every address, IPv6 too where the machine has it. `transparent` takes connections
    meant for other addresses (TPROXY). `inherited` is a socket that listens there already. Raises SettingsError with the address and
    the reason.
    """
    address = Address("" if host == "*" else host, port)
    try:
        if inherited is not None:
            sock = inherited
            _configure(sock, transparent)
        else:
            sock = bound(address, transparent)
            sock.listen(backlog)
    except OSError as error:
        where = address if address.host else f"*:{port}"
        reason = "TPROXY needs the capability NET_ADMIN" if transparent and error.errno == errno.EPERM else error.strerror or error
        raise SettingsError(f"cannot listen on {where}: {reason}") from None
    return Port(reactor, sock, build, limit, shared=inherited is not None)


@implementer(interfaces.IReadDescriptor)
class Port:
    """A listening socket; made by `listen`, ends with `stop`. Connections already taken live on.

    `address` is where it listens (the port chosen for 0), `connections` those that live, `accepted` how many there
    were, `refused` how many were over the limit. `shared`: another process has the socket, too, now or later. `at_a_turn`: so many
    are taken in a turn of the reactor; 1 leaves the others to processes that listen with this one.
    """

    at_a_turn = ACCEPTS_A_TURN

    _log = Logger()

    def __init__(self, reactor: Reactor, sock: socket.socket, build: Build, limit: int, *, shared: bool = False) -> None:
        self._reactor = reactor
        self._socket = sock
        self.shared = shared
        self._build = build
        self._limit = limit
        self._pause: Any = None
        self.address = Address.of(sock.getsockname())
        self.connections: set[Transport] = set()
        self.accepted = self.refused = 0
        reactor.addReader(self)

    @property
    def open(self) -> int:
        """How many connections live, or still get their last bytes."""
        return len(self.connections)

    @property
    def listening(self) -> bool:
        """Until `stop`."""
        return self._socket.fileno() != -1

    def stop(self) -> None:
        """Accepts no more. Those that wait are left to whoever shares the socket; else they are taken first, and the address is free."""
        if not self.listening:
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        while not self.shared and self._accept():
            pass
        if self._pause is not None:
            self._pause.cancel()
        self._reactor.removeReader(self)
        self._socket.close()

    @property
    def listener(self) -> socket.socket:
        """For a successor."""
        return self._socket

    def fileno(self) -> int:
        """The listening socket's."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Takes the connections that wait."""
        for _ in range(self.at_a_turn):
            if not self._accept():
                return

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or found the socket broken."""
        self.stop()

    def logPrefix(self) -> str:
        """Names this in Twisted's log."""
        return "meshcar.net"

    def _accept(self) -> bool:
        """Takes one; False: none waits, it is gone again, or there is no room for it."""
        if not self.listening:
            return False
        try:
            sock, name = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._wait(error)
            return False
        self._accepted(sock, name)
        return True

    def _accepted(self, sock: socket.socket, name: Any) -> None:
        sock.setblocking(False)
        if len(self.connections) >= self._limit:
            self.refused += 1
            sock.close()
            return
        self.accepted += 1
        transport = Transport(self._reactor, sock, Address.of(name), self.connections.discard)
        self.connections.add(transport)
        try:
            protocol = self._build(transport)
            if protocol is None:
                transport.abortConnection()
            else:
                transport.attach(protocol)
        except Exception:
            self._log.failure("no protocol for a connection from {peer}", peer=transport.peer)
            transport.abortConnection()

    def _wait(self, error: OSError) -> None:
        self._log.error("cannot accept on {address}: {why}", address=self.address, why=strerror(error.errno or 0))
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(PAUSE_WITHOUT_DESCRIPTORS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._reactor.addReader(self)


def bound(address: Address, transparent: bool = False) -> socket.socket:
    """A bound socket. Without a host: IPv6 that takes IPv4 too, or IPv4 where the machine has no IPv6. Raises OSError."""
    if address.host:
        return _bound(address.family, (address.host, address.port), transparent)
    try:
        return _bound(socket.AF_INET6, ("::", address.port), transparent)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(socket.AF_INET, ("0.0.0.0", address.port), transparent)


def _bound(family: socket.AddressFamily, name: tuple[str, int], transparent: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if name[0] == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        _configure(sock, transparent)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def _configure(sock: socket.socket, transparent: bool) -> None:
    """What accepted connections inherit, and TPROXY's options, which an inherited socket may have already."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if transparent:
        if not sock.getsockopt(socket.SOL_IP, IP_TRANSPARENT):
            sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        if sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT):
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
