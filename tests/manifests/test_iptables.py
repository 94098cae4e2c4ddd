"""Capture rules: Istio's text by default, one rule per wish, and all of it taken back."""

import re
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.manifests.iptables import (
    IPV4,
    IPV6,
    Capture,
    Family,
    parse_groups,
    parse_interfaces,
    parse_loopback,
    parse_mark,
    parse_owners,
    parse_ports,
    parse_ranges,
    parse_route_table,
    restore_text,
    undo_text,
)
from meshcar.manifests.tables import CHAINS
from tests.manifests.captures import captures

DEFAULT = """\
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""

def rules(capture: Capture, family: Family = IPV4) -> list[str]:
    """The lines of one family's text."""
    return restore_text(capture, family).splitlines()


def test_default_is_istios() -> None:
    """Without wishes: what istio-iptables writes for an injected pod, rule by rule."""
    assert restore_text(Capture(), IPV4) == DEFAULT


def test_ipv6_differs_in_loopback_only() -> None:
    """IPv6 has the same rules with ::1 and ::6."""
    expected = DEFAULT.replace("127.0.0.1/32", "::1/128").replace("127.0.0.6/32", "::6/128")
    assert restore_text(Capture(), IPV6) == expected


def test_ports_and_owners() -> None:
    """Each user and group gets its three rules; ports stand where they are asked for."""
    found = rules(Capture(outbound_port=1, inbound_port=2, uids=(7, 8), gids=(9,)))
    assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 1" in found
    assert "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 2" in found
    assert [line.split()[-3] for line in found if line.endswith("RETURN") and "-m owner --" in line] == ["7", "8", "9"]


def test_chosen_inbound_ports() -> None:
    """A list of ports captures those and needs no exclusions; an empty one captures nothing."""
    found = rules(Capture(inbound_ports=(80, 443)))
    assert [line for line in found if line.endswith("-j ISTIO_IN_REDIRECT") and "INBOUND" in line] == [
        "-A ISTIO_INBOUND -p tcp --dport 80 -j ISTIO_IN_REDIRECT", "-A ISTIO_INBOUND -p tcp --dport 443 -j ISTIO_IN_REDIRECT",
    ]
    assert not any("15090" in line for line in found)
    assert not any("PREROUTING" in line for line in rules(Capture(inbound_ports=())))


def test_outbound_choices_in_order() -> None:
    """Excluded ports come first, excluded ranges before included ones, and a range goes to its own family."""
    capture = Capture(
        outbound_ranges=parse_ranges("10.0.0.0/8,fd00::/8"), excluded_outbound_ranges=parse_ranges("10.1.0.0/16"), outbound_ports=(5000,),
        excluded_outbound_ports=(25,),
    )
    output = [line for line in rules(capture) if line.startswith("-A ISTIO_OUTPUT")]
    assert output[:2] == ["-A ISTIO_OUTPUT -p tcp --dport 25 -j RETURN", "-A ISTIO_OUTPUT -p udp --dport 25 -j RETURN"]
    assert output[-3:] == [
        "-A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN", "-A ISTIO_OUTPUT -p tcp --dport 5000 -j ISTIO_REDIRECT",
        "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT",
    ]
    assert rules(capture, IPV6)[-2] == "-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT"


def test_loopback_range_is_captured() -> None:
    """Who names a loopback range wants the application's calls to itself captured, too."""
    found = rules(Capture(outbound_ranges=(ip_network("127.1.0.0/16"),)))
    assert not any("! --uid-owner" in line for line in found)


def test_tproxy() -> None:
    """TPROXY takes what comes in, in the mangle table; what goes out is redirected as ever."""
    text = restore_text(Capture(tproxy=True, excluded_interfaces=("eth1",)), IPV4)
    mangle, nat = text.split("* nat\n")
    assert "-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006" in mangle
    assert mangle.index("-A ISTIO_INBOUND -i eth1 -j RETURN") < mangle.index("-j ISTIO_DIVERT")
    assert "PREROUTING" not in nat
    assert "-A ISTIO_OUTPUT -j ISTIO_REDIRECT" in nat


def test_virtual_machines() -> None:
    """What comes from a machine's interface goes to the outbound side before anybody sees it, and never to the inbound one."""
    found = rules(Capture(virtual_interfaces=("vm0", "vm1")))
    assert [line for line in found if "VIRTUAL" in line or "vm" in line] == [
        "-N ISTIO_VIRTUAL", "-I PREROUTING 1 -p tcp -j ISTIO_VIRTUAL", "-A ISTIO_VIRTUAL -i vm0 -j ISTIO_REDIRECT",
        "-A ISTIO_VIRTUAL -i vm1 -j ISTIO_REDIRECT", "-A ISTIO_INBOUND -i vm0 -j RETURN", "-A ISTIO_INBOUND -i vm1 -j RETURN",
    ]
    some = Capture(virtual_interfaces=("vm0",), outbound_ranges=parse_ranges("10.0.0.0/8,fd00::/8"), tproxy=True)
    assert "-A ISTIO_VIRTUAL -i vm0 -d 10.0.0.0/8 -j ISTIO_REDIRECT" in rules(some)
    assert rules(some).count("-A ISTIO_INBOUND -i vm0 -j RETURN") == 2
    assert "-A ISTIO_VIRTUAL -i vm0 -d fd00::/8 -j ISTIO_REDIRECT" in rules(some, IPV6)
    none = Capture(virtual_interfaces=("vm0",), outbound_ranges=())
    assert not any("VIRTUAL" in line for line in rules(none))


