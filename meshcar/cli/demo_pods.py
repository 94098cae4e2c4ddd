"""Where the demo's pods are: three network namespaces, or, without root, three sets of ports on loopback."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs

from meshcar.cli.demo_shell import DemoFailed, Shell

PROXY_USER = 1337
CLUSTER_IP = "10.96.0.100"
_GATEWAY, _SWITCH = "10.44.0.1", "switch"
_NETNS, _ETC = Path("/run/netns"), Path("/etc/netns")


@attrs.frozen
class Pod:
    """One of the page's three. `version` is empty for the one that only calls."""

    name: str
    app: str
    version: str
    address: str

    @property
    def labels(self) -> dict[str, str]:
        """As the page's Deployment gives them."""
        return {"app": self.app} | ({"version": self.version} if self.version else {})


PODS = (
    Pod("sleep", "sleep", "", "10.44.0.10"),
    Pod("httpbin-v1", "httpbin", "v1", "10.44.0.11"),
    Pod("httpbin-v2", "httpbin", "v2", "10.44.0.12"),
)
SLEEP, V1, V2 = PODS


def short(path: Path) -> str:
    """A path, as short as it can be said from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def tool(name: str) -> str:
    """A program of this Python's environment."""
    return short(Path(sys.executable).with_name(name))


class Place(Protocol):
    """What differs between the two ways. Words are command lines or parts of one."""

    story: str

    def up(self) -> None:
        """Makes the pods, empty. Raises DemoFailed."""

    def capture(self) -> None:
        """Points the pods' connections at their sidecars, where the kernel does that."""

    def down(self) -> None:
        """Takes everything away that `up` made, also when it is only half there."""

    def inside(self, pod: Pod) -> list[str]:
        """What stands before a command to run it in the pod."""

    def sidecar(self, pod: Pod) -> list[str]:
        """The sidecar's command line, but for what all have."""

    def admin(self, pod: Pod) -> list[str]:
        """How `meshcar` finds the pod's sidecar."""

    def app(self, pod: Pod, command: Sequence[str]) -> list[str]:
        """The command of the page's Deployment, bound to where the pod's application listens here."""

    def endpoint(self, pod: Pod) -> tuple[str, int | None]:
        """Where others reach the pod: address, and port if it is not the Service's targetPort."""

    def proxy(self) -> dict[str, str]:
        """What curl in `sleep` must be told to meet its sidecar."""

    def own(self, path: Path) -> None:
        """Gives a file or folder, and what is in it, to the sidecars' user."""


class Namespaces:
    """Pods as network namespaces, behind a bridge in a fourth; the machine's own network is not touched. Needs root."""

    story = (
        "As root: each pod is a network namespace, its sidecar runs as user 1337, and `meshcar iptables` has the kernel send\n"
        "the pod's connections to it."
    )

    def __init__(self, shell: Shell, prefix: str) -> None:
        self._shell, self._prefix = shell, prefix
        self._made = shell.state / "namespaces"

    def up(self) -> None:
        switch = self._name(_SWITCH)
        self._add(switch)
        self._ip("-n", switch, "link", "set", "lo", "up")
        self._ip("-n", switch, "link", "add", "br0", "type", "bridge")
        self._ip("-n", switch, "addr", "add", f"{_GATEWAY}/24", "dev", "br0")
        self._ip("-n", switch, "link", "set", "br0", "up")
        for pod in PODS:
            self._connect(pod, switch)
        self._shell.say(f"# The pods' /etc/hosts (by way of {_ETC}) stand in for the cluster's DNS: httpbin is {CLUSTER_IP}.")
        if not _everybody_reads():
            self._shell.say("# Only root can read this installation: the sidecars get the one capability to read it, too.")

    def _connect(self, pod: Pod, switch: str) -> None:
        namespace = self._name(pod.name)
        self._add(namespace)
        self._ip("-n", namespace, "link", "set", "lo", "up")
        self._ip("-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", pod.name, "netns", switch)
        self._ip("-n", switch, "link", "set", pod.name, "master", "br0", "up")
        self._ip("-n", namespace, "addr", "add", f"{pod.address}/24", "dev", "eth0")
        self._ip("-n", namespace, "link", "set", "eth0", "up")
        self._ip("-n", namespace, "route", "add", "default", "via", _GATEWAY)
        hosts = _ETC / namespace / "hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(f"127.0.0.1 localhost\n{CLUSTER_IP} httpbin httpbin.default httpbin.default.svc.cluster.local\n")

    def capture(self) -> None:
        for pod in PODS:
            self._shell.run([*self.inside(pod), tool("meshcar"), "iptables"])

    def down(self) -> None:
        for name in self._made.read_text().split() if self._made.exists() else ():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
            shutil.rmtree(_ETC / name, ignore_errors=True)

    def inside(self, pod: Pod) -> list[str]:
        return ["ip", "netns", "exec", self._name(pod.name)]

    def sidecar(self, pod: Pod) -> list[str]:
        user = ["setpriv", f"--reuid={PROXY_USER}", f"--regid={PROXY_USER}", "--clear-groups"]
        if not _everybody_reads():
            user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return [*self.inside(pod), *user, tool("twistd"), "-n", "meshcar"]

    def admin(self, pod: Pod) -> list[str]:
        return []

    def app(self, pod: Pod, command: Sequence[str]) -> list[str]:
        return [*self.inside(pod), tool(command[0]), *command[1:]]

    def endpoint(self, pod: Pod) -> tuple[str, int | None]:
        return pod.address, None

    def proxy(self) -> dict[str, str]:
        return {}

    def own(self, path: Path) -> None:
        for each in (path, *path.rglob("*")):
            os.chown(each, PROXY_USER, PROXY_USER)

    def _ip(self, *words: str) -> None:
        self._shell.run(["ip", *words])

    def _add(self, namespace: str) -> None:
        if (_NETNS / namespace).exists():
            raise DemoFailed(f"there is a network namespace {namespace} already, and not of a demo; --prefix gives other names")
        with open(self._made, "a") as file:
            file.write(f"{namespace}\n")
        self._ip("netns", "add", namespace)

    def _name(self, name: str) -> str:
        return self._prefix + name


