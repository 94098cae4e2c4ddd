"""What a sidecar must not be talked into, whoever asks."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.documents import SERVICE, to_version, workload
from tests.live.processes import BIN, App, Sidecar, app, call, sidecar, until

REFUSED = "meshcar_connections_refused_total"


@pytest.fixture(scope="module")
def behind() -> Iterator[App]:
    with app("httpbin") as one:
        yield one


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, behind: App) -> Iterator[Sidecar]:
    """A sidecar without capture, with one plain workload."""
    rules = SERVICE + workload("v1", "127.0.0.1", behind.port, mesh=False)
    with sidecar(tmp_path_factory.mktemp("guards"), rules, "--intercept", "none", "--app-port", str(behind.port)) as one:
        yield one


def loops(client: Sidecar) -> float:
    return client.counted(REFUSED, reason="loop")


def own_ports(client: Sidecar) -> dict[str, int]:
    return {name: getattr(client, name) for name in ("outbound", "inbound", "admin", "health", "metrics")}


@pytest.mark.parametrize("listener", ["outbound", "inbound", "admin", "health", "metrics"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]"])
def test_passthrough(client: Sidecar, listener: str, host: str) -> None:
    """As an unknown host, by the Host header and by an absolute target."""
    port = own_ports(client)[listener]
    for target, headers in (("/stats/prometheus", {"host": f"{host}:{port}"}), (f"http://{host}:{port}/stats/prometheus", {})):
        before = loops(client)
        status, body = call(client.outbound, "GET", target, headers=headers)
        assert status in (404, 502, 503) and "meshcar_" not in body, (target, status, body)
        assert loops(client) == before + 1


@pytest.mark.parametrize("listener", ["outbound", "inbound", "admin"])
def test_workload(client: Sidecar, listener: str) -> None:
    """As the address of a workload that the rules name."""
    client.apply(workload("v2", "127.0.0.1", own_ports(client)[listener], mesh=False) + to_version("v2"))
    try:
        before = loops(client)
        status, body = call(client.outbound, "GET", "/server_info", headers={"host": "httpbin:8000"})
        assert (status, "version" in body) == (503, False)
        assert loops(client) > before
    finally:
        for key in ("VirtualService/default/httpbin", "WorkloadEntry/default/httpbin-v2"):
            assert call(client.admin, "DELETE", f"/rules/{key}")[0] == 200


def test_mirror(client: Sidecar) -> None:
    """As the target of a mirror; the primary's answer is what it is."""
    client.apply(workload("v2", "127.0.0.1", client.admin, mesh=False) + to_version("v1", mirror="v2"))
    try:
        before = loops(client)
        status, body = call(client.outbound, "POST", "/reload", headers={"host": "httpbin:8000"})
        assert (status, json.loads(body)["app"]) == (200, "httpbin")
        until(lambda: loops(client) > before)
    finally:
        for key in ("VirtualService/default/httpbin", "WorkloadEntry/default/httpbin-v2"):
            assert call(client.admin, "DELETE", f"/rules/{key}")[0] == 200


def test_not_captured(tmp_path: Path) -> None:
    """With capture, a connection that nobody captured is closed without an answer, and counted."""
    with sidecar(tmp_path, SERVICE) as one:
        for port in (one.outbound, one.inbound):
            with pytest.raises(OSError):
                call(port, "GET", "/", headers={"host": "httpbin:8000"})
        assert one.counted(REFUSED, reason="not_captured") == 2


def test_opaque_without_capture(client: Sidecar) -> None:
    """Bytes that are not HTTP have no destination then: closed without an answer."""
    with socket.create_connection(("127.0.0.1", client.outbound), 10) as opened:
        opened.settimeout(10)
        opened.sendall(b"\x00\x01\x02 not HTTP\r\n\r\n")
        assert opened.recv(1000) == b""


def test_admin_token(tmp_path: Path) -> None:
    """With a token, changes and rules need it; `meshcar` takes it by the same option."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with sidecar(tmp_path / "run", SERVICE, "--intercept", "none", "--admin-token", token) as one:
        for method, path in (("GET", "/rules"), ("GET", "/config_dump"), ("POST", "/reload"), ("POST", "/rules/apply"),
                             ("DELETE", "/rules/Service/default/httpbin")):
            assert call(one.admin, method, path)[0] in (401, 403), path
            assert call(one.admin, method, path, headers={"authorization": "Bearer wrong"})[0] in (401, 403), path
        right = {"authorization": "Bearer s3cret"}
        assert call(one.admin, "GET", "/rules", headers=right)[0] == 200
        assert call(one.admin, "POST", "/reload", headers=right)[0] == 200
        assert call(one.admin, "GET", "/ready")[0] == 200


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "evil.example"}, 403),
    ({"origin": "http://127.0.0.1:15000"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
])
def test_browsers(client: Sidecar, headers: dict[str, str], status: int) -> None:
    """A page in a browser changes nothing: DNS rebinding, and cross-site requests."""
    assert call(client.admin, "POST", "/reload", headers=headers)[0] == status


def test_mutation_by_get(client: Sidecar) -> None:
    """A link is not an order."""
    assert call(client.admin, "GET", "/reload")[0] in (400, 405)


def test_large_body(client: Sidecar) -> None:
    """More than 1 MiB of rules is refused, and the old rules serve."""
    assert call(client.admin, "POST", "/rules/apply", "#" * ((1 << 20) + 1))[0] == 413
    assert call(client.outbound, "GET", "/", headers={"host": "httpbin:8000"})[0] == 200


def test_bad_rules_change_nothing(client: Sidecar) -> None:
    """Every error at once, exit 1 and 422; the old rules serve, the generation stays."""
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {colour: red, ports: [{port: 0}]}\n"
    generation = json.loads(call(client.admin, "GET", "/rules")[1])["generation"]
    status, body = call(client.admin, "POST", "/rules/apply", bad)
    assert (status, [error["line"] for error in json.loads(body)["errors"]]) == (422, [4, 4])
    done = subprocess.run([BIN / "meshcar", "apply", "--admin", f"http://127.0.0.1:{client.admin}", "-f", "-"], input=bad, text=True,
                          capture_output=True, check=False, timeout=20)
    assert (done.returncode, len([line for line in done.stderr.splitlines() if line.startswith("-:4:")])) == (1, 2), done
    assert json.loads(call(client.admin, "GET", "/rules")[1])["generation"] == generation
    assert call(client.outbound, "GET", "/", headers={"host": "httpbin:8000"})[0] == 200


def test_private_socket(tmp_path: Path) -> None:
    """Admin on a Unix socket, and the command that speaks to it."""
    path = tmp_path / "admin.sock"
    with sidecar(tmp_path / "run", SERVICE, "--intercept", "none", "--admin", f"unix:{path}"):
        command = [BIN / "meshcar", "get", "--admin", f"unix:{path}", "-o", "name"]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        assert (done.returncode, "httpbin" in done.stdout) == (0, True), done
