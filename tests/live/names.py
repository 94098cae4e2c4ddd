"""A DNS server for tests: `names.py ADDRESS FILE` answers A queries with what a JSON file holds then, {name: [address]}."""

import json
import socket
import struct
import sys
from pathlib import Path

A, NXDOMAIN = 1, 3


def question(query: bytes) -> tuple[str, int, int]:
    """The name that is asked for, the record's type, and where the question ends."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels).lower(), struct.unpack_from("!H", query, at + 1)[0], at + 5


def answer(query: bytes, known: dict[str, list[str]]) -> bytes:
    """The answer to a query: addresses, none of that type, or no such name."""
    name, kind, end = question(query)
    addresses = known.get(name, []) if kind == A else []
    code = 0 if name in known else NXDOMAIN
    head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
    record = struct.pack("!HHHLH", 0xC00C, A, 1, 1, 4)
    return head + query[12:end] + b"".join(record + socket.inet_aton(one) for one in addresses)


def main(address: str, file: str) -> None:
    """Serves for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))
        while True:
            query, client = sock.recvfrom(512)
            sock.sendto(answer(query, json.loads(Path(file).read_text())), client)


if __name__ == "__main__":
    main(*sys.argv[1:])
