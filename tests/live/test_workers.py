"""Several processes behind one set of ports, seen from outside."""

import json
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest

from tests.live.crowd import HOST, Clients, Load, children, gone, refuses
from tests.live.documents import SERVICE, to_version, workload
from tests.live.processes import BIN, App, Process, Sidecar, app, call, free_ports, issue, until
from tests.live.test_restarts import AS_SYSTEMD


@pytest.fixture
def apps() -> Iterator[tuple[App, App]]:
    with app("v1") as one, app("v2") as two:
        yield one, two


def rules(apps: tuple[App, App], version: str = "v1") -> str:
    ends = [workload(one.name, "127.0.0.1", one.port, mesh=False) for one in apps]
    return SERVICE + "".join(ends) + to_version(version)


def started(folder: Path, text: str, *words: str | Path, pass_fds: Sequence[int] = ()) -> Sidecar:
    return Sidecar(folder, text, "--intercept", "none", "--workers", "2", *words, pass_fds=pass_fds).ready()


@pytest.fixture
def pair(tmp_path: Path, apps: tuple[App, App]) -> Iterator[Sidecar]:
    """Two processes that send all to v1."""
    one = started(tmp_path, rules(apps))
    yield one
    one.process.stop()
    assert "Traceback" not in one.process.said(), one.process.said()


def generation(one: Sidecar) -> int:
    return int(json.loads(call(one.admin, "GET", "/rules")[1])["generation"])


def test_both_serve(pair: Sidecar, apps: tuple[App, App]) -> None:
    """Both take connections; operators see the sums; the access log has a whole line for each request."""
    clients = Clients(pair)
    clients.answers()
    assert pair.counted("istio_requests_total", response_code="200") == clients.asked
    assert pair.counted("istio_request_duration_milliseconds_count") == clients.asked
    assert pair.counted("envoy_listener_downstream_cx_active", listener_address="outbound") == len(clients.all())
    assert (pair.counted("meshcar_workers"), pair.counted("meshcar_worker_restarts_total")) == (2, 0)
    stats = call(pair.admin, "GET", "/stats?filter=downstream_cx_active")[1]
    assert f"listener.outbound.downstream_cx_active: {len(clients.all())}\n" in stats
    (active,) = re.findall(rf"\|v1\|.*::127.0.0.1:{apps[0].port}::cx_active::(\d+)", call(pair.admin, "GET", "/clusters")[1])
    assert int(active) == 2, "one connection to the application from each process"
    clients.close()
    lines = until(lambda: (text := pair.process.out.read_text()).count("\n") >= clients.asked and text.splitlines())
    assert len(lines) == clients.asked and all(line.startswith("[") and line.endswith(" -") for line in lines)


def test_one_generation(pair: Sidecar, apps: tuple[App, App]) -> None:
    """When a change is answered, whoever asks on whichever connection gets the new rules; also when a file changes, and under load."""
    clients, load = Clients(pair), Load(pair)
    load.start()
    first = generation(pair)
    for number in range(20):
        version = ("v2", "v1")[number % 2]
        assert pair.apply(to_version(version))["generation"] == first + number + 1
        assert clients.answers() == {version}
    status, _ = call(pair.admin, "DELETE", "/rules/VirtualService/default/httpbin")
    assert status == 200
    before = generation(pair)
    (pair.folder / "rules.yaml").write_text(rules(apps, "v2"))
    until(lambda: generation(pair) == before + 1)
    assert clients.answers() == {"v2"}
    clients.close()
    assert load.end() == []
    assert "rules: generation" in pair.process.err.read_text()


def test_refused_change(pair: Sidecar) -> None:
    """A change that is wrong changes nothing anywhere."""
    clients, before = Clients(pair), generation(pair)
    wrong = to_version("v2").replace("subset: v2", "subset: 7")
    status, body = call(pair.admin, "POST", "/rules/apply", to_version("v2") + wrong)
    assert status == 422, body
    (pair.folder / "rules.yaml").write_text(SERVICE + "---\n" + SERVICE)  # which is found wrong only when all is put together
    status, body = call(pair.admin, "POST", "/reload")
    assert status == 422 and "DUPLICATE_RESOURCE" in body and "WORKER_REFUSED" not in body, body
    assert generation(pair) == before and clients.answers() == {"v1"}
    clients.close()


