"""Rules that are meant to do harm, sent to a sidecar that has requests to serve: refused in a second, and nothing running is lost."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.documents import SERVICE, to_version, workload
from tests.live.processes import Sidecar, app, call, sidecar
from tests.rules.test_hostile import BOMB, MIB, ONE_LINE, ROUTE, RULE

LARGE = "[a-z]{1,40}" * 40
TEXTS = {
    **{name: text for name, (text, _, _) in ONE_LINE.items() if text.isascii()},
    "a bomb": BOMB,
    "documents of one character": "---\na\n" * (MIB // 6 - 1),
    "thousands of patterns": RULE
    + "".join(f"  - match: [{{uri: {{regex: '{LARGE}{one}'}}}}]\n{ROUTE.replace('-', ' ')}" for one in range(1500)),
    "a service of millions": "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: ["
    + ", ".join(f"h{one}.com" for one in range(250))
    + "], ports: ["
    + ", ".join(f"{{number: {one}, name: p{one}, protocol: HTTP}}" for one in range(1, 251))
    + "], resolution: STATIC, endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]}\n",
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("hostile")
    with app("v1") as server:
        rules = SERVICE + workload("v1", "127.0.0.1", server.port, mesh=False) + to_version("v1")
        with sidecar(folder, rules, "--intercept", "none", "--access-log", "off") as started:
            yield started


@pytest.mark.parametrize("name", TEXTS)
def test_applied(serving: Sidecar, name: str) -> None:
    """422 with errors in their shape; the rules before are in force, and a request is served right after."""
    before = json.loads(call(serving.admin, "GET", "/rules")[1])["generation"]
    begin = time.perf_counter()
    status, body = call(serving.admin, "POST", "/rules/apply", TEXTS[name])
    assert time.perf_counter() - begin < 5
    if len(TEXTS[name].encode()) > MIB:
        assert status == 413
    else:
        errors = json.loads(body)["errors"]
        assert status == 422
        assert set(errors[0]) >= {"file", "line", "column", "kind", "name", "path", "code", "message"}
        assert errors[0]["file"] == "-"
    assert call(serving.outbound, "GET", "/", headers={"host": "httpbin:8000"})[0] == 200
    assert json.loads(call(serving.admin, "GET", "/rules")[1])["generation"] == before
    assert "Traceback" not in serving.process.said()


def test_start(tmp_path: Path) -> None:
    """A file like that keeps a sidecar from starting, with lines on stderr and exit 1."""
    for name in ("a bomb", "documents of one character", "brackets"):
        started = Sidecar(tmp_path / name.replace(" ", "-"), TEXTS[name], "--intercept", "none")
        assert started.process.wait(20) == 1
        assert "rules" in started.process.said()
        assert "Traceback" not in started.process.said()
