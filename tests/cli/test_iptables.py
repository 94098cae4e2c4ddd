"""Capture rules in a real kernel, in a network namespace of the test's own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcar.cli.iptables import has_ipv6
from meshcar.cli.main import main
from meshcar.manifests.iptables import IPV4, IPV6, Capture, Family, parse_ranges, restore_text

CLONE_NEWNET = 0x40000000


@pytest.fixture
def namespace() -> Iterator[list[str]]:
    """The words before a command that runs in a new network namespace; skips where none can be made."""
    keeper = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
    try:
        enter = ["nsenter", f"--net=/proc/{keeper.pid}/ns/net", "--"]
        if os.geteuid() != 0 or shutil.which("iptables-restore") is None or not _apart(keeper.pid):
            pytest.skip("needs root and iptables")
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        yield enter
    finally:
        keeper.communicate()


def _apart(pid: int) -> bool:
    """Whether `unshare` did it; nothing here may touch the machine's own rules."""
    for _ in range(2000):
        if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
            return True
        os.sched_yield()
    return False


def run(namespace: list[str], *argv: str) -> str:
    """Output of a command in the namespace; it must succeed."""
    done = subprocess.run([*namespace, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def meshcar(namespace: list[str], *argv: str) -> str:
    """Output of `meshcar iptables` there."""
    return run(namespace, sys.executable, "-m", "meshcar.cli.main", "iptables", *argv)


def state(namespace: list[str]) -> list[str]:
    """Rules of both families, routing rules and lo's addresses, without counters and dates."""
    saved = run(namespace, "iptables-save") + run(namespace, "ip6tables-save")
    lines = [re.sub(r"\[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]
    addresses = run(namespace, "ip", "-6", "-o", "address", "show", "dev", "lo")
    return [*lines, *run(namespace, "ip", "rule").splitlines(), *addresses.splitlines()]


@pytest.mark.live
@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_twice_is_once(namespace: list[str], mode: str) -> None:
    """Applied again, nothing is added; cleaned, nothing of it is left."""
    run(namespace, "iptables", "-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "RETURN")
    meshcar(namespace, "--clean")
    before = state(namespace)
    meshcar(namespace, "-m", mode)
    once = state(namespace)
    assert sum("-j ISTIO_OUTPUT" in line for line in once) == (4 if mode == "TPROXY" else 2)
    assert any("::6/128" in line for line in once)
    meshcar(namespace, "-m", mode)
    assert state(namespace) == once
    meshcar(namespace, "--clean")
    assert [line for line in state(namespace) if not line.startswith((":", "*", "COMMIT"))] == [
        line for line in before if not line.startswith((":", "*", "COMMIT"))
    ]
    assert not any("ISTIO" in line for line in state(namespace))


@pytest.mark.live
def test_other_capture_replaces(namespace: list[str]) -> None:
    """From TPROXY to chosen ranges: nothing of the first stays."""
    meshcar(namespace, "-m", "TPROXY", "-c", "eth7")
    meshcar(namespace, "-i", "10.0.0.0/8,fd00::/8", "-b", "80")
    lines = state(namespace)
    assert not any("TPROXY" in line or "eth7" in line or "fwmark" in line for line in lines)
    assert [line for line in lines if line.endswith("-j ISTIO_REDIRECT")] == [
        "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT", "-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT",
    ]


@pytest.mark.live
@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_kernel_takes_every_rule(namespace: list[str], family: Family) -> None:
    """--print is what iptables-restore reads, with all flags at once."""
    inbound = "-p 1 -z 2 -e 3 -u 4,5 -g 6 -m TPROXY -b * -d 7,8"
    outbound = "-i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16,fd01::/16 -q 9 -o 10,11 -c eth8,eth9"
    text = meshcar(namespace, "--print", *inbound.split(), *outbound.split(), *(["-6"] if family is IPV6 else []))
    restore = "ip6tables-restore" if family is IPV6 else "iptables-restore"
    done = subprocess.run([*namespace, restore, "--noflush"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_print_needs_no_root(capsys: pytest.CaptureFixture[str]) -> None:
    """--print only prints."""
    assert main(["iptables", "--print", "-u", "1", "-b", "", "-x", "10.0.0.0/8"]) == 0
    capture = Capture(uids=(1,), gids=(1,), inbound_ports=(), excluded_outbound_ranges=parse_ranges("10.0.0.0/8"))
    assert capsys.readouterr().out == restore_text(capture, IPV4)


def test_print_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With --clean, and without root, it prints what takes back the capture of these flags."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["iptables", "--print", "--clean", "-x", "10.0.0.0/8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["* nat", "-D PREROUTING -p tcp -j ISTIO_INBOUND", "-D OUTPUT -j ISTIO_OUTPUT"]
    assert "-X ISTIO_OUTPUT" in lines and lines[-1] == "COMMIT"


@pytest.mark.live
@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_print_clean_of_what_is_in_force(namespace: list[str], family: Family) -> None:
    """As root it prints what takes back the capture in force, whatever the flags; nothing where there is none."""
    words = ["--print", "--clean", *(["-6"] if family is IPV6 else [])]
    assert meshcar(namespace, *words) == ""
    meshcar(namespace, "-m", "TPROXY")
    text = meshcar(namespace, *words)
    restore = "ip6tables-restore" if family is IPV6 else "iptables-restore"
    done = subprocess.run([*namespace, restore, "--noflush"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "* mangle" in text
    assert meshcar(namespace, *words) == ""


@pytest.mark.parametrize("flags", ["-p 0", "-u root", "-m NONE", "-b http", "-i 10.0.0.0/99", "-c a/b", "-x *"])
def test_wrong_flags(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and the flag is named."""
    with pytest.raises(SystemExit) as done:
        main(["iptables", "--print", *flags.split()])
    assert done.value.code == 2
    assert f"argument {flags[:2]}/" in capsys.readouterr().err


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without root: one line, exit 1."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["iptables"]) == 1
    assert capsys.readouterr().err == "meshcar iptables: changing the kernel's rules needs root; --print shows them\n"


def test_ipv6_there_or_not(tmp_path: Path) -> None:
    """IPv6 is there unless the kernel lacks it or it is switched off."""
    assert not has_ipv6(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/if_inet6").touch()
    assert has_ipv6(tmp_path)
    switch = tmp_path / "sys/net/ipv6/conf/all/disable_ipv6"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    assert not has_ipv6(tmp_path)
