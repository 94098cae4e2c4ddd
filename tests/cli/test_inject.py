"""The verbs inject and uninject: where text comes from and goes, and what is said on stderr."""

import io
from pathlib import Path

import pytest
import yaml

from meshcar.app.options import Options
from meshcar.cli.inject import TEMPLATE
from meshcar.cli.main import main
from meshcar.manifests.probes import HttpProbe
from meshcar.net.address import PathAddress

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: b}]}\n"
HOST = POD.replace("spec: {", "spec: {hostNetwork: true, ")


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize("name", ["inject", "kube-inject"])
def test_pipe(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As on the page: stdin to stdout, and nothing else there."""
    stdin(monkeypatch, POD + "---\n" + HOST)
    assert main([name, "-f", "-", "--image", "x:1", "--certs-secret", "s", "--rules-configmap", "c", "--trust-domain", "td"]) == 0
    out, err = capsys.readouterr()
    pod, host = yaml.safe_load_all(out)
    assert [one["image"] for one in pod["spec"]["initContainers"]] == ["x:1", "x:1"]
    assert pod["spec"]["volumes"][1:] == [
        {"name": "meshcar-certs", "secret": {"secretName": "s"}}, {"name": "meshcar-rules", "configMap": {"name": "c"}},
    ]  # fmt: skip
    assert host == yaml.safe_load(HOST)
    assert err == 'stdin: left alone: Pod "p" is on its node\'s network, whose connections all pods share\n'


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a file to a file, and back."""
    before, injected, after = tmp_path / "pod.yaml", tmp_path / "injected.yaml", tmp_path / "after.yaml"
    before.write_text(POD)
    assert main(["inject", "--classic", "--hold", "-f", str(before), "-o", str(injected)]) == 0
    assert [one["name"] for one in yaml.safe_load(injected.read_text())["spec"]["containers"]] == ["meshcar", "a"]
    assert main(["uninject", "-f", str(injected), "--output", str(after)]) == 0
    assert yaml.safe_load(after.read_text()) == yaml.safe_load(POD)
    assert capsys.readouterr() == ("", "")


def test_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them on stderr, with file and line; nothing on stdout that could be piped on."""
    file = tmp_path / "pod.yaml"
    annotations = "{sidecar.istio.io/proxyCPU: x, status.sidecar.istio.io/port: y}"
    file.write_text(POD + "---\n" + POD.replace("{name: p}", f"{{name: p, annotations: {annotations}}}"))
    assert main(["inject", "-f", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{file}:5: Pod \"p\": annotation sidecar.istio.io/proxyCPU: 'x' is not a quantity such as 100m or 128Mi",
        f"{file}:5: Pod \"p\": annotation status.sidecar.istio.io/port: 'y' is not a whole number",
    ]


def test_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The template is printed as it is, and one made from it can be used."""
    assert main(["inject", "--print-template"]) == 0
    printed = capsys.readouterr().out
    assert printed == TEMPLATE.read_text()
    mine, pod = tmp_path / "mine.yaml", tmp_path / "pod.yaml"
    mine.write_text(printed.replace("cpu: 100m", "cpu: 7m"))
    pod.write_text(POD)
    assert main(["inject", "--template", str(mine), "-f", str(pod)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] == "7m"


@pytest.mark.parametrize(("words", "why"), [
    (["inject"], "-f FILE is needed; - is stdin"),
    (["uninject"], "-f FILE is needed; - is stdin"),
    (["inject", "-f", "/no/such"], "/no/such: No such file or directory"),
    (["inject", "-f", "{pod}", "--template", "/no/such"], "/no/such: No such file or directory"),
    (["inject", "-f", "{pod}", "--template", "{pod}"],
     "{pod}: 'apiVersion' is none of labels, annotations, resources, init, sidecar, volumes"),
    (["inject", "-f", "{pod}", "-o", "/no/such/file"], "/no/such/file: No such file or directory"),
])  # fmt: skip
def test_refused(words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be done is one line."""
    pod = tmp_path / "pod.yaml"
    pod.write_text(POD)
    assert main([word.replace("{pod}", str(pod)) for word in words]) == 1
    assert capsys.readouterr().err == f"meshcar {words[0]}: {why.replace('{pod}', str(pod))}\n"


def test_not_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no text."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["inject", "-f", "-"]) == 1
    assert "stdin: 'utf-8' codec can't decode" in capsys.readouterr().err


TRAFFIC = "traffic.sidecar.istio.io/"


@pytest.mark.parametrize("annotations", [
    {}, {TRAFFIC + "includeInboundPorts": "", TRAFFIC + "includeOutboundIPRanges": ""},
    {TRAFFIC + "includeInboundPorts": "80, 81", TRAFFIC + "excludeOutboundIPRanges": "10.96.0.2/24,fd00::/8"},
    {TRAFFIC + "excludeInboundPorts": "4,5", TRAFFIC + "includeOutboundPorts": "", TRAFFIC + "excludeOutboundPorts": "7"},
    {TRAFFIC + "excludeInterfaces": "eth1,veth+", "sidecar.istio.io/interceptionMode": "TPROXY"},
    {TRAFFIC + "kubevirtInterfaces": "net1,net2"},
    {"status.sidecar.istio.io/port": "0", "proxy.istio.io/config": "terminationDrainDuration: 1m5s"},
    {"status.sidecar.istio.io/port": "15025", "sidecar.istio.io/interceptionMode": "NONE"},
])  # fmt: skip
def test_what_is_injected_is_understood(
    annotations: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verb iptables and the sidecar take the arguments and variables that stand in a manifest."""
    pod = yaml.safe_load(POD)
    pod["metadata"] |= {"annotations": annotations, "labels": {"app": "a", "example.com/x": ""}}
    pod["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"port": 80, "path": "/$x"}}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod))
    assert main(["inject", "-f", str(tmp_path / "pod.yaml")]) == 0
    containers = {one["name"]: one for one in yaml.safe_load(capsys.readouterr().out)["spec"]["initContainers"]}
    if "meshcar-init" in containers:
        verb, *words = containers["meshcar-init"]["args"]
        assert main([verb, "--print", *words]) == 0
        assert "-A ISTIO_" in capsys.readouterr().out
    for one in containers["meshcar"]["env"]:
        monkeypatch.setenv(one["name"], one.get("value", "default").replace("$$", "$"))
    options = Options()
    options.parseOptions(containers["meshcar"]["args"][3:])
    assert options.settings.labels["app"] == "a"
    assert options.settings.admin == PathAddress("/run/meshcar/admin.sock")
    assert options.settings.app_probes == (
        None if options.settings.agent is None else {"/app-health/a/livez": HttpProbe(80, "/$x")}
    )
