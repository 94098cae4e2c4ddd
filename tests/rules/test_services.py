"""Which services there are and who answers."""

from meshcar.rules.read import read
from meshcar.rules.registry import KnownService
from meshcar.rules.services import services

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
    return {one.host: one for one in services(found.resources, "shop")[0]}


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


def shared(*specs: str, kind: str = "ServiceEntry") -> tuple[KnownService, list[str]]:
    """The one service that some ServiceEntries for a.b make, in order, and the codes of what is wrong."""
    header = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: n%d}\nspec: {hosts: [a.b], %s}"
    found = read("\n---\n".join(header % one for one in enumerate(specs)), "f")
    assert found.problems == ()
    (service,), problems = services(found.resources, "default")
    return service, [problem.code for problem in problems]


def test_entries_add_up() -> None:
    """Two ServiceEntries for a host in a namespace are one service: ports of both, endpoints of both."""
    first = "resolution: STATIC, ports: [{number: 80, name: a, protocol: HTTP}], endpoints: [{address: 1.1.1.1}]"
    second = "resolution: STATIC, ports: [{number: 80, name: b, protocol: HTTP}, {number: 81, name: c}], addresses: [9.9.9.9]"
    second += ", endpoints: [{address: 1.1.1.2}]"
    service, codes = shared(first, second)
    assert codes == []
    assert service.addresses == ("9.9.9.9",)
    assert [(port.number, port.protocol, [one.address for one in port.instances]) for port in service.ports] == [
        (80, "http", ["1.1.1.1", "1.1.1.2"]), (81, "auto", ["1.1.1.2"]),
    ]


def test_entries_that_disagree_on_a_port() -> None:
    """What the older one says of a port's protocol counts; there is a warning."""
    spec = "resolution: STATIC, ports: [{number: 80, name: a, protocol: %s}], endpoints: [{address: 1.1.1.1}]"
    service, codes = shared(spec % "HTTP", spec % "TLS")
    assert codes == ["DUPLICATE_HOST"]
    assert [port.protocol for port in service.ports] == ["http"]


def test_entries_on_other_terms() -> None:
    """The older one's ports count; there is a warning."""
    first = "resolution: STATIC, ports: [{number: 80, name: a}], endpoints: [{address: 1.1.1.1}]"
    service, codes = shared(first, "resolution: DNS, ports: [{number: 81, name: a}]")
    assert codes == ["DUPLICATE_HOST"]
    assert (service.resolution, [port.number for port in service.ports]) == ("STATIC", [80])


def test_one_name_at_a_time() -> None:
    """Of two entries that are resolved one address at a time only the first one's name counts."""
    spec = "resolution: DNS_ROUND_ROBIN, ports: [{number: 80, name: a}], endpoints: [{address: %s}]"
    service, _ = shared(spec % "x.y", spec % "y.z")
    assert [one.address for one in service.ports[0].instances] == ["x.y"]


def test_age_counts() -> None:
    """The oldest comes first, whatever the order of the documents; without a time the order counts."""
    old, new = (f"metadata: {{name: {name}, creationTimestamp: '2026-01-0{day}T00:00:00Z'}}" for name, day in (("old", 1), ("new", 2)))
    text = "apiVersion: v1\nkind: Service\n%s\nspec: {}"
    assert list(known(text % new, text % old)) == ["old.shop.svc.cluster.local", "new.shop.svc.cluster.local"]


def test_kubernetes_goes_first() -> None:
    """A Service has its host, whatever ServiceEntries say, and however old they are."""
    entry = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec: {hosts: [web.shop.svc.cluster.local], ports: [{number: 1, name: x, protocol: HTTP}]}
"""
    for texts in ((SERVICE, entry), (entry, SERVICE)):
        found = read("\n---\n".join(texts), "f", "shop")
        (service,), problems = services(found.resources, "shop")
        assert service.kubernetes
        assert [one.code for one in problems] == ["DUPLICATE_HOST"]


def test_dns() -> None:
    """The names of endpoints, or the host itself, on the target port; each host for itself."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec: {hosts: [a.example, b.example], resolution: DNS, ports: [{number: 80, name: web, protocol: HTTP, targetPort: 81}]ENDS}
"""
    table = known(text.replace("ENDS", ""))
    assert [(one.address, one.port) for host in table for one in table[host].ports[0].instances] == [("a.example", 81), ("b.example", 81)]
    table = known(text.replace("ENDS", ", endpoints: [{address: x.y, ports: {web: 82}, weight: 3, locality: r/z}]"))
    (one,) = table["b.example"].ports[0].instances
    assert (one.address, one.port, one.weight, one.locality) == ("x.y", 82, 3, "r/z")


def test_dns_selects_names() -> None:
    """WorkloadEntries with a DNS name count only where names are resolved."""
    entry = ENTRY + "{address: x.y, labels: {app: web}}"
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: shop}
spec: {hosts: [a.example], resolution: HOW, ports: [{number: 80, name: web}], workloadSelector: {labels: {app: web}}}
"""
    assert [one.address for one in known(text.replace("HOW", "DNS"), entry)["a.example"].ports[0].instances] == ["x.y"]
    assert known(text.replace("HOW", "STATIC"), entry)["a.example"].ports[0].instances == ()
    assert instances(SERVICE, entry) == []


def test_none() -> None:
    """Nobody is listed; ranges of addresses stand by themselves; UDP is left out."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec:
  hosts: ['*.example.com']
  addresses: [10.1.0.0/16, 10.2.0.1/32]
  subjectAltNames: [spiffe://a/b]
  location: MESH_INTERNAL
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: 8443}, {number: 53, name: dns, protocol: UDP}]
"""
    service = known(text)["*.example.com"]
    assert (service.resolution, service.addresses) == ("NONE", ("10.1.0.0/16", "10.2.0.1"))
    assert (service.external, service.identities, service.anywhere) == (False, ("spiffe://a/b",), False)
    ((number, target, found),) = [(port.number, port.target, port.instances) for port in service.ports]
    assert (number, target, found) == (443, 8443, ())


def test_headless() -> None:
    """A Service without an address by intent; one that was given none answers anywhere."""
    service = known(SERVICE.replace("clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], ", "clusterIP: None, "), POD)
    web = service["web.shop.svc.cluster.local"]
    assert (web.resolution, web.addresses, web.anywhere) == ("NONE", (), False)
    assert [one.address for one in web.ports[0].instances] == ["10.44.0.1"]


def test_external_name() -> None:
    """Another name for a service, through further ones too; of one that leads nowhere, or back to itself, there is a warning."""
    alias = "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {type: ExternalName, externalName: %s}"
    web = "web.shop.svc.cluster.local"
    table = known(SERVICE, alias % ("a", web), alias % ("b", "a.shop.svc.cluster.local."))
    assert list(table) == [web, "a.shop.svc.cluster.local", "b.shop.svc.cluster.local"]
    assert [one.alias_of for one in table.values()] == ["", web, web]
    loop = read("\n---\n".join((alias % ("a", "b.shop.svc.cluster.local"), alias % ("b", "a.shop.svc.cluster.local"))), "f")
    assert [one.code for one in services(loop.resources, "shop")[1]] == ["UNKNOWN_HOST", "UNKNOWN_HOST"]


def test_udp_ports_are_left_out() -> None:
    """They are not ours."""
    text = SERVICE.replace("{name: http-web,", "{name: dns, port: 53, protocol: UDP}, {name: http-web,")
    assert [port.number for port in known(text)["web.shop.svc.cluster.local"].ports] == [80]
