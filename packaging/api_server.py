"""A real kube-apiserver and its etcd on loopback, for as long as a `with` block lasts; kubectl finds it by KUBECONFIG."""

import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshcar.cli.demo_shell import DemoFailed, wait_for

PATIENCE = 60.0
"""Seconds until it is ready, and until a process that is told to end has ended."""


@contextmanager
def api_server(programs: Path) -> Iterator[None]:
    """Starts both, out of packaging/apiserver's folder, with nothing in them; afterwards both are gone. Raises DemoFailed."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshcar-kubernetes-")))
        etcd, peers, secure = _free_ports(3)
        token = secrets.token_hex(16)
        stack.enter_context(_process(_etcd(programs, state, etcd, peers), state / "etcd.log"))
        stack.enter_context(_process(_apiserver(programs, state, etcd, secure, token), state / "kube-apiserver.log"))
        _write_kubeconfig(state, secure, token)
        if not wait_for(_is_ready, PATIENCE):
            logs = "".join((state / f"{name}.log").read_text()[-2000:] for name in ("etcd", "kube-apiserver"))
            raise DemoFailed(f"kube-apiserver is not ready after {PATIENCE:g} s; it said\n{logs}")
        yield


def _etcd(programs: Path, state: Path, port: int, peers: int) -> list[str]:
    clients, others = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    return [
        str(programs / "etcd"), f"--data-dir={state / 'etcd'}", f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={others}", f"--initial-advertise-peer-urls={others}", f"--initial-cluster=default={others}",
    ]  # fmt: skip


def _apiserver(programs: Path, state: Path, etcd: int, secure: int, token: str) -> list[str]:
    (state / "tokens.csv").write_text(f"{token},admin,1,system:masters\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (state / "accounts.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return [
        str(programs / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1", f"--secure-port={secure}",
        "--insecure-port=0", f"--cert-dir={state / 'pki'}", f"--token-auth-file={state / 'tokens.csv'}", "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-signing-key-file={state / 'accounts.key'}",
        f"--service-account-key-file={state / 'accounts.key'}", "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
    ]  # fmt: skip


def _write_kubeconfig(state: Path, secure: int, token: str) -> None:
    """For every kubectl that this process starts. The certificate that the server makes for itself is its own authority."""
    cluster = {"server": f"https://127.0.0.1:{secure}", "certificate-authority": str(state / "pki/apiserver.crt")}
    (state / "kubeconfig").write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "here", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
    }))  # fmt: skip
    os.environ["KUBECONFIG"] = str(state / "kubeconfig")


def _is_ready() -> bool:
    return subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, check=False).returncode == 0


@contextmanager
def _process(words: list[str], log: Path) -> Iterator[None]:
    """It ends with the block, and with this process, however that ends."""
    with open(log, "wb") as out:
        process = subprocess.Popen(["setpriv", "--pdeathsig=KILL", *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Free a moment ago: neither program can be told to choose one and say which."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]
