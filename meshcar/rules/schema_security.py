"""Istio's PeerAuthentication as frozen values, field by field.

How a class becomes a reader of YAML: `meshcar.rules.shapes`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import attrs

from meshcar.rules import units
from meshcar.rules.problems import Fault


@attrs.frozen
class LabelSelector:
    """Which workloads, by labels that they must have. Source: WorkloadSelector of istio.type."""

    match_labels: Mapping[str, str] = attrs.field(factory=dict)

    def faults(self) -> Iterator[Fault]:
        for name, value in self.match_labels.items():
            where = ("matchLabels", name)
            if not name:
                yield Fault(where, "INVALID_VALUE", "a label's name must not be empty", at_key=True)
            if "*" in name or "*" in value:
                yield Fault(where, "INVALID_VALUE", f"{name}={value}: a selector knows no wildcards")
        if not self.match_labels:
            yield Fault((), "NO_EFFECT", "a selector without labels selects every workload, as no selector does")


@attrs.frozen
class MutualTls:
    """Source: PeerAuthentication.MutualTLS."""

    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


@attrs.frozen
class PeerAuthentication:
    """Which mTLS mode workloads demand of their callers: of the mesh, a namespace, or those that `selector` chooses."""

    selector: LabelSelector | None = None
    mtls: MutualTls | None = None
    port_level_mtls: Mapping[Annotated[int, units.port_key], MutualTls] | None = None

    def faults(self) -> Iterator[Fault]:
        if self.port_level_mtls is None:
            return
        if not self.port_level_mtls:
            yield Fault(("portLevelMtls",), "REQUIRED", "portLevelMtls names no port; leave it out")
        if not (self.selector and self.selector.match_labels):
            yield Fault(("portLevelMtls",), "CONFLICT", "portLevelMtls needs a selector with labels")
