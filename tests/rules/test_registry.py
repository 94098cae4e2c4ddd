"""What a host name means."""

from meshcar.rules.registry import full_name, most_specific, short_names


def test_names() -> None:
    """Short names mean the rules' own namespace, and are short only at home."""
    assert full_name("web", "shop") == "web.shop.svc.cluster.local"
    assert full_name("web.shop", "x") == "web.shop"
    assert full_name("*", "x") == "*"
    assert short_names("web.shop.svc.cluster.local", "other") == ("web.shop.svc", "web.shop")
    assert short_names("a.b.shop.svc.cluster.local", "shop") == ("a.b.shop.svc", "a.b.shop")
    assert short_names("example.com", "shop") == short_names("shop.svc.cluster.local", "shop") == ()


def test_most_specific() -> None:
    """The host itself, then the longest wildcard, then any."""
    table = {"a.b.c": 1, "*.b.c": 2, "*.c": 3, "*": 4}
    assert [most_specific(host, table) for host in ("a.b.c", "x.b.c", "x.y.b.c", "b.c", "z", "*.b.c", "*.x.c")] == [1, 2, 2, 3, 4, 2, 3]
    assert most_specific("a", {}) is None


def test_most_specific_of_partial_wildcards() -> None:
    """They count by their length among the others."""
    table = {"*": 1, "*.b.c": 2, "*-a.b.c": 3, "*c": 4, "*x.c": 5}
    partial = ["*-a.b.c", "*c", "*x.c"]
    hosts = {"v-a.b.c": 3, "a.b.c": 2, "a.c": 4, "x.c": 5, "c": 4, "d": 1, "*.b.c": 2, "*.a.b.c": 2}
    assert {host: most_specific(host, table, partial) for host in hosts} == hosts
