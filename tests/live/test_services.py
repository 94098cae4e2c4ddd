"""Who answers where: names that are looked up, connections that go where they were meant to, and what a Sidecar lets a workload see."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.live import names, servers
from tests.live.pods import Pods, PodSidecar, needs_namespaces, v4
from tests.live.processes import Process, app, call, sidecar, until

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: default}
spec: {hosts: [HOST], resolution: HOW, ports: [{number: 80, name: http, protocol: HTTPMORE}]ENDS}
"""
SIDECAR = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: ["./seen.example"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""


def entry(name: str, host: str, how: str, more: str = "", ends: str = "") -> str:
    """A ServiceEntry with one HTTP port."""
    return ENTRY.replace("NAME", name).replace("HOST", host).replace("HOW", how).replace("MORE", more).replace("ENDS", ends)


def test_names(tmp_path: Path) -> None:
    """DNS, DNS_ROUND_ROBIN and, by the Host, NONE and DYNAMIC_DNS lead to localhost; a name that nobody has is a 503."""
    with app("one") as one:
        ends = f", endpoints: [{{address: localhost, ports: {{http: {one.port}}}}}]"
        rules = "---\n".join([
            entry("a", "a.example", "DNS", ends=ends), entry("b", "b.example", "DNS_ROUND_ROBIN", ends=ends),
            entry("c", "localhost", "NONE", f", targetPort: {one.port}"), entry("d", "no-such-name.invalid", "DNS"),
        ])  # fmt: skip
        with sidecar(tmp_path, rules, "--intercept", "none") as mesh:
            for host in ("a.example", "b.example", "localhost"):
                assert call(mesh.outbound, "GET", "/", headers={"Host": host})[0] == 200, host
            assert call(mesh.outbound, "GET", "/", headers={"Host": "no-such-name.invalid"})[0] == 503
            assert f"::127.0.0.1:{one.port}::" in call(mesh.admin, "GET", "/clusters")[1]


def test_scope(tmp_path: Path) -> None:
    """A Sidecar that is applied narrows what is seen at once, and its end widens it again."""
    with app("one") as one:
        ends = f", endpoints: [{{address: 127.0.0.1, ports: {{http: {one.port}}}}}]"
        rules = entry("a", "seen.example", "STATIC", ends=ends) + "---\n" + entry("b", "other.example", "STATIC", ends=ends)
        with sidecar(tmp_path, rules, "--intercept", "none") as mesh:

            def statuses() -> list[int]:
                return [call(mesh.outbound, "GET", "/", headers={"Host": f"{name}.example"})[0] for name in ("seen", "other")]

            assert statuses() == [200, 200]
            mesh.apply(SIDECAR)
            assert statuses() == [200, 502]
            assert call(mesh.admin, "DELETE", "/rules/Sidecar/default/default")[0] == 200
            assert statuses() == [200, 200]


def test_ingress(tmp_path: Path) -> None:
    """A Sidecar says where the application of a port is, and says otherwise while requests come."""
    text = SIDECAR.replace("egress: [{hosts: [\"./seen.example\"]}]", "ingress: [{port: {number: 9080, protocol: HTTP}, ENDPOINT}]")
    with app("one") as one, app("two") as two:
        rules = [text.replace("ENDPOINT", f"defaultEndpoint: '127.0.0.1:{each.port}'") for each in (one, two)]
        with sidecar(tmp_path, rules[0], "--intercept", "none", "--app-port", "9080") as mesh:
            assert json.loads(call(mesh.inbound, "GET", "/")[1])["app"] == "one"
            mesh.apply(rules[1])
            assert json.loads(call(mesh.inbound, "GET", "/")[1])["app"] == "two"


class Resolving:
    """Pods whose processes have another resolv.conf, which nobody else sees."""

    def __init__(self, pods: Pods, resolver: Path) -> None:
        self._pods, self._resolver = pods, resolver
        self.run = pods.run

    def inside(self, pod: str) -> list[str]:
        """See Pods."""
        script = 'mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return [*self._pods.inside(pod), "unshare", "--mount", "sh", "-c", script, str(self._resolver)]


@attrs.frozen
class Place:
    """A captured client, its sidecar, servers outside of the mesh, and the names that its DNS server knows."""

    pods: Pods
    sidecar: PodSidecar
    zone: Path

    def name(self, **known: Any) -> None:
        """What the DNS server answers from now on."""
        fresh = self.zone.with_name("fresh")
        fresh.write_text(json.dumps({f"{name}.example": addresses for name, addresses in known.items()}))
        fresh.replace(self.zone)

    def get(self, host: str, address: str) -> str:
        """What the client gets of a host that it believes at an address: the status."""
        words = ["-sS", "-o", "/dev/null", "--max-time", "10", "-w", "%{http_code}", "--resolve", f"{host}:80:{address}", f"http://{host}/"]
        return self.pods.run("client", "curl", *words).stdout

    def logs(self, words: str) -> None:
        """Waits for words in the access log."""
        until(lambda: words in self.sidecar.process.out.read_text(), what=words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("services")
    pods = Pods(folder / "pods")
    zone, resolver = folder / "zone", folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    folder.chmod(0o755)
    zone.write_text("{}")
    rules = "---\n".join([
        entry("a", "moves.example", "DNS", ", targetPort: 8080"),
        entry("b", "meant.example", "NONE", ", targetPort: 8080"),
        entry("c", "'*.any.example'", "DYNAMIC_DNS"),
    ])  # fmt: skip
    running = [Process([*pods.inside("client"), sys.executable, names.__file__, "127.0.0.1", str(zone)], folder / "dns")]
    client = PodSidecar(Resolving(pods, resolver), "client", folder / "client", rules)  # type: ignore[arg-type]
    running.append(client.process)
    try:
        for pod, port in (("outside", 8080), ("outside", 80)):
            command = [*pods.inside(pod), sys.executable, servers.__file__, "web", v4(pod), str(port)]
            running.append(Process(command, folder / f"{pod}{port}"))
            until(lambda pod=pod, port=port: f":{port} " in pods.run(pod, "ss", "-Hltn").stdout, what="listening")
        yield Place(pods, client.ready(), zone)
    finally:
        for process in running:
            process.stop()
        pods.close()
    assert "Traceback" not in client.process.said(), client.process.said()


@needs_namespaces
def test_where_it_was_meant_to_go(place: Place) -> None:
    """With NONE a captured connection goes to the address that the client chose, on the targetPort."""
    assert place.get("meant.example", v4("outside")) == "200"
    place.logs(f'"{v4("outside")}:8080" outbound|80||meant.example ')


@needs_namespaces
def test_a_name_that_moves(place: Place) -> None:
    """A name without an address is a 503; once it has one it is found, whatever the client believes; when that is gone, the last stays."""
    assert place.get("moves.example", "10.99.0.1") == "503"
    place.name(moves=[v4("outside")])
    until(lambda: place.get("moves.example", "10.99.0.1") == "200", 40, "the name")
    place.logs(f'"{v4("outside")}:8080" outbound|80||moves.example ')
    place.name()
    assert place.get("moves.example", "10.99.0.1") == "200"


@needs_namespaces
def test_the_host_of_each_request(place: Place) -> None:
    """With DYNAMIC_DNS the Host is looked up, also where the connection was captured on its way to another address."""
    place.name(**{"x.any": [v4("outside")]})
    assert place.get("x.any.example", "10.99.0.1") == "200"
    place.logs(f'"{v4("outside")}:80" outbound|80||*.any.example ')
