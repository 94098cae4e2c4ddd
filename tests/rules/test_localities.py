"""Regions, zones, subzones."""

import pytest

from meshcar.rules.localities import covers, distance, overlaps, place, pod_locality


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ({}, ""),
        ({"istio-locality": "r.z.s"}, "r/z/s"),
        ({"istio-locality": "r/z.1"}, "r/z.1"),
        ({"istio-locality": "r"}, "r"),
        ({"istio-locality": "r", "topology.istio.io/locality": "q.z"}, "q/z"),
        ({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}, "r/z"),
        ({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z", "topology.istio.io/subzone": "s"}, "r/z/s"),
        ({"istio-locality": "a.b", "topology.kubernetes.io/region": "r"}, "a/b"),
    ],
)
def test_own(labels: dict[str, str], locality: str) -> None:
    """istio-locality speaks first; dots stand for slashes unless it has some."""
    assert pod_locality(labels) == locality


def test_distance() -> None:
    """0 same subzone, 1 same zone, 2 same region, 3 elsewhere; unknown places are alike."""
    assert [distance(place("r/z/s"), place(other)) for other in ("r/z/s", "r/z/t", "r/z", "r/y/s", "q/z/s", "")] == [0, 1, 1, 2, 3, 3]
    assert distance(place(""), place("")) == 0


@pytest.mark.parametrize(
    ("pattern", "held"),
    [("*", True), ("r", True), ("r/*", True), ("r/z", True), ("r/z/*", True), ("r/z/s", True),
     ("r/y", False), ("q/*", False), ("r/z/t", False)],
)
def test_covers(pattern: str, held: bool) -> None:
    """What is not said matches all, as does `*`."""
    assert covers(pattern, place("r/z/s")) is held


@pytest.mark.parametrize(
    ("patterns", "wrong"),
    [
        (["a/b/c", "a/b/d", "a/c", "b"], []),
        (["*", "a"], [1]),
        (["a", "a"], [1]),
        (["a/*", "a/b"], [1]),
        (["a/b", "a/*"], [1]),
        (["a/b/*", "a/b/c"], [1]),
        (["a/b/c", "a/c/*"], []),
        (["a/b/c", "a"], [1]),
        (["a/*/c"], [0]),
        (["*/b"], [0]),
        (["a//c", ""], [0, 1]),
    ],
)
def test_overlaps(patterns: list[str], wrong: list[int]) -> None:
    """The later of two that share a locality is wrong; so are stars before the end, and empty parts."""
    assert [index for index, _ in overlaps(patterns)] == wrong