def test_killed(pair: Sidecar) -> None:
    """Of a process that is killed only what it had accepted is lost; another takes its place, with the rules in force, and what it had
    counted stays counted."""
    pair.apply(to_version("v2"))
    clients = Clients(pair)
    owner, (worker,) = pair.process.pid, children(pair.process.pid)
    assert pair.counted("istio_requests_total") == clients.asked
    load = Load(pair)
    load.start()
    until(lambda: load.answers > 20)
    os.kill(worker, signal.SIGKILL)
    until(lambda: children(owner) and gone(worker))
    for connection in clients.by_pid[owner]:
        assert clients.ask(connection) == "v2"
    until(lambda: call(pair.health, "GET", "/healthz/ready")[0] == 200)
    until(lambda: load.answers > 200)
    lost = load.end()
    assert len(lost) <= 1, "what it was just answering"
    (other,) = children(owner)
    assert other != worker and pair.counted("meshcar_worker_restarts_total") == 1
    total = pair.counted("istio_requests_total")
    # of the load's requests, those of the last second before the end are not known
    assert clients.asked < total <= clients.asked + load.answers + 1
    again = Clients(pair)
    assert other in again.by_pid and again.answers() == {"v2"}
    for some in (clients, again):
        some.close()


def test_waiting_connections(pair: Sidecar) -> None:
    """What waits to be accepted when a process is killed is accepted by the others: the sockets are all of theirs."""
    owner, (worker,) = pair.process.pid, children(pair.process.pid)
    for pid in (owner, worker):
        os.kill(pid, signal.SIGSTOP)
    waiting = [socket.create_connection(("127.0.0.1", pair.outbound), 10) for _ in range(50)]
    for one in waiting:
        one.sendall(b"GET / HTTP/1.1\r\nhost: httpbin:8000\r\n\r\n")
    os.kill(worker, signal.SIGKILL)
    os.kill(owner, signal.SIGCONT)
    assert all(one.recv(65536).startswith(b"HTTP/1.1 200 ") for one in waiting)
    for one in waiting:
        one.close()


def test_hangs(pair: Sidecar) -> None:
    """A process that hangs is replaced, and a change of rules does not wait for ever."""
    (worker,) = children(pair.process.pid)
    os.kill(worker, signal.SIGSTOP)
    assert pair.apply(to_version("v2"))["generation"] == 2
    until(lambda: call(pair.health, "GET", "/healthz/ready")[0] == 200)
    assert gone(worker) and Clients(pair).answers() == {"v2"}


def test_told_to_end(pair: Sidecar) -> None:
    """A process that gets SIGTERM alone drains, and is replaced."""
    (worker,) = children(pair.process.pid)
    clients = Clients(pair)
    os.kill(worker, signal.SIGTERM)
    for connection in clients.by_pid[worker]:
        connection.request("GET", "/x", headers=HOST)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.will_close) == (200, True)
    until(lambda: gone(worker) and children(pair.process.pid))
    assert {clients.ask(connection) for connection in clients.by_pid[pair.process.pid]} == {"v1"}
    clients.close()


def test_health(pair: Sidecar) -> None:
    """Failing health checks are told in the answers of all, also of one that was started since."""
    call(pair.admin, "POST", "/healthcheck/fail")
    (worker,) = children(pair.process.pid)
    os.kill(worker, signal.SIGKILL)
    until(lambda: pair.counted("meshcar_workers") == 2 and pair.counted("meshcar_worker_restarts_total") == 1)

    def says_close() -> bool:
        with socket.create_connection(("127.0.0.1", pair.outbound), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: httpbin:8000\r\n\r\n")
            return b"connection: close" in client.recv(65536).lower()

    assert all(says_close() for _ in range(40))
    call(pair.admin, "POST", "/healthcheck/ok")
    until(lambda: not any(says_close() for _ in range(40)))


def test_drain(pair: Sidecar) -> None:
    """SIGTERM drains all: what was asked is answered, and says `connection: close`; then nobody and nothing is left."""
    clients = Clients(pair)
    os.kill(pair.process.pid, signal.SIGTERM)
    until(lambda: "draining" in pair.process.err.read_text())
    for connection in clients.all():
        connection.request("GET", "/x", headers=HOST)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.will_close) == (200, True)
    assert pair.process.wait(5) == -signal.SIGTERM
    assert all(map(gone, clients.pids)) and refuses(pair.outbound)
    said = pair.process.err.read_text()
    assert said.count("drained: all is finished") == 2 and "worker 1: drained" in said and "ended" not in said, said


def test_second_signal(pair: Sidecar) -> None:
    """It cuts what is left, in all of them."""
    clients = Clients(pair)
    for connection in clients.all():
        connection.send(b"POST / HTTP/1.1\r\nhost: httpbin:8000\r\ncontent-length: 5\r\n\r\n")
    pair.process.signal(signal.SIGTERM)
    until(lambda: refuses(pair.inbound))
    pair.process.signal(signal.SIGTERM)
    assert pair.process.wait(1) == -signal.SIGTERM and all(map(gone, clients.pids))


def test_quit(pair: Sidecar) -> None:
    """The exit status is 0, as with one process."""
    pids = [pair.process.pid, *children(pair.process.pid)]
    assert call(pair.admin, "POST", "/quitquitquit") == (200, "OK\n")
    assert pair.process.wait(5) == 0 and all(map(gone, pids))


