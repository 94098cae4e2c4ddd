"""Who is let in: peers with good and bad certificates at a STRICT port, and a sidecar whose own certificates go bad on disk."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.documents import strict
from tests.live.processes import Sidecar, app, header, sidecar, until

MAKE_CERTS = Path(__file__).parents[2] / "certs" / "make_certs.py"
HANDSHAKES = "meshcar_tls_handshakes_total"
ID = "spiffe://cluster.local/ns/default/sa/default"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    subprocess.run([sys.executable, MAKE_CERTS, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Iterator[Sidecar]:
    """A sidecar in front of an application, its certificates in a folder of their own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(certs / "default", folder / "certs")
    with (
        app("httpbin") as behind,
        sidecar(folder, strict(), "--intercept", "none", "--certs", folder / "certs", "--app-port", str(behind.port)) as one,
    ):
        yield one


def context(folder: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = version
    if folder:
        made.load_cert_chain(folder / "cert-chain.pem", folder / "key.pem")
    return made


def ask(server: Sidecar, tls: ssl.SSLContext) -> str | None:
    """The XFCC that the application saw; None: the connection was closed without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.inbound, timeout=10)
    try:
        connection.sock = tls.wrap_socket(socket.create_connection(("127.0.0.1", server.inbound), 10))
        connection.request("GET", "/", headers={"host": "httpbin"})
        return header(json.loads(connection.getresponse().read()), "x-forwarded-client-cert")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_early_connection(server: Sidecar, certs: Path) -> None:
    """A peer whose ALPN names HTTP may connect long before it asks; its request is HTTP all the same."""
    tls = context(certs / "default")
    tls.set_alpn_protocols(["istio-http/1.1", "istio", "http/1.1"])
    connection = http.client.HTTPConnection("127.0.0.1", server.inbound, timeout=10)
    connection.sock = tls.wrap_socket(socket.create_connection(("127.0.0.1", server.inbound), 10))
    connection.sock.settimeout(1.0)
    with pytest.raises(TimeoutError):  # twice the wait of a port of undeclared protocol: nothing comes, nothing is closed
        connection.sock.recv(1)
    connection.sock.settimeout(10)
    connection.request("GET", "/", headers={"host": "httpbin"})
    seen = header(json.loads(connection.getresponse().read()), "x-forwarded-client-cert")
    connection.close()
    assert seen is not None and f"URI={ID}" in seen


@pytest.mark.parametrize("name", ["default", "sleep", "intermediate", "several-names", "subject"])
def test_let_in(server: Sidecar, certs: Path, name: str) -> None:
    """A certificate of the mesh's CA, and the application learns whose."""
    found = ask(server, context(certs / name))
    assert found is not None and f"By={ID};Hash=" in found and "URI=spiffe://cluster.local/ns/default/sa/" in found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("name", "reason"), [
    (None, "no_certificate"),
    ("expired", "expired"),
    ("not-yet-valid", "not_yet_valid"),
    ("foreign-ca", "unknown_ca"),
    ("foreign-trust-domain", "bad_identity"),
    ("odd-uri", "malformed"),
])
def test_refused(server: Sidecar, certs: Path, version: ssl.TLSVersion, name: str | None, reason: str) -> None:
    """No answer, and a count of its own for each reason."""
    before = server.counted(HANDSHAKES, side="inbound", result=reason)
    assert ask(server, context(certs / name if name else None, version)) is None
    until(lambda: server.counted(HANDSHAKES, side="inbound", result=reason) == before + 1)


def test_plaintext_refused(server: Sidecar) -> None:
    """STRICT means it."""
    with pytest.raises(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", server.inbound, timeout=10)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except http.client.HTTPException as e:
            raise OSError from e


def test_unusable_rotation(server: Sidecar, certs: Path) -> None:
    """A key that does not match, on disk: logged and counted, and the certificates before go on being used; good ones are taken up."""
    place = server.folder / "certs"
    failures = server.counted("meshcar_certificate_reload_failures_total")
    shutil.copy(certs / "sleep" / "key.pem", place / "key.pem")
    until(lambda: server.counted("meshcar_certificate_reload_failures_total") > failures)
    assert "key" in server.process.err.read_text()
    found = ask(server, context(certs / "sleep"))
    assert found is not None and found.startswith(f"By={ID};")
    shutil.copy(certs / "sleep" / "cert-chain.pem", place / "cert-chain.pem")
    until(lambda: (ask(server, context(certs / "sleep")) or "").startswith("By=spiffe://cluster.local/ns/default/sa/sleep;"))
    assert f"sa/sleep, but --trust-domain, --namespace and --service-account say {ID}" in server.process.err.read_text()
