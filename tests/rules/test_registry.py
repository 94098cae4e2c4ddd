"""What a host name means."""

from meshcar.rules.registry import full_name, short_names


def test_names() -> None:
    """Short names mean the rules' own namespace, and are short only at home."""
    assert full_name("web", "shop") == "web.shop.svc.cluster.local"
    assert full_name("web.shop", "x") == "web.shop"
    assert full_name("*", "x") == "*"
    assert short_names("web.shop.svc.cluster.local", "other") == ("web.shop.svc", "web.shop")
    assert short_names("a.b.shop.svc.cluster.local", "shop") == ("a.b.shop.svc", "a.b.shop")
    assert short_names("example.com", "shop") == short_names("shop.svc.cluster.local", "shop") == ()


