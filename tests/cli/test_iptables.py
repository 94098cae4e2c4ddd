"""Capture rules in a real kernel, in a network namespace of the test's own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from meshcar.cli import iptables as command
from meshcar.cli import netfilter
from meshcar.cli.main import main
from meshcar.manifests.iptables import IPV4, IPV6, Capture, Family, parse_loopback, parse_ranges, restore_text

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
    before = state(namespace)
    meshcar(namespace, "-m", mode)
    once = state(namespace)
    assert sum("-j ISTIO_OUTPUT" in line for line in once) == (4 if mode == "TPROXY" else 2)
    assert any("::6/128" in line for line in once)
    meshcar(namespace, "-m", mode)
    assert state(namespace) == once
    meshcar(namespace, "--clean")
    assert state(namespace) == before


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


@pytest.mark.parametrize(("flags", "says"), [
    ("-p 0", "argument -p/--envoy-port: '0' is not a port"),
    ("-p 80,81", "argument -p/--envoy-port: '80,81' is not a port"),
    ("-u root", "argument -u/--proxy-uid: 'root' is not an id"),
    ("-m NONE", "argument -m/--istio-inbound-interception-mode: 'NONE' is neither REDIRECT nor TPROXY"),
    ("-b http", "argument -b/--istio-inbound-ports: 'http' is not a port"),
    ("-b 80,*", "argument -b/--istio-inbound-ports: '*' is not a port"),
    ("-i 10.0.0.0/99", "argument -i/--istio-service-cidr: '10.0.0.0/99' does not appear to be an IPv4 or IPv6 network"),
    ("-x *", "argument -x/--istio-service-exclude-cidr: '*' is not a range such as 10.0.0.0/8"),
    ("-c a/b", "argument -c/--istio-exclude-interfaces: 'a/b' is not a network interface"),
    ("-t 1338", "argument -t/--istio-inbound-tproxy-mark: 1338 marks what the sidecar sends"),
    ("-r 255", "argument -r/--istio-inbound-tproxy-route-table: 255 is a routing table of the kernel's own"),
    ("--force-iptables-binary ebtables", "argument --force-iptables-binary: 'ebtables' is neither legacy nor nft"),
    ("--drop-invalid perhaps", "argument --drop-invalid: 'perhaps' is neither true nor false"),
    ("--redirect-dns", "--redirect-dns: meshcar answers no DNS: the application's resolver stays as it is"),
    ("--capture-all-dns=1", "--capture-all-dns: meshcar answers no DNS: the application's resolver stays as it is"),
    ("--native-nftables", "--native-nftables: meshcar writes iptables' rules; --force-iptables-binary nft puts them into nftables"),
    ("--probe-timeout soon", "argument --probe-timeout: must be a duration such as 1.5s, 250ms or 1m30s"),
    ("--clean --run-validation", "--run-validation: nothing is captured once the rules are taken back"),
    ("--cni-mode", "--cni-mode: meshcar is no CNI plugin; --network-namespace names the pod's"),
    ("--istio-outbound-owner-groups 7 --istio-outbound-owner-groups-exclude 8",
     "--istio-outbound-owner-groups-exclude: has no effect where --istio-outbound-owner-groups names the groups"),
])
def test_wrong_flags(flags: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and one line that names the flag."""
    with pytest.raises(SystemExit) as done:
        main(["iptables", "--print", *flags.split()])
    assert done.value.code == 2
    assert capsys.readouterr().err == f"meshcar iptables: {says} (--help lists what there is)\n"


def test_unknown_group(capsys: pytest.CaptureFixture[str]) -> None:
    """A group must be known where the rules go, not where they are printed."""
    words = ["iptables", "--istio-outbound-owner-groups", "root,no-such-group"]
    assert main([*words, "--print"]) == 0
    with pytest.raises(SystemExit) as done:
        main(words)
    assert done.value.code == 2
    assert "group 'no-such-group' is not known here; its number will do" in capsys.readouterr().err


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["iptables", "--print", *words]) == 0
    return capsys.readouterr().out


