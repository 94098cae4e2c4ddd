"""SO_ORIGINAL_DST without a kernel that redirects: the live tests have one."""

import errno
import socket
import struct
from typing import Any

import pytest
import pytest_twisted

from meshcar.net.address import Address
from meshcar.net.origdst import original_destination


class Redirected:
    """A socket as netfilter would answer for it."""

    def __init__(self, local: tuple[Any, ...], level: int, answer: bytes | OSError) -> None:
        self._local, self._level, self._answer = local, level, answer

    def getsockname(self) -> tuple[Any, ...]:
        return self._local

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (self._level, 80)
        if isinstance(self._answer, OSError):
            raise self._answer
        assert size == len(self._answer)
        return self._answer


def _in(host: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))


def _in6(host: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16sI", port, 7, socket.inet_pton(socket.AF_INET6, host), 0)


@pytest.mark.parametrize(
    ("local", "level", "answer", "found"),
    [
        (("127.0.0.1", 15001), socket.SOL_IP, _in("10.96.7.7", 8000), Address("10.96.7.7", 8000)),
        (("::ffff:127.0.0.1", 15001, 0, 0), socket.SOL_IP, _in("10.96.7.7", 8000), Address("10.96.7.7", 8000)),
        (("::1", 15001, 0, 0), socket.IPPROTO_IPV6, _in6("fd00::7", 8000), Address("fd00::7", 8000)),
        (("127.0.0.1", 15001), socket.SOL_IP, _in("127.0.0.1", 15001), None),
        (("127.0.0.1", 15001), socket.SOL_IP, OSError(errno.ENOENT, "no"), None),
        (("::1", 15001, 0, 0), socket.IPPROTO_IPV6, OSError(errno.ENOPROTOOPT, "no"), None),
    ],
)
def test_kernels_answers(local: tuple[Any, ...], level: int, answer: Any, found: Address | None) -> None:
    """IPv4, IPv4 on an IPv6 socket, IPv6; a connection to us, or one the kernel does not track, was not redirected."""
    assert original_destination(Redirected(local, level, answer)) == found  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_plain_connection(loopback: Any) -> None:
    """A connection made straight to the listener was not redirected."""
    _, server = await loopback.transports()
    assert original_destination(server.socket) is None
