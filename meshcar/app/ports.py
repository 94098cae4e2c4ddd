"""Every port of the process: bound before the service starts, closed when it ends."""

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from meshcar.admin.operator import ListenerStatus
from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress
from meshcar.net.listen import Build, Port, listen
from meshcar.upstream.opener import OwnListeners


class Ports:
    """Owned by the World. `own` learns every port, so that the sidecar never calls itself."""

    _log = Logger()

    def __init__(self, reactor: Any, own: OwnListeners) -> None:
        self._reactor = reactor
        self._own = own
        self._sites: list[Any] = []
        self.captured: dict[str, Port] = {}
        self.statuses: list[ListenerStatus] = []

    def capture(self, name: str, address: Address | None, accept: Build, transparent: bool) -> None:
        """Listens for captured connections. Raises SettingsError."""
        if address is not None:
            port = listen(self._reactor, address.host, address.port, accept, transparent=transparent)
            self.captured[name] = port
            self._learn(name, port.address)

    def serve(self, name: str, address: Address | PathAddress | None, site: Any) -> None:
        """Listens for people and probes, with a twisted.web Site. Raises SettingsError."""
        if address is None:
            return
        try:
            if isinstance(address, PathAddress):
                _remove_stale(address.path)
                self._sites.append(self._reactor.listenUNIX(address.path, site, mode=0o600))
                self._tell(ListenerStatus(name, address.path, None), address)
                return
            port = self._reactor.listenTCP(address.port, site, interface=address.host or _every_address())
        except CannotListenError as e:
            raise SettingsError(f"cannot listen on {address}: {getattr(e.socketError, 'strerror', None) or e.socketError}") from None
        self._sites.append(port)
        self._learn(name, Address(address.host or "0.0.0.0", port.getHost().port))

    def close(self) -> "Deferred[Any]":
        """All of them; fires when they are closed, and a Unix socket is gone from its folder."""
        for port in self.captured.values():
            port.stop()
        return gatherResults([maybeDeferred(site.stopListening) for site in self._sites])

    def _learn(self, name: str, address: Address) -> None:
        self._own.ports.add(address.port)
        self._tell(ListenerStatus(name, address.host, address.port), address)

    def _tell(self, status: ListenerStatus, address: Address | PathAddress) -> None:
        self.statuses.append(status)
        self._log.info("listening: {name} {address}", name=status.name, address=str(address))


def _remove_stale(path: str) -> None:
    """A socket that nobody listens on any more: its process was killed. Twisted's lock file would not tell, as the first process of
    a container has the same number each time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if Path(path).is_socket():
                os.unlink(path)
        except OSError:
            pass  # there is none, or none that we may open: bind will say


def _every_address() -> str:
    """For Twisted: every address, IPv6 too where the machine has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"
    return "::"
