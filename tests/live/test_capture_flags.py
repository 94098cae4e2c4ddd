"""Connections by the thousand through the kernel, under flags by the dozen: each ends where istio-iptables' documentation has it end."""

import os
import random
from collections.abc import Iterator

import pytest

from tests.live.capture_lab import BACKENDS, Flags, Lab, Packet, address, any_flags, any_packet, expected
from tests.live.pods import needs_namespaces

pytestmark = needs_namespaces
CASES = int(os.environ.get("MESHCAR_CAPTURE_CASES", "40"))
"""Sets of flags in each back end, with 60 connections each."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    one = Lab()
    yield one
    one.close()


def outcome(flags: Flags, packet: Packet, found: object) -> str:
    """A probe's answer in the words of `expected`: the sidecar's port, or nothing; or, if it is neither, the answer itself."""
    if isinstance(found, list) and found[2:] == [packet.destination, packet.port]:
        return str(found[1]) if found[0] == "sidecar" else ""
    # of what goes its own way in the pod itself, nobody is there to take it
    return "" if found == "refused" and (packet.local or packet.wire) else repr(found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_connection_goes_where_it_should(lab: Lab, backend: str) -> None:
    """IPv4 and IPv6, in and out, to oneself and forwarded, as the sidecar and as the application."""
    chance = random.Random(int(os.environ.get("MESHCAR_CAPTURE_SEED", "1")))
    for _ in range(CASES):
        flags, packets = any_flags(chance), [any_packet(chance) for _ in range(60)]
        assert lab.pod.meshcar(*flags.words(), "--force-iptables-binary", backend) == (0, "capture in force (IPv4 and IPv6)\n")
        sent = [packet for packet in packets if not packet.wire]
        come = [packet for packet in packets if packet.wire]
        answers = lab.pod.connect(*((one.uid, one.gid, one.source, one.destination, one.port) for one in sent))
        answers += lab.world.connect(*((0, 0, "", one.destination, one.port) for one in come))
        for packet, found in zip(sent + come, answers, strict=True):
            assert outcome(flags, packet, found) == expected(flags, packet), (flags.words(), packet, found)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["REDIRECT", "TPROXY"])
def test_drop_invalid(lab: Lab, backend: str, mode: str) -> None:
    """A segment of no connection is not even reset, but by an interface that is left alone."""
    def answered(*flags: str) -> list[bool]:
        assert lab.pod.meshcar("-m", mode, "-b", "80", "-c", "eth1", *flags, "--force-iptables-binary", backend)[0] == 0
        return [lab.world.stray(address(wire, 1, 4), address(wire, 10, 4), 81) for wire in ("eth0", "eth1")]
    assert (answered(), answered("--drop-invalid")) == ([True, True], [False, True])
