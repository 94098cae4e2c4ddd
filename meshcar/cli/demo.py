"""`meshcar demo`: Istio's Mirroring task, from beginning to end, on this machine."""

import argparse
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from meshcar.cli.demo_checks import check_count, check_headers, logged
from meshcar.cli.demo_pods import PODS, SLEEP, V1, V2, Loopback, Namespaces, Place, Pod, can_make_namespaces, short, tool
from meshcar.cli.demo_shell import DemoFailed, Shell

_PAGE = Path(__file__).with_name("page")
_MANY = 20
_IDENTITY = "spiffe://cluster.local/ns/default/sa/default"
_LOG_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" Host: %({host}i)s'
_WORKLOAD = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: {pod.name}
spec:
  address: {address}
  labels:
    app: {pod.app}
    version: {pod.version}
    security.istio.io/tlsMode: istio
  serviceAccount: default
"""


def add_parser(subparsers: Any) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("demo", help="play Istio's Mirroring task on this machine", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything up afterwards, to play with")
    parser.add_argument("--stop", action="store_true", help="take down what an earlier --keep left up")
    parser.add_argument("--loopback", action="store_true", help="without network namespaces, also as root")
    parser.add_argument("--prefix", default="", help="for the names of the namespaces, so that two demos do not meet")


def run(args: argparse.Namespace) -> int:
    """Plays the page. Raises DemoFailed at the first step whose output is not as it must be."""
    shell = Shell(_state_folder(args.prefix))
    namespaces = not args.loopback and can_make_namespaces()
    place: Place = Namespaces(shell, args.prefix) if namespaces else Loopback(shell)
    _take_down(shell, place)
    if args.stop:
        return 0
    if not Path(tool("gunicorn")).exists():
        raise DemoFailed("gunicorn and httpbin are not installed: pip install 'meshcar[demo]'")
    shell.state.mkdir(mode=0o755)
    try:
        Story(shell, place).play()
    except BaseException as e:
        if isinstance(e, DemoFailed):
            _show_sidecars(shell)
        _take_down(shell, place)
        raise
    if args.keep:
        _say_how_to_play(shell, place, args.prefix)
    else:
        _take_down(shell, place)
    return 0


class Story:
    """The page's steps, in its order. Each sends a token of its own and looks for it."""

    def __init__(self, shell: Shell, place: Place) -> None:
        self._shell, self._place = shell, place

    def play(self) -> None:
        """All of it."""
        self._title(0, "Pods, certificates, sidecars")
        self._shell.say(self._place.story)
        self._place.up()
        self._issue_certificates()
        self._write_workloads()
        self._start_sidecars()
        self._place.capture()
        self._title(1, "Two versions of httpbin, and sleep")
        self._start_httpbin()
        self._apply("deployments.yaml", "service.yaml")
        self._title(2, "A default route to v1")
        self._apply("rules-v1.yaml")
        self._title(3, "Traffic: to v1 alone")
        self._send_unmirrored()
        self._title(4, "Mirror to v2")
        self._apply("rules-mirror.yaml")
        self._title(5, "Traffic: to v1, and a copy to v2")
        self._send_mirrored()
        self._shell.say("\nEvery step showed what it had to.")

    def _title(self, number: int, text: str) -> None:
        self._shell.say(f"\n== {number}. {text}\n")

    def _issue_certificates(self) -> None:
        folder = self._shell.state / "certs"
        self._shell.run([tool("meshcar"), "certs", "init", "--dir", str(folder)])
        for pod in PODS:
            self._shell.run([tool("meshcar"), "certs", "issue", _IDENTITY, "--dir", str(folder)])
            self._folder(pod).mkdir()
            self._shell.run(["mv", str(folder / "default.default"), str(self._folder(pod) / "certs")])
            self._place.own(self._folder(pod))

    def _write_workloads(self) -> None:
        documents = []
        for pod in (V1, V2):
            address, port = self._place.endpoint(pod)
            documents.append(_WORKLOAD.format(pod=pod, address=address) + (f"  ports:\n    http: {port}\n" if port else ""))
        self._workloads.write_text("---\n".join(documents))
        self._shell.say("# Who is where, and who they are: what a control plane would know.")
        self._shell.run(["cat", str(self._workloads)])

    @property
    def _workloads(self) -> Path:
        return self._shell.state / "workloads.yaml"

    def _start_sidecars(self) -> None:
        for pod in PODS:
            labels = ",".join(f"{key}={value}" for key, value in pod.labels.items())
            folder = self._folder(pod)
            common = ["--rules", str(self._workloads), "--certs", str(folder / "certs"), "--labels", labels,
                      "--access-log", str(folder / "access.log"), "--drain", "1"]
            self._shell.start([*self._place.sidecar(pod), *common], self._shell.state / f"{pod.name}.sidecar.log")
        for pod in PODS:
            self._meshcar(pod, "wait")

    def _start_httpbin(self) -> None:
        self._shell.say("# The command is the Deployment's own; the access log also tells the Host.")
        commands = _deployed_commands()
        for pod in (V1, V2):
            command = [*commands[pod.name], "--no-control-socket", "--access-logformat", _LOG_FORMAT]
            self._shell.start(self._place.app(pod, command), self._app_log(pod))

    def _apply(self, *files: str) -> None:
        paths = [Path(short(_PAGE / file)) for file in files]
        self._shell.run(["cat", *map(str, paths)])
        self._shell.say("# No control plane hands rules around: each pod's sidecar is told by itself.")
        for pod in PODS:
            self._meshcar(pod, "apply", "-f", "-", files=paths)

    def _send_unmirrored(self) -> None:
        token = self._send()
        logged(self._app_log(V1), token)
        check_count(self._app_log(V2), token, 0)
        for pod in (V1, V2):
            self._shell.run(["cat", str(self._app_log(pod))])
        self._shell.say(f"# checked: v1 has the request {token}, v2 has not")
        self._send_many(copies=0)

    def _send_mirrored(self) -> None:
        token = self._send()
        size, host = logged(self._app_log(V1), token)
        copy_size, copy_host = logged(self._app_log(V2), token)
        for pod in (V1, V2):
            self._shell.run(["tail", "-n", "1", str(self._app_log(pod))])
        if (host, copy_host) != ("httpbin:8000", "httpbin-shadow:8000") or copy_size != size + len("-shadow"):
            raise DemoFailed(f"v1 saw Host {host} and answered {size} bytes, v2 {copy_host} and {copy_size}")
        self._shell.say(f"# checked: both have the request {token}; the copy's Host is {copy_host}")
        self._send_many(copies=_MANY)

    def _send(self) -> str:
        token = _token()
        answer = self._curl("-A", token, "http://httpbin:8000/headers")
        found = check_headers(answer, token, _IDENTITY, self._folder(SLEEP) / "certs" / "cert-chain.pem")
        self._shell.say(f"# checked: {found}")
        return token

    def _send_many(self, copies: int) -> None:
        """Chance could have sent one request the right way."""
        token = _token()
        statuses = self._curl("-A", token, "-o", "/dev/null", "-w", "%{http_code} ", f"http://httpbin:8000/status/200?[1-{_MANY}]").split()
        if statuses != ["200"] * _MANY:
            raise DemoFailed(f"not every answer was 200: {' '.join(statuses)}")
        check_count(self._app_log(V1), token, _MANY)
        check_count(self._app_log(V2), token, copies)
        self._shell.say(f"# checked: of the {_MANY} requests {token}, v1 has {_MANY}, v2 has {copies}")

    def _curl(self, *words: str) -> str:
        return self._shell.run([*self._place.inside(SLEEP), "curl", "-sS", *words], environ=self._place.proxy())

    def _meshcar(self, pod: Pod, verb: str, *words: str, files: Sequence[Path] = ()) -> None:
        self._shell.run([*self._place.inside(pod), tool("meshcar"), verb, *self._place.admin(pod), *words], files)

    def _folder(self, pod: Pod) -> Path:
        return self._shell.state / pod.name

    def _app_log(self, pod: Pod) -> Path:
        return self._shell.state / f"{pod.name}.log"


