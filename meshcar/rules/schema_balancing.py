"""Istio's LoadBalancerSettings of a DestinationRule as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import attrs

from meshcar.rules.problems import Fault


@attrs.frozen
class LoadBalancer:
    """Source: LoadBalancerSettings. LEAST_CONN is the old word for LEAST_REQUEST."""

    REFUSED: ClassVar = frozenset({"consistentHash", "localityLbSetting", "zoneAwareLbSetting", "warmup", "warmupDurationSecs"})

    simple: Literal["UNSPECIFIED", "LEAST_REQUEST", "LEAST_CONN", "ROUND_ROBIN", "RANDOM"] = "UNSPECIFIED"

    def faults(self) -> Iterator[Fault]:
        if self.simple == "LEAST_CONN":
            yield Fault(("simple",), "DEPRECATED", "LEAST_CONN is deprecated; write LEAST_REQUEST")
