"""Tests of meshcar.observe.traffic."""

from meshcar.observe.counters import Counter, Counters, Histogram
from meshcar.observe.names import DURATION, REQUEST_BYTES, REQUESTS, RESPONSE_BYTES, TCP_CLOSED, TCP_OPENED, TCP_RECEIVED, TCP_SENT, Metric
from meshcar.observe.traffic import Party, Service, Traffic

SLEEP = Party("default", "spiffe://cluster.local/ns/default/sa/sleep", {"app": "sleep"})
HTTPBIN = Service("httpbin.default.svc.cluster.local")


def labelled(counters: Counters, metric: Metric) -> list[tuple[dict[str, str], float]]:
    """Labels by name, and the value, of each slot of a metric."""
    found = []
    for values, slot in counters.slots(metric):
        assert isinstance(slot, Counter | Histogram)
        found.append((dict(zip(metric.labels, values, strict=True)), slot.value if isinstance(slot, Counter) else slot.sum))
    return found


def test_outbound() -> None:
    """The client's side knows itself and the service; as with Istio it says nothing of mTLS."""
    counters = Counters()
    traffic = Traffic(counters, "source", SLEEP, Party(principal="spiffe://cluster.local/ns/default/sa/default"), HTTPBIN, True)
    traffic.request(200, "-", 7, 0, 352)
    traffic.request(200, "-", 3, 0, 352)
    traffic.request(503, "URX,UF", 1, 0, 121)
    (good, count), (bad, failures) = labelled(counters, REQUESTS)
    assert (count, failures) == (2, 1)
    assert (bad["response_code"], bad["response_flags"]) == ("503", "URX,UF")
    assert good.items() >= {
        "reporter": "source", "source_workload": "sleep", "source_canonical_service": "sleep", "source_canonical_revision": "latest",
        "source_workload_namespace": "default", "source_principal": "spiffe://cluster.local/ns/default/sa/sleep", "source_app": "sleep",
        "source_version": "unknown", "destination_workload": "unknown", "destination_service": "httpbin.default.svc.cluster.local",
        "destination_principal": "spiffe://cluster.local/ns/default/sa/default",
        "destination_service_name": "httpbin", "destination_service_namespace": "default", "request_protocol": "http",
        "response_code": "200", "response_flags": "-", "connection_security_policy": "unknown",
    }.items()  # fmt: skip
    assert [labelled(counters, metric)[0][1] for metric in (DURATION, REQUEST_BYTES, RESPONSE_BYTES)] == [10, 0, 704]


def test_inbound() -> None:
    """The server's side knows its own pod, the peer's id, and whether it was mTLS."""
    own = Party("default", "", {"app": "httpbin", "version": "v1", "service.istio.io/canonical-name": "bin"})
    for mtls, policy in ((True, "mutual_tls"), (False, "none")):
        counters = Counters()
        Traffic(counters, "destination", Party(), own, Service(), mtls).request(200, "-", 1, 5, 6)
        ((labels, _),) = labelled(counters, REQUESTS)
        assert labels["connection_security_policy"] == policy
        assert (labels["destination_workload"], labels["destination_app"]) == ("bin", "httpbin")
        assert (labels["destination_canonical_revision"], labels["destination_version"]) == ("v1", "v1")
        assert (labels["source_workload"], labels["destination_service"]) == ("unknown", "unknown")


def test_outside_the_mesh() -> None:
    """A host that is no Kubernetes service is its own name, without a namespace."""
    described = Service("api.example.com").described()
    assert (described["destination_service_name"], described["destination_service_namespace"]) == ("api.example.com", "")


def test_opaque() -> None:
    """Connections and bytes of opaque traffic have Istio's TCP metrics."""
    counters = Counters()
    traffic = Traffic(counters, "source", SLEEP, Party(), HTTPBIN, False)
    traffic.opened()
    traffic.closed("-", 100, 2000)
    assert [labelled(counters, metric)[0][1] for metric in (TCP_OPENED, TCP_CLOSED, TCP_RECEIVED, TCP_SENT)] == [1, 1, 100, 2000]
    assert labelled(counters, TCP_SENT)[0][0]["request_protocol"] == "tcp"
