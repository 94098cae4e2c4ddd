"""Rules and certificates change under load, and not one answer is wrong."""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import attrs
import pytest

from tests.live.documents import SERVICE, strict, to_version, workload
from tests.live.processes import Sidecar, app, header, issue, sidecar, until

CHANGES = 200


@attrs.define
class Mesh:
    """A client's sidecar, and two versions behind theirs, with mTLS between; `settled` is the version in force, None while it changes."""

    client: Sidecar
    certs: Path
    settled: tuple[int, str] | None = None


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    certs = issue(tmp_path / "certs")
    with app("v1") as first, app("v2") as second:
        inbound = ("--intercept", "none", "--certs", certs, "--access-log", "off", "--app-port")
        with (
            sidecar(tmp_path / "v1", strict(), *inbound, str(first.port)) as one,
            sidecar(tmp_path / "v2", strict(), *inbound, str(second.port)) as two,
        ):
            rules = SERVICE + workload("v1", "127.0.0.1", one.inbound) + workload("v2", "127.0.0.1", two.inbound) + to_version("v1")
            with sidecar(tmp_path / "client", rules, "--intercept", "none", "--certs", certs, "--access-log", "off") as client:
                yield Mesh(client, certs)


class Load(Thread):
    """Asks again and again, each time with a token, until told to stop. `wrong` holds what was not as it must be."""

    def __init__(self, mesh: Mesh, name: str, keep: bool) -> None:
        super().__init__(daemon=True)
        self._mesh, self._token, self._keep = mesh, name, keep
        self.enough, self.answers, self.wrong, self.hashes = Event(), 0, list[str](), set[str]()

    def run(self) -> None:
        while not self.enough.is_set() and len(self.wrong) < 5:
            connection = http.client.HTTPConnection("127.0.0.1", self._mesh.client.outbound, timeout=10)
            try:
                self._ask(connection)
                while self._keep and not self.enough.is_set():
                    self._ask(connection)
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(repr(e))
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        self.answers += 1
        token = f"{self._token}-{self.answers}"
        before = self._mesh.settled
        connection.request("POST", f"/{token}", body=token * 50, headers={"host": "httpbin:8000"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            self.wrong.append(f"{answer.status} {text}")
            return
        seen = json.loads(text)
        if (seen["path"], seen["body"]) != (f"/{token}", token * 50):
            self.wrong.append(f"{token} got {text}")
        if before is not None and before is self._mesh.settled and seen["app"] != before[1]:
            self.wrong.append(f"{token} was answered by {seen['app']} while {before} was in force")
        self.hashes |= set(re.findall("Hash=([0-9a-f]{64})", header(seen, "x-forwarded-client-cert") or ""))


@pytest.fixture
def loads(mesh: Mesh) -> Iterator[list[Load]]:
    """Three clients: two keep their connections."""
    threads = [Load(mesh, f"load{number}", keep=number < 2) for number in range(3)]
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.enough.set()
        thread.join(15)
        assert not thread.is_alive()


def check(loads: list[Load], least: int) -> None:
    assert [wrong for load in loads for wrong in load.wrong] == []
    assert all(load.answers >= least for load in loads), [load.answers for load in loads]


def test_rule_changes(mesh: Mesh, loads: list[Load]) -> None:
    """200 changes: every answer is the right one for a rule in force while it was asked for."""
    until(lambda: all(load.answers > 10 for load in loads))
    generations = []
    for number in range(CHANGES):
        version = ("v2", "v1")[number % 2]
        mesh.settled = None
        generations.append(mesh.client.apply(to_version(version))["generation"])
        mesh.settled = (number, version)
        before = loads[0].answers
        until(lambda before=before: loads[0].answers > before + 1 or loads[0].wrong)
    assert generations == list(range(generations[0], generations[0] + CHANGES))
    check(loads, CHANGES // 2)


def test_rotation(mesh: Mesh, loads: list[Load]) -> None:
    """Certificates replaced on disk are shown by the next handshakes, and no request is lost."""
    until(lambda: all(load.hashes for load in loads))
    first = {digest for load in loads for digest in load.hashes}
    for _ in range(2):
        before = {digest for load in loads for digest in load.hashes}
        issue(mesh.certs.parent)
        # keep-alive connections between the sidecars may live on with the old one; those made anew must not
        until(lambda before=before: {digest for load in loads for digest in load.hashes} - before or any(load.wrong for load in loads))
    assert len({digest for load in loads for digest in load.hashes}) >= len(first) + 2
    check(loads, 10)
