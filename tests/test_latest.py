"""Values that are kept while they are asked for."""

from meshcar.latest import Latest


def test_most() -> None:
    """There are never more than so many: whoever was not asked for longest goes, and is given back."""
    latest: Latest[str, int] = Latest(2)
    assert (latest.put("a", 1), latest.put("b", 2), latest.get("a")) == (None, None, 1)
    assert latest.put("c", 3) == 2
    assert (latest.get("b"), list(latest.values())) == (None, [1, 3])


def test_unknown() -> None:
    """To ask for what there is not changes nothing."""
    latest: Latest[str, int] = Latest(1)
    latest.put("a", 1)
    assert latest.get("b") is None and list(latest.values()) == [1]
