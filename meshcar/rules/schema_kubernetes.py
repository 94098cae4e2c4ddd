"""Kubernetes' Service, Endpoints, EndpointSlice and Pod: what they say about who answers where.

Fields that mean nothing to a sidecar are read over, as Istio does. How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units

Address = Annotated[str, units.address]
Labels = Mapping[str, str]
Port = Annotated[int, units.port]
Protocol = Literal["TCP", "UDP", "SCTP"]


@attrs.frozen
class Metadata:
    """Source: ObjectMeta. `creation_timestamp` is RFC 3339 and sorts as text."""

    OPEN: ClassVar = True

    name: Annotated[str, units.host]
    namespace: Annotated[str, units.label] | None = None
    labels: Labels = attrs.field(factory=dict)
    annotations: Labels = attrs.field(factory=dict)
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


@attrs.frozen
class ServicePort:
    """One port of a Service. Without `target_port` the endpoints listen on `port`."""

    BESIDE: ClassVar = frozenset({"nodePort"})

    port: Port
    name: str = ""
    target_port: Annotated[int | str, units.port_or_name] | None = None
    protocol: Protocol = "TCP"
    app_protocol: str = ""


@attrs.frozen
class Service:
    """A name, addresses and ports, and which pods of its namespace answer. Istio reads over the BESIDE fields, too."""

    REFUSED: ClassVar = frozenset({"externalName"})
    BESIDE: ClassVar = frozenset({
        "allocateLoadBalancerNodePorts", "externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "internalTrafficPolicy",
        "ipFamilies", "ipFamilyPolicy", "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "publishNotReadyAddresses",
        "sessionAffinity", "sessionAffinityConfig", "trafficDistribution",
    })
    SPELLINGS: ClassVar = {"cluster_ip": ("clusterIP",), "cluster_ips": ("clusterIPs",)}

    ports: tuple[ServicePort, ...] = ()
    selector: Labels = attrs.field(factory=dict)
    cluster_ip: Annotated[str, units.cluster_ip] = ""
    cluster_ips: tuple[Annotated[str, units.cluster_ip], ...] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"


@attrs.frozen
class TargetRef:
    """Source: ObjectReference; the Pod behind an address."""

    OPEN: ClassVar = True

    kind: str = ""
    name: str = ""


@attrs.frozen
class EndpointAddress:
    """One address of Endpoints."""

    OPEN: ClassVar = True

    ip: Address
    target_ref: TargetRef | None = None


@attrs.frozen
class EndpointPort:
    """A port of Endpoints or of an EndpointSlice; `name` is that of the Service's port."""

    OPEN: ClassVar = True

    port: Port
    name: str = ""
    protocol: Protocol = "TCP"


@attrs.frozen
class EndpointSubset:
    """Every address answers on every port."""

    BESIDE: ClassVar = frozenset({"notReadyAddresses"})

    addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


@attrs.frozen
class Endpoints:
    """Who answers for the Service of the same name."""

    subsets: tuple[EndpointSubset, ...] = ()


@attrs.frozen
class Conditions:
    """Source: EndpointConditions. Unknown counts as ready."""

    OPEN: ClassVar = True

    ready: bool = True


@attrs.frozen
class SliceEndpoint:
    """One endpoint of an EndpointSlice."""

    OPEN: ClassVar = True

    addresses: tuple[Address, ...]
    conditions: Conditions = Conditions()
    target_ref: TargetRef | None = None


@attrs.frozen
class EndpointSlice:
    """Who answers for the Service that the label kubernetes.io/service-name names."""

    address_type: Literal["IPv4", "IPv6"] = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


@attrs.frozen
class ContainerPort:
    """A port that a container names."""

    OPEN: ClassVar = True

    container_port: Port
    name: str = ""


@attrs.frozen
class Container:
    """What a sidecar needs to know of a container: its ports."""

    OPEN: ClassVar = True

    ports: tuple[ContainerPort, ...] = ()


@attrs.frozen
class PodSpec:
    """What a sidecar needs to know of a pod."""

    OPEN: ClassVar = True

    service_account_name: str = ""
    containers: tuple[Container, ...] = ()


@attrs.frozen
class PodCondition:
    """Source: PodCondition; `Ready` with status `False` takes the pod out."""

    OPEN: ClassVar = True

    type: str = ""
    status: str = ""


@attrs.frozen
class PodStatus:
    """Where a pod is, and whether it answers."""

    OPEN: ClassVar = True
    SPELLINGS: ClassVar = {"pod_ip": ("podIP",)}

    pod_ip: Annotated[str, units.cluster_ip] = ""
    phase: str = ""
    conditions: tuple[PodCondition, ...] = ()


@attrs.frozen
class Pod:
    """A pod, which Services select by its labels."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def answers(self) -> bool:
        """Whether it has an address, runs, and is not known to be unready."""
        unready = any(one.type == "Ready" and one.status == "False" for one in self.status.conditions)
        return bool(self.status.pod_ip) and self.status.phase not in ("Succeeded", "Failed") and not unready
