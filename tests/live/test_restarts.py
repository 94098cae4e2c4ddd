"""A pair of sidecars is restarted, its certificates rotated and its rules changed under load: no request is lost, none sent twice.

`MESHCAR_RESTARTS=1 pytest tests/live/test_restarts.py` does as many as docs/operations.md says; without it, a tenth.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.live.documents import SERVICE, strict, to_version, workload
from tests.live.processes import BIN, App, Process, app, call, free_ports, issue, until

SCALE = 10 if os.environ.get("MESHCAR_RESTARTS") else 1
REQUESTS, RESTARTS, ROTATIONS, CHANGES = 1000 * SCALE, 2 * SCALE, 2 * SCALE, 20 * SCALE
CLIENTS = 4
AS_SYSTEMD = """
import fcntl, os, sys
apart = [fcntl.fcntl(int(one), fcntl.F_DUPFD_CLOEXEC, 100) for one in sys.argv[1].split(",")]
for number, descriptor in enumerate(apart, 3):
    os.dup2(descriptor, number)
os.execve(sys.argv[2], sys.argv[2:], os.environ | {"LISTEN_PID": str(os.getpid())})
"""
"""Passes descriptors as systemd does: from 3 on, to the process whose number is named."""


class Pair:
    """A client's sidecar, whose processes hand their sockets to each other, and a server's, whose sockets this test keeps, as systemd
    would; mTLS between them."""

    def __init__(self, folder: Path, certs: Path, server: App) -> None:
        self.folder, self.runs = folder, 0
        self.outbound, self.admin = free_ports(2)
        self.sockets = {name: socket.create_server(("127.0.0.1", 0), backlog=512) for name in ("inbound", "health", "metrics")}
        inbound = self.sockets["inbound"].getsockname()[1]
        (folder / "client.yaml").write_text(SERVICE + workload("v1", "127.0.0.1", inbound) + to_version("v1"))
        (folder / "server.yaml").write_text(strict())
        common = ["--intercept", "none", "--certs", certs, "--access-log", "off", "--drain", "20"]
        self._client = [
            *common, "--rules", folder / "client.yaml", "--outbound", f"127.0.0.1:{self.outbound}", "--inbound", "off", "--health", "off",
            "--metrics", "off", "--admin", f"127.0.0.1:{self.admin}", "--handover", folder / "handover.sock"]
        self._server = [*common, "--rules", folder / "server.yaml", "--outbound", "off", "--admin", "off", "--app-port", str(server.port)]
        self.client, self.server = self.start("client"), self.start("server")

    def start(self, which: str) -> Process:
        """One more process; it serves when this returns."""
        self.runs += 1
        words = [BIN / "twistd", "-n", "meshcar", *(self._client if which == "client" else self._server)]
        place = self.folder / f"{which}{self.runs}"
        place.mkdir()
        descriptors: list[int] = []
        environ = {"NOTIFY_SOCKET": str(place / "notify")}
        if which == "server":
            environ |= {"LISTEN_FDS": str(len(self.sockets)), "LISTEN_FDNAMES": ":".join(self.sockets)}
            descriptors = [one.fileno() for one in self.sockets.values()]
            words = [sys.executable, "-c", AS_SYSTEMD, ",".join(map(str, descriptors)), *words]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(environ["NOTIFY_SOCKET"])
            told.settimeout(20)
            process = Process(words, place, environ, descriptors)
            assert told.recv(100).startswith(b"READY=1"), process.said()
        return process

    def restart(self, which: str) -> None:
        """A new process serves; the old one drains and ends."""
        old, new = getattr(self, which), self.start(which)
        setattr(self, which, new)
        if which == "server":
            old.signal(signal.SIGTERM)
        assert old.wait(30) == (0 if which == "client" else -signal.SIGTERM)
        assert "drained: all is finished" in old.err.read_text(), old.said()
        assert "Traceback" not in old.said(), old.said()

    def stop(self) -> None:
        for process in (self.client, self.server):
            process.stop()
        for one in self.sockets.values():
            one.close()


class Client(Thread):
    """Asks again and again on a connection that it keeps until an answer says `connection: close`; never asks for a thing twice."""

    def __init__(self, port: int, name: str, enough: Event) -> None:
        super().__init__(daemon=True)
        self._port, self._name, self._enough = port, name, enough
        self.answers, self.wrong = 0, list[str]()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._enough.is_set() and len(self.wrong) < 5:
            try:
                self._ask(connection)
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(f"{self._name}-{self.answers}: {e!r}")
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        token = f"/{self._name}-{self.answers}"
        connection.request("POST", token, body=token * 20, headers={"host": "httpbin:8000"})
        answer = connection.getresponse()
        text = answer.read().decode()
        self.answers += 1
        if answer.status != 200 or json.loads(text)["path"] != token:
            self.wrong.append(f"{token}: {answer.status} {text[:200]}")


@pytest.fixture
def server() -> Iterator[App]:
    with app("v1") as one:
        yield one


def test_nothing_is_lost(tmp_path: Path, server: App) -> None:
    """Each request is answered once, whatever happens meanwhile."""
    certs = issue(tmp_path / "certs")
    pair = Pair(tmp_path, certs, server)
    enough, begun = Event(), time.monotonic()
    clients = [Client(pair.outbound, f"c{number}", enough) for number in range(CLIENTS)]
    done = Counter[str]()

    def change(number: int) -> None:
        text = to_version("v1") + f"    timeout: {number + 10}s\n"
        status, body = call(pair.admin, "POST", "/rules/apply", text)
        assert status == 200, body
        done["changes"] += 1

    try:
        for client in clients:
            client.start()
        for number in range(RESTARTS):
            pair.restart(("client", "server")[number % 2])
            done["restarts"] += 1
            issue(certs.parent)
            done["rotations"] += 1
            for _ in range(CHANGES // RESTARTS):
                change(done["changes"])
        until(lambda: sum(client.answers for client in clients) >= REQUESTS or any(client.wrong for client in clients), 300)
        assert f"{done['changes'] + 9}s" in call(pair.admin, "GET", "/rules")[1], "what was applied is handed over"
    finally:
        enough.set()
        for client in clients:
            client.join(30)
        pair.stop()
    answered = sum(client.answers for client in clients)
    times = Counter(seen["path"] for seen in server.seen)
    twice = sum(count > 1 for count in times.values())
    failed = [wrong for client in clients for wrong in client.wrong]
    print(f"{answered} requests, {done['restarts']} restarts, {done['rotations']} rotations, {done['changes']} rule changes "
          f"in {time.monotonic() - begun:.0f} s: {len(failed)} failed, {twice} came twice")
    assert failed == [] and twice == 0 and len(times) == answered


def test_admin_on_a_path(tmp_path: Path) -> None:
    """The path of admin's Unix socket, and what was applied, pass from process to process; the last one removes the path."""
    admin = f"unix:{tmp_path}/admin.sock"
    (tmp_path / "rules.yaml").write_text(SERVICE)
    (tmp_path / "applied.yaml").write_text(to_version("v1"))
    off = [word for name in ("inbound", "health", "metrics") for word in (f"--{name}", "off")]
    words = [BIN / "twistd", "-n", "meshcar", "--rules", tmp_path / "rules.yaml", *off, "--outbound", f"127.0.0.1:{free_ports(1)[0]}",
             "--admin", admin, "--handover", tmp_path / "handover.sock"]

    def ask(verb: str, *more: str) -> str:
        done = subprocess.run([BIN / "meshcar", verb, *more, "--admin", admin], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    processes = [Process(words, tmp_path / "0")]
    try:
        ask("wait", "--timeout", "10")
        ask("apply", "-f", str(tmp_path / "applied.yaml"))
        for number in (1, 2):
            processes.append(Process(words, tmp_path / str(number)))
            assert processes[-2].wait(20) == 0, processes[-1].said()
            assert "applied" in ask("get", "vs")
        broken = Process([*words, "--mtls", "maybe"], tmp_path / "broken")
        assert broken.wait(20) == 1
        wrong = Process([*words, "--rules", tmp_path / "nowhere.yaml"], tmp_path / "wrong")
        assert wrong.wait(20) == 1
        assert "applied" in ask("get", "vs"), "a successor that cannot start changes nothing"
        assert "gave up" in processes[-1].err.read_text()
    finally:
        status = processes[-1].stop()
    assert status == -signal.SIGTERM and not (tmp_path / "admin.sock").exists(), processes[-1].said()
