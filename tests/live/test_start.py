"""What keeps a sidecar from starting is said in a line each on stderr; and how it starts and ends when nothing does."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.live.documents import SERVICE
from tests.live.processes import BIN, IDENTITY, Process, Sidecar, call, free_ports, issue, sidecar, until


def refused(folder: Path, *words: str | Path, environ: dict[str, str] | None = None) -> list[str]:
    """The lines on stderr of a sidecar that must not start."""
    process = Process([BIN / "twistd", "-n", "meshcar", *words], folder / "run", environ)
    assert process.wait(20) == 1
    assert process.out.read_text() == ""
    lines = process.err.read_text().splitlines()
    assert all(line.startswith("meshcar: ") for line in lines) and lines, lines
    return lines


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(SERVICE)
    return path


def off(*but: str) -> list[str]:
    """Options for no listener but some."""
    return [word for name in ("outbound", "inbound", "admin", "health", "metrics") if name not in but for word in (f"--{name}", "off")]


def test_unknown_option(tmp_path: Path) -> None:
    """twistd's own way would print 54 lines of usage on stdout."""
    (line,) = refused(tmp_path, "--rules", "x", "--nonsense")
    assert "nonsense" in line


def test_options_at_once(tmp_path: Path) -> None:
    """Each wrong option has its line, wherever it came from."""
    lines = refused(tmp_path, "--mtls", "maybe", environ={"MESHCAR_DRAIN": "soon"})
    assert [line.split()[1] for line in lines] == ["--rules", "--mtls:", "--drain:"]


def test_missing_rules(tmp_path: Path) -> None:
    """A source that is not there."""
    (line,) = refused(tmp_path, "--rules", "nowhere.yaml", *off())
    assert "nowhere.yaml" in line


def test_bad_rules(tmp_path: Path) -> None:
    """Every error of the rules, with its place."""
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {colour: red, ports: [{port: 0}]}\n")
    lines = refused(tmp_path, "--rules", tmp_path / "bad.yaml", *off())
    assert len(lines) == 2 and all(f"{tmp_path}/bad.yaml:4:" in line for line in lines), lines


def test_port_taken(tmp_path: Path, rules: Path) -> None:
    """Listeners are bound before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (line,) = refused(tmp_path, "--rules", rules, "--health", address, *off("health"))
    assert address in line


def test_bad_certificates(tmp_path: Path, rules: Path) -> None:
    """A key that is another one's, and a folder that is empty."""
    certs = issue(tmp_path / "a")
    (certs / "key.pem").write_bytes((issue(tmp_path / "b") / "key.pem").read_bytes())
    (tmp_path / "empty").mkdir()
    for folder in (certs, tmp_path / "empty"):
        (line,) = refused(tmp_path, "--rules", rules, "--certs", folder, *off())
        assert str(folder) in line


def test_open_admin(tmp_path: Path, rules: Path) -> None:
    """Whoever can reach admin is an operator."""
    (line,) = refused(tmp_path, "--rules", rules, "--admin", "0.0.0.0:0")
    assert "--admin-token" in line


def test_tproxy_needs_capability(tmp_path: Path, rules: Path) -> None:
    """tproxy without NET_ADMIN says so."""
    if os.geteuid() != 0:
        words: list[str | Path] = []
    else:
        words = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"]
    process = Process(
        [*words, BIN / "twistd", "-n", "meshcar", "--rules", rules, "--intercept", "tproxy", *off("inbound"), "--inbound", "127.0.0.1:0"],
        tmp_path / "run")
    assert process.wait(20) == 1
    (line,) = process.err.read_text().splitlines()
    assert "NET_ADMIN" in line


def test_expired_certificate_starts(tmp_path: Path) -> None:
    """It runs, and is not ready, and says why."""
    certs = issue(tmp_path / "certs", "spiffe://cluster.local/ns/default/sa/short", "--days", "0.00001")
    one = Sidecar(tmp_path / "run", SERVICE, "--intercept", "none", "--certs", certs)

    def answer() -> str | None:
        assert one.process.alive(), one.process.said()
        try:
            status, body = call(one.health, "GET", "/healthz/ready")
        except OSError:
            return None
        return body if status == 503 and "expired" in body else None
    try:
        until(answer, 20)
    finally:
        one.process.stop()


