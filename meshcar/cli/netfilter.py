"""Capture rules in the kernel: put in force whole, or not at all, by iptables' own tools in either of their back ends."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

import attrs

from meshcar.errors import SettingsError
from meshcar.manifests.iptables import IPV4, IPV6, Capture, Family, rules
from meshcar.manifests.routing import add_commands, remove_commands
from meshcar.manifests.tables import change_text, has_rules, is_vacant, new_tables, rules_in
from meshcar.net.nftables import delete_table

_LOCK_WAIT = "10"
"""Seconds to wait for whoever else is changing the tables."""
_NET_ADMIN = 12
"""CAP_NET_ADMIN. Source: linux/capability.h."""
_SYSTEM = ":/usr/sbin:/sbin"
"""Where the tools are: su leaves root without it in the PATH."""


@attrs.frozen
class Backend:
    """The tools of one back end and family. `name` is `legacy`, `nft`, or nothing for what `iptables` itself is."""

    name: str
    family: Family

    @property
    def tool(self) -> str:
        """The tools' common name, to which -save or -restore is added."""
        return "-".join(filter(None, ["iptables" if self.family is IPV4 else "ip6tables", self.name]))

    def save(self) -> str:
        """The tables as they are. Raises SettingsError where the tool, or the kernel's part of it, is missing."""
        return run([f"{self.tool}-save"])

    def change(self, wanted: Mapping[str, Sequence[str]]) -> None:
        """Makes `wanted` our rules; of tables that only we brought, those that are empty then go."""
        saved = self.save()
        if text := change_text(saved, wanted, new_tables_go=self.name == "nft"):
            run([f"{self.tool}-restore", "--noflush", "-w", _LOCK_WAIT], text)
        if brought := new_tables(saved):
            left = self.save()
            for table in brought:
                if is_vacant(left, table):
                    with suppress(OSError):
                        delete_table(self.family.version, table)


def put(capture: Capture | None, forced: str = "") -> None:
    """Makes `capture` what is captured in this network namespace, or nothing, in all families that it speaks.

    `forced` names the back end; a capture in the other one is taken away all the same. Raises SettingsError where the kernel or its tools
    refuse: the tables are as they were then.
    """
    families = spoken()
    with _alone(), ExitStack() as undo:
        before = {family: _put_tables(capture, family, forced, undo) for family in families}
        for family, saved in before.items():
            _put_routing(capture, family, saved, undo)
        undo.pop_all()
    if IPV6 not in families:
        with _alone(), suppress(SettingsError):
            _put_routing(None, IPV6, _put_tables(None, IPV6, forced, ExitStack()), ExitStack())


def spoken() -> list[Family]:
    """The families that this network namespace speaks."""
    return [IPV4, IPV6] if has_ipv6() else [IPV4]


def choose(saved: Mapping[Backend, str], forced: str = "") -> Backend:
    """The back end to use, of those that have said what is in their tables: legacy where somebody uses it already, else nft.

    Source: istio-iptables' DetectIptablesVersion.
    """
    by_name = {backend.name: backend for backend in saved}
    if not forced and "legacy" in by_name and has_rules(saved[by_name["legacy"]]):
        return by_name["legacy"]
    return next(by_name[name] for name in ([forced] if forced else ["nft", "legacy", ""]) if name in by_name)


def saves(family: Family, forced: str = "") -> dict[Backend, str]:
    """What is in the tables of each back end that works here. Raises SettingsError where none does, or not the one that must."""
    found: dict[Backend, str] = {}
    refused: dict[str, SettingsError] = {}
    for name in ("legacy", "nft", ""):
        if name or not found:
            backend = Backend(name, family)
            try:
                found[backend] = backend.save()
            except SettingsError as e:
                refused[name] = e
    if not found or forced in refused:
        raise refused[forced]
    return found


def has_ipv6(proc: Path = Path("/proc")) -> bool:
    """Whether this network namespace speaks IPv6."""
    disabled = proc / "sys/net/ipv6/conf/all/disable_ipv6"
    return (proc / "net/if_inet6").exists() and not (disabled.exists() and disabled.read_text().strip() == "1")


def check_rights(proc: Path = Path("/proc")) -> None:
    """Raises SettingsError where this process may not change the kernel's rules: some tools would tell it as if there were none."""
    if os.geteuid() != 0:
        raise SettingsError("changing the kernel's rules needs root; --print shows them")
    held = re.search(r"^CapEff:\s*(\w+)$", (proc / "self/status").read_text(), re.MULTILINE)
    if held is not None and not int(held[1], 16) >> _NET_ADMIN & 1:
        raise SettingsError("changing the kernel's rules needs the capability NET_ADMIN; --print shows them")


def run(command: Sequence[str], text: str = "") -> str:
    """Runs a tool and gives its output. Raises SettingsError: its refusal in one line."""
    environ = os.environ | {"PATH": os.environ.get("PATH", os.defpath) + _SYSTEM}
    if not os.access("/run", os.W_OK):
        # a read-only root: legacy iptables would not even start without a file to lock
        environ.setdefault("XTABLES_LOCKFILE", os.devnull)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environ)
    except OSError as e:
        raise SettingsError(f"{command[0]}: {e.strerror} (package iptables or iproute2)") from None
    if done.returncode:
        said = " ".join(word for line in done.stderr.splitlines() if not line.startswith(("Try ", "# ")) for word in line.split())
        raise SettingsError(f"{' '.join(command)}: {said or f'exit {done.returncode}'}")
    return done.stdout


@contextmanager
def _alone() -> Iterator[None]:
    """Until nobody else does the same in this network namespace: between reading tables and changing them they must not change."""
    with open("/proc/self/ns/net") as namespace:
        flock(namespace, LOCK_EX)
        yield


def _put_tables(capture: Capture | None, family: Family, forced: str, undo: ExitStack) -> str:
    """The tables of both back ends; gives what was in them."""
    saved = saves(family, forced)
    chosen = choose(saved, forced)
    # the chosen one first: rather captured twice for a moment than not at all
    for backend in sorted(saved, key=lambda one: one != chosen):
        undo.callback(_put_back, backend, saved[backend])
        backend.change(rules(capture, family) if capture is not None and backend == chosen else {})
    return "".join(saved.values())


def _put_routing(capture: Capture | None, family: Family, saved: str, undo: ExitStack) -> None:
    listed = _listed(family)
    for command in add_commands(capture, family, listed) if capture is not None else ():
        if command[:2] == ["rule", "add"]:
            undo.callback(_quietly, family, ["rule", "del", *command[2:]])
        run(["ip", f"-{family.version}", *command])
    for command in remove_commands(capture, family, listed, saved):
        _quietly(family, command)


def _put_back(backend: Backend, saved: str) -> None:
    with suppress(SettingsError):
        backend.change(rules_in(saved))


def _listed(family: Family) -> str:
    try:
        return run(["ip", f"-{family.version}", "rule"])
    except SettingsError:  # without `ip` nobody can have used it
        return ""


def _quietly(family: Family, command: Sequence[str]) -> None:
    with suppress(SettingsError):
        run(["ip", f"-{family.version}", *command])
