"""Real processes for live tests: sidecars, and an application that tells what it saw."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

BIN = Path(sys.executable).parent
IDENTITY = "spiffe://cluster.local/ns/default/sa/default"


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until(happened: Any, seconds: float = 10.0, what: str = "it") -> Any:
    """What `happened()` gave once that was true; fails the test after so long."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return found


def issue(folder: Path, identity: str = IDENTITY, *words: str) -> Path:
    """A workload's three files, by the CA in `folder`, as `meshcar certs` makes them; the folder they are in."""
    for verb in (["init"], ["issue", identity, *words]):
        subprocess.run([BIN / "meshcar", "certs", *verb, "--dir", folder], check=True, capture_output=True)
    namespace, _, account = identity.partition("/ns/")[2].partition("/sa/")
    return folder / f"{namespace}.{account}"


class Process:
    """A process with its output in files; killed with the test's process, at the latest."""

    def __init__(
        self, words: Sequence[str | Path], folder: Path, environ: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "stdout", folder / "stderr"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "--", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environ or {}), pass_fds=pass_fds)

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Its exit status."""
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Asks it to end, and its exit status."""
        if self.alive():
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self.wait()

    def said(self) -> str:
        """All its output, for a failing test."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")


class Sidecar:
    """`twistd -n meshcar` on loopback ports of its own."""

    def __init__(self, folder: Path, rules: str, *words: str | Path, pass_fds: Sequence[int] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yaml").write_text(rules)
        self.outbound, self.inbound, self.admin, self.health, self.metrics = free_ports(5)
        self.words = [
            BIN / "twistd", "-n", "meshcar", "--rules", folder / "rules.yaml", "--outbound", f"127.0.0.1:{self.outbound}",
            "--inbound", f"127.0.0.1:{self.inbound}", "--admin", f"127.0.0.1:{self.admin}", "--health", f"127.0.0.1:{self.health}",
            "--metrics", f"127.0.0.1:{self.metrics}", "--drain", "1", *words]
        self.process = Process(self.words, folder, pass_fds=pass_fds)

    def ready(self) -> "Sidecar":
        """Waits until the sidecar says so."""
        def answered() -> bool:
            assert self.process.alive(), self.process.said()
            try:
                return call(self.health, "GET", "/healthz/ready")[0] == 200
            except OSError:
                return False
        until(answered, 20, "readiness")
        return self

    def successor(self) -> "Sidecar":
        """Another one with the same options, that takes over by --handover."""
        one = copy(self)
        one.process = Process(self.words, self.folder / "successor")
        return one

    def apply(self, text: str) -> dict[str, Any]:
        """Applies documents; the answer."""
        status, body = call(self.admin, "POST", "/rules/apply", text)
        assert status == 200, body
        return dict(json.loads(body))

    def counted(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in call(self.metrics, "GET", "/stats/prometheus")[1].splitlines():
            name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
            if name == metric and all(f'{key}="{value}"' in rest for key, value in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total


@contextmanager
def sidecar(folder: Path, rules: str, *words: str | Path) -> Iterator[Sidecar]:
    """A sidecar that is ready, and gone afterwards."""
    one = Sidecar(folder, rules, *words)
    try:
        yield one.ready()
    finally:
        one.process.stop()
    assert "Traceback" not in one.process.said(), one.process.said()


def call(port: int, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body of one request to 127.0.0.1. Raises OSError where nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as e:
        raise OSError(str(e)) from e
    finally:
        connection.close()


class _Telling(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # an answer in one piece: two would wait for each other, 40 ms

    def _tell(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        seen = {"app": self.server.name, "path": self.path, "headers": self.headers.items(), "body": body.decode()}  # type: ignore[attr-defined]
        self.server.seen.append(seen)  # type: ignore[attr-defined]
        answer = json.dumps(seen).encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _tell

    def log_message(self, *_: Any) -> None:
        """Not on the test's stderr."""


class App(ThreadingHTTPServer):
    """Answers each request with `status` and JSON of its name and what it saw; keeps it in `seen` too."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Telling)
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self.status = 200
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that leaves is no event."""


@contextmanager
def app(name: str) -> Iterator[App]:
    """The application, and its end."""
    one = App(name)
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()


def header(seen: dict[str, Any], name: str) -> str | None:
    """The value of a header that an App saw."""
    return next((value for key, value in seen["headers"] if key.lower() == name), None)
