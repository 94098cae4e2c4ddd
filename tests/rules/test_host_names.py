"""Host names and addresses, one value each."""

from collections.abc import Callable

import pytest

from meshcar.rules.host_names import destination_host, entry_address, fqdn, is_address, subnet, wildcard_domain
from meshcar.rules.units import WrongType, label_in_any_case


@pytest.mark.parametrize(
    ("make", "given", "wanted"),
    [
        (label_in_any_case, "http-Web1", "http-Web1"),
        (fqdn, "Istio.io", "istio.io"), (fqdn, "istio.io.", "istio.io."), (fqdn, "localhost", "localhost"),
        (wildcard_domain, "*.Example.com", "*.example.com"), (wildcard_domain, "*", "*"), (wildcard_domain, "foo", "foo"),
        (wildcard_domain, "123", "123"), (wildcard_domain, "a.b.", "a.b."), (wildcard_domain, "*.a.", "*.a."),
        (destination_host, "123", "123"), (destination_host, "A", "a"), (destination_host, "*.a.b", "*.a.b"),
        (destination_host, "*-a", "*-a"),
        (wildcard_domain, "a.b-c.d", "a.b-c.d"), (wildcard_domain, "*Foo", "*foo"),
        (wildcard_domain, "*foo.Bar.com", "*foo.bar.com"), (wildcard_domain, "*-foo.bar.com", "*-foo.bar.com"),
        (wildcard_domain, "*" + "a" * 62, "*" + "a" * 62), (wildcard_domain, "*-a.b.", "*-a.b."),
        (subnet, "10.0.0.1/32", "10.0.0.1"), (subnet, "10.1.2.3/8", "10.0.0.0/8"), (subnet, "fd00::/64", "fd00::/64"),
        (subnet, "::1", "::1"),
        (entry_address, "1.2.3.4", "1.2.3.4"), (entry_address, "FD00:0::1", "fd00::1"), (entry_address, "a.b", "a.b"),
        (entry_address, "", ""),
    ],
)  # fmt: skip
def test_taken(make: Callable[[object], str], given: str, wanted: str) -> None:
    """Names in lower case, addresses in their shortest spelling."""
    assert make(given) == wanted


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (label_in_any_case, ""), (label_in_any_case, "a_b"), (label_in_any_case, "-a"), (label_in_any_case, "a" * 64),
        (fqdn, ""), (fqdn, "."), (fqdn, "a..b"), (fqdn, "*.a"), (fqdn, "a.123"), (fqdn, "1.2.3.4"), (fqdn, "a" * 64), (fqdn, "a." * 128),
        (wildcard_domain, ""), (wildcard_domain, "*.*.a"), (wildcard_domain, "a*.b"), (wildcard_domain, "a.*"), (wildcard_domain, "-"),
        (wildcard_domain, "*-"), (wildcard_domain, "*--a"), (wildcard_domain, "*a-.b"), (wildcard_domain, "**"),
        (wildcard_domain, "*a.*.b"), (wildcard_domain, "*."), (wildcard_domain, "."), (wildcard_domain, "a.."), (wildcard_domain, "*.."),
        (destination_host, "*"), (destination_host, "1.2.3.4"), (destination_host, "fd00::1"), (destination_host, ""),
        (destination_host, "300.1.1.1"),
        (wildcard_domain, "*" + "a" * 63), (wildcard_domain, "*-a.b" + ".c" * 126), (wildcard_domain, "*a_b.c"), (wildcard_domain, "*-a.1"),
        (wildcard_domain, "*.1.2.3"), (wildcard_domain, "1.2.3.4"),
        (subnet, "a.b"), (subnet, "10.0.0.0/33"), (subnet, "10.0.0.0/8/8"), (subnet, ""),
        (entry_address, "unix:///x"), (entry_address, "*.a"), (entry_address, "1.2.3.4/8"),
    ],
)  # fmt: skip
def test_refused(make: Callable[[object], str], given: str) -> None:
    """With words that say what would be right."""
    with pytest.raises(ValueError, match=r"must|is "):
        make(given)


def test_other_types() -> None:
    """Only text is a name."""
    for make in (label_in_any_case, fqdn, wildcard_domain, subnet, entry_address):
        with pytest.raises(WrongType):
            make(7)


def test_unix_socket_is_told() -> None:
    """By its name, as what it is."""
    with pytest.raises(ValueError, match="Unix socket"):
        entry_address("unix:///var/run/x.sock")


def test_is_address() -> None:
    """Both families; a range is none."""
    assert [is_address(one) for one in ("1.2.3.4", "::1", "a.b", "", "1.2.3.0/24")] == [True, True, False, False, False]


@pytest.mark.parametrize("given", ["10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/08", "fd00::1%1", "x", "10.0.0.0/"])
def test_no_subnet(given: str) -> None:
    """A prefix is a number without zeros before it; nothing else is a range."""
    with pytest.raises(ValueError, match="such as"):
        subnet(given)
