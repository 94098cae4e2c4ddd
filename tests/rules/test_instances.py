"""Who answers for a port: Pods, WorkloadEntries, Endpoints, EndpointSlices."""

from collections.abc import Sequence

import pytest

from meshcar.rules.read import read
from meshcar.rules.registry import Instance
from meshcar.rules.services import services
from tests.rules.test_services import ENTRY, POD, SERVICE, instances, known


def answering(*texts: str) -> Sequence[Instance]:
    """Who answers for web's first port."""
    return known(*texts)["web.shop.svc.cluster.local"].ports[0].instances


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


@pytest.mark.parametrize(
    ("conditions", "ready", "all_of_them"),
    [
        ("{}", True, True),
        ("{ready: true, terminating: true}", True, True),
        ("{ready: false, serving: true, terminating: true}", False, False),
        ("{ready: false, terminating: false}", False, True),
        ("{ready: false}", False, False),
    ],
)
def test_conditions(conditions: str, ready: bool, all_of_them: bool) -> None:
    """Unready endpoints count where publishNotReadyAddresses is set, and they do not terminate. Nothing said of that is that they do."""
    text = f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a, labels: {{kubernetes.io/service-name: web}}}}
endpoints: [{{addresses: [1.1.1.1], conditions: {conditions}}}]
ports: [{{name: http-web, port: 8080}}]
"""
    assert bool(instances(SERVICE, text)) is ready
    assert bool(instances(SERVICE.replace("{clusterIP", "{publishNotReadyAddresses: true, clusterIP"), text)) is all_of_them


def test_unready_pods() -> None:
    """Pods that are not ready, and notReadyAddresses, count with publishNotReadyAddresses."""
    service = SERVICE.replace("{clusterIP", "{publishNotReadyAddresses: true, clusterIP")
    pod = POD.replace("phase: Running", "conditions: [{type: Ready, status: 'False'}]")
    listed = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n"
    listed += "subsets: [{notReadyAddresses: [{ip: 1.1.1.1}], ports: [{name: http-web, port: 1}]}]"
    assert instances(service, pod, listed) == [("1.1.1.1", 1), ("10.44.0.1", 8080)]
    assert instances(SERVICE, pod, listed) == []


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ("istio-locality: r.z.s", "r/z/s"),
        ("istio-locality: r/z", "r/z"),
        ("topology.istio.io/locality: a.b, istio-locality: c.d", "a/b"),
        ("topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z", "r/z"),
        ("topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s", "r/z/s"),
    ],
)
def test_pod_locality(labels: str, locality: str) -> None:
    """By Istio's label, in which dots stand for slashes, else by where Kubernetes says the pod is."""
    (one,) = answering(SERVICE, POD.replace("version: v1", f"version: v1, {labels}"))
    assert one.locality == locality


def test_entry_locality() -> None:
    """The field goes before the label; a weight of 0 is 1; the labels of metadata go before those of the spec."""
    entry = ENTRY.replace("name: a", "name: a, labels: {app: web, istio-locality: r.z}") + "{address: 1.1.1.1, labels: {app: other}%s}"
    (one,) = answering(SERVICE, entry % "")
    assert (one.locality, one.weight, one.labels["app"], one.service_account) == ("r/z", 1, "web", None)
    (one,) = answering(SERVICE, entry % ", locality: a/b, weight: 7, serviceAccount: me")
    assert (one.locality, one.weight, one.service_account) == ("a/b", 7, "me")


def test_zone() -> None:
    """An endpoint without a pod has the slice's zone, in a region that nobody knows; slices of names are read over."""
    text = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: web}}
addressType: TYPE
endpoints: [{addresses: [1.1.1.1], zone: here}]
ports: [{name: http-web, port: 8080}]
"""
    assert [one.locality for one in answering(SERVICE, text.replace("TYPE", "IPv4"))] == ["/here"]
    assert instances(SERVICE, text.replace("TYPE", "FQDN")) == []


def test_empty_selector() -> None:
    """A ServiceEntry's selector without labels is for every workload of the namespace."""
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: shop}
spec: {hosts: [a.example], resolution: STATIC, ports: [{number: 80, name: web}], workloadSelector: {labels: {}}}
"""
    found = read(f"{text}\n---\n{POD}", "f")
    assert [one.code for one in found.problems] == ["SELECTS_ALL"]
    ((service,), _) = services(found.resources, "shop")
    assert [one.address for one in service.ports[0].instances] == ["10.44.0.1"]