def test_starts_and_ends(tmp_path: Path, rules: Path) -> None:
    """The log goes to stderr, nothing but the access log to stdout; SIGTERM ends it, no pid file stays behind."""
    one = Sidecar(tmp_path / "run", SERVICE, "--intercept", "none")
    try:
        one.ready()
        assert one.process.out.read_text() == ""
    finally:
        assert one.process.stop() == -signal.SIGTERM
    said = one.process.err.read_text()
    listening = [line.partition("listening: ")[2] for line in said.splitlines() if "listening: " in line]
    assert listening == [f"{name} 127.0.0.1:{getattr(one, name)}" for name in ("outbound", "inbound", "admin", "health", "metrics")]
    assert "factory" not in said and "Closed" not in said and "starting on" not in said
    assert not (one.folder / "twistd.pid").exists()
    assert "Traceback" not in one.process.said()


def test_no_app_port(tmp_path: Path) -> None:
    """Without capture and --app-port nobody knows where the application is: it starts, says so, and answers 503."""
    with sidecar(tmp_path / "run", SERVICE, "--intercept", "none") as one:
        assert call(one.inbound, "GET", "/")[0] == 503
        until(lambda: '"GET / HTTP/1.1" 503 NC no_app_port ' in one.process.out.read_text())
        assert "no --app-port: " in one.process.err.read_text()
        assert one.counted("meshcar_connections_refused_total", reason="loop") == 0


@pytest.mark.parametrize(("account", "warned"), [("default", False), ("other", True)])
def test_identity_is_told(tmp_path: Path, account: str, warned: bool) -> None:
    """At start, who it shows itself as; in a warning and in /ready, too, when the options say somebody else."""
    certs = issue(tmp_path / "ca")
    with sidecar(tmp_path / "run", SERVICE, "--intercept", "none", "--certs", certs, "--service-account", account) as one:
        said = one.process.err.read_text()
        assert f"certificates: {IDENTITY} until " in said
        remark = f"certificates: {IDENTITY}, but --trust-domain, --namespace and --service-account say {IDENTITY[:-7]}{account}"
        assert said.count(remark) == warned
        assert call(one.admin, "GET", "/ready") == (200, f"LIVE\n{remark}\n" if warned else "LIVE\n")


def test_hangup_reloads(tmp_path: Path) -> None:
    """SIGHUP is POST /reload."""
    one = Sidecar(tmp_path / "run", SERVICE, "--intercept", "none")
    try:
        one.ready()
        before = call(one.admin, "GET", "/rules")[1]
        assert "second" not in before
        (one.folder / "rules.yaml").write_text(SERVICE.replace("name: httpbin", "name: second"))
        one.process.signal(signal.SIGHUP)
        until(lambda: "second" in call(one.admin, "GET", "/rules")[1], 1.5)
    finally:
        one.process.stop()


def test_none_is_local(tmp_path: Path, rules: Path) -> None:
    """With --intercept none a bare port is one of 127.0.0.1."""
    outbound, inbound, health = free_ports(3)
    process = Process(
        [BIN / "twistd", "-n", "meshcar", "--rules", rules, "--intercept", "none", "--outbound", str(outbound), "--inbound", str(inbound),
         "--app-port", "1", "--health", f"127.0.0.1:{health}", *off("outbound", "inbound", "health")], tmp_path / "run")
    try:
        until(lambda: not process.alive() or listening(health), 20)
        assert process.alive(), process.said()
        assert listening(outbound) == listening(inbound) == {"0100007F"}
    finally:
        process.stop()


def listening(port: int) -> set[str]:
    """The local addresses, in the kernel's hexadecimal, on which somebody listens on a port."""
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
