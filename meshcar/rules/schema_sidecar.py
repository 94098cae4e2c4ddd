"""Istio's Sidecar as a frozen value: which services a workload sees, what becomes of a host that none of them has, and what it serves.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import host_names, host_patterns
from meshcar.rules.problems import Fault, repeated
from meshcar.rules.protocols import entry_protocol, is_known
from meshcar.rules.schema_services import Port, WorkloadSelector
from meshcar.rules.units import NotSupported, label_in_any_case, port_key, text

_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_OWN_ADDRESS = frozenset({"", "0.0.0.0", "::"})


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
        label_in_any_case(namespace)
    if pattern != "*" and "." not in pattern:
        raise ValueError("must name a host in full, with its dots, or *")
    if host_patterns.is_partial(pattern):
        raise ValueError("is a partial wildcard; * must be the whole first label, as in */*.example.com")
    return EgressHost(namespace, host_names.wildcard_domain(pattern), excluded)


def application_endpoint(value: object) -> tuple[str, int]:
    """Where the application is: loopback and a port, or an empty host, the address that was meant. Source: Istio's ValidateSidecar."""
    given = text(value)
    if given.startswith(host_names.UNIX):
        raise NotSupported("is a Unix socket, which is not supported as an endpoint")
    host, colon, port = given.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or host not in _LOOPBACK | _OWN_ADDRESS:
        raise ValueError("must be 127.0.0.1:PORT, [::1]:PORT, 0.0.0.0:PORT, [::]:PORT or :PORT")
    return host if host in _LOOPBACK else "", port_key(port)


def capturing(value: object) -> str:
    """`DEFAULT` or `IPTABLES`, which are the same. Source: CaptureMode."""
    given = text(value)
    if given == "NONE":
        raise NotSupported("is not supported: a listener has no socket of its own; --intercept none takes what is sent to a port of choice")
    if given not in ("DEFAULT", "IPTABLES"):
        raise ValueError("supported are DEFAULT, IPTABLES")
    return given


@attrs.frozen
class SidecarPort:
    """A port of the workload, and what is spoken there."""

    REFUSED: ClassVar = frozenset({"targetPort"})

    number: Port
    protocol: str = ""
    name: Annotated[str, label_in_any_case] = "-"

    def faults(self) -> Iterator[Fault]:
        remark = entry_protocol(self.protocol.lower(), self.number)[1]
        if not is_known(self.protocol):
            yield Fault(("protocol",), "INVALID_VALUE", f"protocol {self.protocol!r} is none of Istio's")
        elif remark:
            yield Fault(("protocol",), "OPAQUE_PROTOCOL", remark)


@attrs.frozen
class IngressListener:
    """Source: IstioIngressListener. Without `default_endpoint` the application listens on the port itself."""

    REFUSED: ClassVar = frozenset({"bind", "connectionPool", "tls"})

    port: SidecarPort
    default_endpoint: Annotated[tuple[str, int], application_endpoint] | None = None
    capture_mode: Annotated[str, capturing] = "DEFAULT"


@attrs.frozen
class EgressListener:
    """Source: IstioEgressListener. Without a port it speaks of all services."""

    REFUSED: ClassVar = frozenset({"bind", "port"})

    hosts: tuple[Annotated[EgressHost, egress_host], ...]
    capture_mode: Annotated[str, capturing] = "DEFAULT"

    def faults(self) -> Iterator[Fault]:
        if not self.hosts:
            yield Fault(("hosts",), "REQUIRED", "at least one host is needed; ~/* is none")

    def repeated_hosts(self, home: str) -> Iterator[Fault]:
        """What others of the list import already, of a Sidecar in the namespace `home`. Source: istiod's ValidateSidecar."""
        imported = [(index, home if host.namespace == "." else host.namespace, host.pattern)
                    for index, host in enumerate(self.hosts) if not host.excluded]  # fmt: skip
        everything = any((namespace, pattern) == ("*", "*") for _, namespace, pattern in imported)
        seen: dict[str, set[str]] = {}
        for index, namespace, pattern in imported:
            others = seen.setdefault(namespace, set())
            if pattern in others or "*" in others or (pattern == "*" and others):
                yield Fault(("hosts", index), "NO_EFFECT", "other hosts of the list say the same")
            elif everything and namespace != "*":
                yield Fault(("hosts", index), "NO_EFFECT", "*/* of the list imports everything")
            others.add(pattern)


@attrs.frozen
class OutboundTrafficPolicy:
    """What becomes of a host that no service has. An empty one means REGISTRY_ONLY, as in Istio."""

    REFUSED: ClassVar = frozenset({"egressProxy"})

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"


@attrs.frozen
class Sidecar:
    """Which services, and which VirtualServices, the workloads of its namespace see, or those among them that the selector chooses;
    with `ingress`, which ports they serve, in the place of those that services name.

    One without a selector in the namespace istio-system is for all namespaces that have none of their own.
    """

    REFUSED: ClassVar = frozenset({"inboundConnectionPool"})

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[IngressListener, ...] = ()
    egress: tuple[EgressListener, ...] = ()
    outbound_traffic_policy: OutboundTrafficPolicy | None = None

    def faults(self) -> Iterator[Fault]:
        if not self.egress and not self.ingress and self.outbound_traffic_policy is None:
            yield Fault((), "REQUIRED", "a Sidecar says something of ingress, egress or outboundTrafficPolicy")
        yield from repeated((one.port.number for one in self.ingress), "ingress", "port", "number")
        for index in range(1, len(self.egress)):
            yield Fault(("egress", index), "CONFLICT", "only one egress listener may be without a port")
