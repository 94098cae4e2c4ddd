"""Through a pair of sidecars, with mTLS between: a protocol switch, and bodies much larger than the memory they may take."""

import hashlib
import re
import socket
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import attrs
import pytest

from tests.live import servers
from tests.live.documents import SERVICE, strict, to_version, workload
from tests.live.processes import Process, Sidecar, free_ports, issue, sidecar, until

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: httpbin:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: %b\r\n\r\n" % KEY.encode()
)
DIGEST = hashlib.sha256(b"".join(servers.portions())).hexdigest()
MOST_MIB = 120


@attrs.frozen
class Pair:
    """The caller's sidecar, and the one before the application."""

    client: Sidecar
    server: Sidecar

    def peaks(self) -> list[int]:
        """The most memory that each has held, in MiB."""
        texts = [Path(f"/proc/{one.process.pid}/status").read_text() for one in (self.client, self.server)]
        return [int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) >> 10 for text in texts]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("streams")
    certs = issue(folder / "ca")
    (port,) = free_ports(1)
    application = Process([sys.executable, servers.__file__, "web", "127.0.0.1", str(port)], folder / "app")
    common = ["--intercept", "none", "--certs", certs]
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, what="the application")
        with sidecar(folder / "server", strict(), *common, "--app-port", str(port)) as server:
            rules = SERVICE + workload("v1", "127.0.0.1", server.inbound) + to_version("v1")
            with sidecar(folder / "client", rules, *common) as client:
                yield Pair(client, server)
    finally:
        application.stop()


def receive(opened: socket.socket, end: bytes) -> bytes:
    """What comes, up to and with `end`."""
    data = b""
    while not data.endswith(end):
        more = opened.recv(65536)
        assert more, data[-200:]
        data += more
    return data


@pytest.mark.parametrize("early", [b"", b"early"])
def test_upgrade(pair: Pair, early: bytes) -> None:
    """Both switch; the server may speak first, bytes sent behind the request wait for the switch, and either end ends the other."""
    with socket.create_connection(("127.0.0.1", pair.client.outbound), 10) as opened:
        opened.sendall(UPGRADE + early)
        head, _, rest = receive(opened, b"greeting" + early).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and servers.accepted(KEY).encode() in head and rest == b"greeting" + early
        for number in range(20):
            opened.sendall(b"\x81\x05frame%d." % number)
            receive(opened, b"frame%d." % number)
        opened.shutdown(socket.SHUT_WR)
        assert opened.recv(1) == b""
    until(lambda: '"GET /chat HTTP/1.1" 101 ' in pair.server.process.out.read_text())


def test_large_upload(pair: Pair) -> None:
    """64 MiB to an application that does not read yet: whole, and nobody in between keeps more than a little."""
    connection = HTTPConnection("127.0.0.1", pair.client.outbound, timeout=30)
    headers = {"host": "httpbin:8000", "content-length": str(servers.PORTIONS << 16)}
    connection.request("POST", "/", servers.portions(), headers)
    assert connection.getresponse().read() == DIGEST.encode()
    connection.close()
    assert max(pair.peaks()) < MOST_MIB, pair.peaks()


def test_large_download(pair: Pair) -> None:
    """64 MiB to a client that does not read yet."""
    connection = HTTPConnection("127.0.0.1", pair.client.outbound, timeout=30)
    connection.request("GET", "/", headers={"host": "httpbin:8000"})
    time.sleep(servers.RELUCTANCE)
    answer, digest = connection.getresponse(), hashlib.sha256()
    while data := answer.read(65536):
        digest.update(data)
    connection.close()
    assert digest.hexdigest() == DIGEST
    assert max(pair.peaks()) < MOST_MIB, pair.peaks()