@pytest.mark.parametrize(("capture", "expected"), [
    (Capture(groups=("java", "202")), ["-m owner ! --gid-owner java -m owner ! --gid-owner 202 -j RETURN"]),
    (Capture(groups=()), ["-j RETURN"]),
    (Capture(excluded_groups=("888", "ftp")), ["-m owner --gid-owner 888 -j RETURN", "-m owner --gid-owner ftp -j RETURN"]),
])
def test_groups(capture: Capture, expected: list[str]) -> None:
    """Groups come after the sidecar's own connections, before everything about destinations."""
    output = [line.removeprefix("-A ISTIO_OUTPUT ") for line in rules(capture) if line.startswith("-A ISTIO_OUTPUT")]
    at = output.index("-m owner --gid-owner 1337 -j RETURN") + 1
    assert output[at:] == [*expected, "-d 127.0.0.1/32 -j RETURN", "-j ISTIO_REDIRECT"]


def test_drop_invalid() -> None:
    """Packets of no connection are dropped first, in either mode; an interface that is left alone is left alone."""
    assert rules(Capture(drop_invalid=True))[:5] == [
        "* mangle", "-N ISTIO_DROP", "-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP", "-A ISTIO_DROP -j DROP", "COMMIT"]
    found = rules(Capture(drop_invalid=True, tproxy=True, excluded_interfaces=("eth1",)))
    assert found.index("-A ISTIO_DROP -i eth1 -j RETURN") < found.index("-A ISTIO_DROP -j DROP")
    jumps = [line for line in found if line.startswith("-A PREROUTING")]
    assert jumps == ["-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP", "-A PREROUTING -p tcp -j ISTIO_INBOUND"]


def test_loopback_can_be_wider() -> None:
    """Another range of loopback stands everywhere for 127.0.0.1; IPv6 has but one address."""
    wider = Capture(loopback=parse_loopback("127.0.0.1/8"), tproxy=True)
    assert "127.0.0.1/32" not in restore_text(wider, IPV4) and restore_text(wider, IPV4).count("127.0.0.0/8") == 6
    assert restore_text(wider, IPV6) == restore_text(Capture(tproxy=True), IPV6)


def test_undo() -> None:
    """A text undone: its jumps, then its chains."""
    lines = undo_text(DEFAULT).splitlines()
    assert lines[:3] == ["* nat", "-D PREROUTING -p tcp -j ISTIO_INBOUND", "-D OUTPUT -j ISTIO_OUTPUT"]
    assert lines[3:] == [*(f"{verb} {line[3:]}" for verb in ("-F", "-X") for line in DEFAULT.splitlines() if line[:2] == "-N"), "COMMIT"]


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "80:90", "8 0", "٣"])
def test_bad_port(text: str) -> None:
    """What is not a port is refused by name."""
    with pytest.raises(ValueError, match="is not a port"):
        parse_ports(text)


def test_words() -> None:
    """Blanks and empty places in a list do not count; nobody may capture himself."""
    assert parse_ports(" 80, ,443,") == (80, 443)
    assert parse_owners("0,1337") == (0, 1337)
    assert [str(one) for one in parse_ranges("10.0.0.1,fd00::1/8")] == ["10.0.0.1/32", "fd00::/8"]
    with pytest.raises(ValueError, match="no id given"):
        parse_owners("")
    assert parse_groups("java, 202") == ("java", "202")
    assert (str(parse_loopback("127.0.0.6/32")), parse_mark("5"), parse_route_table("7")) == ("127.0.0.6/32", 5, 7)


@pytest.mark.parametrize(("parse", "text", "why"), [
    (parse_ranges, "10.0.0.0/33", "does not appear to be"),
    (parse_ranges, "example.com", "'example.com' is not a range such as 10.0.0.0/8"),
    (parse_ranges, "fe80::1%eth0/64", "is not a range"),
    (parse_ranges, "10.0.0.0/255.0.0.0", "is not a range"),
    (parse_ranges, "*", "is not a range"),
    (parse_groups, "-j", "'-j' is not a group"),
    (parse_groups, "a b", "'a b' is not a group"),
    (parse_groups, ",".join(map(str, range(65))), "65 groups are too many, at most 64 can be captured"),
    (parse_loopback, "10.0.0.0/8", "is not a range within 127.0.0.0/8"),
    (parse_loopback, "127.0.0.0/7", "is not a range within 127.0.0.0/8"),
    (parse_loopback, "::1/128", "is not a range within 127.0.0.0/8"),
    (parse_mark, "1338", "1338 marks what the sidecar sends"),
    (parse_mark, "0", "'0' is not a mark"),
    (parse_route_table, "254", "254 is a routing table of the kernel's own"),
    (parse_route_table, "main", "'main' is not a routing table"),
])
def test_bad_words(parse: Callable[[str], object], text: str, why: str) -> None:
    """What cannot be meant is refused, and nothing can carry another rule into the text."""
    with pytest.raises(ValueError, match=re.escape(why)):
        parse(text)


@pytest.mark.parametrize("name", ["-j", "a b", "a\nb", "eth/0", "x" * 16])
def test_bad_interface(name: str) -> None:
    """No name can carry another rule into the text."""
    with pytest.raises(ValueError):
        parse_interfaces(name)


@given(captures(), st.sampled_from([IPV4, IPV6]))
def test_every_chain_is_made_once(capture: Capture, family: Family) -> None:
    """Every chain that a rule fills or jumps to is made before it, once a table; built-in chains only get jumps to ours."""
    for table in restore_text(capture, family).split("COMMIT\n")[:-1]:
        made: list[str] = []
        for line in table.splitlines()[1:]:
            verb, chain, *rest = line.split()
            if verb == "-N":
                assert chain in CHAINS and chain not in made
                made.append(chain)
                continue
            assert chain in made or chain in ("PREROUTING", "OUTPUT") and rest[-1] in made
            target = rest[rest.index("-j") + 1]
            assert target in made or not target.startswith("ISTIO_")
