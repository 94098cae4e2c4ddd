"""Capture rules put in, changed and taken back in any order, among rules of other people's, in both back ends."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.capture_lab import BACKENDS, Flags, Namespace, any_flags
from tests.live.pods import needs_namespaces

BOTH = ("legacy", "nft")
pytestmark = [needs_namespaces, pytest.mark.skipif(len(BACKENDS) < len(BOTH), reason="needs both of iptables' back ends")]
STRANGERS = (
    "-t nat -A PREROUTING -i eth1 -p tcp --dport 81 -j REDIRECT --to-ports 82", "-t nat -N ISTIO_OUTPUT_OF_SOMEBODY",
    "-t nat -A OUTPUT -p tcp --dport 83 -j ISTIO_OUTPUT_OF_SOMEBODY", "-t mangle -A OUTPUT -p udp -j MARK --set-mark 7",
    "-t nat -P POSTROUTING ACCEPT",
)


@contextmanager
def pod(strangers: str = "") -> Iterator[Namespace]:
    """A namespace, with rules of somebody else's in a back end.

    The legacy back end's tables are looked at once: from then on the kernel has them, and never lets them go.
    """
    one = Namespace()
    try:
        for tool in ("iptables", "ip6tables"):
            for table in ("nat", "mangle"):
                one.run(f"{tool}-legacy-save -t {table}")
            for rule in STRANGERS if strangers else ():
                one.run(f"{tool}-{strangers} {rule}")
        yield one
    finally:
        one.close()


def everything(of: Namespace) -> list[str]:
    """All that a capture changes: tables in both back ends, routing, addresses."""
    commands = [f"ip -{version} {what}" for version in (4, 6) for what in ("rule", "route show table all", "address show dev lo")]
    return [*(of.tables(backend) for backend in BOTH), *(of.run(command) for command in commands)]


def put(into: Namespace, flags: Flags | None, backend: str) -> None:
    """One step."""
    words = ["--clean"] if flags is None else flags.words()
    code, said = into.meshcar(*words, "--force-iptables-binary", backend)
    assert (code, said.split(" (")[0]) == (0, "capture removed" if flags is None else "capture in force")


flags = st.integers(0, 2**32).map(lambda seed: any_flags(random.Random(seed)))
backends = st.sampled_from(["", *BOTH])
steps = st.lists(st.tuples(st.none() | flags, backends), max_size=4)


def test_all_or_nothing(tmp_path: Path) -> None:
    """Where the kernel refuses the last of four tables, the three before it are as they were: an earlier capture stays in force, whole."""
    stub = tmp_path / "ip6tables-nft-restore"
    stub.write_text("#!/bin/sh\ntables=$(cat)\ncase $tables in *nat*) echo no nat for IPv6 >&2; exit 1;; esac\n")
    stub.chmod(0o755)
    with pod("nft") as one:
        for earlier in (None, Flags(u="7", m="TPROXY")):
            put(one, earlier, "nft")
            before = everything(one)
            code, said = one.meshcar("-m", "TPROXY", "-t", "5", PATH=f"{tmp_path}:/usr/sbin:/sbin:/usr/bin:/bin")
            assert (code, said) == (1, "meshcar iptables: ip6tables-nft-restore --noflush -w 10: no nat for IPv6\n")
            assert everything(one) == before


def test_place_among_others_is_kept() -> None:
    """Who came after the capture stays after it, whatever is captured then."""
    with pod() as one:
        put(one, Flags(), "nft")
        one.run("iptables-nft -t nat -A OUTPUT -p tcp --dport 9 -j RETURN")
        put(one, Flags(b="80", u="7"), "nft")
        jumps = [line for line in one.tables("nft").splitlines() if line.startswith("-A OUTPUT")]
        assert jumps[0] == "-A OUTPUT -j ISTIO_OUTPUT" and "--dport 9" in jumps[1]


@pytest.mark.parametrize("backend", BOTH)
def test_changed_under_way(backend: str) -> None:
    """No connection goes its own way while one capture replaces another; nor do several commands at once get into each other's way."""
    command = [sys.executable, "-m", "meshcar.cli.main", "iptables", "--force-iptables-binary", backend, "-o", "9"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with pod() as one:
        for command_line in ("link add d0 type veth peer name d1", "addr add 10.1.2.3/24 dev d0", "link set d0 up", "link set d1 up",
                             "route add default dev d0"):
            one.run(f"ip {command_line}")
        one.serve("sidecar", "15001")
        put(one, Flags(), backend)
        changing = [subprocess.Popen([*one.inside, *command, "-x", f"10.0.0.{n}"], env=environ, stdout=subprocess.PIPE) for n in range(4)]
        captured, count = ["sidecar", 15001, "192.0.2.1", 80], 0
        while any(process.poll() is None for process in changing):
            assert one.connect(*[(7, 7, "", "192.0.2.1", 80)] * 20) == [captured] * 20
            count += 20
        assert [process.communicate()[0] for process in changing] == [b"capture in force (IPv4 and IPv6)\n"] * 4
        assert count >= 40
        assert sum("--dport 9 " in line for line in one.tables(backend).splitlines()) == 4  # TCP and UDP, IPv4 and IPv6


def test_somebody_moved_in() -> None:
    """A table that the capture brought stays where somebody else uses it by now."""
    with pod() as one:
        put(one, Flags(m="TPROXY"), "nft")
        one.run("iptables-nft -t nat -A POSTROUTING -j RETURN")
        put(one, None, "")
        assert [line for line in one.tables("nft").splitlines() if line[0] != ":"] == ["*nat", "-A POSTROUTING -j RETURN", "COMMIT"]


def test_ipv6_switched_off() -> None:
    """Where IPv6 is not spoken, nothing of it is captured, and what was there before goes."""
    with pod() as one:
        untouched = one.tables("nft")
        put(one, Flags(m="TPROXY"), "nft")
        one.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1")
        assert one.meshcar("--force-iptables-binary", "nft") == (0, "capture in force (IPv4)\n")
        assert "ISTIO" in one.run("iptables-nft-save") and "ISTIO" not in one.run("ip6tables-nft-save")
        assert "fwmark" not in one.run("ip -6 rule")
        assert one.meshcar("--clean") == (0, "capture removed (IPv4)\n")
        assert one.tables("nft") == untouched


def test_istios_own_capture_is_replaced() -> None:
    """What istio-init left in a pod goes, its DNS chains included."""
    text = "*nat\n:ISTIO_OUTPUT_DNS -\n:ISTIO_OUTPUT -\n-A OUTPUT -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\nCOMMIT\n"
    text += "*raw\n:ISTIO_OUTPUT_DNS -\n-A OUTPUT -j ISTIO_OUTPUT_DNS\n-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2\nCOMMIT\n"
    with pod() as one:
        one.run("iptables-nft-restore --noflush", text)
        put(one, Flags(), "")
        assert "DNS" not in one.tables("nft") and "ISTIO_REDIRECT" in one.tables("nft")
        put(one, None, "")
        assert "ISTIO" not in one.tables("nft")


def test_back_end() -> None:
    """nft where nobody uses the legacy back end; legacy where somebody does."""
    for strangers, chosen in (("", "nft"), ("nft", "nft"), ("legacy", "legacy")):
        with pod(strangers) as one:
            put(one, Flags(), "")
            assert [backend for backend in BOTH if "ISTIO_REDIRECT" in one.tables(backend)] == [chosen]


def test_other_namespace() -> None:
    """--network-namespace works in the one that it names."""
    with pod() as here, pod() as there:
        namespace = f"/proc/{there.pid}/ns/net"
        assert here.meshcar("--network-namespace", namespace)[0] == 0
        assert "ISTIO_REDIRECT" in there.tables("nft") and "ISTIO" not in here.tables("nft")
        assert here.meshcar("--network-namespace", "/nonexistent") == (
            1, "meshcar iptables: network namespace /nonexistent: No such file or directory\n")


@pytest.mark.parametrize("backend", BOTH)
def test_trial(backend: str) -> None:
    """--run-validation tells whether connections are captured, in both families; 126 where not, as with Istio."""
    trial = ["--run-validation", "--probe-timeout", "0.3s"]
    with pod() as one:
        assert one.meshcar("--skip-rule-apply", *trial) == (126, (
            "meshcar iptables: IPv4 is not captured: a connection to 127.0.0.6, port 15002, did not come to port 15006 within 0.3 s\n"))
        code, said = one.meshcar(*trial, "-m", "TPROXY", "--force-iptables-binary", backend)
        assert (code, said) == (0, "capture in force (IPv4 and IPv6)\ncaptured, as tried out (IPv4 and IPv6)\n")
        one.run(f"ip6tables-{backend} -t nat -F ISTIO_OUTPUT")
        code, said = one.meshcar("--skip-rule-apply", *trial)
        assert code == 126 and said.startswith("meshcar iptables: IPv6 is not captured: a connection to ::6")
        one.serve("sidecar", "15006")
        assert one.meshcar("--skip-rule-apply", *trial) == (
            1, "meshcar iptables: cannot listen on 127.0.0.1, port 15006, for the trial: Address already in use\n")


def test_dry_run_can_be_run() -> None:
    """What --dry-run prints is a script that does it."""
    words = ["-m", "TPROXY", "--force-iptables-binary", "nft", "-k", "vm0"]
    with pod() as one, pod() as other:
        code, script = one.meshcar(*words, "--dry-run")
        assert code == 0 and "ISTIO" not in one.tables("nft")
        one.run("sh -e -s", script)
        assert other.meshcar(*words)[0] == 0
        mark = ":ISTIO_NEW_TABLE - [0:0]\n"  # whoever runs a script knows what was there
        assert everything(one) == [text.replace(mark, "") for text in everything(other)]


@settings(max_examples=8, deadline=None)
@given(steps, flags, st.sampled_from(BOTH), backends)
def test_any_order(before: list[tuple[Flags | None, str]], last: Flags, backend: str, strangers: str) -> None:
    """Whatever was done before, the last capture alone is in force; cleaned, everything is as it was, byte by byte."""
    with pod(strangers) as one:
        untouched = everything(one)
        put(one, last, backend)
        once = everything(one)
        put(one, None, "")
        assert everything(one) == untouched
        for step, of in before:
            put(one, step, of)
        for _ in range(2):
            put(one, last, backend)
            assert everything(one) == once
        for of in ("", backend):
            put(one, None, of)
            assert everything(one) == untouched
