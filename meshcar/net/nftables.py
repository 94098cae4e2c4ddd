"""The one thing about nftables that iptables' own tools cannot do: to delete a table."""

import errno
import os
import socket
import struct

_NETFILTER = 12
_BEGIN, _END, _DELETE_TABLE = 0x10, 0x11, 10 << 8 | 2
_REQUEST, _ACKNOWLEDGED = 1, 4
_SUBSYSTEM = 10
"""Source: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h."""
FAMILIES = {4: 2, 6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6, by IP version."""


def delete_table(version: int, name: str) -> None:
    """Deletes a table of this network namespace, with whatever is in it; one that is not there is deleted. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        named = _attribute(1, name.encode() + b"\0")
        kernel.send(
            _message(_BEGIN, _REQUEST, 0, _SUBSYSTEM)
            + _message(_DELETE_TABLE, _REQUEST | _ACKNOWLEDGED, FAMILIES[version], 0, named)
            + _message(_END, _REQUEST, 0, _SUBSYSTEM)
        )
        (error,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if error and -error != errno.ENOENT:
        raise OSError(-error, os.strerror(-error))


def _message(kind: int, flags: int, family: int, resource: int, payload: bytes = b"") -> bytes:
    body = struct.pack("=BB", family, 0) + struct.pack("!H", resource) + payload
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
