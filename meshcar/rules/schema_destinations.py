"""Istio's DestinationRule as frozen values, field by field (https://istio.io/latest/docs/reference/config/networking/destination-rule/).

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.host_names import wildcard_domain
from meshcar.rules.problems import Fault, Path, at_most, repeated
from meshcar.rules.schema_balancing import LoadBalancer, failover_faults
from meshcar.rules.schema_client_tls import TlsRule
from meshcar.rules.schema_outliers import OutlierDetection
from meshcar.rules.schema_pools import ConnectionPool
from meshcar.rules.schema_security import LabelSelector
from meshcar.rules.schema_targets import PortSelector
from meshcar.rules.visibility import export_faults


@attrs.frozen
class RetryBudget:
    """Source: TrafficPolicy.RetryBudget. None, and a `min_retry_concurrency` of 0, are Istio's defaults, 20 and 3."""

    percent: Annotated[float, units.percent] | None = None
    min_retry_concurrency: Annotated[int, units.uint32] = 0
    budget_interval: Annotated[float, units.duration] = 0.0


@attrs.frozen
class ProxyProtocol:
    """Source: TrafficPolicy.ProxyProtocol."""

    version: Literal["V1", "V2"] = "V1"


@attrs.frozen(kw_only=True)
class PortPolicy:
    """Source: TrafficPolicy.PortTrafficPolicy."""

    port: PortSelector
    connection_pool: ConnectionPool | None = None
    load_balancer: LoadBalancer | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TlsRule | None = None

    def faults(self) -> Iterator[Fault]:
        if all(one is None for one in (self.connection_pool, self.load_balancer, self.outlier_detection, self.tls)):
            yield Fault((), "REQUIRED", "a port's policy needs connectionPool, loadBalancer, outlierDetection or tls")
        yield from failover_faults(self.load_balancer, self.outlier_detection)


@attrs.frozen(kw_only=True)
class TrafficPolicy:
    """How to speak to a host or to one of its subsets."""

    REFUSED: ClassVar = frozenset({"tunnel"})

    connection_pool: ConnectionPool | None = None
    load_balancer: LoadBalancer | None = None
    outlier_detection: OutlierDetection | None = None
    tls: TlsRule | None = None
    port_level_settings: tuple[PortPolicy, ...] = ()
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None

    def faults(self) -> Iterator[Fault]:
        if self == TrafficPolicy():
            yield Fault((), "REQUIRED", "a traffic policy needs at least one of its fields")
        yield from failover_faults(self.load_balancer, self.outlier_detection)
        yield from at_most(self.port_level_settings, "portLevelSettings", 4096)
        known: set[int] = set()
        for index, one in enumerate(self.port_level_settings):
            if one.port.number in known:
                message = f"an earlier one of portLevelSettings is for port {one.port.number} too; it counts"
                yield Fault(("portLevelSettings", index, "port", "number"), "NO_EFFECT", message)
            known.add(one.port.number)

    def over(self, base: "TrafficPolicy") -> "TrafficPolicy":
        """A subset's policy over its host's: what it sets replaces what that has. Ports have been settled before."""
        ours = {field.name: getattr(self, field.name) for field in attrs.fields(TrafficPolicy)}
        return attrs.evolve(base, **{name: value for name, value in ours.items() if value})

    def of_port(self, number: int) -> "tuple[TrafficPolicy, bool]":
        """What holds for a port, and whether the port has settings of its own: those are all that holds then."""
        for one in self.port_level_settings:
            if one.port.number == number:
                return TrafficPolicy(
                    connection_pool=one.connection_pool, load_balancer=one.load_balancer, outlier_detection=one.outlier_detection,
                    tls=one.tls,
                ), True
        return (attrs.evolve(self, port_level_settings=()) if self.port_level_settings else self), False


@attrs.frozen
class Subset:
    """The endpoints of a host that have these labels; all of them where there are none."""

    name: Annotated[str, units.label_in_any_case]
    labels: Mapping[Annotated[str, units.label_key], Annotated[str, units.label_value]] = attrs.field(factory=dict)
    traffic_policy: TrafficPolicy | None = None


@attrs.frozen
class DestinationRule:
    """Policies for what goes to `host`, after routing. `workload_selector` says for whose calls, among the workloads of its namespace."""

    host: Annotated[str, wildcard_domain]
    subsets: tuple[Subset, ...] = ()
    traffic_policy: TrafficPolicy | None = None
    export_to: tuple[Annotated[str, units.export_target], ...] = ()
    workload_selector: LabelSelector | None = None

    def faults(self) -> Iterator[Fault]:
        yield from export_faults(self.export_to)
        if self.workload_selector is not None and len(self.export_to) > 1:
            yield Fault(("exportTo",), "CONFLICT", "a rule with a workloadSelector is for its own namespace; exportTo may only say '.'")
        yield from repeated((subset.name for subset in self.subsets), "subsets", "name")

    def tls_rules(self) -> Iterator[tuple[Path, TlsRule]]:
        """Every `tls` of the rule, with its path within `spec`."""
        policies: list[tuple[Path, TrafficPolicy | None]] = [(("trafficPolicy",), self.traffic_policy)]
        policies += [(("subsets", index, "trafficPolicy"), one.traffic_policy) for index, one in enumerate(self.subsets)]
        for path, policy in policies:
            if policy is None:
                continue
            if policy.tls is not None:
                yield (*path, "tls"), policy.tls
            for index, one in enumerate(policy.port_level_settings):
                if one.tls is not None:
                    yield (*path, "portLevelSettings", index, "tls"), one.tls
