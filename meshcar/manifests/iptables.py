"""Capture rules as iptables-restore text."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, ip_network

import attrs

from meshcar.manifests.tables import change_text
from meshcar.rules.host_names import Network

FROM_SIDECAR = 1338
"""The mark of what the sidecar itself sends to this machine's own addresses. Source: Istio's OutboundMark."""
MOST_GROUPS = 64
"""Source: istio-iptables; they all stand in one rule, whose length the kernel bounds."""


@attrs.frozen
class Family:
    """What differs between IPv4 and IPv6. `passthrough` is the source from which the sidecar calls its own application."""

    version: int
    passthrough: str


IPV4 = Family(4, "127.0.0.6/32")
IPV6 = Family(6, "::6/128")


@attrs.frozen(kw_only=True)
class Capture:
    """Which TCP connections the sidecar gets. Source: the flags of istio-iptables; the defaults are those of an injected pod.

    `inbound_ports`, `outbound_ranges` and `groups` of None mean all, an empty tuple none. `tproxy` concerns the inbound side only, as
    in Istio: what leaves is redirected in either mode. What comes in by one of `virtual_interfaces` counts as leaving.
    """

    outbound_port: int = 15001
    inbound_port: int = 15006
    tunnel_port: int = 15008
    uids: tuple[int, ...] = (1337,)
    gids: tuple[int, ...] = (1337,)
    tproxy: bool = False
    inbound_ports: tuple[int, ...] | None = None
    excluded_inbound_ports: tuple[int, ...] = (15090, 15021, 15020)
    outbound_ranges: tuple[Network, ...] | None = None
    excluded_outbound_ranges: tuple[Network, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    excluded_outbound_ports: tuple[int, ...] = ()
    groups: tuple[str, ...] | None = None
    excluded_groups: tuple[str, ...] = ()
    excluded_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    drop_invalid: bool = False
    loopback: Network = IPv4Network("127.0.0.1/32")
    mark: int = 1337
    route_table: int = 133

    @property
    def intercepts_by_tproxy(self) -> bool:
        """Whether there is anything inbound for TPROXY to do."""
        return self.tproxy and self.inbound_ports != ()

    @property
    def captures_loopback(self) -> bool:
        """Whether the application's calls to itself are wanted: somebody named a loopback range."""
        return any(network.network_address.is_loopback for network in self.outbound_ranges or ())


def parse_ports(text: str) -> tuple[int, ...]:
    """Ports out of `80,443`. Raises ValueError for what is not a port."""
    return tuple(_number(word, 65535, "a port") for word in _words(text))


def parse_owners(text: str) -> tuple[int, ...]:
    """User or group ids out of `1337,1338`. Raises ValueError for what is not an id, or none."""
    owners = tuple(_number(word, 2**32 - 2, "an id", least=0) for word in _words(text))
    if not owners:
        raise ValueError("no id given: without one the sidecar would capture itself")
    return owners


def parse_ranges(text: str) -> tuple[Network, ...]:
    """Networks out of `10.0.0.0/8,2001:db8::/32`. Raises ValueError for what is not one."""
    words = tuple(_words(text))
    for word in words:
        if not re.fullmatch(r"[0-9a-fA-F:.]+(/[0-9]{1,3})?", word):  # neither zones nor netmasks
            raise ValueError(f"{word!r} is not a range such as 10.0.0.0/8")
    return tuple(ip_network(word, strict=False) for word in words)


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Interface names out of `eth1,veth+`. Raises ValueError for what the kernel would not take (IFNAMSIZ)."""
    names = tuple(_words(text))
    for name in names:
        if not re.fullmatch(r"(?!-)[^\s/!\"'\\]{1,15}", name):
            raise ValueError(f"{name!r} is not a network interface")
    return names


def parse_groups(text: str) -> tuple[str, ...]:
    """Groups out of `java,202`, by name or id. Raises ValueError for what cannot be one, or too many of them."""
    groups = tuple(_words(text))
    for group in groups:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", group):
            _number(group, 2**32 - 2, "a group", least=0)
    if len(groups) > MOST_GROUPS:
        raise ValueError(f"{len(groups)} groups are too many, at most {MOST_GROUPS} can be captured")
    return groups


def parse_loopback(text: str) -> Network:
    """IPv4 addresses that count as the machine's own, such as `127.0.0.0/8`. Raises ValueError for what is not in 127.0.0.0/8."""
    ranges = parse_ranges(text)
    if len(ranges) != 1 or ranges[0].version != 4 or not ranges[0].is_loopback:
        raise ValueError(f"{text!r} is not a range within 127.0.0.0/8")
    return ranges[0]


