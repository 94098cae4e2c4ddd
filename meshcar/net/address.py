"""Where a socket is: a host and a port, or a path."""

import ipaddress
import socket

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

from meshcar.errors import SettingsError

_MAPPED = "::ffff:"


@attrs.frozen
class Address:
    """An IP literal and a port. `host` is empty where every address of the machine is meant."""

    host: str
    port: int

    def __str__(self) -> str:
        """As Envoy prints it: `10.0.0.1:80`, `[::1]:80`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6, by the host."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def as_twisted(self) -> IPv4Address | IPv6Address:
        """The value Twisted's interfaces ask for."""
        return (IPv6Address if ":" in self.host else IPv4Address)("TCP", self.host, self.port)

    @classmethod
    def of(cls, name: tuple[str, int] | tuple[str, int, int, int]) -> "Address":
        """The address of a socket name as the kernel gives it; IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2) is IPv4 again."""
        host = name[0]
        return cls(host.removeprefix(_MAPPED), name[1])


@attrs.frozen
class PathAddress:
    """A Unix socket."""

    path: str

    def __str__(self) -> str:
        """As the option is written: `unix:/run/admin.sock`."""
        return f"unix:{self.path}"


def parse_address(text: str, default_host: str = "") -> Address | PathAddress | None:
    """Reads an ADDR option: `host:port`, `[v6]:port`, `port` (then `default_host`), `unix:PATH`, or `off` (None).

    A host is an IP literal, `localhost`, or `*` for every address. Raises SettingsError.
    """
    if text == "off":
        return None
    if text.startswith("unix:"):
        if not text[5:]:
            raise SettingsError(f"{text!r}: a path must follow unix:")
        return PathAddress(text[5:])
    host, colon, port = text.rpartition(":")
    return Address(_host(host, text) if colon else default_host, _port(port, text))


def _host(host: str, text: str) -> str:
    if host in ("", "*"):
        return ""
    if host == "localhost":
        return "127.0.0.1"
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise SettingsError(f"{text!r}: {host!r} is not an IP address") from None
    if (ip.version == 6) != bracketed:
        raise SettingsError(f"{text!r}: an IPv6 address, and only that, stands in brackets")
    return str(ip)


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise SettingsError(f"{text!r}: {port!r} is not a port (0 to 65535)")
    return int(port)
