"""DestinationRules against real servers that fail on purpose: ejections, circuit breakers, time limits, keepalive, TLS origination."""

import json
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.failing import failing
from tests.live.processes import Sidecar, call, sidecar, until

CLUSTER = "outbound|8000||web.test"


def rules(policy: str, *ports: int) -> str:
    """A service of these endpoints, and its traffic policy."""
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.test]
  ports: [{{number: 8000, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web.test, trafficPolicy: {policy}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web.test], http: [{{route: [{{destination: {{host: web.test}}}}], retries: {{attempts: 0}}}}]}}
"""


def get(one: Sidecar, host: str = "web.test:8000") -> tuple[int, str]:
    return call(one.outbound, "GET", "/", headers={"host": host})


def healthy(one: Sidecar) -> list[bool]:
    """Of each endpoint, as /clusters has it."""
    found = json.loads(call(one.admin, "GET", "/clusters?format=json")[1])["cluster_statuses"]
    (cluster,) = (each for each in found if each["name"] == CLUSTER)
    return ["failed_outlier_check" not in host["health_status"] for host in cluster["host_statuses"]]


def test_ejection_and_return(tmp_path: Path) -> None:
    """An endpoint that answers 503 goes out after three of them, and comes back when its time is over."""
    outliers = "{consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 1s, maxEjectionPercent: 100}"
    policy = f"{{outlierDetection: {outliers}, loadBalancer: {{simple: ROUND_ROBIN}}}}"
    with failing() as bad, failing() as good, sidecar(tmp_path, rules(policy, bad.port, good.port), "--intercept", "none") as one:
        bad.status = 503
        first = [get(one)[0] for _ in range(6)]
        assert sorted(first) == [200] * 3 + [503] * 3 and healthy(one) == [False, True]
        assert [get(one)[0] for _ in range(6)] == [200] * 6 and bad.hits == 3
        assert f"{CLUSTER}::127.0.0.1:{bad.port}::health_flags::/failed_outlier_check" in call(one.admin, "GET", "/clusters")[1]
        assert one.counted("envoy_cluster_outlier_detection_ejections_active", cluster_name=CLUSTER) == 1
        bad.status = 200
        until(lambda: all(healthy(one)), 5, "the return")
        assert [get(one)[0] for _ in range(4)] == [200] * 4 and bad.hits > 3
        assert one.counted("envoy_cluster_outlier_detection_ejections_active", cluster_name=CLUSTER) == 0
        assert one.counted("envoy_cluster_outlier_detection_ejections_enforced_total", cluster_name=CLUSTER) == 1


@pytest.mark.parametrize("how", ["refused", "reset"])
def test_nobody_left(tmp_path: Path, how: str) -> None:
    """Refused and reset connections count; when all endpoints are out there is no healthy upstream."""
    policy = "{outlierDetection: {consecutiveGatewayErrors: 2, maxEjectionPercent: 100}}"
    with failing() as web, sidecar(tmp_path, rules(policy, web.port), "--intercept", "none") as one:
        web.status = 0
        if how == "refused":
            web.listening.shutdown(2)
            web.listening.close()
        for _ in range(2):
            status, body = get(one)
            assert status == 503 and "reset reason" in body
        assert get(one) == (503, "no healthy upstream") and healthy(one) == [False]


def test_ten_percent(tmp_path: Path) -> None:
    """Ten percent of two endpoints is nobody: as with Envoy 1.40, both stay."""
    policy = "{outlierDetection: {consecutive5xxErrors: 1}}"
    with failing() as web, sidecar(tmp_path, rules(policy, web.port, 1), "--intercept", "none") as one:
        web.status = 500
        for _ in range(6):
            get(one)
        assert healthy(one) == [True, True]
        assert one.counted("envoy_cluster_outlier_detection_ejections_overflow", cluster_name=CLUSTER) > 0


def together(one: Sidecar, count: int) -> list[tuple[int, str]]:
    """So many requests, begun one after the other, running at a time."""
    with ThreadPoolExecutor(count) as pool:
        begun = []
        for _ in range(count):
            begun.append(pool.submit(get, one))
            time.sleep(0.05)
        return [each.result() for each in begun]


@pytest.mark.parametrize(
    ("pool", "wanted", "connections"),
    [
        ("{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}", [200, 200, 503], 1),
        ("{http: {http2MaxRequests: 1}}", [200, 503, 503], 3),
        ("{tcp: {maxConnections: 1}}", [200, 200, 200], 1),
    ],
)
def test_circuit_breakers(tmp_path: Path, pool: str, wanted: list[int], connections: int) -> None:
    """What an Envoy 1.40 did with three requests of 0.4 s each: who waits, who is refused, and how many connections there were."""
    with failing() as web, sidecar(tmp_path, rules(f"{{connectionPool: {pool}}}", web.port), "--intercept", "none") as one:
        web.wait = 0.4
        found = together(one, 3)
        assert [status for status, _ in found] == wanted and web.connections <= connections
        refused = [body for status, body in found if status == 503]
        assert all(body.endswith("reset reason: overflow") for body in refused)
        counted = ("rq_pending_overflow", "rq_active_overflow")
        assert sum(one.counted(f"envoy_cluster_upstream_{name}", cluster_name=CLUSTER) for name in counted) == len(refused)


def test_connect_timeout(tmp_path: Path) -> None:
    """A listener whose queue is full answers nobody: after connectTimeout the request fails."""
    with failing() as web, ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        text = rules("{connectionPool: {tcp: {connectTimeout: 300ms}}}", full.getsockname()[1])
        with sidecar(tmp_path, text, "--intercept", "none") as one:
            begun = time.monotonic()
            status, body = get(one)
            assert status == 503 and body.endswith("reset reason: connection timeout") and 0.25 < time.monotonic() - begun < 3
        assert web.hits == 0


def test_keepalive_and_idle(tmp_path: Path) -> None:
    """The kernel shows a keepalive timer on the idle connection, which ends after the idle timeout."""
    policy = "{connectionPool: {tcp: {tcpKeepalive: {time: 33s, interval: 5s, probes: 2}}, http: {idleTimeout: 1s}}}"
    with failing() as web, sidecar(tmp_path, rules(policy, web.port), "--intercept", "none") as one:
        assert get(one)[0] == 200

        def shown() -> str:
            words = ["ss", "-Htno", "state", "established", f"( dport = :{web.port} )"]
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout

        (line,) = shown().splitlines()
        assert "timer:(keepalive,3" in line, line
        until(lambda: not shown(), 5, "the end of the idle connection")
        assert get(one)[0] == 200 and web.connections == 2


def test_proxy_protocol(tmp_path: Path) -> None:
    """The server sees the header before the request."""
    with failing() as web, sidecar(tmp_path, rules("{proxyProtocol: {version: V1}}", web.port), "--intercept", "none") as one:
        get(one)
        assert web.first[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") and b"\r\nGET / HTTP/1.1\r\n" in web.first[0]


def certificate(folder: Path, *names: str) -> ssl.SSLContext:
    """A self-signed certificate in `folder`, and the server's side of it."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-addext", f"subjectAltName={','.join(names)}"]
    subprocess.run([*words, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.mark.parametrize(
    ("more", "status", "server_name"),
    [
        ("", 200, "web.test"),
        (", sni: other.test", 200, "other.test"),
        (", subjectAltNames: [web.test]", 200, "web.test"),
        (", subjectAltNames: ['spiffe://a/b']", 200, "web.test"),
        (", subjectAltNames: [else.test]", 503, "web.test"),
        (", sni: other.test, subjectAltNames: [other.test]", 503, "other.test"),
    ],
)
def test_tls_origination(tmp_path: Path, more: str, status: int, server_name: str) -> None:
    """SIMPLE: the Host or the rule's name goes into the ClientHello; the certificate must be of the CA, and for whom the rule says."""
    context = certificate(tmp_path, "DNS:web.test", "URI:spiffe://a/b")
    text = f"{{tls: {{mode: SIMPLE, caCertificates: {tmp_path}/cert.pem{more}}}}}"
    with failing(context) as web, sidecar(tmp_path / "one", rules(text, web.port), "--intercept", "none") as one:
        assert get(one)[0] == status
        assert web.names == [server_name] and (not web.alpn or web.alpn == ["http/1.1"])


def test_tls_by_the_machines_store(tmp_path: Path) -> None:
    """Without caCertificates the machine's trust store decides, which does not know this server; insecureSkipVerify takes anybody."""
    context = certificate(tmp_path, "DNS:web.test")
    with failing(context) as web:
        for more, status in (("", 503), (", insecureSkipVerify: true", 200)):
            text = rules(f"{{tls: {{mode: SIMPLE{more}}}}}", web.port)
            with sidecar(tmp_path / str(status), text, "--intercept", "none") as one:
                assert get(one)[0] == status


def test_tls_without_its_file(tmp_path: Path) -> None:
    """A missing file fails requests, not the rules: it may be mounted later. The access log names it."""
    text = f"{{tls: {{mode: SIMPLE, caCertificates: {tmp_path}/no}}}}"
    with failing() as web, sidecar(tmp_path, rules(text, web.port), "--intercept", "none") as one:
        status, body = get(one)
        assert status == 503 and body.endswith("remote connection failure")
        until(lambda: f"{tmp_path}/no" in one.process.out.read_text(), 5, "the line of the log")
