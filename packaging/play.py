"""`make test-image`, inside a network namespace of its own: the page's pods in podman, and what a request becomes there."""

import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from podman_pods import ADDRESSES, documents, secret

from meshcar import __version__
from meshcar.cli.demo_checks import check_count, check_headers
from meshcar.cli.demo_shell import DemoFailed, Shell, wait_for

IMAGE = f"localhost/meshcar:{__version__}"
PAGE = Path("meshcar/cli/page")
IDENTITY = "spiffe://cluster.local/ns/default/sa/default"
SECRET = "meshcar.default"
WORKLOAD = """\
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: httpbin-{version}}}
spec:
  address: {address}
  labels: {{app: httpbin, version: {version}, security.istio.io/tlsMode: istio}}
  serviceAccount: default
"""
MANY = 20
BYTES, START, RSS = 200_000_000, 1.0, 65.0
"""Limits: of the image; seconds from exec to ready; MiB of an idle sidecar."""


class Play:
    """The steps, in their order. Each says what it checked, or raises DemoFailed."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._certs = shell.state / "certs/default.default"

    def up(self) -> None:
        """Certificates, rules, pods; and every sidecar is ready."""
        quiet("meshcar", "certs", "init", "--dir", str(self._certs.parent))
        quiet("meshcar", "certs", "issue", IDENTITY, "--dir", str(self._certs.parent))
        self._shell.say(f"# a Secret with the files of {self._certs}, the name that meshcar inject gives it")
        (self._shell.state / "secret.yaml").write_text(secret(self._certs, quiet("podman", "--version").split()[-1]))
        self._podman("secret", "create", SECRET, str(self._shell.state / "secret.yaml"))
        rules = [(PAGE / file).read_text().strip() + "\n" for file in ("service.yaml", "rules-v1.yaml")]
        workloads = [WORKLOAD.format(version=version, address=ADDRESSES[f"httpbin-{version}"]) for version in ("v1", "v2")]
        injected = quiet("meshcar", "inject", "--classic", "--hold", "--image", IMAGE, "-f", str(PAGE / "deployments.yaml"))
        self._shell.say(f"# meshcar inject --classic --hold --image {IMAGE} -f {PAGE / 'deployments.yaml'}, as Pods, with a ConfigMap")
        (self._shell.state / "pods.yaml").write_text(documents(injected, "---\n".join(rules) + "".join(workloads)))
        quiet("podman", "network", "create", "--subnet", "10.44.0.0/24", "--disable-dns", "mesh")
        places = [f"--ip={address}" for address in ADDRESSES.values()]
        self._podman("kube", "play", "--network=mesh", *places, str(self._shell.state / "pods.yaml"))
        for pod, sidecar in self._sidecars():
            self._podman("exec", f"{pod}-meshcar", *sidecar["lifecycle"]["postStart"]["exec"]["command"])
        self._podman("ps", "--pod", "--format", "table {{.Names}} {{.Image}} {{.Status}} {{.PodName}}")

    def confined(self) -> None:
        """Application and sidecar share their network; the sidecar is nobody, and can write nowhere."""
        inside = "readlink /proc/self/ns/net"
        app = self._podman("exec", "httpbin-v1-httpbin", "sh", "-c", inside)
        words = f"{inside}; id -u; grep CapEff /proc/self/status; ! touch /here 2>&1; ! command -v cc gcc pip"
        found = self._podman("exec", "httpbin-v1-meshcar", "sh", "-c", words).splitlines()
        if found[:3] != [app.strip(), "1337", "CapEff:\t0000000000000000"] or "Read-only" not in found[3] or found[4:]:
            raise DemoFailed("the sidecar's container is not as it should be")
        self._shell.say("# checked: one network; user 1337, no capability, a root file system it cannot write, no compiler, no pip")

    def probed(self) -> None:
        """A kubelet's probes of the sidecars, from outside."""
        for pod, sidecar in self._sidecars():
            for name in ("startupProbe", "readinessProbe"):
                asked = sidecar[name]["httpGet"]
                url = f"http://{ADDRESSES[pod]}:{asked['port']}{asked['path']}"
                if not answers(url, sidecar[name]["timeoutSeconds"]):
                    raise DemoFailed(f"{name}: {url} is not answered 200")
            self._shell.say(f"# checked: {url} is answered 200")

    def routed(self) -> None:
        """All to v1, as the page's first rules say."""
        self._send(copies=0)

    def mirrored(self) -> None:
        """The page's second rules, applied to the caller's sidecar: v2 gets a copy of each."""
        self._podman("exec", "-i", "sleep-meshcar", "meshcar", "apply", "-f", "-", files=[PAGE / "rules-mirror.yaml"])
        token = self._send(copies=1)
        sizes = [re.findall(rf'" 200 (\d+) .*{token}', log_of(f"{pod}-httpbin").read_text()) for pod in ("httpbin-v1", "httpbin-v2")]
        if int(sizes[1][0]) != int(sizes[0][0]) + len("-shadow"):
            raise DemoFailed(f"the answers have {sizes} bytes")
        self._shell.say("# checked: the copy's answer is longer by the 7 bytes of -shadow in its Host")

    def many(self) -> None:
        """Chance could have sent one request the right way."""
        url = f"http://httpbin:8000/status/200?[1-{MANY}]"
        token = self._curl("-o", "/dev/null", "-w", "%{http_code} ", url)[1]
        for pod in ("httpbin-v1", "httpbin-v2"):
            check_count(log_of(f"{pod}-httpbin"), token, MANY)
        self._shell.say(f"# checked: v1 has {MANY} requests {token}, and v2 {MANY} copies")

    def measured(self) -> None:
        """Size, memory, start: the quickest of three, as the machine has other things to do."""
        size = int(quiet("podman", "image", "inspect", "-f", "{{.Size}}", IMAGE))
        start = min(self._restarted() for _ in range(3))
        status = Path(f"/proc/{pid_of('sleep-meshcar')}/status").read_text()
        rss = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024
        self._shell.say(f"# image {size / 1e6:.0f} MB, {start:.2f} s from exec to ready, {rss:.1f} MiB RSS idle")
        if size > BYTES or start > START or rss > RSS:
            raise DemoFailed(f"more than {BYTES / 1e6:.0f} MB, {START} s or {RSS} MiB")

    def logs(self) -> None:
        """What every container said."""
        for pod in ADDRESSES:
            for container in ("meshcar", "sleep" if pod == "sleep" else "httpbin"):
                self._podman("logs", f"{pod}-{container}")

    def down(self) -> None:
        """Nothing stays but images."""
        pods, secret_name = ("pod", "rm", "--force", "--time=1", *ADDRESSES), ("secret", "rm", SECRET)
        for words in (pods, ("volume", "prune", "-f"), secret_name, ("network", "rm", "-f", "mesh")):
            subprocess.run(["podman", *words], capture_output=True, check=False)

    def _sidecars(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each pod's name, and its sidecar as it was injected."""
        for document in yaml.safe_load_all((self._shell.state / "pods.yaml").read_text()):
            for container in document.get("spec", {}).get("containers", ()):
                if container["name"] == "meshcar":
                    yield document["metadata"]["name"], container

    @staticmethod
    def _restarted() -> float:
        """Seconds from exec to ready, of a sidecar that is started again."""
        quiet("podman", "stop", "--time=10", "sleep-meshcar")
        starting = subprocess.Popen(["podman", "start", "sleep-meshcar"], stdout=subprocess.DEVNULL)
        if not wait_for(lambda: answers(f"http://{ADDRESSES['sleep']}:15021/healthz/ready", 0.2)):
            raise DemoFailed("not ready after a restart")
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        starting.wait()
        ticks = int(Path(f"/proc/{pid_of('sleep-meshcar')}/stat").read_text().rpartition(")")[2].split()[19])
        return now - ticks / os.sysconf("SC_CLK_TCK")

    def _send(self, copies: int) -> str:
        answer, token = self._curl("http://httpbin:8000/headers")
        self._shell.say(f"# checked: {check_headers(answer, token, IDENTITY, self._certs / 'cert-chain.pem')}")
        check_count(log_of("httpbin-v1-httpbin"), token, 1)
        check_count(log_of("httpbin-v2-httpbin"), token, copies)
        self._shell.say(f"# checked: v1 has the request {token}, v2 has {copies or 'none'} of it")
        return token

    def _curl(self, *words: str) -> tuple[str, str]:
        token = f"curl-{secrets.token_hex(6)}"
        return self._podman("exec", "sleep-sleep", "curl", "-sS", "-A", token, *words), token

    def _podman(self, *words: str, files: list[Path] | None = None) -> str:
        return self._shell.run(["podman", *words], files or [])


def quiet(program: str, *words: str) -> str:
    """The output of a command that is not shown. Raises DemoFailed."""
    command = [sys.executable, "-m", "meshcar.cli.main"] if program == "meshcar" else [program]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"{program} {' '.join(words)}: {done.stderr}")
    return done.stdout


def log_of(container: str) -> Path:
    """The file that a container's output goes to."""
    return Path(quiet("podman", "inspect", "-f", "{{.HostConfig.LogConfig.Path}}", container).strip())


def pid_of(container: str) -> str:
    """Its process, as this machine counts."""
    return quiet("podman", "inspect", "-f", "{{.State.Pid}}", container).strip()


def answers(url: str, patience: float) -> bool:
    """Whether somebody says 200 there, in so many seconds."""
    try:
        with urllib.request.urlopen(url, timeout=patience) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> int:
    """0: every step showed what it had to."""
    shell = Shell(Path(sys.argv[1]))
    shell.state.mkdir(parents=True)
    play = Play(shell)
    try:
        for step in (play.up, play.probed, play.confined, play.routed, play.mirrored, play.logs, play.many, play.measured):
            shell.say(f"\n== {(step.__doc__ or '').splitlines()[0]}\n")
            step()
    except DemoFailed as e:
        play.logs()
        print(f"make test-image: {e}", file=sys.stderr)
        return 1
    finally:
        play.down()
    shell.say("\nEvery step showed what it had to.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
