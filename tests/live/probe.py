"""Runs in a network namespace, one line of JSON in, one out: tells where connections end up, as whom they are made, and runs `meshcar`."""

import contextlib
import io
import json
import os
import socket
import struct
import sys
from threading import Thread
from typing import Any

ORIGINAL_DST, TRANSPARENT, TRANSPARENT6 = 80, 19, 75
"""SO_ORIGINAL_DST, IP_TRANSPARENT, IPV6_TRANSPARENT. Source: linux/netfilter_ipv4.h, in.h, in6.h."""


def serve(name: str, ports: list[int]) -> None:
    """Answers every connection with the name, the port, and where the connection was meant to go."""
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in ports:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.setsockopt(socket.IPPROTO_IPV6, TRANSPARENT6, 1)
            else:
                listener.setsockopt(socket.SOL_IP, TRANSPARENT, 1)
            listener.bind(("", port))
            listener.listen(64)
            Thread(target=answer, args=(listener, name, port), daemon=True).start()
    print(json.dumps("serving"), flush=True)
    sys.stdin.read()


def answer(listener: socket.socket, name: str, port: int) -> None:
    """Answers until the process ends."""
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), connection:
            connection.sendall(json.dumps([name, port, *meant(connection)]).encode())


def meant(connection: socket.socket) -> tuple[str, int]:
    """The destination before the kernel changed it, if it did."""
    try:
        if connection.family == socket.AF_INET:
            port, address = struct.unpack_from("!2xH4s", connection.getsockopt(socket.SOL_IP, ORIGINAL_DST, 16))
        else:
            port, address = struct.unpack_from("!2xH4x16s", connection.getsockopt(socket.IPPROTO_IPV6, ORIGINAL_DST, 28))
        return socket.inet_ntop(connection.family, address), port
    except OSError:  # nothing was changed
        return connection.getsockname()[:2]


def connect(uid: int, gid: int, source: str, address: str, port: int) -> Any:
    """Who answered; or `refused`, `timeout`."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    finally:
        os.seteuid(0)
        os.setegid(0)
    with one:
        one.settimeout(3)
        try:
            if source:
                one.bind((source, 0))
            one.connect((address, port))
            return json.loads(b"".join(iter(lambda: one.recv(4096), b"")))
        except ConnectionRefusedError:
            return "refused"
        except OSError as e:
            return repr(e)


def stray(source: str, address: str, port: int) -> bool:
    """Whether there is an answer to a segment that begins and ends a connection at once, which conntrack counts to none."""
    packed = [socket.inet_aton(one) for one in (source, address)]
    segment = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 5 << 4, 0x03, 1024, 0, 0)
    words = struct.unpack("!16H", b"".join(packed) + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment)
    total = sum(words)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as one:
        one.settimeout(0.3)
        one.bind((source, 0))
        one.sendto(segment[:16] + struct.pack("!H", checksum) + segment[18:], (address, 0))
        with contextlib.suppress(TimeoutError):
            while True:
                if one.recv(4096)[20:24] == struct.pack("!HH", port, 40000):
                    return True
    return False


def meshcar(words: list[str], environ: dict[str, str]) -> list[Any]:
    """Exit code and output of the command."""
    from meshcar.cli.main import main

    said = io.StringIO()
    before = dict(os.environ)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        os.environ.update(environ)
        try:
            code = main(words)
        except SystemExit as e:
            code = int(e.code or 0)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return [code, said.getvalue()]


def obey() -> None:
    """Does what the lines of stdin say."""
    for line in sys.stdin:
        verb, *words = json.loads(line)
        found = [VERBS[verb](*one) for one in words]
        print(json.dumps(found), flush=True)


VERBS: dict[str, Any] = {"connect": connect, "stray": stray, "meshcar": meshcar}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1], [int(port) for port in sys.argv[2:]])
    else:
        obey()
