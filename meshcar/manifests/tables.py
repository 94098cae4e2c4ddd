"""iptables' tables as `iptables-save` prints them, and the text by which `iptables-restore --noflush` changes our part of them."""

import re
from collections.abc import Mapping, Sequence

TABLES = ("raw", "mangle", "nat")
CHAINS = (
    "ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT", "ISTIO_DIVERT", "ISTIO_TPROXY", "ISTIO_VIRTUAL", "ISTIO_DROP",
    "ISTIO_OUTPUT_DNS",
)
"""Chains that are ours. Source: istio-iptables, but ISTIO_VIRTUAL; ISTIO_OUTPUT_DNS is only ever taken away, after Istio."""
NEW_TABLE = "ISTIO_NEW_TABLE"
"""An empty chain in a table that was not there before us: it goes with us, if nobody else has come to use it."""

Rules = Mapping[str, Sequence[str]]
"""Table to rules, as `-A CHAIN ...`, or `-I CHAIN 1 ...` for a jump that must be the first."""


def change_text(saved: str, wanted: Rules, new_tables_go: bool = False) -> str:
    """Input for `iptables-restore --noflush` after which `wanted` are our rules, one transaction a table; empty if there is nothing to do.

    `saved` is what `iptables-save` prints now, or an earlier such input. Whatever is ours in it is replaced, everybody else's rules stay;
    a jump that is there and wanted keeps its place among them. With `new_tables_go` a table that `saved` does not have gets NEW_TABLE.
    """
    text = ""
    for table in TABLES:
        lines, rules = _table_lines(saved, table), wanted.get(table, ())
        marked = bool(rules) and (NEW_TABLE in _made(lines or ()) or new_tables_go and lines is None)
        if changes := _changes(lines or [], rules, marked):
            text += "".join(f"{line}\n" for line in [f"* {table}", *changes, "COMMIT"])
    return text


def rules_in(saved: str) -> dict[str, list[str]]:
    """Our rules in what `iptables-save` prints, jumps included; `change_text` takes them to put them back."""
    found = {}
    for table in TABLES:
        lines = _table_lines(saved, table) or []
        jumps = [jump for of_chain in _jumps(lines).values() for jump in of_chain]
        if rules := jumps + [line for line in lines if line.startswith("-A ") and line.split()[1] in CHAINS]:
            found[table] = rules
    return found


def new_tables(saved: str) -> list[str]:
    """The tables that only we brought."""
    return [table for table in TABLES if NEW_TABLE in _made(_table_lines(saved, table) or ())]


def is_vacant(saved: str, table: str) -> bool:
    """Whether a table has neither rules, nor chains but the built-in ones, nor a policy but ACCEPT."""
    lines = _table_lines(saved, table)
    return lines is not None and all(re.fullmatch(r":\S+ ACCEPT .*|COMMIT", line) for line in lines if not line.startswith("#"))


def has_rules(saved: str) -> bool:
    """Whether anybody made a rule or a chain in any table."""
    return any(line.startswith(("-A ", "-N ")) or re.match(r":\S+ - ", line) for line in saved.splitlines())


def _table_lines(saved: str, table: str) -> list[str] | None:
    """A table's lines without its head; None where it is not there."""
    lines: list[str] | None = None
    inside = False
    for line in saved.splitlines():
        if line.startswith("*"):
            inside = line[1:].strip() == table
            lines = [] if inside and lines is None else lines
        elif inside and lines is not None:
            lines.append(line)
    return lines


def _made(lines: Sequence[str]) -> list[str]:
    """The chains that are not built in."""
    return [line.split()[0][1:] if line.startswith(":") else line[3:] for line in lines if re.match(r":\S+ - |-N ", line)]


def _jumps(lines: Sequence[str]) -> dict[str, list[str]]:
    """The jumps from chains that are not ours to chains that are, by the chain they stand in, as `iptables-save` writes them."""
    found: dict[str, list[str]] = {}
    for line in lines:
        rule = re.sub(r"^-I (\S+) 1 ", r"-A \1 ", line)
        words = rule.split()
        if rule.startswith("-A ") and words[1] not in CHAINS and words[-2] in ("-j", "-g") and words[-1] in CHAINS:
            found.setdefault(words[1], []).append(rule)
    return found


def _changes(lines: Sequence[str], wanted: Sequence[str], marked: bool) -> list[str]:
    """What to do in one table: jumps that change deleted, our chains emptied, those not needed removed, those missing made, then rules."""
    ours, words = (*CHAINS, NEW_TABLE), {word for rule in wanted for word in rule.split()}
    there = [chain for chain in ours if chain in _made(lines)]
    needed = [chain for chain in ours if chain in words or marked and chain == NEW_TABLE]
    old, new = _jumps(lines), _jumps(wanted)
    kept = {chain for chain in new if old.get(chain) == new[chain]}
    return [
        *(f"-D {jump[3:]}" for chain, jumps in old.items() if chain not in kept for jump in jumps),
        *(f"-F {chain}" for chain in there),
        *(f"-X {chain}" for chain in there if chain not in needed),
        *(f"-N {chain}" for chain in needed if chain not in there),
        *(rule for rule in wanted if rule.split()[1] not in kept),
    ]
