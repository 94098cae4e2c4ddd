"""The image's files say what the package says; and what the programs that try out images and manifests stand on."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from meshcar import __version__

ROOT = Path(__file__).parents[1]


def test_versions_agree():
    """The image's label, its tag in compose, and the package's version are one."""
    assert f"ARG VERSION={__version__}\n" in (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"image: meshcar:(\S+)", (ROOT / "docs/compose.yaml").read_text())) == {__version__}


def test_compose_gives_each_application_an_init_and_a_sidecar():
    """Both share the application's network; the sidecar waits for the init service, has no capability and no root file system to write."""
    services = yaml.safe_load((ROOT / "docs/compose.yaml").read_text())["services"]
    for name in ("httpbin-v1", "httpbin-v2", "sleep"):
        init, sidecar = services[f"{name}-init"], services[f"{name}-meshcar"]
        assert init["network_mode"] == sidecar["network_mode"] == f"service:{name}"
        assert sidecar["depends_on"] == {f"{name}-init": {"condition": "service_completed_successfully"}}
        assert sidecar["user"] == "1337:1337" and sidecar["read_only"] and sidecar["cap_drop"] == ["ALL"]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """One of the programs of packaging/."""
    monkeypatch.syspath_prepend(ROOT / "packaging")
    return import_module(request.param)


@pytest.mark.parametrize("program", ["dry_run"], indirect=True)
def test_what_a_server_drops_or_changes_is_found(program: ModuleType) -> None:
    """A key that is gone, a value that is another, a list that has become longer; and not what the server adds to a mapping."""
    given = {"spec": {"a": 1, "b": [{"c": "x"}, {}], "d": [1]}}
    assert list(program.differences(given, {"spec": {"a": 1, "b": [{"c": "x", "new": 1}, {}], "d": [1]}, "status": {}}, "p")) == []
    found = dict(program.differences(given, {"spec": {"b": [{"c": "y"}, {}], "d": [1, 2]}}, "p"))
    assert found.keys() == {"p.spec.a", "p.spec.b[0].c", "p.spec.d"}


@pytest.mark.parametrize("program", ["podman_pods"], indirect=True)
@pytest.mark.parametrize(("podman", "value"), [("4.3.1", "a\n"), ("5.4.2", "YQo=")])
def test_a_secret_as_podman_reads_it(program: ModuleType, tmp_path: Path, podman: str, value: str) -> None:
    """Before 4.4 it brings what stands there; since then what is encoded there, as Kubernetes."""
    (tmp_path / "key.pem").write_text("a\n")
    assert yaml.safe_load(program.secret(tmp_path, podman))["data"] == {"key.pem": value}


@pytest.mark.parametrize("program", ["kinds"], indirect=True)
def test_every_kind_is_tried(program: ModuleType) -> None:
    """All that `meshcar inject` knows but OpenShift's, once in each manner."""
    for manner in program.MANNERS:
        kinds = sorted(one["kind"] for one in program.documents(manner))
        assert kinds == [
            "CronJob", "DaemonSet", "Deployment", "Job", "List", "Pod", "ReplicaSet", "ReplicationController", "StatefulSet"]