def _token() -> str:
    return f"curl-{secrets.token_hex(6)}"


def _deployed_commands() -> dict[str, list[str]]:
    """By name of the Deployment: what its container runs."""
    documents = yaml.safe_load_all((_PAGE / "deployments.yaml").read_text())
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["command"] for one in documents}


def _state_folder(prefix: str) -> Path:
    if os.geteuid() == 0:
        return Path("/run", f"{prefix}meshcar-demo")
    return Path(tempfile.gettempdir(), f"{prefix}meshcar-demo-{os.geteuid()}")


def _take_down(shell: Shell, place: Place) -> None:
    """Ends this demo, or one that was left up. Raises DemoFailed when its folder is somebody else's."""
    if shell.state.exists():
        status = shell.state.lstat()
        if shell.state.is_symlink() or status.st_uid != os.geteuid():
            raise DemoFailed(f"{shell.state}: is not this user's")
        shell.stop_all()
    place.down()
    shutil.rmtree(shell.state, ignore_errors=True)


def _show_sidecars(shell: Shell) -> None:
    """What may tell why a step failed, before it is deleted."""
    for log in sorted(shell.state.glob("*.sidecar.log")):
        shell.say(f"# the end of {log.name}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-10:]))


def _say_how_to_play(shell: Shell, place: Place, prefix: str) -> None:
    proxy = "".join(f"{name}={value} " for name, value in place.proxy().items())
    curl = " ".join([*place.inside(SLEEP), "curl", "-sS", "http://httpbin:8000/headers"])
    get = " ".join([*place.inside(SLEEP), tool("meshcar"), "get", *place.admin(SLEEP)])
    stop = f"{tool('meshcar')} demo --stop" + (f" --prefix {prefix}" if prefix else "")
    shell.say(f"""
It stays up; files and logs are in {shell.state}. Try:
  {proxy}{curl}
  {get}
and, at the end:
  {stop}""")
