"""Which services there are and who answers."""

import pytest

from meshcar.rules.protocols import port_protocol
from meshcar.rules.read import read
from meshcar.rules.registry import KnownService, full_name, most_specific, services, short_names

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], selector: {app: web}, ports: [{name: http-web, port: 80, targetPort: serve}]}
"""
ENTRY = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\nspec: "
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
spec: {serviceAccountName: seller, containers: [{ports: [{name: serve, containerPort: 8080}]}]}
status: {podIP: 10.44.0.1, phase: Running}
"""


def known(*texts: str) -> dict[str, KnownService]:
    """The services of some documents as the namespace shop sees them."""
    found = read("\n---\n".join(texts), "f", "shop")
    assert found.problems == ()
    return dict(services(found.resources, "shop")[0])


def instances(*texts: str) -> list[tuple[str, int]]:
    """Address and port of who answers for web's first port."""
    return [(one.address, one.port) for one in known(*texts)["web.shop.svc.cluster.local"].ports[0].instances]


def test_service() -> None:
    """Names, addresses, ports, and the pods that the selector chooses."""
    service = known(SERVICE, POD)["web.shop.svc.cluster.local"]
    assert service.names == ("web.shop.svc", "web.shop", "web")
    assert service.addresses == ("10.96.0.1", "fd00::1")
    (port,) = service.ports
    assert (port.number, port.protocol, port.target) == (80, "http", None)
    (one,) = port.instances
    assert (one.address, one.port, one.service_account, one.labels["version"]) == ("10.44.0.1", 8080, "seller", "v1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("phase: Running", "phase: Failed"),
        ("podIP: 10.44.0.1, ", ""),
        ("app: web", "app: other"),
        ("name: serve", "name: other"),
        ("namespace: shop", "namespace: elsewhere"),
        ("phase: Running", "conditions: [{type: Ready, status: 'False'}]"),
        ("namespace: shop", "namespace: shop, deletionTimestamp: '2026-01-01T00:00:00Z'"),
    ],
)
def test_pods_that_do_not_answer(old: str, new: str) -> None:
    """Ended, unready, without address, leaving, of other labels, ports or namespaces."""
    assert instances(SERVICE, POD.replace(old, new)) == []


def test_workload_entry_ports() -> None:
    """The entry's port of the service's port name, of the target's name, else the number of the target, else the service's."""
    entry = ENTRY + "{address: 1.1.1.1, labels: {app: web}PORTS}"
    assert instances(SERVICE, entry.replace("PORTS", ", ports: {http-web: 7, serve: 8}")) == [("1.1.1.1", 7)]
    assert instances(SERVICE, entry.replace("PORTS", ", ports: {serve: 8}")) == [("1.1.1.1", 8)]
    assert instances(SERVICE, entry.replace("PORTS", "")) == [("1.1.1.1", 80)]
    assert instances(SERVICE.replace("serve", "9"), entry.replace("PORTS", "")) == [("1.1.1.1", 9)]


def test_endpoints() -> None:
    """Ready addresses on the port of that name; labels and account are the pod's."""
    text = """
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses: [{ip: 10.44.0.1, targetRef: {kind: Pod, name: web-1}}, {ip: 10.44.0.2}]
  notReadyAddresses: [{ip: 10.44.0.3}]
  ports: [{name: http-web, port: 8080}, {name: other, port: 1}]
"""
    first, second = known(SERVICE, POD, text)["web.shop.svc.cluster.local"].ports[0].instances
    assert (first.service_account, first.labels["version"]) == ("seller", "v1")
    assert (second.address, second.port, second.service_account, second.labels) == ("10.44.0.2", 8080, None, {})


def test_endpoint_slices() -> None:
    """All slices of the service; unready endpoints are out."""
    text = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [1.1.1.1], conditions: {ready: true}}, {addresses: [9.9.9.9], conditions: {ready: false}}]
