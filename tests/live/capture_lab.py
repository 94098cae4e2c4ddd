"""Two network namespaces, a pod and the world, joined by three wires; and what istio-iptables' flags mean for a connection, by hand."""

import json
import os
import random
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import attrs

from tests.live import probe
from tests.live.processes import until

BACKENDS = [name for name in ("legacy", "nft")
            if subprocess.run(["sh", "-c", f"unshare --net iptables-{name} -t nat -S"], capture_output=True, check=False).returncode == 0]
"""iptables' back ends that this machine has: the tools, and the kernel's part."""
WIRES = {"eth0": "44", "eth1": "45", "vm0": "46"}
ANYWHERE = ["10.96.3.4", "10.97.3.4", "192.0.2.1", "fd00:96::34", "fd00:97::34", "2001:db8::1"]
"""Addresses of the world, beyond its ends of the wires."""
BEYOND = {4: "10.99.0.0/16", 6: "fd00:99::/32"}
"""What the world sends through the pod, by vm0."""


def address(wire: str, end: int, version: int) -> str:
    """The pod's (10) or the world's (1) end of a wire."""
    return f"10.{WIRES[wire]}.0.{end}" if version == 4 else f"fd00:{WIRES[wire]}::{end:x}"


class Talker:
    """A probe in a namespace."""

    def __init__(self, enter: list[str], *words: str) -> None:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", *enter, sys.executable, probe.__file__, *words], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environ)

    def ask(self, *words: Any) -> Any:
        """Its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self.heard()

    def heard(self) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


class Namespace:
    """A network namespace that ends with the test, and a probe in it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.pid = self._holder.pid
        until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        self.inside = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]
        self.run("ip link set lo up")
        self._talkers = [Talker(self.inside)]

    def run(self, command: str, text: str = "") -> str:
        """A command's output; it must succeed."""
        done = subprocess.run([*self.inside, *command.split()], input=text, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def connect(self, *connections: tuple[int, int, str, str, int]) -> list[Any]:
        """What became of each: as which user and group, from which address or any, to which address and port."""
        return list(self._talkers[0].ask("connect", *connections))

    def meshcar(self, *flags: str, **environ: str) -> tuple[int, str]:
        """`meshcar iptables`: exit code and output."""
        ((code, said),) = self._talkers[0].ask("meshcar", (["iptables", *flags], environ))
        return code, said

    def stray(self, source: str, address: str, port: int) -> bool:
        """Whether a segment of no connection is answered."""
        return bool(self._talkers[0].ask("stray", (source, address, port))[0])

    def serve(self, name: str, *ports: str) -> None:
        """A server that answers with its name on these ports."""
        self._talkers.append(Talker(self.inside, name, *ports))
        assert self._talkers[-1].heard() == "serving"

    def tables(self, backend: str) -> str:
        """All of both families' tables in a back end, without the dates."""
        both = "".join(self.run(f"{tool}-{backend}-save") for tool in ("iptables", "ip6tables"))
        return "".join(f"{line}\n" for line in both.splitlines() if not line.startswith("#"))

    def close(self) -> None:
        """Ends everything in it."""
        for talker in self._talkers:
            talker.close()
        self._holder.communicate()


class Lab:
    """A pod and the world, with a server for whatever is sent to the world, and one on the sidecar's ports."""

    def __init__(self) -> None:
        self.pod, self.world = Namespace(), Namespace()
        for one in (self.pod, self.world):
            for switch in ("ipv4.conf.all.rp_filter=0", "ipv4.conf.default.rp_filter=0", "ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"):
                one.run(f"sysctl -q -w net.{switch}")
        for wire in WIRES:
            self.world.run(f"ip link add {wire} type veth peer name {wire} netns {self.pod.pid}")
            for one, end in ((self.world, 1), (self.pod, 10)):
                one.run(f"ip addr add {address(wire, end, 4)}/24 dev {wire}")
                one.run(f"ip addr add {address(wire, end, 6)}/64 dev {wire} nodad")
                one.run(f"ip link set {wire} up")
        for version in (4, 6):
            self._route(version)
        self.pod.serve("sidecar", "15001", "15006", "16001", "16006")
        self.world.serve("world", "9")

    def _route(self, version: int) -> None:
        """The world has ANYWHERE's addresses, and all ports; what the pod is asked to forward, and nobody captures, it refuses."""
        self.pod.run(f"ip -{version} route add default via {address('eth0', 1, version)}")
        for one in ANYWHERE:
            if (":" in one) == (version == 6):
                self.world.run(f"ip -{version} route add local {one} dev lo")
        self.world.run(f"ip -{version} route add {BEYOND[version]} via {address('vm0', 10, version)}")
        tool = "iptables" if version == 4 else "ip6tables"
        self.world.run(f"{tool} -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 9")
        self.pod.run(f"{tool}-{BACKENDS[-1]} -A FORWARD -p tcp -j REJECT --reject-with tcp-reset")

    def close(self) -> None:
        """Ends everything."""
        self.pod.close()
        self.world.close()


@attrs.frozen(kw_only=True)
class Packet:
    """The first packet of a connection. `wire` is the one it comes in by; none: the pod itself sends it."""

    wire: str = ""
    uid: int = 0
    gid: int = 0
    source: str = ""
    destination: str
    port: int

    @property
    def to(self) -> IPv4Address | IPv6Address:
        """Its destination."""
        return ip_address(self.destination)

    @property
    def local(self) -> bool:
        """Whether the pod sends it to itself."""
        return not self.wire and (self.to.is_loopback or self.destination in OWN)


OWN = {address(wire, 10, version) for wire in WIRES for version in (4, 6)}


@attrs.frozen(kw_only=True)
class Flags:
    """Flags as people write them."""

    p: str = "15001"
    z: str = "15006"
    e: str = "15008"
    u: str = "1337"
    g: str = "1337"
    m: str = "REDIRECT"
    b: str = "*"
    d: str = "15090,15021,15020"
    i: str = "*"
    x: str = ""
    q: str = ""
    o: str = ""
    c: str = ""
    k: str = ""
    groups: str = "*"
    excluded_groups: str = ""
    loopback: str = "127.0.0.1/32"

    def words(self) -> list[str]:
        """The command line. The last three have variables only, in Istio."""
        long = {"groups": "istio-outbound-owner-groups", "excluded_groups": "istio-outbound-owner-groups-exclude",
                "loopback": "istio-outbound-ipv4-loopback-cidr"}
        return [word for name, text in attrs.asdict(self).items() for word in (f"--{long[name]}" if name in long else f"-{name}", text)]


def expected(flags: Flags, packet: Packet) -> str:
    """The port of the sidecar that gets a connection, or "" where it goes its own way. From istio-iptables' documentation, by hand."""
    if packet.wire:
        return from_a_machine(flags, packet) if packet.wire in split(flags.k) else incoming(flags, packet)
    sidecars = packet.uid in numbers(flags.u) or packet.gid in numbers(flags.g)
    found = outgoing(flags, packet)
    own_way = found or packet.source or not (packet.local and sidecars) or is_loopback(flags, packet) or excluded(flags, "lo")
    # TPROXY sees once more what the sidecar sends to the pod's own address, when that arrives
    return found if own_way or flags.m != "TPROXY" else incoming(flags, packet)


def from_a_machine(flags: Flags, packet: Packet) -> str:
    """What a virtual machine sends is captured as if the pod had sent it, by its destination alone."""
    return flags.p if flags.i == "*" or within(packet, flags.i) else ""


def incoming(flags: Flags, packet: Packet) -> str:
    """What comes in: by interface, then by port; of all ports some can be left alone, of chosen ones none."""
    if packet.wire and excluded(flags, packet.wire) or flags.m == "REDIRECT" and packet.port == int(flags.e):
        return ""
    if flags.b == "*":
        return "" if packet.port in numbers(flags.d) else flags.z
    return flags.z if packet.port in numbers(flags.b) else ""


def outgoing(flags: Flags, packet: Packet) -> str:
    """What the pod sends."""
    if excluded(flags, leaves_by(packet)) or packet.port in numbers(flags.o) or packet.source:
        return ""
    # to itself: of all owners only the first one's own connections are looked at, unless a loopback range is to be captured
    owners = [(packet.uid, uid) for uid in numbers(flags.u)] + [(packet.gid, gid) for gid in numbers(flags.g)]
    loopback_too = any(ip_network(one, strict=False).is_loopback for one in split(flags.i) if one != "*")
    for its, owner in owners:
        if packet.local and its == owner and not is_loopback(flags, packet) and packet.port != int(flags.e):
            return flags.z  # to the sidecar's other side, as one's own Service does
        if its == owner or packet.local and not loopback_too:
            return ""
    if packet.gid in numbers(flags.excluded_groups) or flags.groups != "*" and packet.gid not in numbers(flags.groups):
        return ""
    if is_loopback(flags, packet) or within(packet, flags.x):
        return ""
    return flags.p if packet.port in numbers(flags.q) or flags.i == "*" or within(packet, flags.i) else ""


def split(text: str) -> list[str]:
    """The words of a list."""
    return [word for word in text.split(",") if word]


def numbers(text: str) -> list[int]:
    """The numbers of a list; none where it is *."""
    return [int(word) for word in split(text) if word != "*"]


def within(packet: Packet, ranges: str) -> bool:
    """Whether a list has the destination."""
    return any(packet.to in ip_network(one, strict=False) for one in split(ranges) if one != "*")


def is_loopback(flags: Flags, packet: Packet) -> bool:
    """Whether the destination counts as loopback."""
    return packet.to in ip_network(flags.loopback, strict=False) or packet.destination == "::1"


def excluded(flags: Flags, wire: str) -> bool:
    """Whether an interface is left alone; eth+ is all of eth's."""
    return any(wire.startswith(one[:-1]) if one.endswith("+") else wire == one for one in split(flags.c))


def leaves_by(packet: Packet) -> str:
    """The interface that a packet of the pod's own leaves by."""
    if packet.local:
        return "lo"
    return next((wire for wire in WIRES if packet.destination == address(wire, 1, packet.to.version)), "eth0")


PORTS = [25, 80, 443, 15008, 15020, 9080]


def any_flags(chance: random.Random) -> Flags:
    """Some flags, most of them as Istio's injector leaves them."""
    def rarely(usual: str, *others: str) -> str:
        return chance.choice(others) if chance.random() < 0.3 else usual
    some = ",".join(str(port) for port in chance.sample(PORTS, 2))
    groups = rarely("*", "2001", "2001,1337", "")
    return Flags(
        p=rarely("15001", "16001"), z=rarely("15006", "16006"), e=rarely("15008", "9080"), u=rarely("1337", "1338", "1337,1338"),
        g=rarely("1337", "1338", "1338,1337"), m=chance.choice(["REDIRECT", "TPROXY"]), b=rarely("*", "", "80", some),
        d=rarely("15090,15021,15020", "", "80", some), i=rarely("*", "", "10.96.0.0/16,fd00:96::/32", "10.99.0.1/8,2001:db8::/32",
        "127.0.0.0/8,10.44.0.0/16", "::1/128,fd00:44::/32"), x=rarely("", "10.96.3.0/24", "192.0.2.1/32,fd00:96::/32"),
        q=rarely("", "25", some), o=rarely("", "443", some), c=rarely("", "eth1", "lo", "eth+", "vm0,nowhere"),
        k=rarely("", "vm0", "vm0,vm1"), groups=groups, excluded_groups=rarely("", "2001", "0,2001") if groups == "*" else "",
        loopback=rarely("127.0.0.1/32", "127.0.0.0/8"))


def any_packet(chance: random.Random) -> Packet:
    """A connection that somebody may make."""
    version, port = chance.choice([4, 6]), chance.choice(PORTS)
    if chance.random() < 0.3:
        wire = chance.choice(list(WIRES))
        beyond = ["10.99.0.7" if version == 4 else "fd00:99::7"] if wire == "vm0" else []
        return Packet(wire=wire, destination=chance.choice([address(wire, 10, version), *beyond]), port=port)
    loopback = ["127.0.0.1", "127.0.0.5"] if version == 4 else ["::1"]
    ends = [address(wire, end, version) for wire in ("eth0", "eth1") for end in (1, 10)]
    there = [one for one in ANYWHERE if (":" in one) == (version == 6)]
    one = Packet(uid=chance.choice([0, 1337, 1338, 2000]), gid=chance.choice([0, 1337, 1338, 2001]), port=port,
                 destination=chance.choice(chance.choice([loopback, ends, there])))
    passing_through = one.local and not one.to.is_loopback and chance.random() < 0.2
    return attrs.evolve(one, source="127.0.0.6" if version == 4 else "::6") if passing_through else one