def parse_mark(text: str) -> int:
    """A packet mark. Raises ValueError for what is none, or means something else here."""
    mark = _number(text, 2**32 - 1, "a mark")
    if mark == FROM_SIDECAR:
        raise ValueError(f"{mark} marks what the sidecar sends")
    return mark


def parse_route_table(text: str) -> int:
    """A routing table. Raises ValueError for what is none, or one of the kernel's own."""
    table = _number(text, 2**32 - 1, "a routing table")
    if table in range(253, 256):
        raise ValueError(f"{table} is a routing table of the kernel's own")
    return table


def restore_text(capture: Capture, family: Family, saved: str = "", new_tables_go: bool = False) -> str:
    """Input for `iptables-restore --noflush` that puts `capture` in force: see `change_text`.

    An earlier capture in `saved` is replaced, however it was configured, so that applying twice is applying once.
    """
    return change_text(saved, rules(capture, family), new_tables_go)


def undo_text(saved: str) -> str:
    """Input for `iptables-restore --noflush` that removes every capture found in `saved`; empty if there is none.

    `saved` is what `iptables-save` prints, or a `restore_text`, whose own capture is removed then.
    """
    return change_text(saved, {})


def rules(capture: Capture, family: Family) -> dict[str, list[str]]:
    """The rules of a capture, by table."""
    found = {"mangle": _drop(capture), "nat": _nat(capture, family)}
    if capture.intercepts_by_tproxy:
        found["mangle"] += _mangle(capture, family)
    return found


def _words(text: str) -> Iterator[str]:
    return (word.strip() for word in text.split(",") if word.strip())


def _number(word: str, greatest: int, what: str, least: int = 1) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", word) or not least <= int(word) <= greatest:
        raise ValueError(f"{word!r} is not {what}")
    return int(word)


def _drop(capture: Capture) -> list[str]:
    """What belongs to no connection is dropped, where the kernel would reset one for it."""
    if not capture.drop_invalid:
        return []
    spared = [f"-A ISTIO_DROP -i {name} -j RETURN" for name in capture.excluded_interfaces]
    return ["-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP", *spared, "-A ISTIO_DROP -j DROP"]


def _nat(capture: Capture, family: Family) -> list[str]:
    found = _virtual(capture, family)
    found += [f"-A ISTIO_INBOUND {rule}" for rule in _by_interface(capture)]
    found += [
        f"-A ISTIO_INBOUND -p tcp --dport {capture.tunnel_port} -j RETURN",
        f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {capture.outbound_port}",
        f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {capture.inbound_port}",
    ]
    if not capture.tproxy and capture.inbound_ports != ():
        found.append("-A PREROUTING -p tcp -j ISTIO_INBOUND")
        found += [f"{selected} -j {target}" for selected, target in _inbound(capture, ["ISTIO_IN_REDIRECT"])]
    found.append("-A OUTPUT -j ISTIO_OUTPUT")
    found += [f"-A ISTIO_OUTPUT {rule}" for rule in _output(capture, family)]
    return found


def _virtual(capture: Capture, family: Family) -> list[str]:
    """What virtual machines send, to the outbound side; before everybody else's rules, as in Istio."""
    ranges = [""] if capture.outbound_ranges is None else [f" -d {network}" for network in _of(family, capture.outbound_ranges)]
    found = [f"-A ISTIO_VIRTUAL -i {name}{to} -j ISTIO_REDIRECT" for name in capture.virtual_interfaces for to in ranges]
    return ["-I PREROUTING 1 -p tcp -j ISTIO_VIRTUAL", *found] if found else []


def _by_interface(capture: Capture) -> list[str]:
    """By which interfaces nothing comes in for the inbound side."""
    return [f"-i {name} -j RETURN" for name in (*capture.excluded_interfaces, *capture.virtual_interfaces)]


def _inbound(capture: Capture, targets: list[str]) -> Iterator[tuple[str, str]]:
    """Which inbound connections go where: (rule without its target, target)."""
    if capture.inbound_ports is None:
        for port in capture.excluded_inbound_ports:
            yield f"-A ISTIO_INBOUND -p tcp --dport {port}", "RETURN"
    for match in [""] if capture.inbound_ports is None else [f" --dport {port}" for port in capture.inbound_ports]:
        for target in targets:
            yield f"-A ISTIO_INBOUND -p tcp{match}", target


