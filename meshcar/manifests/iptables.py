"""Capture rules as iptables-restore text, and the text that takes them back."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

import attrs

Network = IPv4Network | IPv6Network

TABLES = ("mangle", "nat")
CHAINS = ("ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT", "ISTIO_DIVERT", "ISTIO_TPROXY")
FROM_SIDECAR = 1338
"""The mark of what the sidecar itself sends to this machine's own addresses. Source: Istio's OutboundMark."""


@attrs.frozen
class Family:
    """What differs between IPv4 and IPv6. `passthrough` is the source from which the sidecar calls its own application."""

    version: int
    loopback: str
    passthrough: str


IPV4 = Family(4, "127.0.0.1/32", "127.0.0.6/32")
IPV6 = Family(6, "::1/128", "::6/128")


@attrs.frozen(kw_only=True)
class Capture:
    """Which TCP connections the sidecar gets. Source: the flags of istio-iptables; the defaults are those of an injected pod.

    `inbound_ports` and `outbound_ranges` of None mean all, an empty tuple none. `tproxy` concerns the inbound side only, as in
    Istio: what leaves is redirected in either mode.
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
    excluded_interfaces: tuple[str, ...] = ()
    mark: int = 1337
    route_table: int = 133

    @property
    def intercepts_by_tproxy(self) -> bool:
        """Whether there is anything inbound for TPROXY to do."""
        return self.tproxy and self.inbound_ports != ()


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
    return tuple(ip_network(word, strict=False) for word in _words(text))


def parse_interfaces(text: str) -> tuple[str, ...]:
    """Interface names out of `eth1,veth+`. Raises ValueError for what the kernel would not take (IFNAMSIZ)."""
    names = tuple(_words(text))
    for name in names:
        if not re.fullmatch(r"(?!-)[^\s/!\"'\\]{1,15}", name):
            raise ValueError(f"{name!r} is not a network interface")
    return names


def restore_text(capture: Capture, family: Family, saved: str = "") -> str:
    """Input for `iptables-restore --noflush` that puts `capture` in force, one transaction a table.

    `saved` is what `iptables-save` prints now: an earlier capture in it is replaced, however it was configured, so that applying
    twice is applying once. Everybody else's rules stay.
    """
    fresh = {"mangle": _mangle(capture, family) if capture.intercepts_by_tproxy else [], "nat": _nat(capture, family)}
    return _transactions({table: [*_undo(saved, table), *_with_chains(fresh[table])] for table in TABLES})


def undo_text(saved: str) -> str:
    """Input for `iptables-restore --noflush` that removes every capture found in `saved`; empty if there is none.

    `saved` is what `iptables-save` prints, or a `restore_text`, whose own capture is removed then.
    """
    return _transactions({table: _undo(saved, table) for table in TABLES})


def address_commands(family: Family) -> list[list[str]]:
    """Arguments of `ip` that give lo the pass-through address: IPv4's is there already. They can be repeated."""
    return [["address", "replace", family.passthrough, "dev", "lo"]] if family is IPV6 else []


def undo_address_commands(family: Family) -> list[list[str]]:
    """Arguments of `ip` that take `address_commands` back; each fails where there is nothing to take back, which is well."""
    return [["address", "del", family.passthrough, "dev", "lo"]] if family is IPV6 else []


def route_commands(capture: Capture) -> list[list[str]]:
    """Arguments of `ip` by which TPROXY's marked packets come to this machine; run `undo_route_commands` before."""
    rule, route = _routing(capture)
    return [["rule", "add", *rule], ["route", "add", *route]] if capture.intercepts_by_tproxy else []


def undo_route_commands(capture: Capture) -> list[list[str]]:
    """Arguments of `ip` that take `route_commands` back, whatever the mode is now; failing is well, as above."""
    rule, route = _routing(capture)
    return [["rule", "del", *rule], ["route", "del", *route]]


def _routing(capture: Capture) -> tuple[list[str], list[str]]:
    table = str(capture.route_table)
    return ["fwmark", str(capture.mark), "lookup", table], ["local", "default", "dev", "lo", "table", table]


def _words(text: str) -> Iterator[str]:
    return (word.strip() for word in text.split(",") if word.strip())


def _number(word: str, greatest: int, what: str, least: int = 1) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", word) or not least <= int(word) <= greatest:
        raise ValueError(f"{word!r} is not {what}")
    return int(word)


def _transactions(tables: dict[str, list[str]]) -> str:
    return "".join(f"* {table}\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n" for table, lines in tables.items() if lines)