def test_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag ends in the capture that it stands for."""
    words = "-p 1 -z 2 -e 3 -u 4,5 -g 6 -m TPROXY -b 7 -i 10.0.0.0/8 -x 10.1.0.0/16 -q 9 -o 10 -c eth8 -k vm0 -t 11 -r 12 --drop-invalid"
    words += " --istio-outbound-owner-groups-exclude 13 --istio-outbound-ipv4-loopback-cidr 127.0.0.0/8 --dual-stack --reconcile=false"
    capture = Capture(
        outbound_port=1, inbound_port=2, tunnel_port=3, uids=(4, 5), gids=(6,), tproxy=True, inbound_ports=(7,),
        outbound_ranges=parse_ranges("10.0.0.0/8"), excluded_outbound_ranges=parse_ranges("10.1.0.0/16"), outbound_ports=(9,),
        excluded_outbound_ports=(10,), excluded_interfaces=("eth8",), virtual_interfaces=("vm0",), mark=11, route_table=12,
        drop_invalid=True, excluded_groups=("13",), loopback=parse_loopback("127.0.0.0/8"))
    assert printed(capsys, *words.split()) == restore_text(capture, IPV4)
    assert printed(capsys, "--istio-outbound-owner-groups", "7", "-d", "8") == restore_text(
        Capture(groups=("7",), excluded_inbound_ports=(8,)), IPV4)


def test_variables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Istio's variables stand behind the flags; an empty one is an empty list, or says nothing. ENVOY_PORT is none, as in Istio."""
    values = {
        "PROXY_UID": "7", "PROXY_GID": "", "INBOUND_CAPTURE_PORT": "2", "ISTIO_INBOUND_PORTS": "", "ISTIO_SERVICE_CIDR": "10.0.0.0/8",
        "ISTIO_INBOUND_INTERCEPTION_MODE": "TPROXY", "INVALID_DROP": "true", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "9", "ENVOY_PORT": "1",
        "ISTIO_DUAL_STACK": "true", "DRY_RUN": "false",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    capture = Capture(
        uids=(7,), gids=(7,), inbound_port=2, inbound_ports=(), outbound_ranges=parse_ranges("10.0.0.0/8"), tproxy=True, drop_invalid=True,
        excluded_groups=("9",))
    assert printed(capsys) == restore_text(capture, IPV4)
    assert printed(capsys, "-u", "8", "-b", "*") == restore_text(attrs.evolve(capture, uids=(8,), gids=(8,), inbound_ports=None), IPV4)


@pytest.mark.parametrize(("name", "value", "says"), [
    ("PROXY_UID", "root", "argument -u/--proxy-uid: PROXY_UID: 'root' is not an id"),
    ("INVALID_DROP", "perhaps", "argument --drop-invalid: INVALID_DROP: 'perhaps' is neither true nor false"),
    ("ISTIO_META_DNS_CAPTURE", "true", "--redirect-dns: meshcar answers no DNS"),
])
def test_wrong_variables(name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """They are told by their own name."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["iptables", "--print"])
    assert capsys.readouterr().err.startswith(f"meshcar iptables: {says}")


def test_envoy_user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """ENVOY_USER names the sidecar's user where -u does not; one that is not here is 1337, as in Istio."""
    for name, uid in (("root", 0), ("no-such-user", 1337)):
        monkeypatch.setenv("ENVOY_USER", name)
        assert printed(capsys) == restore_text(Capture(uids=(uid,), gids=(uid,)), IPV4)


def test_dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A script of what would be done, for both families, without asking the kernel; nothing is asked of it by --skip-rule-apply either."""
    monkeypatch.setattr(netfilter, "run", None)
    monkeypatch.setattr(command, "spoken", lambda: [IPV4, IPV6])
    assert main(["iptables", "-n", "--force-iptables-binary", "legacy"]) == 0
    v4, v6 = restore_text(Capture(), IPV4), restore_text(Capture(), IPV6)
    assert capsys.readouterr().out == (
        f"iptables-legacy-restore --noflush <<END\n{v4}END\nip6tables-legacy-restore --noflush <<END\n{v6}END\n"
        "ip -6 address replace ::6/128 dev lo\n")
    assert main(["iptables", "--dry-run", "--cleanup-only"]) == 0
    assert "-X ISTIO_OUTPUT\n" in capsys.readouterr().out
    assert main(["iptables", "--skip-rule-apply"]) == 0
    assert capsys.readouterr().out == ""


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without root: one line, exit 1."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["iptables"]) == 1
    assert capsys.readouterr().err == "meshcar iptables: changing the kernel's rules needs root; --print shows them\n"


def test_documented(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/capture.md has every flag, and no other."""
    monkeypatch.setenv("COLUMNS", "1000")  # else argparse breaks lines within names
    with pytest.raises(SystemExit):
        main(["iptables", "--help"])
    here = set(re.findall(r"--[a-z][a-z0-9-]+", capsys.readouterr().out))
    page = (Path(__file__).parents[2] / "docs/capture.md").read_text()
    table = page[page.index("## Flags"):page.index("## Tried out")]
    there = {flag for line in table.splitlines() if line.startswith("| `") for flag in re.findall(r"`(--[a-z0-9-]+)", line.split("|")[1])}
    assert here - {"--help", "--print", "--clean", "--ipv6", "--noflush"} == there
