"""Every port of the process: bound, or inherited, before the service starts; closed when it ends."""

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger

from meshcar.admin.operator import ListenerStatus
from meshcar.net.address import Address, PathAddress
from meshcar.net.inherited import Inherited
from meshcar.net.listen import Build, Port, listen
from meshcar.net.site_port import listen_for
from meshcar.upstream.opener import OwnListeners


class Ports:
    """Owned by the World. `own` learns every port, so that the sidecar never calls itself; `inherited` has sockets that need not
    be bound. Those of systemd's, and all once they are handed over, are shared: another process listens on them, now or later.
    """

    _log = Logger()

    def __init__(self, reactor: Any, own: OwnListeners, inherited: Inherited) -> None:
        self._reactor = reactor
        self._own = own
        self._inherited = inherited
        self._sites: dict[str, Any] = {}
        self._shared: set[str] = set()
        self._paths: set[str] = set()
        self.captured: dict[str, Port] = {}
        self.statuses: list[ListenerStatus] = []

    def capture(self, name: str, address: Address | None, accept: Build, transparent: bool) -> None:
        """Listens for captured connections. Raises SettingsError."""
        if address is not None:
            inherited = self._take(name, address)
            port = listen(self._reactor, address.host, address.port, accept, transparent=transparent, inherited=inherited)
            self.captured[name] = port
            self._learn(name, port.address)

    def serve(self, name: str, address: Address | PathAddress | None, site: Any) -> None:
        """Listens for people and probes, with a twisted.web Site. Raises SettingsError."""
        if address is None:
            return
        inherited = self._take(name, address)
        port = self._sites[name] = listen_for(self._reactor, address, site, inherited)
        if isinstance(address, PathAddress):
            if name not in self._shared:
                self._paths.add(address.path)
            self._tell(ListenerStatus(name, address.path, None), address)
        else:
            where = port.getHost()
            self._learn(name, Address(where.host, where.port))

    @property
    def shared(self) -> list[str]:
        """Captured ports on which another process listens, now or later."""
        return sorted(self._shared & self.captured.keys())

    def descriptors(self) -> dict[str, int]:
        """Those of captured ports that listen, for further processes."""
        return {name: port.fileno() for name, port in self.captured.items() if port.listening}

    def sockets(self) -> list[socket.socket]:
        """All that listen, for a successor."""
        return [*(port.listener for port in self.captured.values() if port.listening), *(site.socket for site in self._sites.values())]

    def pause(self, name: str) -> None:
        """Connections of people wait in the kernel's queue, where a successor finds them too."""
        if name in self._sites:
            self._sites[name].stopReading()

    def resume(self, name: str) -> None:
        """They are served again."""
        if name in self._sites:
            self._sites[name].startReading()

    def hand_over(self) -> None:
        """A successor listens on all of them; this process does so no more."""
        self._shared.update(self.captured, self._sites)
        self._paths.clear()
        self.leave_shared()

    def take_over(self) -> None:
        """Whoever had these ports before has let go of them: what waits when they are closed is ours."""
        for name in self.captured.keys() - self._shared:
            self.captured[name].shared = False

    def leave_shared(self) -> "Deferred[Any]":
        """Stops listening where others do, or will: what comes now is theirs."""
        for name in self._shared & self.captured.keys():
            self.captured[name].shared = True
            self.captured[name].stop()
        return gatherResults([self._stop_site(name) for name in self._shared & self._sites.keys()])

    def close(self) -> "Deferred[Any]":
        """All of them; fires when they are closed, and a Unix socket of ours is gone from its folder."""
        for port in self.captured.values():
            port.stop()
        while self._paths:
            os.unlink(self._paths.pop())
        return gatherResults([self._stop_site(name) for name in list(self._sites)])

    def _stop_site(self, name: str) -> "Deferred[Any]":
        return maybeDeferred(self._sites.pop(name).stopListening)

    def _take(self, name: str, address: Address | PathAddress) -> socket.socket | None:
        found = self._inherited.take(name, address)
        if found is not None and not self._inherited.ours:
            self._shared.add(name)
        return found

    def _learn(self, name: str, address: Address) -> None:
        self._own.ports.add(address.port)
        self._tell(ListenerStatus(name, address.host, address.port), address)

    def _tell(self, status: ListenerStatus, address: Address | PathAddress) -> None:
        self.statuses.append(status)
        self._log.info("listening: {name} {address}", name=status.name, address=str(address))
