"""The scenarios: what is started, checked and loaded for each."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench import envoy, mesh
from bench.backend import Backend, check, check_copies
from bench.load import Bench, Side, write_requests
from bench.mesh import PORT, Place
from bench.processes import Failed, Process
from bench.ratios import Result

HOSTS = tuple(f"svc-{number}:{PORT}" for number in (3, 13, 23, 33, 43))
SIDES = ("meshcar", "envoy")


@attrs.frozen(kw_only=True)
class Scenario:
    """`target` is what wrk asks for; `hosts` are asked in turn."""

    target: str = "/api/items/%d"
    hosts: tuple[str, ...] = HOSTS
    mtls: bool = False
    mirror: bool = False


SCENARIOS = {
    "plain": Scenario(),
    "body64k": Scenario(target="/api/64k"),
    "mtls": Scenario(mtls=True, hosts=HOSTS[:1]),
    "mirror": Scenario(mirror=True),
}


@attrs.frozen(kw_only=True)
class Setting:
    """What all scenarios share."""

    envoy: str
    """Envoy's program."""
    folder: Path
    certs: Path
    """With the folders `client` and `server`."""
    cores: tuple[int, int]
    """The sidecar's, and that of generator and backends."""
    ports: Iterator[int]
    rounds: int


class Sidecar:
    """The processes of one kind, ready: one outbound, or for mutual TLS an outbound and the inbound it sends to."""

    def __init__(self, kind: str, scenario: Scenario, setting: Setting, app: Backend, mirror: Backend | None, stack: ExitStack) -> None:
        self.kind, self._setting, self._stack = kind, setting, stack
        self._processes: list[Process] = []
        behind, certs = app.port, None
        if scenario.mtls:
            behind = self._start("inbound", app=app.port, certs=setting.certs / "server").listen
            certs = setting.certs / "client"
        self.place = self._start("outbound", backend=behind, mirror=mirror.port if mirror else None, certs=certs)
        self.app, self.mirror = app, mirror

    def _start(self, side: str, **more: object) -> Place:
        name, ports = f"{self.kind}-{side}", self._setting.ports
        folder = self._setting.folder / f"{name}-{next(ports)}"
        folder.mkdir()
        numbers = {port: next(ports) for port in ("listen", "admin", "health", "metrics")}
        place = Place(folder=folder, **numbers, **more)  # type: ignore[arg-type]
        argv = mesh.command(place) if self.kind == "meshcar" else envoy.command(self._setting.envoy, place)
        process = Process(name, argv, folder, self._setting.cores[0])
        self._stack.callback(process.stop)
        process.ready(
            f"http://127.0.0.1:{place.health}/healthz/ready" if self.kind == "meshcar" else f"http://127.0.0.1:{place.admin}/ready"
        )
        self._processes.append(process)
        return place

    def cpu(self) -> float:
        """CPU seconds of all processes so far."""
        return sum(process.cpu() for process in self._processes)

    def memory(self) -> float:
        """MiB resident of all processes."""
        return sum(process.memory() for process in self._processes)

    def alive(self) -> None:
        """Raises Failed if one has ended."""
        for process in self._processes:
            process.alive()


def soak(seconds: int, setting: Setting) -> Iterator[tuple[int, float]]:
    """meshcar alone, at full load with every request mirrored: after each tenth of the time, the requests so far and its memory in MiB.

    Raises Failed where one failed, or where copies are missing at the end.
    """
    scenario = SCENARIOS["mirror"]
    with ExitStack() as stack:
        app, mirror = (_backend("soak", title, setting, stack) for title in ("app", "mirror"))
        sidecar = Sidecar("meshcar", scenario, setting, app, mirror, stack)
        side = _checked(sidecar, scenario)
        bench = _bench("soak", scenario, setting)
        yield side.sent, sidecar.memory()
        for _ in range(10):
            bench.load(side, max(1, seconds // 10))
            yield side.sent, sidecar.memory()
        _copies(sidecar)
    _logged(sidecar, side)


def run(name: str, setting: Setting) -> Result:
    """Starts, checks, loads and stops both. Raises Failed where an answer, a copy or a line of the log is missing."""
    scenario = SCENARIOS[name]
    with ExitStack() as stack:

        def sidecar(kind: str) -> Sidecar:
            mirror = _backend(name, f"mirror-{kind}", setting, stack) if scenario.mirror else None
            return Sidecar(kind, scenario, setting, _backend(name, f"app-{kind}", setting, stack), mirror, stack)

        sidecars = [sidecar(kind) for kind in SIDES]
        memory = [each.memory() for each in sidecars]
        sides = [_checked(each, scenario) for each in sidecars]
        _bench(name, scenario, setting).compare((sides[0], sides[1]), setting.rounds)
        copies = [_copies(each) for each in sidecars] if scenario.mirror else None
    for each, side in zip(sidecars, sides, strict=True):
        _logged(each, side)
    return Result(
        name=name,
        meshcar=sides[0].samples,
        envoy=sides[1].samples,
        memory=(memory[0], memory[1]),
        copies=(copies[0], copies[1]) if copies else None,
    )


def _backend(name: str, title: str, setting: Setting, stack: ExitStack) -> Backend:
    made = Backend(title, setting.folder / f"{name}-{title}", setting.cores[1], next(setting.ports), next(setting.ports))
    stack.callback(made.process.stop)
    return made


def _bench(name: str, scenario: Scenario, setting: Setting) -> Bench:
    requests = setting.folder / f"{name}.requests"
    write_requests(requests, scenario.hosts, scenario.target)
    return Bench(*setting.cores, requests)


def _checked(sidecar: Sidecar, scenario: Scenario) -> Side:
    port = sidecar.place.listen
    sent = check(port, scenario.hosts, sidecar.app.large, scenario.mtls)
    if sidecar.mirror:
        _settled(sidecar.mirror)
        check_copies(sidecar.mirror.marked(), sent)
    return Side(name=sidecar.kind, port=port, cpu=sidecar.cpu, alive=sidecar.alive, sent=len(sent) + 1)


def _settled(mirror: Backend) -> int:
    """The mirror's count of requests, once it has stood still for 0.2 s."""
    last = -1
    for _ in range(20):
        now = mirror.requests()
        if now == last:
            break
        last = now
        time.sleep(0.2)
    return last


def _copies(sidecar: Sidecar) -> float:
    """Copies for each request that reached the application. Raises Failed below 99.9 %."""
    assert sidecar.mirror
    share = _settled(sidecar.mirror) / sidecar.app.requests()
    if share < 0.999:
        raise Failed(f"{sidecar.kind}: only {share:.2%} of the copies arrived")
    return share


def _logged(sidecar: Sidecar, side: Side) -> None:
    """Raises Failed unless the access log has a line for each request; those in flight when wrk ended may be there or not."""
    with sidecar.place.log.open("rb") as log:
        lines = sum(1 for _ in log)
    if not 0.99 < lines / side.sent < 1.02:
        raise Failed(f"{side.name}: {lines} lines in the access log for {side.sent} requests")
