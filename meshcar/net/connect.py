"""Opens connections to addresses, without a Deferred and without looking up names."""

import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from twisted.internet import interfaces
from twisted.python.failure import Failure
from zope.interface import implementer

from meshcar.errors import MeshError
from meshcar.net.address import Address
from meshcar.net.events import Reactor
from meshcar.net.timeouts import after
from meshcar.net.transport import Transport
from meshcar.rules.policies import Keepalive

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNRESET: "reset",
}


class ConnectFailed(MeshError):
    """No connection came about. `reason` is refused, timeout, unreachable, reset or other; `text` is Envoy's word for it,
    `delayed_connect_error:_Connection_refused`, or `connection_timeout` when our own time was up."""

    flag, details = "UF", "upstream_reset_before_response_started{remote_connection_failure}"

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


Connected = Callable[[Transport], None]
Failed = Callable[[ConnectFailed], None]


def connect(
    reactor: Reactor, address: str, port: int, *, connected: Connected, failed: Failed, timeout: float, source: str | None = None
) -> "Connecting":
    """Begins a connection to an IP literal; exactly one of the callbacks follows, never before this returns.

    `connected(transport)` must `attach` a protocol or `start_tls`. `timeout` is in seconds. `source` is the address to come from
    (Istio's 127.0.0.6); where the machine cannot, the kernel chooses.
    """
    return Connecting(reactor, Address(address, port), source, timeout, connected, failed)


@implementer(interfaces.IWriteDescriptor)
class Connecting:
    """A connection on its way; made by `connect`, ends with one callback or with `cancel`."""

    __slots__ = ("_connected", "_failed", "_reactor", "_socket", "_timer", "address")

    def __init__(
        self, reactor: Reactor, address: Address, source: str | None, timeout: float, connected: Connected, failed: Failed
    ) -> None:
        self.address = address
        self._reactor = reactor
        self._connected = connected
        self._failed = failed
        self._socket: socket.socket | None = None
        try:
            self._socket = sock = _socket(address, source)
            begun = sock.connect_ex((address.host, address.port))
        except OSError as error:
            begun = error.errno or errno.EINVAL
        if begun in (0, errno.EINPROGRESS):
            reactor.addWriter(self)
            self._timer = after(reactor, timeout, self._timed_out)
        else:
            self._timer = after(reactor, 0, partial(self._fail, _failure(begun, "immediate")))

    def cancel(self) -> None:
        """Gives up; no callback follows. After a callback: nothing."""
        self._end()

    def fileno(self) -> int:
        """The socket's, or -1 when this has ended."""
        return -1 if self._socket is None else self._socket.fileno()

    def doWrite(self) -> None:
        """The kernel has decided."""
        sock = self._socket
        assert sock is not None
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            self._fail(_failure(failed, "delayed"))
            return
        self._reactor.removeWriter(self)
        self._timer.cancel()
        self._socket = None
        transport = Transport(self._reactor, sock, self.address)
        try:
            self._connected(transport)
        except Exception:
            transport.abortConnection()
            raise

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw the socket fail, is stopping, or a callback raised."""
        if self._socket is not None:
            failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(_failure(failed or errno.ECONNABORTED, "delayed"))

    def logPrefix(self) -> str:
        """Names this in Twisted's log."""
        return "meshcar.net"

    def _timed_out(self) -> None:
        self._fail(ConnectFailed("timeout", "connection_timeout"))

    def _fail(self, why: ConnectFailed) -> None:
        self._end()
        self._failed(why)

    def _end(self) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None


def keep_alive(sock: socket.socket, wanted: Keepalive) -> None:
    """Lets the kernel probe a connection that is idle (tcp(7), SO_KEEPALIVE); what it does not take stays as it is."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = ((socket.TCP_KEEPCNT, wanted.probes), (socket.TCP_KEEPIDLE, wanted.time), (socket.TCP_KEEPINTVL, wanted.interval))
    for option, value in options:
        if value is not None:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            except (OSError, OverflowError):  # over the kernel's own limit
                pass


def _socket(address: Address, source: str | None) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if source is not None:
        try:
            sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        except OSError:  # no such address here: the kernel chooses
            pass
    return sock


def _failure(number: int, when: str) -> ConnectFailed:
    words = os.strerror(number).replace(" ", "_")
    return ConnectFailed(_REASONS.get(number, "other"), f"{when}_connect_error:_{words}")
