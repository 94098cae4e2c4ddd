"""Pods as network namespaces without a name: they end with the process that made them, whatever happens to it."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.live.processes import BIN, Process, until

NUMBERS = {"client": 10, "v1": 11, "v2": 12, "outside": 20}
VIP, VIP6 = "10.96.0.100", "fd00:96::100"
MESHED = ("client", "v1", "v2")
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode != 0,
    reason="network namespaces need root")


class Pods:
    """A bridge, the pods of NUMBERS on it, with IPv4 and IPv6, and capture rules in those of MESHED, by these flags."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self._holders = {name: Process(["unshare", "--net", "sleep", "infinity"], folder / name) for name in ("bridge", *NUMBERS)}
        ours = os.readlink("/proc/self/ns/net")
        for holder in self._holders.values():
            until(lambda holder=holder: os.readlink(f"/proc/{holder.pid}/ns/net") != ours and holder.alive())
        self._run_all("bridge", "ip link set lo up", "ip link add br0 type bridge", "ip addr add 10.44.0.1/24 dev br0",
                      "ip addr add fd00:44::1/64 dev br0 nodad", "ip link set br0 up")
        for name in NUMBERS:
            self._run_all("bridge", f"ip link add {name} type veth peer name eth0 netns {self._holders[name].pid}",
                          f"ip link set {name} master br0 up")
            self._run_all(name, "ip link set lo up", f"ip addr add {v4(name)}/24 dev eth0", f"ip addr add {v6(name)}/64 dev eth0 nodad",
                          "ip link set eth0 up", "ip route add default via 10.44.0.1", "ip -6 route add default via fd00:44::1")
        for name in MESHED:
            self.run(name, str(BIN / "meshcar"), "iptables", *flags)

    def inside(self, pod: str) -> list[str]:
        """What stands before a command to run it in a pod."""
        return ["nsenter", f"--net=/proc/{self._holders[pod].pid}/ns/net", "--"]

    def run(self, pod: str, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command in a pod, with its output."""
        done = subprocess.run([*self.inside(pod), *words], capture_output=True, text=True, check=False, timeout=30)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def _run_all(self, pod: str, *commands: str) -> None:
        for command in commands:
            self.run(pod, *command.split())

    def close(self) -> None:
        """Ends them."""
        for holder in self._holders.values():
            holder.stop()


def v4(pod: str) -> str:
    """A pod's IPv4 address."""
    return f"10.44.0.{NUMBERS[pod]}"


def v6(pod: str) -> str:
    """A pod's IPv6 address."""
    return f"fd00:44::{NUMBERS[pod]}"


def as_proxy(*capabilities: str) -> list[str]:
    """What stands before a command to run it as the sidecar's user, who may be unable to read what runs the tests."""
    held = ",".join(f"+{name}" for name in ("dac_read_search", *capabilities))
    return ["setpriv", "--reuid=1337", "--regid=1337", "--clear-groups", f"--inh-caps={held}", f"--ambient-caps={held}"]


class PodSidecar:
    """A sidecar in a pod, on the ports that capture rules send to, as user 1337, or whom the command `user` makes it."""

    def __init__(self, pods: Pods, pod: str, folder: Path, rules: str, *words: str | Path, user: Sequence[str] = ()) -> None:
        self._pods, self._pod = pods, pod
        folder.mkdir(parents=True, exist_ok=True)
        self.rules = folder / "rules.yaml"
        self.rules.write_text(rules)
        os.chown(folder, 1337, 1337)
        user = user or as_proxy(*(["net_admin"] if "tproxy" in words else []))
        self.process = Process(
            [*pods.inside(pod), *user, BIN / "twistd", "-n", "meshcar", "--rules", self.rules, "--drain", "1", *words], folder)

    def ready(self) -> "PodSidecar":
        """Waits until the sidecar says so."""
        def answered() -> bool:
            assert self.process.alive(), self.process.said()
            return self._pods.run(self._pod, "curl", "-sf", "http://127.0.0.1:15021/healthz/ready", check=False).returncode == 0
        until(answered, 20, "readiness")
        return self

    def metrics(self) -> str:
        """The exposition, scraped inside the pod."""
        return self._pods.run(self._pod, "curl", "-sf", "http://127.0.0.1:15090/stats/prometheus").stdout
