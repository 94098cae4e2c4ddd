"""What a TLS client asks for in its ClientHello: server name and protocols (RFC 8446, section 4.1.2)."""

from typing import NamedTuple

MAX_HELLO = 16 * 1024
"""Bytes of a ClientHello, as Envoy's TLS inspector takes at most."""

_CLIENT_HELLO = 0x01
_MAX_FRAGMENT = 16 * 1024
_SERVER_NAME, _ALPN = 0, 16


class ClientHello(NamedTuple):
    """`sni` is the server name as sent, empty if none; `alpn` the protocols offered, in order (RFC 6066, RFC 7301)."""

    sni: bytes = b""
    alpn: tuple[bytes, ...] = ()


class _Fields:
    """Reads length-prefixed fields one after the other. Raises ValueError where one is longer than what holds it."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._at += count
        if self._at > len(self._data):
            raise ValueError("ClientHello: a field is longer than the message")
        return self._data[self._at - count : self._at]

    def number(self, count: int) -> int:
        """The next `count` bytes as a number."""
        return int.from_bytes(self.take(count), "big")

    def field(self, count: int) -> bytes:
        """The next field, whose length stands in `count` bytes before it."""
        return self.take(self.number(count))


def parse(data: bytes) -> ClientHello | int:
    """Reads the first bytes of a connection, over as many records as the message comes in, or says how many more are needed at least.

    Who looks again only when those have come looks a few times, into however many records a peer cuts the message.
    Raises ValueError, one line, on what can not become a ClientHello of at most MAX_HELLO bytes.
    """
    message = _message(data)
    return message if isinstance(message, int) else _hello(message)


def _message(data: bytes) -> bytes | int:
    """The body of the handshake message, put together from its records (RFC 8446, section 5.1); or what is missing."""
    joined = bytearray()
    at = 0
    while True:
        record = data[at : at + 5]
        if not b"\x16\x03".startswith(record[:2]):
            raise ValueError("not a TLS handshake record")
        size = int.from_bytes(record[3:], "big")
        if len(record) == 5 and not 0 < size <= _MAX_FRAGMENT:
            raise ValueError(f"a TLS record of {size} bytes")
        joined += data[at + 5 : at + 5 + size]
        length = int.from_bytes(joined[1:4], "big")
        if (joined and joined[0] != _CLIENT_HELLO) or length > MAX_HELLO:
            raise ValueError("the first handshake message is no ClientHello, or one that is too long")
        if len(joined) >= 4 + length and len(joined) >= 4:
            return bytes(joined[4 : 4 + length])
        at += 5 + size
        if len(record) < 5 or at > len(data):
            return max(1, 4 + length - len(joined)) if len(joined) >= 4 else 1


def _hello(message: bytes) -> ClientHello:
    fields = _Fields(message)
    fields.take(2 + 32)
    for length_of_length in (1, 2, 1):  # session id, cipher suites, compression methods
        fields.field(length_of_length)
    sni, alpn = b"", tuple[bytes, ...]()
    extensions = _Fields(fields.field(2) if fields else b"")
    while extensions:
        kind, body = extensions.number(2), extensions.field(2)
        if kind == _SERVER_NAME:
            sni = _host_name(_Fields(_Fields(body).field(2)))
        elif kind == _ALPN:
            alpn = _protocols(_Fields(_Fields(body).field(2)))
    return ClientHello(sni, alpn)


def _host_name(names: _Fields) -> bytes:
    while names:
        kind, name = names.number(1), names.field(2)
        if kind == 0:
            return name
    return b""


def _protocols(names: _Fields) -> tuple[bytes, ...]:
    found = []
    while names:
        found.append(names.field(1))
    return tuple(found)
