"""Istio's Sidecar as a frozen value: which services a workload sees, and what becomes of a host that none of them has.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import host_names
from meshcar.rules.problems import Fault
from meshcar.rules.schema_services import WorkloadSelector
from meshcar.rules.units import text


@attrs.frozen
class EgressHost:
    """One of egress.hosts. `namespace` is a name, `.` (the workload's own) or `*`; `pattern` a host, wildcard or not, or `*`."""

    namespace: str
    pattern: str
    excluded: bool = False


def egress_host(value: object) -> EgressHost:
    """`namespace/dnsName`; `~` before it takes away what others import. Source: Istio's ValidateNamespaceSlashWildcardHostname."""
    namespace, slash, pattern = text(value).partition("/")
    if not slash or not namespace or not pattern:
        raise ValueError("must be namespace/dnsName, such as ./*, istio-system/* or */api.example.com")
    excluded = namespace.startswith("~")
    namespace = namespace.removeprefix("~") or "*"
    if namespace not in ("*", "."):
        host_names.port_name(namespace)
    if pattern != "*" and "." not in pattern:
        raise ValueError("must name a host in full, with its dots, or *")
    return EgressHost(namespace, host_names.wildcard_domain(pattern), excluded)


@attrs.frozen
class EgressListener:
    """Source: IstioEgressListener. Without a port it speaks of all services."""

    REFUSED: ClassVar = frozenset({"bind", "port"})

    hosts: tuple[Annotated[EgressHost, egress_host], ...]
    capture_mode: Literal["DEFAULT", "IPTABLES"] = "DEFAULT"

    def faults(self) -> Iterator[Fault]:
        if not self.hosts:
            yield Fault(("hosts",), "REQUIRED", "at least one host is needed; ~/* is none")
        seen: dict[tuple[str, bool], set[str]] = {}
        for index, host in enumerate(self.hosts):
            others = seen.setdefault((host.namespace, host.excluded), set())
            if host.pattern in others or "*" in others or (host.pattern == "*" and others):
                yield Fault(("hosts", index), "NO_EFFECT", "other hosts of the list say the same")
            others.add(host.pattern)


@attrs.frozen
class OutboundTrafficPolicy:
    """What becomes of a host that no service has. An empty one means REGISTRY_ONLY, as in Istio."""

    REFUSED: ClassVar = frozenset({"egressProxy"})

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"


@attrs.frozen
class Sidecar:
    """Which services, and which VirtualServices, the workloads of its namespace see, or those among them that the selector chooses.

    One without a selector in the namespace istio-system is for all namespaces that have none of their own.
    """

    REFUSED: ClassVar = frozenset({"inboundConnectionPool", "ingress"})

    workload_selector: WorkloadSelector | None = None
    egress: tuple[EgressListener, ...] = ()
    outbound_traffic_policy: OutboundTrafficPolicy | None = None

    def faults(self) -> Iterator[Fault]:
        if not self.egress and self.outbound_traffic_policy is None:
            yield Fault((), "REQUIRED", "a Sidecar says something of egress or outboundTrafficPolicy")
        for index in range(1, len(self.egress)):
            yield Fault(("egress", index), "CONFLICT", "only one egress listener may be without a port")
