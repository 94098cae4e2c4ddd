"""An injected manifest as a kubelet would run it: init container, sidecar, probes; pods are network namespaces."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from tests.live.documents import SERVICE, strict, to_version, workload
from tests.live.pods import MESHED, VIP, Pods, as_proxy, needs_namespaces, v4, v6
from tests.live.processes import BIN, Process, issue, until

pytestmark = needs_namespaces

PAGE = Path(__file__).parents[2] / "meshcar/cli/page/deployments.yaml"
PROBES = {
    "livenessProbe": {"httpGet": {"port": "http", "path": "/headers", "httpHeaders": [{"name": "X-Probe", "value": "live"}]}},
    "readinessProbe": {"httpGet": {"port": 80, "path": "/redirect/2"}},
    "startupProbe": {"tcpSocket": {"port": "http"}, "timeoutSeconds": 2},
    "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/status/404"}}},
}
SECURE = {
    "name": "secure", "image": "x",
    "livenessProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}}, "readinessProbe": {"tcpSocket": {"port": 9}},
    "startupProbe": {"httpGet": {"port": 80, "scheme": "HTTPS"}},
}  # fmt: skip


def manifest() -> str:
    """The page's documents; httpbin-v1 has probes, and a second container."""
    documents = list(yaml.safe_load_all(PAGE.read_text()))
    spec = documents[0]["spec"]["template"]["spec"]
    spec["containers"][0] |= PROBES | {"ports": [{"name": "http", "containerPort": 80}]}
    spec["containers"].append(SECURE)
    return yaml.safe_dump_all(documents, sort_keys=False)


