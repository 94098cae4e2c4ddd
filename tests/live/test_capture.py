"""Connections that the kernel sends to the sidecar: IPv4 and IPv6, HTTP and not, real curl, gunicorn and httpbin."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.live import servers
from tests.live.documents import SERVICE, strict, to_version, workload
from tests.live.pods import MESHED, VIP, VIP6, Pods, PodSidecar, needs_namespaces, v4, v6
from tests.live.processes import BIN, IDENTITY, Process, issue, until

pytestmark = needs_namespaces


@attrs.frozen
class Mesh:
    """The pods, their sidecars by pod, and where their files are."""

    pods: Pods
    sidecars: dict[str, PodSidecar]
    folder: Path


def serve(pods: Pods, pod: str, folder: Path, kind: str, host: str, port: int) -> Process:
    """A server of servers.py, once it listens."""
    process = Process([*pods.inside(pod), sys.executable, servers.__file__, kind, host, str(port)], folder)
    until(lambda: f":{port} " in pods.run(pod, "ss", "-Hltn").stdout, what="listening")
    return process


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("capture")
    pods = Pods(folder / "pods")
    rules = SERVICE.replace("spec:\n  ports", f'spec:\n  clusterIP: {VIP}\n  clusterIPs: [{VIP}, "{VIP6}"]\n  ports', 1)
    rules += workload("v1", v4("v1")) + workload("v2", v6("v2")) + to_version("v1")
    running: list[Process] = []
    sidecars = {}
    try:
        for name in MESHED:
            certs = issue(folder / "ca").rename(folder / f"{name}-certs")
            # the client's is the sidecar that could be talked into calling itself: plaintext allowed, and all goes to 127.0.0.1
            its_rules, more = (rules, ["--app-address", "127.0.0.1"]) if name == "client" else (f"{rules}---\n{strict()}", [])
            sidecars[name] = PodSidecar(pods, name, folder / name / "run", its_rules, "--certs", certs, "--labels", labels(name), *more)
            running.append(sidecars[name].process)
        for name in ("v1", "v2"):
            running.append(Process(
                [*pods.inside(name), BIN / "gunicorn", "--access-logfile", "-", "-b", "[::]:80", "httpbin:app"], folder / name / "app"))
            until(lambda name=name: ":80 " in pods.run(name, "ss", "-Hltn").stdout, what="httpbin")
        for kind, port in (("banner", 2525), ("echo", 7)):
            running += [serve(pods, "outside", folder / kind / host, kind, host, port) for host in (v4("outside"), v6("outside"))]
        for one in sidecars.values():
            one.ready()
        yield Mesh(pods, sidecars, folder)
    finally:
        for process in running:
            process.stop()
        pods.close()
    for one in sidecars.values():
        assert "Traceback" not in one.process.said(), one.process.said()


def labels(pod: str) -> str:
    return "app=sleep" if pod == "client" else f"app=httpbin,version={pod}"


def curl(mesh: Mesh, *words: str, pod: str = "client") -> str:
    return mesh.pods.run(pod, "curl", "-sS", "--max-time", "10", *words).stdout


@pytest.mark.parametrize("address", [VIP, f"[{VIP6}]"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_mutual_tls(mesh: Mesh, address: str, version: str) -> None:
    """To a cluster IP of either family, on to a pod of either family; the application learns who called."""
    put_in_force(mesh, version)
    token = f"token-{version}-{len(address)}"
    answer = curl(mesh, "-A", token, "--resolve", f"httpbin:8000:{address}", "http://httpbin:8000/headers")
    headers = json.loads(answer)["headers"]
    der = x509.load_pem_x509_certificate((mesh.folder / "client-certs" / "cert-chain.pem").read_bytes()).public_bytes(Encoding.DER)
    digest = hashlib.sha256(der).hexdigest()
    assert (headers["Host"], headers["User-Agent"], headers["X-Envoy-Attempt-Count"]) == ("httpbin:8000", token, "1")
    assert headers["X-Forwarded-Client-Cert"] == f'By={IDENTITY};Hash={digest};Subject="";URI={IDENTITY}'
    log = mesh.folder / version / "app" / "stdout"
    (line,) = until(lambda: [line for line in log.read_text().splitlines() if token in line])
    assert line.startswith("::ffff:127.0.0.6 " if version == "v1" else "::6 ")


def put_in_force(mesh: Mesh, version: str) -> None:
    body = to_version(version)
    curl(mesh, "-f", "--data-binary", body, "http://127.0.0.1:15000/rules/apply")


def test_by_pod_address(mesh: Mesh) -> None:
    """Whom no Service names is reached all the same: here by its own address, in plaintext, which STRICT refuses."""
    done = mesh.pods.run("outside", "curl", "-sS", "--max-time", "5", f"http://{v4('v1')}/headers", check=False)
    assert done.returncode in (52, 56), done.stderr


@pytest.mark.parametrize("address", [v4("outside"), v6("outside")])
def test_server_first(mesh: Mesh, address: str) -> None:
    """A server that speaks first gets through, outside the mesh, with what the client says then."""
    program = f"""
