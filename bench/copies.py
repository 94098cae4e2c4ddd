"""What a copy of a request costs, and what a dropped one does, beside the same request without a mirror.

    MESHCAR_PURE=1 python -m bench.copies

The data path is interpreted, since its compiled form takes no other transport than its own. CPU µs, in one process: transports write
nowhere, the kernel has no part in it. In each turn of the reactor SIZE requests come, mixed with the answers of the last turn's. The
best of RUNS, in which the kinds take turns.
"""

import gc
import time
from collections import deque
from typing import Any

from meshcar.upstream import opening
from tests.proxy.conftest import Mesh

SIZE, TURNS, RUNS = 6, 160, 30
GET = (
    b"GET /api/items/17?page=2 HTTP/1.1\r\nhost: a\r\nuser-agent: bench/1.0\r\naccept: */*\r\naccept-encoding: gzip, br\r\n"
    b"accept-language: en-GB,en;q=0.9\r\ncookie: session=0123456789abcdef; theme=dark\r\ncache-control: no-cache\r\n\r\n"
)
OK = (
    b"HTTP/1.1 200 OK\r\nserver: bench\r\ndate: Wed, 25 Nov 2026 11:00:00 GMT\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n"
    b"connection: keep-alive\r\n\r\nhello"
)
KINDS = ("none", "copied", "limit", "unreachable", "no_endpoint", "no_cluster", "overflow")
"""What becomes of the copy; the last five are reasons to drop it."""


class Deaf:
    """A transport that is always connected and sends nothing."""

    connected = True
    backlogged = False
    tls = None

    def __init__(self, real: Any) -> None:
        self.local = real.local

    def write(self, data: bytes) -> None:
        pass


class Scene:
    """Clients of a host, whose requests are mirrored in one way or another."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.mesh = mesh = Mesh(tracing="b3", mirror_limit=0 if kind == "limit" else 128)
        opening.connect = mesh.loop.connect  # type: ignore[attr-defined]
        mesh.log.records = deque(maxlen=0)
        if kind != "no_cluster":
            ports = () if kind == "no_endpoint" else (81,)
            mesh.cluster("b", *ports, max_pending_requests=0 if kind == "overflow" else None)
        mesh.route(mirrors=[] if kind == "none" else ["b"], timeout=15.0)
        clients = [mesh.client(GET) for _ in range(2 * SIZE)]
        wires = [mesh.accept() for _ in range(len(mesh.loop.dials))]
        self.sessions = [client.transport.protocol for client in clients]
        self.connections = [wire.transport.protocol for wire in wires]
        for each in (*self.sessions, *self.connections):
            each.transport = Deaf(each.transport)
        for connection in self.connections:
            connection.dataReceived(OK)
        mesh.loop.advance(0)

    def run(self) -> float:
        """CPU µs of a request."""
        mesh = self.mesh
        if self.kind == "unreachable":
            mesh.clusters.get("b").endpoints[0].failed_at = mesh.loop.seconds()
        began = time.process_time()
        for turn in range(TURNS):
            busy = [connection for connection in self.connections if connection.busy]
            for place, session in enumerate(self.sessions[turn % 2 :: 2]):
                for connection in busy[place::SIZE]:
                    connection.dataReceived(OK)
                session.dataReceived(GET)
            mesh.loop.advance(0)
        return (time.process_time() - began) / TURNS / SIZE * 1e6


def main() -> None:
    """Prints a line for each kind."""
    scenes = [Scene(kind) for kind in KINDS]
    gc.collect()
    gc.freeze()
    gc.disable()
    runs = [[scene.run() for scene in scenes] for _ in range(RUNS)]
    best = {kind: min(run[place] for run in runs) for place, kind in enumerate(KINDS)}
    print(f"a request  {best['none']:6.1f}")
    for kind in KINDS[1:]:
        print(f"{kind:11}{best[kind] - best['none']:+6.1f}")


if __name__ == "__main__":
    main()
