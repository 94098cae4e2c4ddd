"""Listening sockets that others bound and gave to this process: systemd, or the process before it."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress

FIRST = 3
"""Of the descriptors that systemd passes. Source: sd_listen_fds(3), SD_LISTEN_FDS_START."""
_EVERYWHERE = ("", "0.0.0.0", "::")


@attrs.frozen
class Given:
    """One socket; `name` is empty where nobody gave it one."""

    name: str
    socket: socket.socket

    @property
    def address(self) -> Address | PathAddress:
        """Where it listens."""
        name = self.socket.getsockname()
        return Address.of(name) if isinstance(name, tuple) else PathAddress(name)

    def serves(self, address: Address | PathAddress) -> bool:
        """Whether it listens where an option says; no socket does where the kernel is to choose the port."""
        own = self.address
        if not isinstance(own, Address) or not isinstance(address, Address):
            return own == address
        same_host = own.host == address.host or (own.host in _EVERYWHERE and address.host in _EVERYWHERE)
        return own.port == address.port and same_host


class Inherited:
    """Sockets to be taken, each by the listener whose name it has, or whose address; ends with `settle`.

    `ours`: they belong to the sidecar, whichever process that is; else to systemd, which keeps them when no process is there.
    """

    def __init__(self, given: Sequence[Given] = (), *, ours: bool = False) -> None:
        self._given = list(given)
        self.ours = ours

    def take(self, name: str, address: Address | PathAddress) -> socket.socket | None:
        """The socket for a listener; None: there is none, it must be bound."""
        found = next((one for one in self._given if one.name == name), None)
        found = found or next((one for one in self._given if one.serves(address)), None)
        if found is None:
            return None
        self._given.remove(found)
        return found.socket

    def settle(self) -> None:
        """Lets go of what nobody took. Raises SettingsError where that is systemd's: connections to it would wait for ever."""
        if self._given and not self.ours:
            left = ", ".join(str(one.address) + (f" ({one.name})" if one.name else "") for one in self._given)
            raise SettingsError(f"LISTEN_FDS: no listener is called so, or has this address: {left}")
        while self._given:
            self._given.pop().socket.close()

    def __bool__(self) -> bool:
        """Whether any is left."""
        return bool(self._given)


def from_environment(environ: Mapping[str, str], pid: int) -> Inherited:
    """What systemd passed to the process `pid`: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. Raises SettingsError.

    Source: sd_listen_fds(3). The names of systemd's that are no listener's (a unit's, `unknown`) say nothing; then addresses count.
    """
    if not environ.get("LISTEN_FDS") or environ.get("LISTEN_PID") != str(pid):
        return Inherited()
    try:
        count = int(environ["LISTEN_FDS"])
    except ValueError:
        raise SettingsError(f"LISTEN_FDS: {environ['LISTEN_FDS']!r} is not a number") from None
    names = [*environ.get("LISTEN_FDNAMES", "").split(":"), *[""] * count]
    return Inherited([given(FIRST + index, names[index]) for index in range(count)])


def first_environment() -> dict[str, str]:
    """The environment with which this process began: Twisted removes LISTEN_FDS from os.environ as soon as its endpoints are imported."""
    text = Path("/proc/self/environ").read_bytes().decode("utf-8", "surrogateescape")
    return {name: value for name, _, value in (one.partition("=") for one in text.split("\0") if one)}


def given(descriptor: int, name: str = "") -> Given:
    """The listening socket behind a descriptor. Raises SettingsError where it is none."""
    try:
        sock = socket.socket(fileno=descriptor)
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as e:
        raise SettingsError(f"descriptor {descriptor}: {e.strerror}") from None
    if not listens:
        raise SettingsError(f"descriptor {descriptor}: not a listening stream socket")
    sock.set_inheritable(False)
    sock.setblocking(False)
    return Given(name, sock)
