"""What `ip` has to do for a capture: the pass-through address of IPv6, and the way of TPROXY's marked packets to this machine."""

import re

from meshcar.manifests.iptables import IPV6, Capture, Family

Command = list[str]
"""Arguments of `ip -4` or `ip -6`."""


def add_commands(capture: Capture, family: Family, listed: str = "") -> list[Command]:
    """What a capture needs beside its tables. `listed` is what `ip rule` prints: a rule is not added twice; the rest can be repeated."""
    commands = [["address", "replace", family.passthrough, "dev", "lo"]] if family is IPV6 else []
    if capture.intercepts_by_tproxy:
        wanted = (capture.mark, str(capture.route_table))
        if wanted not in _rules(listed):
            commands.append(["rule", "add", *_rule(*wanted)])
        commands.append(["route", "replace", *_route(wanted[1])])
    return commands


def remove_commands(capture: Capture | None, family: Family, listed: str, saved: str) -> list[Command]:
    """What takes away all of it that `capture` does not need. A refusal of one of these is well: there was nothing to take away.

    Routing rules are known by the mark that the tables gave: `saved` is what `iptables-save` printed before the tables changed.
    """
    tproxy = capture is not None and capture.intercepts_by_tproxy
    wanted = (capture.mark, str(capture.route_table)) if tproxy and capture is not None else None
    marks = {int(mark, 0) for mark in re.findall(r"^-A ISTIO_DIVERT .*--set-x?mark (\w+)", saved, re.MULTILINE)}
    commands = []
    for mark, table in _rules(listed):
        if mark in marks and (mark, table) != wanted:
            commands.append(["rule", "del", *_rule(mark, table)])
            if wanted is None or table != wanted[1]:
                commands.append(["route", "del", *_route(table)])
    if capture is None and family is IPV6:
        commands.append(["address", "del", family.passthrough, "dev", "lo"])
    return commands


def _rules(listed: str) -> list[tuple[int, str]]:
    """Mark and routing table of each rule that `ip rule` prints with a mark."""
    return [(int(mark, 16), table) for mark, table in re.findall(r"from all fwmark (0x[0-9a-f]+) lookup (\S+)", listed)]


def _rule(mark: int, table: str) -> Command:
    return ["fwmark", str(mark), "lookup", table]


def _route(table: str) -> Command:
    return ["local", "default", "dev", "lo", "table", table]