class Loopback:
    """Pods as ports on 127.0.0.1; nothing is captured, so curl names its sidecar as its proxy."""

    story = (
        "Not as root: the pods share this machine's loopback, each with ports of its own. Nothing is captured (--intercept none):\n"
        "curl is told that its sidecar is its proxy, and WorkloadEntry `ports` say where the others' sidecars listen."
    )

    def __init__(self, shell: Shell) -> None:
        ports = iter(_free_ports(4 * len(PODS)))
        self._ports = {pod: {what: next(ports) for what in ("app", "sidecar", "admin", "health")} for pod in PODS}

    def up(self) -> None:
        """Nothing to make."""

    def capture(self) -> None:
        """Nothing to capture with."""

    def down(self) -> None:
        """Nothing to take away."""

    def inside(self, pod: Pod) -> list[str]:
        return []

    def sidecar(self, pod: Pod) -> list[str]:
        ports = self._ports[pod]
        here = f"127.0.0.1:{ports['sidecar']}"
        server = ["--outbound", "off", "--inbound", here, "--app-port", str(ports["app"])]
        client = ["--outbound", here, "--inbound", "off"]
        return [tool("twistd"), "-n", "meshcar", "--intercept", "none", *(server if pod.version else client),
                "--admin", f"127.0.0.1:{ports['admin']}", "--health", f"127.0.0.1:{ports['health']}", "--metrics", "off"]

    def admin(self, pod: Pod) -> list[str]:
        return ["--admin", f"http://127.0.0.1:{self._ports[pod]['admin']}"]

    def app(self, pod: Pod, command: Sequence[str]) -> list[str]:
        bound = [f"127.0.0.1:{self._ports[pod]['app']}" if word == "0.0.0.0:80" else word for word in command]
        return [tool(bound[0]), *bound[1:]]

    def endpoint(self, pod: Pod) -> tuple[str, int | None]:
        return "127.0.0.1", self._ports[pod]["sidecar"]

    def proxy(self) -> dict[str, str]:
        return {"http_proxy": f"http://127.0.0.1:{self._ports[SLEEP]['sidecar']}", "no_proxy": ""}

    def own(self, path: Path) -> None:
        """Everything is the user's own."""


def can_make_namespaces() -> bool:
    """Whether this process is root, and not in a container that forbids it."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode == 0


def _everybody_reads() -> bool:
    """Whether the sidecars' user can read this installation; a clone below /root, or made under umask 077, it cannot."""
    needed = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable), Path(__file__)}
    folders = {folder for path in needed for folder in path.resolve().parents}
    return all(folder.stat().st_mode & 0o001 for folder in folders) and all(path.stat().st_mode & 0o004 for path in needed)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