import socket
with socket.create_connection(({address!r}, 2525), 10) as s:
    s.settimeout(10)
    greeting = s.recv(100)
    s.sendall(b"HELO\\r\\n")
    print(greeting + s.recv(100))
"""
    assert mesh.pods.run("client", sys.executable, "-c", program).stdout == repr(b"220 ready\r\nHELO\r\n") + "\n"


@pytest.mark.parametrize("address", [v4("outside"), v6("outside")])
def test_opaque(mesh: Mesh, address: str) -> None:
    """Bytes that are neither HTTP nor TLS pass unchanged, a half-close included."""
    program = f"""
import hashlib, os, socket, threading
data = b"\\0" + os.urandom(1 << 22)
with socket.create_connection(({address!r}, 7), 10) as s:
    s.settimeout(10)
    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    back = b"".join(iter(lambda: s.recv(1 << 16), b""))
print(back == data, len(back))
"""
    assert mesh.pods.run("client", sys.executable, "-c", program).stdout.split() == ["True", str((1 << 22) + 1)]


def test_byte_by_byte(mesh: Mesh) -> None:
    """A request that comes one byte at a time is HTTP all the same."""
    put_in_force(mesh, "v1")
    program = f"""
import socket, time
with socket.create_connection(({VIP!r}, 8000), 10) as s:
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in b"GET /status/204 HTTP/1.1\\r\\nHost: httpbin\\r\\nConnection: close\\r\\n\\r\\n":
        s.sendall(bytes([byte]))
        time.sleep(0.002)
    print(s.recv(100))
"""
    assert "HTTP/1.1 204" in mesh.pods.run("client", sys.executable, "-c", program).stdout


@pytest.mark.parametrize("port", [15001, 15006])
def test_not_captured(mesh: Mesh, port: int) -> None:
    """A connection straight to a listener, not sent there by the kernel, is refused."""
    before = refusals(mesh, "not_captured")
    done = mesh.pods.run("client", "curl", "-sS", "--max-time", "5", f"http://127.0.0.1:{port}/", check=False)
    assert done.returncode in (7, 52, 56), (done.returncode, done.stdout, done.stderr)
    assert refusals(mesh, "not_captured") == before + 1


@pytest.mark.parametrize("port", [15000, 15001, 15006])
@pytest.mark.parametrize("host", [v4("client"), f"[{v6('client')}]"])
def test_own_listeners(mesh: Mesh, host: str, port: int) -> None:
    """Nobody reaches a listener of the sidecar through the sidecar: neither admin nor itself."""
    before = refusals(mesh, "loop", "not_captured")
    answer = mesh.pods.run("outside", "curl", "-s", "--max-time", "5", f"http://{host}:{port}/server_info", check=False).stdout
    assert "version" not in answer
    # whom the kernel sends from port 15006 to port 15006 came to where they meant to go: not captured
    assert refusals(mesh, "loop", "not_captured") == before + 1


def refusals(mesh: Mesh, *reasons: str) -> int:
    """How many connections the client's sidecar refused for these reasons."""
    lines = [line for line in mesh.sidecars["client"].metrics().splitlines() if any(f'reason="{reason}"' in line for reason in reasons)]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def test_capture_is_idempotent(mesh: Mesh) -> None:
    """Capture rules put in twice are there once."""
    before = mesh.pods.run("v2", "iptables-save", "-t", "nat").stdout
    mesh.pods.run("v2", str(BIN / "meshcar"), "iptables")
    after = mesh.pods.run("v2", "iptables-save", "-t", "nat").stdout
    def rules(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("-A")]
    assert rules(before) == rules(after) != []
