"""What goes before everything else on a connection, to say between whom it is (HAProxy's PROXY protocol, versions 1 and 2)."""

import socket

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_TCP4, _TCP6 = 0x11, 0x21


def proxy_header(version: str, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """`version` is V1 or V2; ends are (IP literal, port), both of one family."""
    (from_host, from_port), (to_host, to_port) = source, destination
    six = ":" in from_host
    if version == "V1":
        return f"PROXY TCP{6 if six else 4} {from_host} {to_host} {from_port} {to_port}\r\n".encode()
    family = socket.AF_INET6 if six else socket.AF_INET
    ends = socket.inet_pton(family, from_host) + socket.inet_pton(family, to_host)
    ends += from_port.to_bytes(2, "big") + to_port.to_bytes(2, "big")
    return _SIGNATURE + bytes([_VERSION_2_PROXY, _TCP6 if six else _TCP4]) + len(ends).to_bytes(2, "big") + ends
