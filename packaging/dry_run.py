"""`make test-kubernetes`: what a real API server makes of injected documents. The folder of packaging/apiserver is its argument."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from api_server import api_server
from kinds import MANNERS, documents

from meshcar.cli.demo_shell import DemoFailed, Shell

PAGE = Path("meshcar/cli/page/deployments.yaml")
STATE = Path("build/kubernetes")
CREATE = ("kubectl", "create", "--dry-run=server")


class DryRun:
    """The steps, in their order. Each says what it checked, or raises DemoFailed."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._out = shell.state / "injected.yaml"

    def up(self) -> None:
        """The server, and what a cluster's controllers would have made in it."""
        self._shell.run(["kubectl", "version"])
        for name in ("default", "shop"):
            # nobody here would make the token that pods get otherwise
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, "automountServiceAccountToken": False}
            quiet("kubectl", "create", "-f", "-", stdin=json.dumps(account))

    def page(self) -> None:
        """The page's Deployments."""
        self._pass("--classic", "-f", str(PAGE))
        self._pass("--classic", "--hold", "-f", str(PAGE))

    def kinds(self) -> None:
        """Each kind, in each manner that annotations ask for."""
        for manner in MANNERS:
            source = self._shell.state / f"{manner}.yaml"
            source.write_text(yaml.safe_dump_all(documents(manner), sort_keys=False))
            self._pass("--classic", "-f", str(source))

    def sharp(self) -> None:
        """That the checks above can fail."""
        self._shell.run(["meshcar", "inject", "-f", str(PAGE), "-o", str(self._out)])
        try:
            quiet(*CREATE, "-f", str(self._out))
        except DemoFailed as e:
            self._shell.say(f"# checked: a native sidecar is refused; 1.20 does not know it\n{str(e).splitlines()[0]}")
        else:
            raise DemoFailed("1.20 took a native sidecar")
        newer = self._shell.state / "newer.yaml"
        deployments = list(_objects(PAGE.read_text()))
        for one in deployments:
            one["spec"]["template"]["spec"]["os"] = {"name": "linux"}
        newer.write_text(yaml.safe_dump_all(deployments))
        self._shell.run(["meshcar", "inject", "--classic", "-f", str(newer), "-o", str(self._out)])
        lost = [path for path, _ in self._lost("--validate=false")]
        if lost != [f"{one['metadata']['name']}.spec.template.spec.os" for one in deployments]:
            raise DemoFailed(f"not found, or more than was lost: {lost}")
        self._shell.say(f"# checked: a field of Kubernetes 1.25, which 1.20 drops, is missed: {', '.join(lost)}")

    def live(self) -> None:
        """Objects as the server has them, injected and taken out again."""
        self._shell.run(["kubectl", "create", "-f", str(PAGE)])
        for words in (["inject", "--classic"], ["uninject"]):
            there = self._shell.state / "live.yaml"
            there.write_text(quiet("kubectl", "get", "deployments", "-o", "yaml"))
            self._shell.say(f"$ kubectl get deployments -o yaml > {there}")
            self._shell.run(["meshcar", *words, "-f", str(there), "-o", str(self._out)])
            self._shell.run(["kubectl", "replace", "-f", str(self._out)])
        self._shell.run(["kubectl", "diff", "-f", str(PAGE)])
        self._shell.say("# checked: the server sees no difference to what came first")

    def _pass(self, *words: str) -> None:
        """Injects, has the server say what it would store, and compares."""
        self._shell.run(["meshcar", "inject", *words, "-o", str(self._out)])
        self._shell.run([*CREATE, "-f", str(self._out)])
        if lost := list(self._lost()):
            raise DemoFailed("the server would not keep what was injected: " + "; ".join(f"{path}: {why}" for path, why in lost))
        self._shell.say(f"# checked: the server keeps every one of {sum(map(leaves, _objects(self._out.read_text())))} values")

    def _lost(self, *words: str) -> Iterator[tuple[str, str]]:
        """Where the server would store another thing than was given, and how."""
        told = quiet(*CREATE, *words, "-o", "yaml", "-f", str(self._out))
        for given, stored in zip(_objects(self._out.read_text()), _objects(told), strict=True):
            yield from differences(given, stored, given["metadata"]["name"])


def differences(given: Any, stored: Any, path: str) -> Iterator[tuple[str, str]]:
    """Each value of `given` that is not in `stored`, at the same place; what the server adds is no difference, but in a list."""
    if isinstance(given, dict) and isinstance(stored, dict):
        for key, value in given.items():
            if key not in stored:
                yield f"{path}.{key}", "is gone"
            else:
                yield from differences(value, stored[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(stored, list) and len(given) == len(stored):
        for at, (one, other) in enumerate(zip(given, stored, strict=True)):
            yield from differences(one, other, f"{path}[{at}]")
    elif given != stored:
        yield path, f"{given!r} has become {stored!r}"


def leaves(node: Any) -> int:
    """How many values a document holds."""
    if isinstance(node, dict | list) and node:
        return sum(map(leaves, node.values() if isinstance(node, dict) else node))
    return 1


def _objects(text: str) -> Iterator[Any]:
    """The documents, and the items of a List instead of it, in order."""
    for document in yaml.safe_load_all(text):
        yield from document["items"] if document["kind"] == "List" else [document]


def quiet(*words: str, stdin: str | None = None) -> str:
    """The output of a command that is not shown. Raises DemoFailed."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def main() -> int:
    """0: every step showed what it had to."""
    programs = Path(sys.argv[1])
    # of one's own virtual environment, and the one with kubectl
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), str(programs / "venv/bin"), os.environ["PATH"]])
    os.chdir(Path(__file__).parents[1])
    STATE.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with api_server(programs):
            run = DryRun(Shell(STATE))
            for step in (run.up, run.page, run.kinds, run.sharp, run.live):
                print(f"\n== {(step.__doc__ or '').splitlines()[0]}\n")
                step()
    except DemoFailed as e:
        print(f"make test-kubernetes: {e}", file=sys.stderr)
        return 1
    print("\nEvery step showed what it had to.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