def as_user(security: dict[str, Any]) -> list[str]:
    """What stands before a command to run it with the rights of a container: only root gets the capabilities that are added."""
    if security["runAsUser"] == 1337:
        return as_proxy()
    held = ",".join(f"+{name.lower()}" for name in security["capabilities"]["add"])
    user, group = f"--reuid={security['runAsUser']}", f"--regid={security['runAsGroup']}"
    return ["setpriv", user, group, "--clear-groups", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all,{held}"]


class Kubelet:
    """Runs injected containers in a pod's network, with folders where volumes would be mounted."""

    def __init__(self, pods: Pods, pod: str, template: dict[str, Any], mounts: Mapping[str, Path], folder: Path) -> None:
        self._pods, self._pod, self.mounts, self.folder = pods, pod, mounts, folder
        self.containers = {one["name"]: one for one in template["spec"]["initContainers"]}
        self._environ = {one["name"]: self._value(one) for one in self.containers["meshcar"]["env"]}

    def init(self) -> str:
        """Runs the init container; what it says."""
        one = self.containers["meshcar-init"]
        return self._pods.run(self._pod, *self._command(one)).stdout

    def sidecar(self) -> Process:
        """Starts the sidecar, and waits as its startup probe does."""
        one = self.containers["meshcar"]
        user = as_user(one["securityContext"])
        process = Process([*self._pods.inside(self._pod), *user, *self._command(one)], self.folder, self._environ)
        probe = one["startupProbe"]["httpGet"]
        url = f"http://{v4(self._pod)}:{probe['port']}{probe['path']}"

        def ready() -> bool:
            assert process.alive(), process.said()
            return self._pods.run("outside", "curl", "-sf", url, check=False).returncode == 0

        until(ready, 20, "readiness")
        return process

    def run(self, *words: str) -> str:
        """`kubectl exec -c meshcar`."""
        command, environ = [BIN / words[0], *words[1:]], os.environ | self._environ
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout

    def _command(self, one: dict[str, Any]) -> list[str]:
        return [str(BIN / one["command"][0]), *(self._mounted(word) for word in (*one["command"][1:], *one["args"]))]

    def _value(self, one: dict[str, Any]) -> str:
        if "value" in one:
            return self._mounted(one["value"]).replace("$$", "$")
        return {"metadata.namespace": "default", "spec.serviceAccountName": "default"}[one["valueFrom"]["fieldRef"]["fieldPath"]]

    def _mounted(self, text: str) -> str:
        for path, folder in self.mounts.items():
            text = text.replace(path, str(folder))
        return text


@attrs.frozen
class Cluster:
    """The pods and what runs there; `rules` is the folder of all."""

    pods: Pods
    rules: Path
    kubelets: dict[str, Kubelet]
    sidecars: dict[str, Process]
    app: Process

    def probe(self, template: dict[str, Any], container: str, probe: str) -> int:
        """What the kubelet, on the node, gets for a probe as the manifest has it."""
        (one,) = [one for one in template["spec"]["containers"] if one["name"] == container]
        action = (one["lifecycle"] if probe == "preStop" else one)[probe]["httpGet"]
        headers = [word for header in action.get("httpHeaders", []) for word in ("-H", f"{header['name']}: {header['value']}")]
        return self.get(f"http://{v4('v1')}:{action['port']}{action['path']}", *headers)

    def get(self, url: str, *words: str) -> int:
        """The status that somebody outside the mesh gets."""
        done = self.pods.run("outside", "curl", "-sg", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", *words, url, check=False)
        return int(done.stdout)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The injected pod templates, by pod."""
    done = subprocess.run([BIN / "meshcar", "kube-inject", "-f", "-"], input=manifest(), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    v1, v2, sleep = yaml.safe_load_all(done.stdout)
    return {"v1": v1["spec"]["template"], "v2": v2["spec"]["template"], "client": sleep["spec"]["template"]}


@pytest.fixture(scope="module")
def cluster(templates: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("injected")
    # capture rules come from the manifests, here from none
    pods = Pods(folder / "pods", "--clean")
    rules = folder / "rules"
    rules.mkdir()
    text = SERVICE.replace("spec:\n  ports", f"spec:\n  clusterIP: {VIP}\n  ports", 1) + workload("v1", v4("v1")) + workload("v2", v4("v2"))
    (rules / "rules.yaml").write_text(f"{text}---\n{strict()}")
    (rules / "version.yaml").write_text(to_version("v1"))
    certs = issue(folder / "ca")
    kubelets, sidecars, running = {}, {}, []
    try:
        for name in MESHED:
            own = folder / name / "admin"
            own.mkdir(parents=True)
            own.chmod(0o777)  # as the kubelet makes an emptyDir
            mounts = {"/etc/meshcar/rules": rules, "/etc/meshcar/certs": certs, "/run/meshcar": own}
            kubelets[name] = Kubelet(pods, name, templates[name], mounts, folder / name / "sidecar")
            assert kubelets[name].init() == "capture in force (IPv4 and IPv6)\n"
            sidecars[name] = kubelets[name].sidecar()
        for name in ("v1", "v2"):
            command = [*pods.inside(name), BIN / "gunicorn", "--access-logfile", "-", "-b", "[::]:80", "httpbin:app"]
            running.append(Process(command, folder / name / "app"))
            until(lambda name=name: ":80 " in pods.run(name, "ss", "-Hltn").stdout, what="httpbin")
        running.append(Process([*pods.inside("v1"), sys.executable, "-c", SECURE_SERVER, str(certs)], folder / "secure"))
        until(lambda: ":8443 " in pods.run("v1", "ss", "-Hltn").stdout, what="the server of the second container")
        yield Cluster(pods, rules, kubelets, sidecars, running[0])
    finally:
        for process in [*sidecars.values(), *running]:
            process.stop()
        pods.close()
    for process in sidecars.values():
        assert "Traceback" not in process.said(), process.said()


SECURE_SERVER = """
import http.server, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert-chain.pem", sys.argv[1] + "/key.pem")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_mesh(cluster: Cluster) -> None:
    """Two injected pods: what one asks of the other arrives by mutual TLS, and nobody else gets in."""
    words = ("curl", "-sS", "--max-time", "10", "--resolve", f"httpbin:8000:{VIP}", "http://httpbin:8000/headers")
    headers = json.loads(cluster.pods.run("client", *words).stdout)["headers"]
    assert "URI=spiffe://cluster.local/ns/default/sa/default" in headers["X-Forwarded-Client-Cert"]
    assert cluster.get(f"http://{v4('v1')}/headers") == 0


@pytest.mark.parametrize(("container", "probe", "status"), [
    ("httpbin", "livenessProbe", 200), ("httpbin", "readinessProbe", 200), ("httpbin", "startupProbe", 200), ("httpbin", "preStop", 404),
    ("secure", "livenessProbe", 200), ("secure", "readinessProbe", 500),
    ("secure", "startupProbe", 500),
])  # fmt: skip
def test_probes(cluster: Cluster, templates: dict[str, dict[str, Any]], container: str, probe: str, status: int) -> None:
    """The kubelet, which has no certificate, asks as the manifest says, and learns of the application, though mTLS is STRICT."""
    assert cluster.probe(templates["v1"], container, probe) == status


def test_what_the_application_sees(cluster: Cluster) -> None:
    """The probe's path, from the address that the sidecar calls its application from."""
    assert cluster.get(f"http://[{v6('v1')}]:15020/app-health/httpbin/livez") == 200
    assert cluster.get(f"http://{v4('v1')}:15020/app-health/httpbin/livez") == 200
    lines = [line for line in cluster.app.out.read_text().splitlines() if '"GET /headers' in line and "curl" in line]
    assert {line.split()[0] for line in lines} >= {"::6", "::ffff:127.0.0.6"}


def test_unknown_probe(cluster: Cluster) -> None:
    """Of a pod without probes, and of containers nobody told of."""
    assert cluster.get(f"http://{v4('v2')}:15020/app-health/httpbin/livez") == 400
    assert cluster.get(f"http://{v4('v1')}:15020/app-health/sleep/livez") == 400


def test_exec(cluster: Cluster) -> None:
    """Inside the sidecar's container the commands find its admin socket; the sidecar knows who it is."""
    assert cluster.kubelets["v1"].run("meshcar", "wait") == "ready\n"
    assert "VirtualService" in cluster.kubelets["v1"].run("meshcar", "get")


def test_drain(cluster: Cluster) -> None:
    """The preStop hook: it is in the log, and whoever asks is still answered."""
    hook = cluster.kubelets["v1"].containers["meshcar"]["lifecycle"]["preStop"]["exec"]["command"]
    assert cluster.kubelets["v1"].run(*hook) == "draining\n"
    assert "listeners are drained: inbound\n" in cluster.sidecars["v1"].err.read_text()
    words = ("curl", "-sSi", "--max-time", "10", "--resolve", f"httpbin:8000:{VIP}", "http://httpbin:8000/status/204")
    assert cluster.pods.run("client", *words).stdout.startswith("HTTP/1.1 204")
    assert cluster.get(f"http://{v4('v1')}:15021/healthz/ready") == 200


def test_killed(cluster: Cluster) -> None:
    """A container that was killed starts again, over the socket that it left; its capture rules are still in force."""
    sidecar = cluster.sidecars["v2"]
    sidecar.signal(signal.SIGKILL)
    sidecar.wait()
    cluster.sidecars["v2"] = cluster.kubelets["v2"].sidecar()
    assert cluster.kubelets["v2"].run("meshcar", "wait") == "ready\n"
    assert cluster.kubelets["v2"].init() == "capture in force (IPv4 and IPv6)\n"


def test_tproxy(cluster: Cluster) -> None:
    """With TPROXY the sidecar is root, with one capability; its group keeps what it sends out of its own capture."""
    annotated = PAGE.read_text().replace("      labels:", "      annotations: {sidecar.istio.io/interceptionMode: TPROXY}\n      labels:")
    done = subprocess.run([BIN / "meshcar", "inject", "-f", "-"], input=annotated, capture_output=True, text=True, check=True)
    _, template, _ = (document["spec"]["template"] for document in yaml.safe_load_all(done.stdout))
    cluster.sidecars["v2"].stop()
    before = cluster.kubelets["v2"]
    kubelet = Kubelet(cluster.pods, "v2", template, before.mounts, before.folder)
    assert kubelet.init() == "capture in force (IPv4 and IPv6)\n"
    cluster.sidecars["v2"] = kubelet.sidecar()
    (cluster.rules / "version.yaml").write_text(to_version("v2"))
    words = ("curl", "-sSf", "--max-time", "5", "--resolve", f"httpbin:8000:{VIP}", "http://httpbin:8000/uuid")

    def arrived() -> bool:
        cluster.pods.run("client", *words)
        return '"GET /uuid' in (before.folder.parent / "app" / "stdout").read_text()

    until(arrived, what="a request at v2")
