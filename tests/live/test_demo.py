"""`meshcar demo`, as `make demo` runs it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.live.pods import needs_namespaces
from tests.live.processes import BIN

PAGE = Path(__file__).parents[2] / "meshcar" / "cli" / "page"
SHARED = Path(os.environ.get("MESHCAR_SHARED", Path(__file__).parents[3] / "shared")) / "page"


def demo(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([BIN / "meshcar", "demo", *words], capture_output=True, text=True, check=False, timeout=120)


def played(*words: str) -> str:
    """The output of a demo that went well."""
    done = demo("--prefix", f"t{os.getpid()}-", *words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert re.search(r"By=spiffe://cluster\.local/ns/default/sa/default;Hash=[0-9a-f]{64};Subject=\\\"\\\";URI=spiffe://", done.stdout)
    assert "Host: httpbin-shadow:8000" in done.stdout
    assert done.stdout.count("# checked") == 6
    return done.stdout


def test_loopback() -> None:
    """Without root: the same story on other ports, and it says so."""
    assert "Not as root" in played("--loopback")


@needs_namespaces
def test_namespaces() -> None:
    """As root: three pods, captured by the kernel; nothing stays behind."""
    said = played()
    assert said.count("meshcar iptables") >= 3 and max(line.count("ip netns exec") for line in said.splitlines()) == 1
    assert f"t{os.getpid()}-" not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not list(Path("/run").glob(f"t{os.getpid()}-*"))


@needs_namespaces
def test_keep_and_stop() -> None:
    """--keep leaves a mesh that works; --stop takes it away."""
    prefix = f"k{os.getpid()}-"
    try:
        assert demo("--prefix", prefix, "--keep").returncode == 0
        curl = ["ip", "netns", "exec", f"{prefix}sleep", "curl", "-sS", "http://httpbin:8000/headers"]
        assert "X-Forwarded-Client-Cert" in subprocess.run(curl, capture_output=True, text=True, check=True, timeout=20).stdout
    finally:
        assert demo("--prefix", prefix, "--stop").returncode == 0
    assert prefix not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


@needs_namespaces
def test_foreign_namespace() -> None:
    """A namespace of that name which is not the demo's is neither used nor taken away."""
    name = f"f{os.getpid()}-httpbin-v1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        done = demo("--prefix", f"f{os.getpid()}-")
        assert (done.returncode, name in done.stderr) == (1, True)
        assert name in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the page's documents are not beside this clone")
@pytest.mark.parametrize("name", ["deployments.yaml", "rules-v1.yaml", "rules-mirror.yaml"])
def test_page_is_unmodified(name: str) -> None:
    """The documents that the demo applies are the page's, byte by byte."""
    assert (PAGE / name).read_bytes() == (SHARED / name).read_bytes()
