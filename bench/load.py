"""Samples of load: wrk on one core against a sidecar on another, two sidecars in turn."""

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from bench.processes import TICK, Failed, tool
from bench.ratios import Sample

CONNECTIONS, SECONDS = 32, 1
BUSY, SLOW = 0.12, 0.9
"""A sample is taken again if others had more than this share of the sidecar's core, or it ran below this part of its best speed."""
HEADERS = """{method} {path} HTTP/1.1
Host: {host}
User-Agent: wrk-bench/1.0 (X11; Linux x86_64)
Accept: application/json, text/plain, */*
Accept-Encoding: gzip, deflate
Accept-Language: en-US,en;q=0.9
Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.{token:032x}
Cookie: session={session:016x}; theme=dark
X-App-Version: 2.14.0

"""


def write_requests(path: Path, hosts: tuple[str, ...], target: str) -> None:
    """400 different requests of eight headers, for wrk.lua; a `%d` in the target becomes a number."""
    roll = random.Random(7)
    with path.open("w", newline="") as file:
        for number in range(400):
            place = target % roll.randrange(10**6) if "%d" in target else target
            host, token, session = hosts[number % len(hosts)], roll.getrandbits(128), roll.getrandbits(64)
            text = HEADERS.format(method="GET", path=place, host=host, token=token, session=session)
            file.write(text.replace("\n", "\r\n") + "~")


@attrs.define(kw_only=True)
class Side:
    """One of the two that are compared: where to send, whose CPU counts, and what came of it."""

    name: str
    port: int
    cpu: Callable[[], float]
    """CPU seconds of all its processes so far."""
    alive: Callable[[], None]
    sent: int = 0
    """Requests so far, of the check and of all samples, kept or not."""
    samples: list[Sample] = attrs.field(factory=list)


@attrs.define
class Bench:
    """The two cores, and wrk with the requests of one scenario."""

    sidecar_core: int
    load_core: int
    requests: Path
    best_speed: float = 0.0

    def compare(self, sides: tuple[Side, Side], rounds: int) -> None:
        """One sample each to warm up, then `rounds` samples each, in turn: A B, B A, A B. At most `rounds` are taken again."""
        for side in sides:
            self.load(side)
        again = rounds
        for turn in range(rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                sample, good = self._sample(side)
                while not good and again:
                    again -= 1
                    sample, good = self._sample(side)
                side.samples.append(sample)

    def _sample(self, side: Side) -> tuple[Sample, bool]:
        """A sample, and whether the sidecar had its core for itself and the core its speed."""
        speed = self._speed()
        core, cpu, began = self._core_busy(), side.cpu(), time.monotonic()
        sample = self.load(side)
        cpu, core, took = side.cpu() - cpu, self._core_busy() - core, time.monotonic() - began
        side.alive()
        speed = min(speed, self._speed())
        self.best_speed = max(self.best_speed, speed)
        sample = attrs.evolve(sample, cpu_us=1e6 * cpu / max(1, sample.requests), core=cpu / sample.seconds)
        return sample, core - cpu < BUSY * took and speed > SLOW * self.best_speed

    def load(self, side: Side, seconds: int = SECONDS) -> Sample:
        """Requests one after the other on all connections, for so long. Raises Failed if one fails."""
        options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(Path(__file__).with_name("wrk.lua"))]
        argv = ["taskset", "-c", str(self.load_core), tool("wrk", "apt install wrk"), *options, f"http://127.0.0.1:{side.port}/"]
        env = {**os.environ, "REQUESTS": str(self.requests)}
        run = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60 + seconds, env=env)
        sample = parse(run.stdout + run.stderr)
        side.sent += sample.requests
        if sample.errors:
            raise Failed(f"{side.name}: {sample.errors} of {sample.requests} requests failed under load")
        return sample

    def _core_busy(self) -> float:
        """Seconds that the sidecar's core has worked since boot, for whomever (proc_stat(5))."""
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith(f"cpu{self.sidecar_core} "):
                ticks = [int(each) for each in line.split()[1:9]]
                return (sum(ticks) - ticks[3] - ticks[4]) / TICK
        raise Failed(f"this machine has no core {self.sidecar_core}")

    def _speed(self) -> float:
        """How fast the sidecar's core is just now: a virtual machine's neighbours show nowhere else."""
        here = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.sidecar_core})
        try:
            block, began = b"x" * 65536, time.perf_counter()
            for _ in range(200):
                hashlib.sha256(block)
            return 1 / (time.perf_counter() - began)
        finally:
            os.sched_setaffinity(0, here)


def parse(text: str) -> Sample:
    """What wrk.lua printed. Raises Failed with what wrk said instead."""
    line = next((line for line in text.splitlines() if line.startswith("{")), None)
    if line is None:
        raise Failed(f"wrk gave no result: {text.strip()[-200:]}")
    got = json.loads(line)
    return Sample(requests=got["requests"], seconds=got["us"] / 1e6, errors=got["errors"], p99_ms=got["p99_us"] / 1000)
