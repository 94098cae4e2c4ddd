"""Who sees a rule or a service: Istio's exportTo."""

from collections.abc import Iterator, Sequence

from meshcar.rules.problems import Fault, repeated

ANNOTATION = "networking.istio.io/exportTo"
"""A Service's annotation: the same words, joined by commas."""


def visible(export_to: Sequence[str], namespace: str, home: str) -> bool:
    """Whether what stands in `namespace` is seen by workloads of `home`. Nothing said is `*`."""
    return not export_to or "*" in export_to or home in export_to or ("." in export_to and home == namespace)


def export_faults(export_to: Sequence[str], may_be_hidden: bool = False) -> Iterator[Fault]:
    """What is wrong with an exportTo. `may_be_hidden`: `~`, nobody, is allowed. Source: Istio's validation."""
    for index, one in enumerate(export_to):
        if one == "~" and not may_be_hidden:
            yield Fault(("exportTo", index), "INVALID_VALUE", "~ is for services only; '.' keeps a rule in its namespace")
        elif one in ("*", "~") and len(export_to) > 1:
            yield Fault(("exportTo", index), "CONFLICT", f"{one} must stand alone in exportTo")
    yield from repeated(export_to, "exportTo")
