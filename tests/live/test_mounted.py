"""Rules and certificates in folders that a kubelet fills: every update swaps one symlink, `..data`, under all files."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.live.documents import SERVICE, strict, to_version
from tests.live.processes import BIN, Process, Sidecar, call, issue, sidecar, until

PERMISSIVE = strict().replace("STRICT", "PERMISSIVE")


class Mount:
    """A ConfigMap or Secret volume, updated in the steps of the kubelet's atomic writer."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self.folder, self._round = folder, 0
        folder.mkdir()
        self.put(files)

    def put(self, files: dict[str, bytes]) -> None:
        """A new folder with all files, one rename, links for new names, no links for old ones, the old folder away."""
        self._round += 1
        data = self.folder / f"..2026_11_25_08_00_{self._round:02}.123456"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_bytes(text)
        before = (self.folder / "..data").resolve() if self._round > 1 else None
        (self.folder / "..data_tmp").symlink_to(data.name)
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        links = {one.name for one in self.folder.iterdir() if not one.name.startswith("..")}
        for name in files.keys() - links:
            (self.folder / name).symlink_to(f"..data/{name}")
        for name in links - files.keys():
            (self.folder / name).unlink()
        if before is not None:
            shutil.rmtree(before)


def of(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def serial(one: Sidecar) -> str:
    found = re.search(r'"cert_chain": \[\s*\{\s*"path": "[^"]*",\s*"serial_number": "([^"]+)"', call(one.admin, "GET", "/certs")[1])
    assert found is not None
    return found[1]


def test_updates(tmp_path: Path) -> None:
    """A changed file, a new one and one that is gone are all followed; so is a new certificate; nothing is refused on the way."""
    certs = issue(tmp_path / "ca")
    rules, secret = Mount(tmp_path / "rules", {"a.yaml": SERVICE.encode()}), Mount(tmp_path / "secret", of(certs))
    with sidecar(tmp_path / "run", PERMISSIVE, "--rules", rules.folder, "--intercept", "none", "--certs", secret.folder) as one:
        first = serial(one)
        rules.put({"a.yaml": SERVICE.encode(), "b.yaml": to_version("v1").encode()})
        until(lambda: f"{rules.folder}/b.yaml:" in call(one.admin, "GET", "/rules")[1], 4)
        rules.put({"b.yaml": to_version("v2").encode(), "c.yaml": SERVICE.encode()})
        until(lambda: f"{rules.folder}/c.yaml:" in call(one.admin, "GET", "/rules")[1], 4)
        shown = call(one.admin, "GET", "/rules")[1]
        assert "a.yaml" not in shown and '"v2"' in shown
        issue(tmp_path / "ca")
        secret.put(of(certs))
        until(lambda: serial(one) != first, 4)
        assert "refused" not in one.process.err.read_text(), one.process.said()


def test_killed(tmp_path: Path) -> None:
    """After kill -9 the next process starts where the last one was: no pid file, no stale socket in its way."""
    (tmp_path / "rules.yaml").write_text(SERVICE)
    off = [word for name in ("outbound", "inbound", "health", "metrics") for word in (f"--{name}", "off")]
    words = [BIN / "twistd", "-n", "meshcar", "--rules", tmp_path / "rules.yaml", *off, "--admin", f"unix:{tmp_path}/admin.sock",
             "--handover", tmp_path / "handover.sock"]
    for number in range(2):
        process = Process(words, tmp_path / "run")
        waited = subprocess.run([BIN / "meshcar", "wait", "--admin", f"unix:{tmp_path}/admin.sock", "--timeout", "10"], check=False)
        assert waited.returncode == 0, process.said()
        if number == 0:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert sorted(one.name for one in (tmp_path / "run").iterdir()) == ["stderr", "stdout"]
    assert process.stop() == -signal.SIGTERM
    assert not (tmp_path / "admin.sock").exists() and not (tmp_path / "handover.sock").exists()
