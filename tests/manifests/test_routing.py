"""What `ip` is told: nothing twice, nothing of anybody else's."""

from meshcar.manifests.iptables import IPV4, IPV6, Capture
from meshcar.manifests.routing import add_commands, remove_commands

LISTED = """\
0:\tfrom all lookup local
32764:\tfrom all fwmark 0x5 lookup 7
32765:\tfrom all fwmark 0x539 lookup 133
32766:\tfrom all lookup main
"""
SAVED = "*mangle\n-A ISTIO_DIVERT -j MARK --set-xmark 0x539/0xffffffff\nCOMMIT\n"
TPROXY = Capture(tproxy=True)


def test_redirect_needs_an_address_at_most() -> None:
    """IPv6 has no 127.0.0.0/8: ::6 must be given to lo."""
    assert add_commands(Capture(), IPV4) == add_commands(Capture(tproxy=True, inbound_ports=()), IPV4) == []
    assert add_commands(Capture(), IPV6) == [["address", "replace", "::6/128", "dev", "lo"]]


def test_tproxy_needs_a_way() -> None:
    """A rule for the mark, unless it is there, and a table in which everything is this machine's."""
    rule, route = "rule add fwmark 1337 lookup 133".split(), "route replace local default dev lo table 133".split()
    assert add_commands(TPROXY, IPV4) == [rule, route]
    assert add_commands(TPROXY, IPV4, LISTED) == [route]
    assert add_commands(Capture(tproxy=True, mark=5, route_table=8), IPV4, LISTED)[0] == "rule add fwmark 5 lookup 8".split()


def test_only_our_own_is_removed() -> None:
    """The rules of the mark that the tables gave, but for the one that is wanted; strangers' rules stay."""
    ours = ["rule del fwmark 1337 lookup 133".split(), "route del local default dev lo table 133".split()]
    assert remove_commands(None, IPV4, LISTED, SAVED) == remove_commands(Capture(), IPV4, LISTED, SAVED) == ours
    assert remove_commands(TPROXY, IPV4, LISTED, SAVED) == remove_commands(None, IPV4, LISTED, "") == []
    assert remove_commands(Capture(tproxy=True, mark=6, route_table=133), IPV4, LISTED, SAVED) == ours[:1]
    assert remove_commands(None, IPV4, LISTED, "-A ISTIO_DIVERT -j MARK --set-mark 5")[0] == "rule del fwmark 5 lookup 7".split()


def test_the_address_goes_with_the_capture() -> None:
    """Not with a change of it."""
    assert remove_commands(None, IPV6, "", "") == [["address", "del", "::6/128", "dev", "lo"]]
    assert remove_commands(Capture(), IPV6, "", "") == remove_commands(None, IPV4, "", "") == []
