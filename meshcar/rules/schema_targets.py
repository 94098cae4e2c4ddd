"""What rules for requests and for connections have in common: Istio's Destination, and names of ports, labels and gateways."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import attrs

from meshcar.rules import host_names, units
from meshcar.rules.problems import Fault

GatewayName = Annotated[str, units.gateway_name]
Labels = Mapping[Annotated[str, units.label_key], Annotated[str, units.label_value]]
Port = Annotated[int, units.port]


@attrs.frozen
class PortSelector:
    """A port by its number."""

    number: Port


@attrs.frozen
class RouteTarget:
    """Source: Destination."""

    host: Annotated[str, host_names.destination_host]
    subset: Annotated[str, units.label_or_none] = ""
    port: PortSelector | None = None


def old_gateway_names(names: tuple[str, ...]) -> Iterator[Fault]:
    """A warning for each gateway whose name is written the old way."""
    for index, name in enumerate(names):
        if "." in name and "/" not in name:
            gateway, namespace = name.split(".")[:2]
            yield Fault(("gateways", index), "DEPRECATED", f"gateways are named namespace/name today: {namespace}/{gateway}")
