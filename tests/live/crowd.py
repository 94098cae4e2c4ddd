"""Many clients of a sidecar of several processes, and which process has whom."""

import http.client
import json
import os
import socket
from pathlib import Path
from threading import Event, Thread

from tests.live.processes import Sidecar, call

HOST = {"host": "httpbin:8000"}


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def holder(sock: socket.socket, among: list[int]) -> int | None:
    """Which of some processes has the other end of a connection to 127.0.0.1; None: nobody has accepted it."""
    here, there = sock.getsockname()[1], sock.getpeername()[1]
    ends = (f"0100007F:{there:04X}", f"0100007F:{here:04X}")
    # a table that changes while it is read may show one twice
    lines = map(str.split, Path("/proc/net/tcp").read_text().splitlines())
    sockets = {f"socket:[{words[9]}]" for words in lines if (words[1], words[2]) == ends}
    for pid in among:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(descriptor) in sockets:
                    return pid
            except FileNotFoundError:
                pass
    return None


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Clients:
    """Connections that are kept, each with one request answered, until each process has some."""

    def __init__(self, one: Sidecar, count: int = 20) -> None:
        self.pids = [one.process.pid, *children(one.process.pid)]
        self.by_pid: dict[int, list[http.client.HTTPConnection]] = {pid: [] for pid in self.pids}
        self.asked = 0
        while len(self.all()) < count or not all(self.by_pid.values()):
            assert len(self.all()) < 500, "one process takes all connections"
            connection = http.client.HTTPConnection("127.0.0.1", one.outbound, timeout=10)
            self.ask(connection)
            pid = holder(connection.sock, self.pids)
            assert pid is not None
            self.by_pid[pid].append(connection)

    def all(self) -> list[http.client.HTTPConnection]:
        return [connection for some in self.by_pid.values() for connection in some]

    def ask(self, connection: http.client.HTTPConnection) -> str:
        """The application that answers."""
        connection.request("GET", "/x", headers=HOST)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        self.asked += 1
        return str(json.loads(body)["app"])

    def answers(self) -> set[str]:
        """Of all connections."""
        return {self.ask(connection) for connection in self.all()}

    def close(self) -> None:
        for connection in self.all():
            connection.close()


class Load(Thread):
    """Asks on a new connection each time. `wrong` holds what was not answered."""

    def __init__(self, one: Sidecar) -> None:
        super().__init__(daemon=True)
        self._port, self._enough, self.wrong, self.answers = one.outbound, Event(), list[str](), 0
        self.lost = list[int]()

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                status, body = call(self._port, "GET", "/", headers=HOST)
                self.answers += 1
                if status != 200:
                    self.wrong.append(f"{status} {body}")
            except OSError as e:
                self.wrong.append(repr(e))

    def end(self) -> list[str]:
        self._enough.set()
        self.join(15)
        assert self.answers > 10
        return self.wrong
