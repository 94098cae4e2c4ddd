"""Who answers for a service's port: Pods, WorkloadEntries, Endpoints and EndpointSlices, found by namespace and label."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from meshcar.rules.host_names import is_address
from meshcar.rules.localities import pod_locality, told_locality
from meshcar.rules.read import Resource
from meshcar.rules.registry import Instance
from meshcar.rules.schema_kubernetes import Endpoints, EndpointSlice, Pod, ServicePort, TargetRef
from meshcar.rules.schema_services import EntryPort, WorkloadEntry
from meshcar.rules.workload import selects

SERVICE_NAME_LABEL = "kubernetes.io/service-name"


@attrs.frozen
class Wanted:
    """Which port of a service is asked for, and whether those count that are not ready, or only known by a DNS name."""

    port: ServicePort | EntryPort
    number: int
    unready: bool = False
    by_name: bool = False


@attrs.frozen
class _Workload:
    labels: Mapping[str, str]
    spec: Pod | WorkloadEntry


class Workloads:
    """All of them; lives as long as one compilation. A selector looks only at those who have one of its labels."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all: dict[str, list[_Workload]] = {}
        self._labelled: dict[tuple[str, str, str], list[_Workload]] = {}
        self._pods: dict[tuple[str, str], Resource] = {}
        self._listed: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            self._note(resource)

    def _note(self, resource: Resource) -> None:
        spec, namespace, labels = resource.spec, resource.namespace, resource.metadata.labels
        if isinstance(spec, Pod):
            self._pods[namespace, resource.name] = resource
            if not resource.metadata.deletion_timestamp:
                self._add(namespace, _Workload(labels, spec))
        elif isinstance(spec, WorkloadEntry):
            self._add(namespace, _Workload({**spec.labels, **labels}, spec))
        elif isinstance(spec, Endpoints):
            self._listed.setdefault((namespace, resource.name), []).append(resource)
        elif isinstance(spec, EndpointSlice):
            self._listed.setdefault((namespace, labels.get(SERVICE_NAME_LABEL, "")), []).append(resource)

    def _add(self, namespace: str, workload: _Workload) -> None:
        self._all.setdefault(namespace, []).append(workload)
        for label, value in workload.labels.items():
            self._labelled.setdefault((namespace, label, value), []).append(workload)

    def selected(self, namespace: str, selector: Mapping[str, str], wanted: Wanted) -> Iterator[Instance]:
        """Pods and WorkloadEntries with the labels, each on its own port; an empty selector selects all."""
        found: Sequence[_Workload] = self._all.get(namespace, ())
        for label, value in selector.items():
            found = min(found, self._labelled.get((namespace, label, value), ()), key=len)
        for workload in found:
            if not selects(selector, workload.labels):
                continue
            if isinstance(workload.spec, WorkloadEntry):
                if wanted.by_name or is_address(workload.spec.address):
                    yield of_entry(workload.spec, workload.labels, namespace, wanted)
            elif workload.spec.answers(wanted.unready):
                port = _pod_port(workload.spec, wanted)
                if port is not None:
                    yield _of_pod(workload.spec, workload.labels, namespace, workload.spec.status.pod_ip, port)

    def listed(self, namespace: str, name: str, wanted: Wanted) -> Iterator[Instance]:
        """Whom Endpoints and EndpointSlices name for a Service's port; what they are is told by the Pods behind them."""
        for resource in self._listed.get((namespace, name), ()):
            for address, number, reference, zone in _addresses(resource.spec, wanted):
                pod = self._pods.get((namespace, reference.name)) if reference else None
                if pod is None:
                    yield Instance(address, number, namespace, locality=f"/{zone}" if zone else "")
                else:
                    yield _of_pod(pod.spec, pod.metadata.labels, namespace, address, number)


def of_entry(entry: WorkloadEntry, labels: Mapping[str, str], namespace: str, wanted: Wanted) -> Instance:
    """A WorkloadEntry as an instance: its own port of that name, else the target port, else the service's."""
    port = wanted.port
    target = port.target_port if isinstance(port.target_port, int) else None
    own = entry.ports.get(port.target_port) if isinstance(port.target_port, str) else None
    chosen = entry.ports.get(port.name) or own or target or wanted.number
    locality = entry.locality or told_locality(labels)
    return Instance(entry.address, chosen, namespace, labels, entry.service_account or None, locality, entry.weight or 1)


def distinct(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """One instance for each address and port: the one that knows its labels, where there are two."""
    found: dict[tuple[str, int], Instance] = {}
    for one in instances:
        place = (one.address, one.port)
        if place not in found or (one.labels and not found[place].labels):
            found[place] = one
    return tuple(found.values())


def _of_pod(pod: Pod, labels: Mapping[str, str], namespace: str, address: str, port: int) -> Instance:
    return Instance(address, port, namespace, labels, pod.spec.service_account_name or "default", pod_locality(labels))


def _pod_port(pod: Pod, wanted: Wanted) -> int | None:
    """The pod's port behind a targetPort; None if the pod has no port of that name."""
    target = wanted.port.target_port
    if not isinstance(target, str):
        return target or wanted.number
    named = (port for container in pod.spec.containers for port in container.ports)
    return next((port.container_port for port in named if port.name == target), None)


def _addresses(spec: Endpoints | EndpointSlice, wanted: Wanted) -> Iterator[tuple[str, int, TargetRef | None, str]]:
    """Address, port, what stands behind it, and its zone, of those that may be called."""
    if isinstance(spec, Endpoints):
        for subset in spec.subsets:
            for port in subset.ports:
                if port.name == wanted.port.name and port.protocol == "TCP":
                    for address in (*subset.addresses, *(subset.not_ready_addresses if wanted.unready else ())):
                        yield address.ip, port.port, address.target_ref, ""
    elif spec.address_type != "FQDN":
        for port in spec.ports:
            if port.name == wanted.port.name and port.protocol == "TCP":
                for endpoint in spec.endpoints:
                    if endpoint.answers(wanted.unready):
                        for ip in endpoint.addresses:
                            yield ip, port.port, endpoint.target_ref, endpoint.zone
