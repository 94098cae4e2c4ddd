"""Where a rule sends what it takes, the same for requests and for connections: Istio's Destination and PortSelector."""

from typing import Annotated

import attrs

from meshcar.rules import units

Port = Annotated[int, units.port]


@attrs.frozen
class PortSelector:
    """A port by its number."""

    number: Port


@attrs.frozen
class RouteTarget:
    """Source: Destination."""

    host: Annotated[str, units.destination_host]
    subset: Annotated[str, units.label_or_none] = ""
    port: PortSelector | None = None