def _with_chains(rules: list[str]) -> list[str]:
    """Before the rules, `-N` for each of our chains that they fill, jump to, or both."""
    named = {word for rule in rules for word in rule.split()}
    return [f"-N {chain}" for chain in CHAINS if chain in named] + rules


def _undo(saved: str, table: str) -> list[str]:
    """Jumps from built-in chains deleted, our chains emptied, then removed."""
    lines = _table_lines(saved, table)
    ours = [chain for chain in CHAINS if any(line.startswith(f":{chain} ") or line == f"-N {chain}" for line in lines)]
    jumps = [line for line in lines if line.startswith("-A ") and line.split()[1] not in CHAINS and line.split()[-1] in ours]
    return [f"-D {jump[3:]}" for jump in jumps] + [f"-F {chain}" for chain in ours] + [f"-X {chain}" for chain in ours]


def _table_lines(saved: str, table: str) -> list[str]:
    lines, inside = [], False
    for line in saved.splitlines():
        if line.startswith("*"):
            inside = line[1:].strip() == table
        elif inside:
            lines.append(line)
    return lines


def _nat(capture: Capture, family: Family) -> list[str]:
    rules = [f"-A ISTIO_INBOUND -i {name} -j RETURN" for name in capture.excluded_interfaces]
    rules += [
        f"-A ISTIO_INBOUND -p tcp --dport {capture.tunnel_port} -j RETURN",
        f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {capture.outbound_port}",
        f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {capture.inbound_port}",
    ]
    if not capture.tproxy and capture.inbound_ports != ():
        rules.append("-A PREROUTING -p tcp -j ISTIO_INBOUND")
        rules += [f"{selected} -j {target}" for selected, target in _inbound(capture, ["ISTIO_IN_REDIRECT"])]
    rules.append("-A OUTPUT -j ISTIO_OUTPUT")
    rules += [f"-A ISTIO_OUTPUT {rule}" for rule in _output(capture, family)]
    return rules


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
        yield f"-o lo ! -d {family.loopback} -p tcp ! --dport {capture.tunnel_port} -m owner {owner} -j ISTIO_IN_REDIRECT"
        if not any(network.is_loopback for network in capture.outbound_ranges or ()):
            yield f"-o lo -m owner ! {owner} -j RETURN"
        yield f"-m owner {owner} -j RETURN"
    yield f"-d {family.loopback} -j RETURN"
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
    mark, to_own_address = capture.mark, f"! -d {family.loopback} -p tcp -o lo"
    rules = [
        f"-A ISTIO_DIVERT -j MARK --set-mark {mark}",
        "-A ISTIO_DIVERT -j ACCEPT",
        f"-A ISTIO_TPROXY ! -d {family.loopback} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {capture.inbound_port}",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    ]
    rules += [f"-A ISTIO_INBOUND -i {name} -j RETURN" for name in capture.excluded_interfaces]
    rules += [
        f"-A ISTIO_INBOUND -p tcp -m mark --mark {mark} -j CONNMARK --save-mark",
        f"-A ISTIO_INBOUND -p tcp -m mark --mark {mark} -j RETURN",
        f"-A ISTIO_INBOUND -p tcp -s {family.passthrough} -i lo -j RETURN",
        f"-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark {FROM_SIDECAR} -j RETURN",
    ]
    for selected, target in _inbound(capture, ["ISTIO_DIVERT", "ISTIO_TPROXY"]):
        established = " -m conntrack --ctstate RELATED,ESTABLISHED" if target == "ISTIO_DIVERT" else ""
        rules.append(f"{selected}{established} -j {target}")
    rules.append("-A OUTPUT -p tcp -j ISTIO_OUTPUT")
    rules += [f"-A ISTIO_OUTPUT -o {name} -j RETURN" for name in capture.excluded_interfaces]
    rules.append(f"-A ISTIO_OUTPUT -p tcp -o lo -m mark --mark {mark} -j RETURN")
    rules += [f"-A ISTIO_OUTPUT {to_own_address} -m owner {owner} -j MARK --set-mark {FROM_SIDECAR}" for owner in _owners(capture)]
    rules.append(f"-A ISTIO_OUTPUT -p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark")
    return rules


def _owners(capture: Capture) -> list[str]:
    return [f"--uid-owner {uid}" for uid in capture.uids] + [f"--gid-owner {gid}" for gid in capture.gids]


def _of(family: Family, networks: tuple[Network, ...]) -> list[Network]:
    return [network for network in networks if network.version == family.version]
