"""The image's files say what the package says."""

import re
from pathlib import Path

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
