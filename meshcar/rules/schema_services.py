"""Istio's ServiceEntry and WorkloadEntry as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import attrs

from meshcar.rules import host_names, host_patterns, units
from meshcar.rules.problems import Fault, at_most, repeated
from meshcar.rules.protocols import is_http, is_known, is_tls
from meshcar.rules.visibility import export_faults

Labels = Mapping[Annotated[str, units.label_key], Annotated[str, units.label_value]]
Port = Annotated[int, units.port]
_BY_NAME = frozenset({"DNS", "DNS_ROUND_ROBIN"})

# Source of these limits: Istio's CustomResourceDefinitions
_MOST_HOSTS = _MOST_PORTS = _MOST_ADDRESSES = _MOST_LABELS = 256
_MOST_ENDPOINTS = 4096
_MOST_OWN_PORTS = 128
_LONGEST_WORD = 2048
_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_MOST_IN_ALL = 100_000
"""Hosts times ports times endpoints, of which ten are reckoned at least: each port of each host is a cluster, with endpoints of its own."""


@attrs.frozen
class WorkloadEntry:
    """One endpoint outside Kubernetes: an IP address, or a DNS name for services that are resolved by DNS.

    `ports` maps the name of a service's port to the endpoint's own. `locality` is `region/zone/subzone`; a `weight` of 0 is 1.
    """

    address: Annotated[str, host_names.entry_address] = ""
    ports: Mapping[Annotated[str, units.label_in_any_case], Port] = attrs.field(factory=dict)
    labels: Labels = attrs.field(factory=dict)
    network: str = ""
    locality: str = ""
    weight: Annotated[int, units.count] = 0
    service_account: str = ""

    def faults(self) -> Iterator[Fault]:
        yield from at_most(self.ports, "ports", _MOST_OWN_PORTS)
        yield from at_most(self.labels, "labels", _MOST_LABELS)
        yield from at_most(self.network, "network", _LONGEST_WORD)
        yield from at_most(self.locality, "locality", _LONGEST_WORD)
        yield from at_most(self.service_account, "serviceAccount", _LONGEST_NAME)
        if not self.address and self.network:
            message = "an endpoint that only its network is told of is reached through that network's gateway, which is not supported"
            yield Fault(("network",), "UNSUPPORTED_FIELD", message)
        elif not self.address:
            yield Fault(("address",), "REQUIRED", "address is missing")
        elif self.network:
            yield Fault(("network",), "NO_EFFECT", "endpoints are called at their addresses, whatever network they are in")


@attrs.frozen
class EntryPort:
    """Source: ServicePort of a ServiceEntry."""

    number: Port
    name: Annotated[str, units.label_in_any_case]
    protocol: str = ""
    target_port: Port | None = None

    def faults(self) -> Iterator[Fault]:
        if not is_known(self.protocol):
            words = "HTTP, HTTP2, HTTP_PROXY, HTTPS, GRPC, GRPC-WEB, TLS, TCP, UDP, MONGO, REDIS, MYSQL"
            yield Fault(("protocol",), "INVALID_VALUE", f"protocol {self.protocol!r}: known are {words}, in any case, and nothing")


@attrs.frozen
class WorkloadSelector:
    """Which workloads of the namespace, by label. No labels are all workloads."""

    labels: Mapping[str, str] = attrs.field(factory=dict)

    def faults(self) -> Iterator[Fault]:
        for key, value in self.labels.items():
            if not key:
                yield Fault(("labels", key), "INVALID_VALUE", "a label's name must not be empty", at_key=True)
            elif "*" in key or "*" in value:
                yield Fault(("labels", key), "INVALID_VALUE", "a selector knows no wildcards")
            elif len(value) > _LONGEST_LABEL:
                yield Fault(("labels", key), "INVALID_VALUE", f"a label's value has at most {_LONGEST_LABEL} characters, not {len(value)}")
        yield from at_most(self.labels, "labels", _MOST_LABELS)
        if not self.labels:
            yield Fault(("labels",), "SELECTS_ALL", "no labels: every workload of the namespace is selected")


@attrs.frozen
class ServiceEntry:
    """A service that Kubernetes does not know, and who answers for it.

    `resolution` says how they are found: STATIC by `endpoints` or `workload_selector`; DNS (all addresses of a name) and DNS_ROUND_ROBIN
    (one at a time) by the names of the endpoints, else by the host; DYNAMIC_DNS by the Host of each request; NONE: a connection goes
    where it was going.
    """

    hosts: tuple[Annotated[str, host_names.wildcard_domain], ...]
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    ports: tuple[EntryPort, ...] = ()
    addresses: tuple[Annotated[str, host_names.subnet], ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[Annotated[str, units.export_target], ...] = ()
    subject_alt_names: tuple[str, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from export_faults(self.export_to, may_be_hidden=True)
        if not self.hosts:
            yield Fault(("hosts",), "REQUIRED", "at least one host is needed")
        if self.endpoints and self.workload_selector is not None:
            yield Fault(("workloadSelector",), "CONFLICT", "only one of endpoints and workloadSelector may be given")
        for index, name in enumerate(self.hosts):
            if name == "*":
                yield Fault(("hosts", index), "INVALID_VALUE", "a ServiceEntry's host must not be *")
            elif host_patterns.is_partial(name) and self.resolution != "DYNAMIC_DNS":
                yield Fault(("hosts", index), "PARTIAL_WILDCARD", f"{name}: {host_patterns.HOW_ENVOY_TAKES_IT}")
        yield from repeated((port.number for port in self.ports), "ports", "number")
        yield from repeated((port.name for port in self.ports), "ports", "name")
        yield from self._size_faults()
        yield from self._resolution_faults()
        yield from self._endpoint_faults()
        yield from self._address_faults()

    def _size_faults(self) -> Iterator[Fault]:
        """More than Istio takes, or more in all than a sidecar should hold for the sake of one document."""
        sizes = ((self.hosts, "hosts", _MOST_HOSTS), (self.ports, "ports", _MOST_PORTS), (self.endpoints, "endpoints", _MOST_ENDPOINTS))
        for values, field, most in (*sizes, (self.addresses, "addresses", _MOST_ADDRESSES)):
            yield from at_most(values, field, most)
        in_all = len(self.hosts) * len(self.ports) * max(10, len(self.endpoints))
        if in_all > _MOST_IN_ALL and all(len(values) <= most for values, _, most in sizes):
            message = f"hosts times ports times endpoints (at least ten) are {in_all}, over {_MOST_IN_ALL}; write several ServiceEntries"
            yield Fault(("hosts",), "INVALID_VALUE", message)

    def _resolution_faults(self) -> Iterator[Fault]:
        resolution, named = self.resolution, self.resolution in _BY_NAME
        if resolution == "DYNAMIC_DNS":
            yield from self._dynamic_faults()
        if resolution == "NONE" and self.endpoints:
            yield Fault(("endpoints",), "CONFLICT", "resolution NONE sends each connection where it was going: there can be no endpoints")
        if resolution == "NONE" and self.workload_selector is not None:
            yield Fault(("workloadSelector",), "NO_EFFECT", "resolution NONE sends each connection where it was going")
        if resolution == "DNS_ROUND_ROBIN" and len(self.endpoints) > 1:
            yield Fault(("endpoints", 1), "CONFLICT", "resolution DNS_ROUND_ROBIN resolves one name: at most one endpoint")
        if named and not self.endpoints:
            for index, name in enumerate(self.hosts):
                if name.startswith("*"):
                    yield Fault(("hosts", index), "CONFLICT", f"resolution {resolution} cannot resolve a wildcard: give endpoints")

    def _dynamic_faults(self) -> Iterator[Fault]:
        """DYNAMIC_DNS resolves the host of each request, so it needs hosts that a request can choose, and requests that say theirs."""
        for index, name in enumerate(self.hosts):
            if not name.startswith("*"):
                yield Fault(("hosts", index), "CONFLICT", "resolution DYNAMIC_DNS is for wildcards, such as *.example.com")
        for field in ("addresses", "endpoints"):
            if getattr(self, field):
                yield Fault((field,), "CONFLICT", f"resolution DYNAMIC_DNS goes where each request's host leads: there can be no {field}")
        for index, port in enumerate(self.ports):
            known = port.protocol.upper()
            if known in ("TLS", "GRPC", "HTTP2"):
                message = f"resolution DYNAMIC_DNS is not supported yet for {known}, only for HTTP"
                yield Fault(("ports", index, "protocol"), "UNSUPPORTED_VALUE", message)
            elif known != "HTTP":
                yield Fault(("ports", index, "protocol"), "CONFLICT", "resolution DYNAMIC_DNS needs a protocol that says the host: HTTP")

    def _endpoint_faults(self) -> Iterator[Fault]:
        """What is wrong between endpoints and the rest."""
        names = {port.name for port in self.ports}
        for index, endpoint in enumerate(self.endpoints):
            for name in endpoint.ports:
                if name not in names:
                    yield Fault(("endpoints", index, "ports", name), "INVALID_VALUE", f"the ServiceEntry has no port {name}", at_key=True)
            if self.resolution == "STATIC" and endpoint.address and not host_names.is_address(endpoint.address):
                message = f"resolution STATIC needs an IP address, not {endpoint.address}; resolution DNS resolves names"
                yield Fault(("endpoints", index, "address"), "INVALID_VALUE", message)

    def _address_faults(self) -> Iterator[Fault]:
        """What is wrong between addresses, hosts and ports: what cannot be told apart."""
        if self.resolution in _BY_NAME:
            for index, address in enumerate(self.addresses):
                if "/" in address:
                    message = f"a range of addresses needs resolution NONE or STATIC, not {self.resolution}"
                    yield Fault(("addresses", index), "CONFLICT", message)
        for index, port in enumerate(self.ports):
            here = ("ports", index)
            if len(self.hosts) > 1 and self.resolution != "NONE" and not is_http(port.protocol) and not is_tls(port.protocol):
                message = f"port {port.number} carries neither HTTP nor TLS, which say for whom they are: the hosts cannot be told apart"
                yield Fault((*here, "protocol"), "CONFLICT", message)
            elif len(self.hosts) > 1 and self.resolution in _BY_NAME and self.addresses and is_tls(port.protocol):
                yield Fault(here, "AMBIGUOUS_HOSTS", f"the hosts share their addresses and the TLS port {port.number}")
            open_ended = self.resolution == "NONE" or any("*" in one for one in self.hosts)
            if not self.addresses and port.protocol.upper() in ("", "TCP") and open_ended:
                yield Fault(here, "NO_ADDRESS", f"without addresses, TCP to port {port.number} of any address is meant")
