"""How a sidecar ends, seen from outside, step by step."""

import http.client
import signal
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.live.documents import SERVICE, to_version, workload
from tests.live.processes import Process, Sidecar, call, free_ports, until


class Slow(ThreadingHTTPServer):
    """Answers when it is let; what is called `/back` is asked of a URL first, as an application does that needs others."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Slow)
        self.let, self.asked, self.back = Event(), 0, 0
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Slow

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.path == "/slow":
            self.server.let.wait(10)
        status = call(self.server.back, "GET", "/", headers={"host": f"127.0.0.1:{self.server.port}"})[0] if self.path == "/back" else 200
        self.send_response(status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Not on stderr."""


@pytest.fixture
def app() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.let.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def one(tmp_path: Path, app: Slow) -> Iterator[Sidecar]:
    sidecar = Sidecar(tmp_path, SERVICE, "--intercept", "none", "--app-port", str(app.port), "--drain", "4")
    try:
        yield sidecar.ready()
    finally:
        sidecar.process.signal(signal.SIGTERM)
        sidecar.process.stop()
    assert "Traceback" not in sidecar.process.said(), sidecar.process.said()


class Asking(Thread):
    """One request, its answer kept."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._path = path
        self.status, self.said_close = 0, False
        self.start()

    def run(self) -> None:
        try:
            self.connection.request("GET", self._path)
            answer = self.connection.getresponse()
            answer.read()
            self.said_close, self.status = answer.will_close, answer.status
        except (OSError, http.client.HTTPException):
            self.status = -1


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def steps(one: Sidecar) -> list[str]:
    """What the log says of the drain."""
    return [line.partition("#info] ")[2] for line in one.process.err.read_text().splitlines() if "drain" in line]


def test_finishes(one: Sidecar, app: Slow) -> None:
    """Not ready, no new connections; what runs is answered with `connection: close`, and then the process ends at once."""
    asking = Asking(one.inbound, "/slow")
    until(lambda: app.asked)
    one.process.signal(signal.SIGTERM)
    until(lambda: refuses(one.inbound))
    assert call(one.health, "GET", "/healthz/ready") == (503, "draining\n")
    assert call(one.admin, "GET", "/ready")[1].startswith("DRAINING\n")
    assert not refuses(one.outbound), "what runs may have to call others"
    app.let.set()
    assert one.process.wait(3) == -signal.SIGTERM
    asking.join(1)
    assert (asking.status, asking.said_close) == (200, True)
    assert steps(one)[1:] == [
        "draining: inbound connections are not accepted any more",
        "draining: outbound connections are not accepted any more",
        "drained: all is finished",
    ]


def test_application_calls_others(one: Sidecar, app: Slow) -> None:
    """A request that came before the end is answered, though its application has to call somebody first."""
    app.back = one.outbound
    slow = Asking(one.inbound, "/slow")
    idle = http.client.HTTPConnection("127.0.0.1", one.inbound, timeout=10)
    idle.connect()
    until(lambda: app.asked)
    one.process.signal(signal.SIGTERM)
    until(lambda: refuses(one.inbound))
    idle.request("GET", "/back")
    answer = idle.getresponse()
    assert (answer.status, answer.will_close) == (200, True)
    app.let.set()
    slow.join(3)
    assert slow.status == 200 and one.process.wait(3) == -signal.SIGTERM


def test_deadline(one: Sidecar, app: Slow) -> None:
    """What takes longer than --drain is cut, and the log says so."""
    asking = Asking(one.inbound, "/slow")
    until(lambda: app.asked)
    begun = time.monotonic()
    one.process.signal(signal.SIGTERM)
    assert one.process.wait(8) == -signal.SIGTERM and 3.5 < time.monotonic() - begun < 6
    asking.join(1)
    assert asking.status == -1 and steps(one)[-1].startswith("drained: the rest is cut, inbound connections: 1")


def test_second_signal(one: Sidecar, app: Slow) -> None:
    """Who does not want to wait sends a second signal."""
    Asking(one.inbound, "/slow")
    until(lambda: app.asked)
    one.process.signal(signal.SIGTERM)
    until(lambda: refuses(one.inbound))
    begun = time.monotonic()
    one.process.signal(signal.SIGTERM)
    assert one.process.wait(3) == -signal.SIGTERM and time.monotonic() - begun < 2
    assert "told to end again" in one.process.err.read_text()


def test_quit(one: Sidecar, app: Slow) -> None:
    """/quitquitquit drains as well, and the exit status is 0, as a Job wants it."""
    asking = Asking(one.inbound, "/slow")
    until(lambda: app.asked)
    assert call(one.admin, "POST", "/quitquitquit") == (200, "OK\n")
    until(lambda: refuses(one.inbound))
    app.let.set()
    assert one.process.wait(3) == 0
    asking.join(1)
    assert asking.status == 200


def test_health_and_listeners(one: Sidecar) -> None:
    """Out of service and back; then drained gracefully: still accepting, then not, and alive all the time."""
    assert call(one.admin, "POST", "/healthcheck/fail")[0] == 200
    assert call(one.health, "GET", "/healthz/ready")[0] == 503
    asking = Asking(one.inbound, "/")
    asking.join(5)
    assert (asking.status, asking.said_close) == (200, True)
    call(one.admin, "POST", "/healthcheck/ok")
    assert call(one.health, "GET", "/healthz/ready")[0] == 200
    call(one.admin, "POST", "/drain_listeners?graceful&inboundonly")
    asking = Asking(one.inbound, "/")
    asking.join(5)
    assert (asking.status, asking.said_close) == (200, True)
    until(lambda: refuses(one.inbound), 6)
    assert not refuses(one.outbound) and call(one.health, "GET", "/healthz/ready")[0] == 200


def test_opaque_and_copies(tmp_path: Path) -> None:
    """A connection that is not HTTP, and a copy whose original was answered, are let finish."""
    primary, slow = Slow(), Slow()
    primary.let.set()
    (echo_port,) = free_ports(1)
    rules = SERVICE + workload("v1", "127.0.0.1", primary.port, mesh=False) + workload("v2", "127.0.0.1", slow.port, mesh=False)
    one = Sidecar(tmp_path, rules + to_version("v1", mirror="v2"), "--intercept", "none", "--app-port", str(echo_port), "--drain", "8")
    with socket.create_server(("127.0.0.1", echo_port)) as listening:
        try:
            one.ready()
            with socket.create_connection(("127.0.0.1", one.inbound), 5) as client:
                client.sendall(b"\x00\x01\x02\x03")
                served, _ = listening.accept()
                assert served.recv(4) == b"\x00\x01\x02\x03"
                assert call(one.outbound, "GET", "/slow", headers={"host": "httpbin:8000"})[0] == 200
                until(lambda: slow.asked)
                one.process.signal(signal.SIGTERM)
                until(lambda: refuses(one.inbound))
                served.sendall(b"late")
                assert client.recv(4) == b"late"
                served.close()
            until(lambda: refuses(one.outbound))
            time.sleep(0.2)
            assert one.process.alive(), "the copy runs"
            slow.let.set()
            assert one.process.wait(3) == -signal.SIGTERM
        finally:
            one.process.stop()
    assert one.process.out.read_text().count("GET /slow") == 1 and steps(one)[-1] == "drained: all is finished"


def test_application_leaves(tmp_path: Path) -> None:
    """With --exit-with the sidecar of a job ends when the job does, with status 0."""
    job = Process(["sleep", "60"], tmp_path / "job")
    one = Sidecar(tmp_path / "run", SERVICE, "--intercept", "none", "--exit-with", f"pid:{job.pid}")
    try:
        one.ready()
        job.signal(signal.SIGKILL)
        job.wait()
        assert one.process.wait(5) == 0
    finally:
        one.process.stop()
    assert f"the application has left (pid:{job.pid})" in one.process.err.read_text()


def test_what_was_accepted(one: Sidecar) -> None:
    """Requests on connections that the kernel accepted before the signal are answered, though nobody has looked at them yet."""
    one.process.signal(signal.SIGSTOP)
    clients = [socket.create_connection(("127.0.0.1", one.inbound), 10) for _ in range(100)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    one.process.signal(signal.SIGTERM)
    one.process.signal(signal.SIGCONT)
    answers = [client.recv(65536) for client in clients]
    for client in clients:
        client.close()
    assert all(answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer.lower() for answer in answers), answers[:3]
    assert one.process.wait(5) == -signal.SIGTERM