def _output(capture: Capture, family: Family) -> Iterator[str]:
    """What the machine itself sends: the sidecar's own connections go their way, the others to it."""
    for name in capture.excluded_interfaces:
        yield f"-o {name} -j RETURN"
    for port in capture.excluded_outbound_ports:
        yield f"-p tcp --dport {port} -j RETURN"
        yield f"-p udp --dport {port} -j RETURN"
    yield f"-o lo -s {family.passthrough} -j RETURN"
    for owner in _owners(capture):
        yield f"-o lo ! -d {_loopback(capture, family)} -p tcp ! --dport {capture.tunnel_port} -m owner {owner} -j ISTIO_IN_REDIRECT"
        if not capture.captures_loopback:
            yield f"-o lo -m owner ! {owner} -j RETURN"
        yield f"-m owner {owner} -j RETURN"
    if capture.groups is not None:
        yield "".join(f"-m owner ! --gid-owner {group} " for group in capture.groups) + "-j RETURN"
    for group in capture.excluded_groups:
        yield f"-m owner --gid-owner {group} -j RETURN"
    yield f"-d {_loopback(capture, family)} -j RETURN"
    for network in _of(family, capture.excluded_outbound_ranges):
        yield f"-d {network} -j RETURN"
    for port in capture.outbound_ports:
        yield f"-p tcp --dport {port} -j ISTIO_REDIRECT"
    if capture.outbound_ranges is None:
        yield "-j ISTIO_REDIRECT"
    for network in _of(family, capture.outbound_ranges or ()):
        yield f"-d {network} -j ISTIO_REDIRECT"


def _mangle(capture: Capture, family: Family) -> list[str]:
    """Inbound connections to a transparent socket. Istio's rules, but all in chains of our own, so that they can be taken back.

    What carries the mark already came through the sidecar; its connection keeps it, so that the application's answers find back.
    """
    mark, loopback = capture.mark, _loopback(capture, family)
    found = [
        f"-A ISTIO_DIVERT -j MARK --set-mark {mark}",
        "-A ISTIO_DIVERT -j ACCEPT",
        f"-A ISTIO_TPROXY ! -d {loopback} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {capture.inbound_port}",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    ]
    found += [f"-A ISTIO_INBOUND {rule}" for rule in _by_interface(capture)]
    found += [
        f"-A ISTIO_INBOUND -p tcp -m mark --mark {mark} -j CONNMARK --save-mark",
        f"-A ISTIO_INBOUND -p tcp -m mark --mark {mark} -j RETURN",
        f"-A ISTIO_INBOUND -p tcp -s {family.passthrough} -i lo -j RETURN",
        f"-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark {FROM_SIDECAR} -j RETURN",
    ]
    for selected, target in _inbound(capture, ["ISTIO_DIVERT", "ISTIO_TPROXY"]):
        established = " -m conntrack --ctstate RELATED,ESTABLISHED" if target == "ISTIO_DIVERT" else ""
        found.append(f"{selected}{established} -j {target}")
    found.append("-A OUTPUT -p tcp -j ISTIO_OUTPUT")
    found += [f"-A ISTIO_OUTPUT -o {name} -j RETURN" for name in capture.excluded_interfaces]
    found.append(f"-A ISTIO_OUTPUT -p tcp -o lo -m mark --mark {mark} -j RETURN")
    to_own_address = f"! -d {loopback} -p tcp -o lo"
    found += [f"-A ISTIO_OUTPUT {to_own_address} -m owner {owner} -j MARK --set-mark {FROM_SIDECAR}" for owner in _owners(capture)]
    found.append(f"-A ISTIO_OUTPUT -p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark")
    return found


def _owners(capture: Capture) -> list[str]:
    return [f"--uid-owner {uid}" for uid in capture.uids] + [f"--gid-owner {gid}" for gid in capture.gids]


def _loopback(capture: Capture, family: Family) -> str:
    return str(capture.loopback) if family is IPV4 else "::1/128"


def _of(family: Family, networks: tuple[Network, ...]) -> list[Network]:
    return [network for network in networks if network.version == family.version]
