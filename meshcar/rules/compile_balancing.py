"""How a cluster balances, and where each endpoint stands, from a DestinationRule's loadBalancer."""

from collections.abc import Callable, Iterable

from meshcar.rules.policies import UpstreamTls
from meshcar.rules.registry import Instance
from meshcar.rules.schema_balancing import LoadBalancer
from meshcar.rules.snapshot import EndpointConfig

_NAMES = {"UNSPECIFIED": "LEAST_REQUEST", "LEAST_CONN": "LEAST_REQUEST"}


def balancing(rule: LoadBalancer | None) -> str:
    """The way of a cluster; least request where nothing is said, as Istio's default is."""
    simple = rule.simple if rule else "UNSPECIFIED"
    return _NAMES.get(simple, simple)


def placed(instances: Iterable[Instance], tls: Callable[[Instance], UpstreamTls | None]) -> tuple[EndpointConfig, ...]:
    """The instances as endpoints."""
    return tuple([EndpointConfig(one.address, one.port, tls(one), one.weight, one.locality) for one in instances])
