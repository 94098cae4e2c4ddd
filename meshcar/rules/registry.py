"""Which services there are, under which names and addresses, on which ports, and who answers: from Services and ServiceEntries."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import attrs

from meshcar.rules.problems import Fault, Problem
from meshcar.rules.protocols import application_protocol, port_protocol
from meshcar.rules.read import Resource
from meshcar.rules.schema_kubernetes import Endpoints, EndpointSlice, Pod, Service, ServicePort
from meshcar.rules.schema_services import EntryPort, ServiceEntry, WorkloadEntry
from meshcar.rules.steps import Steps, finish
from meshcar.rules.visibility import ANNOTATION, visible
from meshcar.rules.workload import selects

T = TypeVar("T")

CLUSTER_DOMAIN = "svc.cluster.local"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


@attrs.frozen
class Instance:
    """One who answers for a port of a service. `service_account` is None where nothing tells it.

    `locality` is `region/zone/subzone` or empty, `weight` a share among the instances.
    """

    address: str
    port: int
    namespace: str
    labels: Mapping[str, str] = attrs.field(factory=dict)
    service_account: str | None = None
    locality: str = ""
    weight: int = 1


@attrs.frozen
class ServedPort:
    """A port of a service; `protocol` is http, tcp or auto. `target` is the workloads' port unless they have it by name (None).

    `application` is the word that said the protocol, such as `https` or `mongo`, or one that said nothing.
    """

    number: int
    protocol: str
    target: int | None
    instances: tuple[Instance, ...]
    application: str = ""


@attrs.frozen
class KnownService:
    """A service. `names` are what it is called besides `host`, wildcard or not; `addresses` its virtual IPs.

    `selector` is empty where nothing selects workloads. `anywhere`: it has no address of its own and answers at every one, as a
    ServiceEntry without addresses does; a headless Service does not, as each of its pods is meant by itself. `visible`: our namespace
    may call it; one that is not still serves its own workloads. Where two want the same connections, the one whose `age` sorts first
    has them: when it was created, its name (a ServiceEntry's host), its namespace.
    """

    host: str
    namespace: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    ports: tuple[ServedPort, ...]
    selector: Mapping[str, str]
    anywhere: bool = False
    visible: bool = True
    age: tuple[str, str, str] = ("", "", "")

    def port(self, number: int) -> ServedPort | None:
        """The port of that number, if the service has it."""
        return next((one for one in self.ports if one.number == number), None)

    def speaks_http(self, number: int) -> bool:
        """Whether a port of that number speaks HTTP, or may."""
        return any(one.number == number and one.protocol != "tcp" for one in self.ports)


def full_name(host: str, namespace: str) -> str:
    """A host name as the rules of a namespace mean it: a name without a dot is a Service there."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{CLUSTER_DOMAIN}"


def short_names(host: str, home: str) -> tuple[str, ...]:
    """What else a host of the cluster is called; its first label alone only in its own namespace, `home`."""
    name, _, rest = host.partition(".")
    namespace = rest.removesuffix("." + CLUSTER_DOMAIN)
    if namespace == rest or "." in namespace:
        return ()
    names = (f"{name}.{namespace}.svc", f"{name}.{namespace}")
    return (*names, name) if namespace == home and name != "*" else names


def most_specific(host: str, table: Mapping[str, T]) -> T | None:
    """What a table by host pattern holds for a host: under the host itself, else the longest wildcard, else `*`."""
    found = table.get(host)
    dot = host.find(".", 2 if host.startswith("*.") else 0)
    while found is None and dot > 0:
        found = table.get(f"*{host[dot:]}")
        dot = host.find(".", dot + 1)
    return table.get("*") if found is None else found


Services = tuple[Mapping[str, KnownService], tuple[Problem, ...]]
"""The services by host, and what is wrong with them."""


def services(resources: Iterable[Resource], namespace: str) -> Services:
    """As workloads of `namespace` see them. Of two that share a host the first that they see counts."""
    return finish(service_steps(resources, namespace))


def service_steps(resources: Iterable[Resource], namespace: str) -> Steps[Services]:
    """The same, with a pause after each resource."""
    resources = tuple(resources)
    workloads = _Workloads(resources)
    known: dict[str, KnownService] = {}
    problems: list[Problem] = []
    for resource in resources:
        faults: list[Fault] = []
        if isinstance(resource.spec, Service):
            found = [_of_service(resource, resource.spec, workloads, namespace, faults)]
        elif isinstance(resource.spec, ServiceEntry):
            found = list(_of_entry(resource, resource.spec, workloads, namespace, faults))
        else:
            continue
        yield
        for service in found:
            other = known.get(service.host)
            if other is None or (service.visible and not other.visible):
                known[service.host] = service
            elif service.visible:
                message = f"another service has the host {service.host} already; it counts"
                faults.append(Fault(("spec",), "DUPLICATE_HOST", message))
        problems += resource.problems(faults)
    return known, tuple(problems)


class _Workloads:
    """Pods, WorkloadEntries and endpoints, found by namespace; lives as long as one call of `services`."""

    def __init__(self, resources: tuple[Resource, ...]) -> None:
        self._pods: dict[str, list[tuple[Resource, Pod]]] = {}
        self._pods_by_name: dict[tuple[str, str], Resource] = {}
        self._entries: dict[str, list[tuple[Mapping[str, str], WorkloadEntry]]] = {}
        self._listed: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            self._note(resource)

    def _note(self, resource: Resource) -> None:
        spec, namespace = resource.spec, resource.namespace
        if isinstance(spec, Pod):
            self._pods_by_name[namespace, resource.name] = resource
            if spec.answers and not resource.metadata.deletion_timestamp:
                self._pods.setdefault(namespace, []).append((resource, spec))
        elif isinstance(spec, WorkloadEntry):
            labels = {**resource.metadata.labels, **spec.labels}
            self._entries.setdefault(namespace, []).append((labels, spec))
        elif isinstance(spec, Endpoints):
            self._listed.setdefault((namespace, resource.name), []).append(resource)
        elif isinstance(spec, EndpointSlice):
            service = resource.metadata.labels.get(SERVICE_NAME_LABEL, "")
            self._listed.setdefault((namespace, service), []).append(resource)

    def selected(self, namespace: str, selector: Mapping[str, str], port: ServicePort | EntryPort, number: int) -> Iterator[Instance]:
        """Pods and WorkloadEntries with the labels, each on its own port; `number` is the service's."""
        if not selector:
            return
        for resource, pod in self._pods.get(namespace, ()):
            labels = resource.metadata.labels
            target = _pod_port(pod, port.target_port, number) if selects(selector, labels) else None
            if target is not None:
                yield Instance(pod.status.pod_ip, target, namespace, labels, pod.spec.service_account_name or "default")
        for labels, entry in self._entries.get(namespace, ()):
            if selects(selector, labels):
                yield of_entry(entry, labels, namespace, port, number)

    def listed(self, namespace: str, name: str, port_name: str) -> Iterator[Instance]:
        """Whom Endpoints and EndpointSlices name for a Service's port."""
        for resource in self._listed.get((namespace, name), ()):
            for address, number, pod_name in _listed_addresses(resource.spec, port_name):
                pod = self._pods_by_name.get((namespace, pod_name))
                if pod is None:
                    yield Instance(address, number, namespace)
                else:
                    yield Instance(address, number, namespace, pod.metadata.labels, pod.spec.spec.service_account_name or "default")


def of_entry(entry: WorkloadEntry, labels: Mapping[str, str], namespace: str, port: ServicePort | EntryPort, number: int) -> Instance:
    """A WorkloadEntry as an instance: its own port of that name, else the target port, else the service's."""
    target = port.target_port if isinstance(port.target_port, int) else None
    own = entry.ports.get(port.target_port) if isinstance(port.target_port, str) else None
    chosen = entry.ports.get(port.name) or own or target or number
    return Instance(entry.address, chosen, namespace, labels, entry.service_account or "default")


def _of_service(resource: Resource, spec: Service, workloads: _Workloads, home: str, faults: list[Fault]) -> KnownService:
    name, namespace = resource.name, resource.namespace
    host = f"{name}.{namespace}.{CLUSTER_DOMAIN}"
    addresses = tuple(dict.fromkeys(filter(None, (spec.cluster_ip, *spec.cluster_ips))))
    ports = []
    for index, port in enumerate(spec.ports):
        if port.protocol != "TCP":
            continue
        protocol, remark = port_protocol(port.app_protocol, port.name, port.port)
        if remark:
            faults.append(Fault(("spec", "ports", index), "OPAQUE_PROTOCOL", remark))
        instances = (*workloads.listed(namespace, name, port.name), *workloads.selected(namespace, spec.selector, port, port.port))
        ports.append(ServedPort(port.port, protocol, _target(port, port.port), _distinct(instances),
                                application_protocol(port.app_protocol, port.name)))
    exported = [word.strip() for word in resource.metadata.annotations.get(ANNOTATION, "").split(",") if word.strip()]
    seen = visible(exported, namespace, home)
    age = (resource.metadata.creation_timestamp, name, namespace)
    return KnownService(host, namespace, short_names(host, home), addresses, tuple(ports), spec.selector, visible=seen, age=age)


def _of_entry(
    resource: Resource, spec: ServiceEntry, workloads: _Workloads, home: str, faults: list[Fault]
) -> Iterator[KnownService]:
    namespace = resource.namespace
    selector = spec.workload_selector.labels if spec.workload_selector else {}
    ports = []
    for index, port in enumerate(spec.ports):
        protocol, remark = port_protocol(port.protocol, port.name, port.number)
        if remark:
            faults.append(Fault(("spec", "ports", index), "OPAQUE_PROTOCOL", remark))
        own = (of_entry(one, one.labels, namespace, port, port.number) for one in spec.endpoints)
        instances = (*own, *workloads.selected(namespace, selector, port, port.number))
        ports.append(ServedPort(port.number, protocol, _target(port, port.number), _distinct(instances),
                                application_protocol(port.protocol, port.name)))
    seen = visible(spec.export_to, namespace, home)
    for host in spec.hosts:
        yield KnownService(
            host, namespace, short_names(host, home), spec.addresses, tuple(ports), selector, not spec.addresses, seen,
            (resource.metadata.creation_timestamp, host, namespace),
        )


def _target(port: ServicePort | EntryPort, number: int) -> int | None:
    return None if isinstance(port.target_port, str) else port.target_port or number


def _distinct(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """One instance for each address and port: the one that knows its labels, where there are two."""
    found: dict[tuple[str, int], Instance] = {}
    for one in instances:
        place = (one.address, one.port)
        if place not in found or (one.labels and not found[place].labels):
            found[place] = one
    return tuple(found.values())


def _pod_port(pod: Pod, target: int | str | None, number: int) -> int | None:
    """The pod's port behind a targetPort; None if the pod has no port of that name."""
    if not isinstance(target, str):
        return target or number
    named = (port for container in pod.spec.containers for port in container.ports)
    return next((port.container_port for port in named if port.name == target), None)


def _listed_addresses(spec: Endpoints | EndpointSlice, port_name: str) -> Iterator[tuple[str, int, str]]:
    """Address, port and the name of the Pod behind it (or "") of those that are ready."""
    if isinstance(spec, Endpoints):
        for subset in spec.subsets:
            for port in subset.ports:
                if port.name == port_name and port.protocol == "TCP":
                    for address in subset.addresses:
                        yield address.ip, port.port, address.target_ref.name if address.target_ref else ""
        return
    for port in spec.ports:
        if port.name == port_name and port.protocol == "TCP":
            for endpoint in spec.endpoints:
                if endpoint.conditions.ready:
                    for ip in endpoint.addresses:
                        yield ip, port.port, endpoint.target_ref.name if endpoint.target_ref else ""