ports: [{name: http-web, port: 8080, protocol: TCP}]
"""
    first, second = text.replace("NAME", "a"), text.replace("NAME", "b").replace("1.1.1.1", "1.1.1.2")
    assert instances(SERVICE, first, second) == [("1.1.1.1", 8080), ("1.1.1.2", 8080)]


def test_no_selector_selects_nothing() -> None:
    """A Service without a selector has only whom Endpoints name."""
    assert instances(SERVICE.replace("selector: {app: web}, ", ""), POD) == []


def test_service_entry() -> None:
    """Each host is a service of its own; endpoints map port names."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec:
  hosts: [a.example, '*.b.example', c.shop.svc.cluster.local]
  addresses: [240.0.0.1]
  resolution: STATIC
  ports: [{number: 80, name: web, protocol: HTTP, targetPort: 8080}, {number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 1.1.1.1, ports: {tls: 8443}}]
"""
    found = known(text)
    assert list(found) == ["a.example", "*.b.example", "c.shop.svc.cluster.local"]
    http, tls = found["a.example"].ports
    assert (http.protocol, http.instances[0].port, tls.protocol, tls.instances[0].port) == ("http", 8080, "tcp", 8443)
    assert found["c.shop.svc.cluster.local"].names == ("c.shop.svc", "c.shop", "c")
    assert found["a.example"].names == ()


def test_service_entry_selects() -> None:
    """workloadSelector chooses Pods and WorkloadEntries of the namespace."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: shop}
spec: {hosts: [a.example], resolution: STATIC, ports: [{number: 80, name: http}], workloadSelector: {labels: {app: web}}}
"""
    (port,) = known(text, POD)["a.example"].ports
    assert [(one.address, one.port) for one in port.instances] == [("10.44.0.1", 80)]


def test_shared_host() -> None:
    """Of two services with one host the first counts, and there is a warning."""
    header = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: "
    specs = [f"{{name: n{port}}}\nspec: {{hosts: [a.b], resolution: STATIC, ports: [{{number: {port}, name: http}}]}}" for port in (1, 2)]
    found = read(f"{header}{specs[0]}\n---\n{header}{specs[1]}", "f")
    table, problems = services(found.resources, "default")
    assert table["a.b"].ports[0].number == 1
    assert [problem.code for problem in problems] == ["DUPLICATE_HOST"]


@pytest.mark.parametrize(
    ("declared", "name", "number", "wanted"),
    [
        ("", "http", 80, "http"), ("", "http-web", 80, "http"), ("", "httpx", 80, "auto"), ("HTTP", "tcp", 80, "http"),
        ("", "tcp-x", 80, "tcp"), ("", "https", 443, "tcp"), ("tls", "http", 443, "tcp"), ("", "", 80, "auto"), ("", "", 3306, "tcp"),
        ("", "web", 80, "auto"), ("my.org/own", "http", 80, "http"), ("", "grpc-web-x", 80, "tcp"), ("", "http2", 80, "tcp"),
        ("kubernetes.io/h2c", "", 80, "tcp"),
    ],
)
def test_protocol(declared: str, name: str, number: int, wanted: str) -> None:
    """What the port declares, else its name's prefix, else sniffed; HTTP/2 is opaque, with a remark."""
    protocol, remark = port_protocol(declared, name, number)
    assert protocol == wanted
    assert bool(remark) is any(word in declared + name for word in ("h2c", "http2", "grpc"))


def test_udp_ports_are_left_out() -> None:
    """They are not ours."""
    text = SERVICE.replace("{name: http-web,", "{name: dns, port: 53, protocol: UDP}, {name: http-web,")
    assert [port.number for port in known(text)["web.shop.svc.cluster.local"].ports] == [80]


def test_names() -> None:
    """Short names mean the rules' own namespace, and are short only at home."""
    assert full_name("web", "shop") == "web.shop.svc.cluster.local"
    assert full_name("web.shop", "x") == "web.shop"
    assert full_name("*", "x") == "*"
    assert short_names("web.shop.svc.cluster.local", "other") == ("web.shop.svc", "web.shop")
    assert short_names("a.b.shop.svc.cluster.local", "shop") == short_names("example.com", "shop") == ()


def test_most_specific() -> None:
    """The host itself, then the longest wildcard, then any."""
    table = {"a.b.c": 1, "*.b.c": 2, "*.c": 3, "*": 4}
    assert [most_specific(host, table) for host in ("a.b.c", "x.b.c", "x.y.b.c", "b.c", "z", "*.b.c", "*.x.c")] == [1, 2, 2, 3, 4, 2, 3]
    assert most_specific("a", {}) is None
