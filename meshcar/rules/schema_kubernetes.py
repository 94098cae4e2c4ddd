"""Kubernetes' Service, Endpoints, EndpointSlice and Pod: what they say about who answers where.

Fields that mean nothing to a sidecar are read over, as Istio does. How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import host_names, units
from meshcar.rules.problems import Fault

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
    app_protocol: str | None = None


@attrs.frozen
class Service:
    """A name, addresses and ports, and which pods of its namespace answer. Istio reads over the BESIDE fields, too.

    With `external_name` it is another name for a service. `cluster_ip` is `None` for a headless one, of which each pod is meant by itself.
    """

    BESIDE: ClassVar = frozenset({
        "allocateLoadBalancerNodePorts", "externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy",
        "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "sessionAffinity", "sessionAffinityConfig",
    })
    SPELLINGS: ClassVar = {"cluster_ip": ("clusterIP",), "cluster_ips": ("clusterIPs",)}

    ports: tuple[ServicePort, ...] = ()
    selector: Labels = attrs.field(factory=dict)
    cluster_ip: Annotated[str, units.cluster_ip] = ""
    cluster_ips: tuple[Annotated[str, units.cluster_ip], ...] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    external_name: Annotated[str, host_names.fqdn] | None = None
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    traffic_distribution: Literal["", "PreferClose", "PreferSameZone", "PreferSameNode"] = ""

    @property
    def alias_of(self) -> str:
        """The host that this is another name for, or empty."""
        return (self.external_name or "").removesuffix(".") if self.type == "ExternalName" else ""

    @property
    def headless(self) -> bool:
        """Whether it has no address by intent."""
        return self.cluster_ip == "None"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its virtual addresses, of both families."""
        return tuple(one for one in dict.fromkeys((self.cluster_ip, *self.cluster_ips)) if one not in ("", "None"))

    def faults(self) -> Iterator[Fault]:
        if self.type == "ExternalName" and self.external_name is None:
            yield Fault(("externalName",), "REQUIRED", "a Service of the type ExternalName needs one")
        if self.internal_traffic_policy == "Local":
            message = "the sidecar does not know which node it is on; all endpoints are used"
            yield Fault(("internalTrafficPolicy",), "NO_EFFECT", message)


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

    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
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
    terminating: bool = True


@attrs.frozen
class SliceEndpoint:
    """One endpoint of an EndpointSlice."""

    OPEN: ClassVar = True

    addresses: tuple[Annotated[str, host_names.entry_address], ...]
    conditions: Conditions = Conditions()
    target_ref: TargetRef | None = None
    zone: str = ""

    def answers(self, unready_too: bool) -> bool:
        """Whether it may be called. One that is not ready counts only where that is asked for, and where it surely does not terminate."""
        return self.conditions.ready or (unready_too and not self.conditions.terminating)


@attrs.frozen
class EndpointSlice:
    """Who answers for the Service that the label kubernetes.io/service-name names. Istio reads over those of names (FQDN)."""

    address_type: Literal["IPv4", "IPv6", "FQDN"] = "IPv4"
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

    def answers(self, unready_too: bool = False) -> bool:
        """Whether it has an address, runs, and is not known to be unready, if that counts."""
        unready = any(one.type == "Ready" and one.status == "False" for one in self.status.conditions)
        return bool(self.status.pod_ip) and self.status.phase not in ("Succeeded", "Failed") and (unready_too or not unready)
