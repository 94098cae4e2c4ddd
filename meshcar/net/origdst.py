"""Where a redirected connection was meant to go (netfilter's SO_ORIGINAL_DST)."""

import socket
import struct
from ipaddress import IPv6Address

from meshcar.net.address import Address

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST is the same number at the IPv6 level
_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")


def original_destination(sock: socket.socket) -> Address | None:
    """The address an accepted connection was made to before REDIRECT changed it. None: it was not redirected.

    An IPv4 connection on an IPv6 socket is asked about at the IPv4 level, where its address was changed.
    """
    name = sock.getsockname()
    local = Address.of(name)
    try:
        if ":" in local.host:
            port, packed = _SOCKADDR_IN6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _SOCKADDR_IN6.size))
            original = Address(str(IPv6Address(packed)), port)
        else:
            port, packed = _SOCKADDR_IN.unpack(sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, _SOCKADDR_IN.size))
            original = Address(socket.inet_ntoa(packed), port)
    except OSError:  # ENOENT: the kernel tracks no such connection; ENOPROTOOPT: it tracks none
        return None
    return None if original == local else original
