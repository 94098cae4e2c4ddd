"""tcp and tls rules where the kernel captures: shares, ranges of addresses, server names, servers that speak first."""

import json
import sys
from collections import Counter
from collections.abc import Iterator

import attrs
import pytest

from tests.live import servers
from tests.live.pods import VIP, Pods, PodSidecar, needs_namespaces, v4
from tests.live.processes import Process, until

pytestmark = needs_namespaces

V1, V2, RANGE, NAMED, WILD, HERE = 9001, 9002, 9003, 9004, 9005, 443
"""What the servers call themselves: their ports."""


def rules(address: str) -> str:
    """A Service in two versions, and entries of every kind; who answers is outside the mesh."""
    entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME}\nspec:\n  resolution: STATIC\n"

    def entry_for(name: str, host: str, port: str, number: int, addresses: str = "[]") -> str:
        return (
            entry.replace("NAME", name) + f"  hosts: ['{host}']\n  addresses: {addresses}\n  ports: [{port}]\n"
            f"  endpoints: [{{address: {address}, ports: {{p: {number}}}}}]\n"
        )

    versions = [
        f"apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{address: {address}, ports: {{tcp: {number}}}, labels: {{app: db, version: {name}}}}}\n"
        for name, number in (("v1", V1), ("v2", V2))
    ]
    return "---\n".join([
        f"""\
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: {VIP}, selector: {{app: db}}, ports: [{{name: tcp, port: 5432}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: db}}
spec: {{host: db, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: db}}
spec:
  hosts: [db]
  tcp:
  - route:
    - {{destination: {{host: db, subset: v1}}, weight: 25}}
    - {{destination: {{host: db, subset: v2}}, weight: 75}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: range}}
spec:
  hosts: [range.example]
  tcp:
  - match: [{{destinationSubnets: [10.99.1.0/24]}}]
    route: [{{destination: {{host: db, subset: v1, port: {{number: 5432}}}}}}]
""",
        *versions,
        entry_for("range", "range.example", "{number: 7000, name: p, protocol: TCP}", RANGE, "[10.99.0.0/16]"),
        entry_for("named", "a.example", "{number: 443, name: p, protocol: TLS}", NAMED),
        entry_for("wild", "*.b.example", "{number: 443, name: p, protocol: HTTPS}", WILD),
        entry_for("mail", "mail.example", "{number: 2525, name: p, protocol: TCP}", 2526, "[10.99.9.9]"),
    ])  # fmt: skip


@attrs.frozen
class Place:
    """The pods, and the client's sidecar."""

    pods: Pods
    sidecar: PodSidecar

    def ask(self, address: str, port: int, said: str = "b'?'", times: int = 1) -> list[str]:
        """What servers answer to a client that says something, an expression of Python."""
        program = f"""
import socket, ssl
def hello(name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    goes = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), goes, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return goes.read()
for _ in range({times}):
    with socket.create_connection(({address!r}, {port}), 10) as s:
        s.settimeout(10)
        for part in {said if said.startswith("[") else f"[{said}]"}:
            s.sendall(part)
        try:
            print(s.recv(100).decode().strip())
        except ConnectionError:
            print("reset")
"""
        return self.pods.run("client", sys.executable, "-c", program).stdout.splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("opaque")
    pods = Pods(folder / "pods")
    address = v4("outside")
    running: list[Process] = []
    sidecar = PodSidecar(pods, "client", folder / "client", rules(address), "--access-log-format", "json")
    running.append(sidecar.process)
    try:
        for number in (V1, V2, RANGE, NAMED, WILD, HERE, 2526):
            kind = "banner" if number == 2526 else "named"
            command = [*pods.inside("outside"), sys.executable, servers.__file__, kind, address, str(number)]
            running.append(Process(command, folder / str(number)))
            until(lambda number=number: f":{number} " in pods.run("outside", "ss", "-Hltn").stdout, what="listening")
        yield Place(pods, sidecar.ready())
    finally:
        for process in running:
            process.stop()
        pods.close()
    assert "Traceback" not in sidecar.process.said(), sidecar.process.said()


def test_shares(place: Place) -> None:
    """One connection in four goes to v1; only a chance of less than one in a million fails this."""
    counts = Counter(place.ask(VIP, 5432, times=120))
    assert counts.keys() == {str(V1), str(V2)} and 8 < counts[str(V1)] < 60


@pytest.mark.parametrize(("address", "port"), [("10.99.1.7", V1), ("10.99.2.7", RANGE), ("10.99.255.255", RANGE)])
def test_ranges(place: Place, address: str, port: int) -> None:
    """By the address that the client meant, of a range that belongs to an entry."""
    assert place.ask(address, 7000) == [str(port)]


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ("hello('a.example')", NAMED), ("hello('x.y.b.example')", WILD), ("hello('b.example')", HERE), ("hello(None)", HERE),
        ("b'plain'", HERE),
        ("[bytes([one]) for one in hello('a.example')]", NAMED),
    ],
)  # fmt: skip
def test_names(place: Place, said: str, port: int) -> None:
    """By the name that TLS asks for, wherever it goes; other names and other bytes go to the address that was meant."""
    assert place.ask(v4("outside"), 443, said) == [str(port)]


def test_server_first(place: Place) -> None:
    """Where nothing has to be recognised the server may speak first, at once."""
    assert place.ask("10.99.9.9", 2525, "[]") == ["220 ready"]


def test_log(place: Place) -> None:
    """A line for each connection, as Envoy's: cluster, name, address, no route."""
    place.ask("10.98.0.1", 443, "hello('logged.b.example')")

    def found() -> dict[str, object] | None:
        lines = [json.loads(line) for line in (place.sidecar.rules.parent / "stdout").read_text().splitlines()]
        return next((line for line in lines if line["requested_server_name"] == "logged.b.example"), None)

    line = until(found)
    assert (line["upstream_cluster"], line["upstream_host"]) == ("outbound|443||*.b.example", f"{v4('outside')}:{WILD}")
    assert (line["downstream_local_address"], line["route_name"], line["response_flags"]) == ("10.98.0.1:443", None, None)
    metrics = place.sidecar.metrics()
    assert 'istio_tcp_connections_opened_total{reporter="source"' in metrics and 'destination_service="*.b.example"' in metrics
