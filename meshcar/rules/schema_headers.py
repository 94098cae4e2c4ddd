"""Istio's header operations as frozen values, and which headers they may change.

Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/#Headers. How a class becomes a reader of YAML:
`meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

import attrs

from meshcar.rules import header_units
from meshcar.rules.problems import Fault, Path
from meshcar.wire.formats import Format

ChangeableName = Annotated[str, header_units.changeable_header]
HeaderValue = Annotated[Format, header_units.header_format]


@attrs.frozen
class HeaderOperations:
    """Source: Headers.HeaderOperations."""

    set: Mapping[ChangeableName, HeaderValue] = attrs.field(factory=dict)
    add: Mapping[ChangeableName, HeaderValue] = attrs.field(factory=dict)
    remove: tuple[ChangeableName, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for field, values in (("set", self.set), ("add", self.add)):
            for name, value in values.items():
                for operator in header_units.says_nothing(value):
                    yield Fault((field, name), "NO_EFFECT", f"%{operator}% is always empty here: no peer's identity, metadata or trailer")

    def authorities(self) -> Iterator[Path]:
        """Where it gives the request another Host."""
        for field, values in (("set", self.set), ("add", self.add)):
            yield from ((field, name) for name, value in values.items() if is_authority(name) and value)


@attrs.frozen
class Headers:
    """Changes to the request and to the response."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None

    def faults(self) -> Iterator[Fault]:
        """Of names beginning with a colon, and of Host, a rule may only give a request another authority."""
        for side, operations in (("request", self.request), ("response", self.response)):
            if operations is None:
                continue
            for field, names in (("set", operations.set), ("add", operations.add)):
                for name in names:
                    if is_internal(name) and not (side == "request" and is_authority(name)):
                        yield Fault((side, field, name), "INVALID_VALUE", f"{name} cannot be changed by a rule", at_key=True)
            for index, name in enumerate(operations.remove):
                if is_internal(name):
                    yield Fault((side, "remove", index), "INVALID_VALUE", f"{name} cannot be removed by a rule")


def is_authority(name: str) -> bool:
    """Whether a header's name means the authority that a request is for."""
    return name.lower() in ("host", ":authority")


def is_internal(name: str) -> bool:
    """Whether a header's name is none of the headers that Envoy's header operations change."""
    return name.startswith(":") or name.lower() == "host"
