"""Where a workload runs, as Istio writes it: `region/zone/subzone`, and patterns of it."""

from collections.abc import Iterable, Iterator, Mapping

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
NETWORK = "topology.istio.io/network"
TOPOLOGY = (REGION, ZONE, SUBZONE)
NODE = "kubernetes.io/hostname"
_LABELS = ("topology.istio.io/locality", "istio-locality")

Place = tuple[str, str, str]
"""Region, zone and subzone; empty where nothing is said."""


def told_locality(labels: Mapping[str, str]) -> str:
    """What a label of Istio's says, in which `.` may stand for `/`; or nothing. Source: Istio's GetLocalityLabel."""
    given = next((labels[one] for one in _LABELS if one in labels), "")
    return given if "/" in given else given.replace(".", "/")


def pod_locality(labels: Mapping[str, str]) -> str:
    """A workload's locality by its labels: what Istio's own label says, else the topology labels; or nothing."""
    return told_locality(labels) or "/".join(labels.get(name, "") for name in TOPOLOGY).rstrip("/")


def place(locality: str) -> Place:
    """A locality in three parts."""
    region, zone, subzone = (*locality.split("/", 2), "", "")[:3]
    return region, zone, subzone


def covers(pattern: str, locality: Place) -> bool:
    """Whether a pattern such as `us-west/*` holds a locality. Source: Istio's LocalityLoadBalancerSetting.Distribute."""
    region, *narrower = place(pattern)
    within = all(asked in ("", "*", own) for asked, own in zip(narrower, locality[1:], strict=True))
    return within and region in ("*", locality[0])


def distance(one: Place, other: Place) -> int:
    """0 for the same subzone, 1 for the same zone, 2 for the same region, else 3."""
    return next((3 - same for same in (3, 2, 1) if one[:same] == other[:same]), 3)


def overlaps(patterns: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The index of each pattern that cannot stand in one list with those before it, and why. Source: istiod's validateLocalities."""
    before: list[tuple[str, ...]] = []
    for index, pattern in enumerate(patterns):
        parts = tuple(pattern.split("/", 2))
        if "*" in pattern[:-1]:
            yield index, f"{pattern}: * may stand once, at the end"
        elif "" in parts:
            yield index, f"{pattern!r} has an empty region, zone or subzone"
        elif any(_overlap(parts, other) for other in before):
            yield index, f"{pattern} overlaps with one before it"
        before.append(parts)


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether some locality is in both; a pattern that is shorter holds all below it."""
    return all(a == b or "*" in (a, b) for a, b in zip(one, other, strict=False))
