"""Nobody goes in circles: the application calls its own Service and its own address, the sidecar its own pod and itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.live.documents import SERVICE, to_version, workload
from tests.live.pods import VIP, VIP6, Pods, PodSidecar, as_proxy, needs_namespaces, v4, v6
from tests.live.processes import BIN, Process, issue, until

pytestmark = needs_namespaces
OWN = [v4("v1"), f"[{v6('v1')}]"]
AS_ROOT = ["setpriv", "--regid=1337", "--clear-groups"]
"""As Istio runs the sidecar where it captures by TPROXY: the group alone tells whose its connections are."""


@attrs.frozen
class Alone:
    """A pod that serves httpbin, and is all that its Service has."""

    pods: Pods
    sidecar: PodSidecar
    log: Path
    user: list[str]

    def curl(self, url: str, *, as_sidecar: bool = False) -> str:
        """What curl says in the pod: status code, or nothing where there was no answer."""
        words = [*(self.user if as_sidecar else []), "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", url]
        return self.pods.run("v1", *words, check=False).stdout.replace("000", "")

    def served(self) -> int:
        """How many requests the application has had."""
        return len(self.log.read_text().splitlines())

    def passed(self) -> tuple[int, int]:
        """How many requests have passed the outbound and the inbound side."""
        lines = [line for line in self.sidecar.metrics().splitlines() if line.startswith("istio_requests_total{")]
        outbound, inbound = (sum(int(float(line.rpartition(" ")[2])) for line in lines if f'reporter="{side}"' in line)
                             for side in ("source", "destination"))
        return outbound, inbound

    def refused(self) -> int:
        """How many connections the sidecar has refused."""
        found = re.findall(r"^meshcar_connections_refused_total\{.*\} (\S+)$", self.sidecar.metrics(), re.MULTILINE)
        return sum(int(float(one)) for one in found)


@pytest.fixture(scope="module", params=[("redirect", as_proxy()), ("tproxy", as_proxy("net_admin")), ("tproxy", AS_ROOT)],
                ids=["redirect", "tproxy", "tproxy, root"])
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    folder, (mode, user) = tmp_path_factory.mktemp("loops"), request.param
    pods = Pods(folder / "pods", "-m", mode.upper())
    rules = SERVICE.replace("spec:\n  ports", f'spec:\n  clusterIP: {VIP}\n  clusterIPs: [{VIP}, "{VIP6}"]\n  ports', 1)
    app = Process([*pods.inside("v1"), BIN / "gunicorn", "--access-logfile", "-", "-b", "[::]:80", "httpbin:app"], folder / "app")
    try:
        until(lambda: ":80 " in pods.run("v1", "ss", "-Hltn").stdout, what="httpbin")
        certs = issue(folder / "ca").rename(folder / "certs")
        documents = rules + workload("v1", v4("v1")) + to_version("v1")
        sidecar = PodSidecar(
            pods, "v1", folder / "v1", documents, "--certs", certs, "--intercept", mode, "--labels", "app=httpbin", user=user)
        yield Alone(pods, sidecar.ready(), app.out, user)
    finally:
        app.stop()
        sidecar.process.stop()
        pods.close()
    assert "Traceback" not in sidecar.process.said()


def differences(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(late - early for early, late in zip(before, after, strict=True))


@pytest.mark.parametrize("address", [VIP, f"[{VIP6}]"])
def test_own_service(alone: Alone, address: str) -> None:
    """Out by one side, in by the other, once."""
    before = (*alone.passed(), alone.served())
    assert alone.curl(f"http://{address}:8000/get") == "200"
    until(lambda: differences(before, (*alone.passed(), alone.served())) == (1, 1, 1), what="one of each")


@pytest.mark.parametrize("address", [*OWN, "127.0.0.1", "[::1]"])
def test_own_address(alone: Alone, address: str) -> None:
    """The application reaches itself without any sidecar."""
    before = (*alone.passed(), alone.served())
    assert alone.curl(f"http://{address}/get") == "200"
    until(lambda: differences(before, (*alone.passed(), alone.served())) == (0, 0, 1), what="one at the application")


@pytest.mark.parametrize(("address", "sides"), [(OWN[0], (0, 1)), (OWN[1], (0, 1)), ("127.0.0.1", (0, 0)), ("[::1]", (0, 0))])
def test_sidecar_to_its_own_pod(alone: Alone, address: str, sides: tuple[int, int]) -> None:
    """By the pod's address through the inbound side, by loopback straight; once."""
    before = (*alone.passed(), alone.served())
    assert alone.curl(f"http://{address}/get", as_sidecar=True) == "200"
    until(lambda: differences(before, (*alone.passed(), alone.served())) == (*sides, 1), what="one at the application")


@pytest.mark.parametrize("port", [15001, 15006, 15000])
@pytest.mark.parametrize("address", OWN)
def test_sidecar_to_itself(alone: Alone, address: str, port: int) -> None:
    """Its own listeners by the pod's address: refused at the first turn."""
    before = (*alone.passed(), alone.served(), alone.refused())
    assert alone.curl(f"http://{address}:{port}/get", as_sidecar=True) in ("", "502", "503")
    late = until(lambda: (found := (*alone.passed(), alone.served(), alone.refused())) != before and found, what="a refusal")
    assert differences(before, late) == (0, 0, 0, 1)
