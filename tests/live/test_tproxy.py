"""Connections captured by TPROXY: they keep both their addresses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.documents import SERVICE, to_version, workload
from tests.live.pods import VIP, Pods, PodSidecar, needs_namespaces, v4, v6
from tests.live.processes import BIN, Process, issue, until

pytestmark = needs_namespaces


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """A client and httpbin v1, their sidecars with --intercept tproxy."""
    folder: Path = tmp_path_factory.mktemp("tproxy")
    pods = Pods(folder / "pods", "-m", "TPROXY")
    rules = SERVICE + workload("v1", v4("v1")) + to_version("v1")
    running = [Process([*pods.inside("v1"), BIN / "gunicorn", "--access-logfile", "-", "-b", "[::]:80", "httpbin:app"], folder / "app")]
    try:
        until(lambda: ":80 " in pods.run("v1", "ss", "-Hltn").stdout, what="httpbin")
        for name in ("client", "v1"):
            certs = issue(folder / "ca").rename(folder / f"{name}-certs")
            one = PodSidecar(pods, name, folder / name, rules, "--certs", certs, "--intercept", "tproxy")
            running.append(one.process)
            one.ready()
        yield pods
    finally:
        for process in running:
            process.stop()
        pods.close()
    assert "Traceback" not in "".join(process.said() for process in running)


def test_mutual_tls(pods: Pods) -> None:
    """From sidecar to sidecar."""
    answer = pods.run("client", "curl", "-sS", "--max-time", "10", "--resolve", f"httpbin:8000:{VIP}", "http://httpbin:8000/headers").stdout
    assert "By=spiffe://" in json.loads(answer)["headers"]["X-Forwarded-Client-Cert"]


@pytest.mark.parametrize("address", [v4("v1"), f"[{v6('v1')}]"])
def test_plaintext(pods: Pods, address: str) -> None:
    """From outside the mesh, where that is permitted, to either family: on to the port the connection came for."""
    answer = pods.run("outside", "curl", "-sSi", "--max-time", "10", f"http://{address}/headers").stdout
    assert "server: meshcar" in answer and "X-Forwarded-Client-Cert" not in answer
