"""Istio's ServiceEntry and WorkloadEntry as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault, repeated
from meshcar.rules.visibility import export_faults

Labels = Mapping[str, str]
Port = Annotated[int, units.port]


@attrs.frozen
class WorkloadEntry:
    """One endpoint outside Kubernetes. `ports` maps the name of a service's port to the endpoint's own."""

    REFUSED: ClassVar = frozenset({"network", "locality", "weight"})

    address: Annotated[str, units.address]
    ports: Mapping[str, Port] = attrs.field(factory=dict)
    labels: Labels = attrs.field(factory=dict)
    service_account: str = ""


@attrs.frozen
class EntryPort:
    """Source: ServicePort of a ServiceEntry."""

    number: Port
    name: Annotated[str, units.label]
    protocol: str = ""
    target_port: Port | None = None


@attrs.frozen
class WorkloadSelector:
    """Which workloads of the namespace, by label."""

    labels: Labels = attrs.field(factory=dict)


@attrs.frozen
class ServiceEntry:
    """A service that Kubernetes does not know, and who answers for it. Only resolution STATIC is supported."""

    REFUSED: ClassVar = frozenset({"subjectAltNames"})

    hosts: tuple[Annotated[str, units.host_pattern], ...]
    resolution: Literal["STATIC"]
    ports: tuple[EntryPort, ...]
    addresses: tuple[Annotated[str, units.network_address], ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[Annotated[str, units.export_target], ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from export_faults(self.export_to, may_be_hidden=True)
        if not self.hosts:
            yield Fault(("hosts",), "REQUIRED", "at least one host is needed")
        if not self.ports:
            yield Fault(("ports",), "REQUIRED", "at least one port is needed")
        if self.endpoints and self.workload_selector is not None:
            yield Fault(("workloadSelector",), "CONFLICT", "only one of endpoints and workloadSelector may be given")
        for index, name in enumerate(self.hosts):
            if name == "*":
                yield Fault(("hosts", index), "INVALID_VALUE", "a ServiceEntry's host must not be *")
        yield from repeated((port.number for port in self.ports), "ports", "number")
        yield from repeated((port.name for port in self.ports), "ports", "name")
