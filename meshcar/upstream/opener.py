"""What every cluster needs to open connections: TLS of the certificates in force, and the refusal to call ourselves."""

import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from meshcar.current import Current
from meshcar.identity.peer import PeerIdentity
from meshcar.net.timeouts import Timeouts
from meshcar.net.tls import HTTP_ALPN, ORIGINATED_ALPN, TCP_ALPN, TlsContexts, refusal
from meshcar.net.tls_sessions import spoil
from meshcar.observe.counters import Counters
from meshcar.observe.names import HANDSHAKES, REFUSED
from meshcar.rules.policies import UpstreamTls


class OwnListeners:
    """The ports this sidecar listens on, which it must never call: whoever reached admin that way would be an operator."""

    def __init__(self) -> None:
        self.ports: set[int] = set()

    def __call__(self, host: str, port: int) -> bool:
        """Whether an address is one of ours. A port of the same number on another machine is not."""
        return port in self.ports and is_local(host)


def is_local(host: str) -> bool:
    """Whether an IP address belongs to this machine: then, and only then, a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


class Opener:
    """Made once by the process."""

    def __init__(
        self, reactor: Any, timeouts: Timeouts, roll: Callable[[], float], contexts: Current[TlsContexts], counters: Counters,
        own: Callable[[str, int], bool],
    ) -> None:  # fmt: skip
        self.reactor = reactor
        self.timeouts = timeouts
        self.roll = roll
        self._contexts = contexts
        self.counters = counters
        self._own = own

    def is_own(self, address: str, port: int) -> bool:
        """See OwnListeners; counted."""
        if not self._own(address, port):
            return False
        self.counters.counter(REFUSED, "upstream", "loop").value += 1
        return True

    def generation(self) -> TlsContexts:
        """The contexts in force stand for their certificates."""
        return self._contexts.get()

    def client_tls(self, sock: socket.socket, tls: UpstreamTls, opaque: bool, peer: str) -> SSL.Connection:
        """An OpenSSL connection on a socket connected to the endpoint `peer`. Raises SettingsError when a certificate cannot be used."""
        mesh = TCP_ALPN if opaque else HTTP_ALPN
        other = () if opaque else ORIGINATED_ALPN
        return self._contexts.get().client_connection(sock, tls, mesh if tls.mode == "ISTIO_MUTUAL" else other, peer)

    def check_server(self, connection: SSL.Connection, tls: UpstreamTls) -> PeerIdentity:
        """Who answered; raises IdentityMismatch, which is counted."""
        try:
            peer = self._contexts.get().check_server(connection, tls)
        except Exception as e:
            spoil(connection)
            self._count(refusal(e, connection))
            raise
        self._count("ok")
        return peer

    def handshake_failed(self, error: Exception, connection: SSL.Connection) -> None:
        """Counts a handshake that did not come to its end."""
        spoil(connection, error)
        self._count(refusal(error, connection))

    def _count(self, result: str) -> None:
        self.counters.counter(HANDSHAKES, "outbound", result).value += 1