def test_owner_killed(pair: Sidecar) -> None:
    """Without an owner nobody stays: no process, no port; what runs is finished first."""
    (worker,) = children(pair.process.pid)
    clients = Clients(pair)
    pair.process.signal(signal.SIGKILL)
    pair.process.wait()
    assert {clients.ask(connection) for connection in clients.by_pid[worker]} == {"v1"}
    clients.close()
    until(lambda: gone(worker), 5)
    assert all(map(refuses, (pair.outbound, pair.inbound, pair.admin, pair.health, pair.metrics)))
    assert "the owner is gone" in pair.process.err.read_text()


def test_certificates(tmp_path: Path) -> None:
    """All show the new certificates once files have changed; so does one that is started while the files cannot be used."""
    certs = issue(tmp_path / "certs")
    one = started(tmp_path / "run", SERVICE, "--certs", certs, "--outbound", "off")
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["istio-http/1.1"])
    context.load_cert_chain(certs / "cert-chain.pem", certs / "key.pem")

    def shown() -> set[str]:
        found = set()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", one.inbound), 10) as sock, context.wrap_socket(sock) as tls:
                found.add(sha256(tls.getpeercert(binary_form=True) or b"").hexdigest())
        return found

    try:
        (first,) = shown()
        issue(certs.parent)
        until(lambda: len(now := shown()) == 1 and now != {first})
        (second,) = shown()
        (certs / "key.pem").write_text("broken")
        (worker,) = children(one.process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: one.counted("meshcar_worker_restarts_total") == 1 and one.counted("meshcar_workers") == 2)
        assert shown() == {second}
    finally:
        one.process.stop()


def test_handover(tmp_path: Path, apps: tuple[App, App]) -> None:
    """A successor takes the sockets and what was applied, and starts processes of its own; the old ones end, and no request is lost."""
    first = started(tmp_path / "run", rules(apps), "--handover", tmp_path / "handover.sock")
    first.apply(to_version("v2"))
    pids = [first.process.pid, *children(first.process.pid)]
    load = Load(first)
    load.start()
    until(lambda: load.answers > 20)
    successor = first.successor()
    try:
        assert first.process.wait(10) == 0 and all(map(gone, pids))
        until(lambda: successor.counted("meshcar_workers") == 2)
        assert load.end() == [] and Clients(successor).answers() == {"v2"}
    finally:
        successor.process.stop()
    assert successor.process.err.read_text().count("drained: all is finished") == 2


def test_log_into_a_pipe(tmp_path: Path, apps: tuple[App, App]) -> None:
    """Lines of two processes into one pipe: each whole, none missing."""
    reading, writing = os.pipe()
    one = started(tmp_path, rules(apps), "--access-log", f"/proc/self/fd/{writing}", pass_fds=[writing])
    os.close(writing)
    heard: list[bytes] = []

    def hear() -> None:
        with open(reading, "rb") as pipe:
            heard.extend(pipe.read().splitlines())

    listening = Thread(target=hear, daemon=True)
    listening.start()
    loads = [Load(one) for _ in range(4)]
    for load in loads:
        load.start()
    until(lambda: all(load.answers > 100 for load in loads), 60)
    assert [load.end() for load in loads] == [[]] * 4
    one.process.stop()
    listening.join(10)
    assert len(heard) == sum(load.answers for load in loads)
    assert all(line.startswith(b"[20") and line.endswith(b" - -") and line.count(b'"GET / HTTP/1.1"') == 1 for line in heard)


def test_sockets_of_systemds(tmp_path: Path, apps: tuple[App, App]) -> None:
    """All leave at once what waits on sockets that live on elsewhere; the next processes take it."""
    (tmp_path / "rules.yaml").write_text(rules(apps))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as kept:
        words = [BIN / "twistd", "-n", "meshcar", "--rules", tmp_path / "rules.yaml", "--intercept", "none", "--workers", "2"]
        off = [word for name in ("inbound", "admin", "metrics") for word in (f"--{name}", "off")]

        def start(name: str) -> tuple[Process, int]:
            (health,) = free_ports(1)
            environ = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "outbound"}
            launch = [sys.executable, "-c", AS_SYSTEMD, str(kept.fileno()), *words, *off, "--health", f"127.0.0.1:{health}"]
            process = Process(launch, tmp_path / name, environ, [kept.fileno()])
            until(lambda: not refuses(health) and call(health, "GET", "/healthz/ready")[0] == 200, 20)
            return process, health

        first, _ = start("first")
        first.signal(signal.SIGTERM)
        assert first.wait(10) == -signal.SIGTERM
        waiting = [socket.create_connection(kept.getsockname(), 10) for _ in range(20)]
        for one in waiting:
            one.sendall(b"GET / HTTP/1.1\r\nhost: httpbin:8000\r\n\r\n")
        second, _ = start("second")
        try:
            assert all(one.recv(65536).startswith(b"HTTP/1.1 200 ") for one in waiting)
        finally:
            second.stop()
            for one in waiting:
                one.close()
