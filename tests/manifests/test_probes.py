"""Probes through the agent: which are rewritten, what the agent is told, and the way back."""

import json
from typing import Any

import pytest

from meshcar.manifests.documents import read, value_of
from meshcar.manifests.probes import HttpProbe, TcpProbe, read_probes, restored, rewritten

PORTS = "name: web\nports: [{name: http, containerPort: 8080}, {name: odd, containerPort: 0x1F}, {containerPort: 9}]\n"


def container(text: str) -> Any:
    """A container called web, with a port called http."""
    ((document,),) = [piece.documents for piece in read(PORTS + text)]
    return document


@pytest.mark.parametrize(("field", "path", "probe", "told"), [
    ("livenessProbe", "/app-health/web/livez", "httpGet: {port: 80, path: /live}",
     {"httpGet": {"port": 80, "path": "/live"}, "timeoutSeconds": 1}),
    ("readinessProbe", "/app-health/web/readyz", "httpGet: {port: http}", {"httpGet": {"port": 8080}, "timeoutSeconds": 1}),
    ("startupProbe", "/app-health/web/startupz", "tcpSocket: {port: http}\n  timeoutSeconds: 7",
     {"tcpSocket": {"port": 8080}, "timeoutSeconds": 7}),
    ("livenessProbe", "/app-health/web/livez", 'httpGet: {port: "81"}', {"httpGet": {"port": 81}, "timeoutSeconds": 1}),
    ("livenessProbe", "/app-health/web/livez", "httpGet: {port: 1, scheme: HTTPS, httpHeaders: [{name: A, value: b}]}\n  periodSeconds: 3",
     {"httpGet": {"port": 1, "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]}, "timeoutSeconds": 1}),
])  # fmt: skip
def test_probes(field: str, path: str, probe: str, told: dict[str, Any]) -> None:
    """Where it asks changes, how often and with which headers does not; the kubelet speaks plain HTTP to the agent."""
    before = container(f"{field}:\n  {probe}")
    result = rewritten(before, 15020)
    assert result.told == {path: told}
    after = value_of(result.container[field])
    kept = {key: value for key, value in value_of(before[field]).items() if key not in ("httpGet", "tcpSocket")}
    headers = {"httpHeaders": told["httpGet"]["httpHeaders"]} if "httpHeaders" in told.get("httpGet", {}) else {}
    assert after == {"httpGet": {"path": path, "port": 15020, **headers}, **kept}
    assert value_of(restored(result.container, result.originals)) == value_of(before)
    assert read_probes(json.dumps(result.told)).keys() == {path}


def test_hooks() -> None:
    """Hooks that call the application are asked through the agent too, others stay, and nothing is told of timeouts."""
    before = container("lifecycle: {preStop: {httpGet: {port: 91}}, postStart: {tcpSocket: {port: 93}}}")
    result = rewritten(before, 15020)
    assert result.told == {
        "/app-lifecycle/web/prestopz": {"httpGet": {"port": 91}}, "/app-lifecycle/web/poststartz": {"tcpSocket": {"port": 93}},
    }  # fmt: skip
    assert result.container["lifecycle"]["postStart"] == {"httpGet": {"path": "/app-lifecycle/web/poststartz", "port": 15020}}
    assert value_of(restored(result.container, result.originals)) == value_of(before)
    assert result.originals.keys() == result.told.keys()
    exec_hook = container("lifecycle: {preStop: {exec: {command: [a]}}, postStart: {sleep: {seconds: 1}}}")
    assert rewritten(exec_hook, 15020).told == {}


@pytest.mark.parametrize(("probe", "why"), [
    ("grpc: {port: 9}", "grpc probes are not asked through the agent"),
    ("httpGet: {port: 80, host: example.com}", "it asks example.com, not the pod"),
    ("tcpSocket: {port: metrics}", "no port of the container is called 'metrics'"),
    ("tcpSocket: {port: odd}", "no port of the container is called 'odd'"),
    ("httpGet: {port: 15020}", "port 15020 is the agent's"),
    ("exec: {command: [cat, /tmp/healthy]}", ""),
    ("httpGet: text", ""),
    ("{}", ""),
])  # fmt: skip
def test_left_alone(probe: str, why: str) -> None:
    """What cannot be asked by the agent stays as it is, and is told where people may wonder."""
    before = container(f"livenessProbe:\n  {probe}")
    result = rewritten(before, 15020)
    assert (result.container, result.told) == (before, {})
    assert [why in note for note in result.notes] == ([True] if why else [])
    assert all(note.startswith("livenessProbe of container 'web' is left alone: ") for note in result.notes)


def test_nothing_shared() -> None:
    """The container that came in is not changed."""
    before = container("livenessProbe: {httpGet: {port: 80}}\nlifecycle: {preStop: {httpGet: {port: 91}}}")
    copy = json.dumps(before)
    rewritten(before, 15020)
    assert json.dumps(before) == copy


def test_read() -> None:
    """What the agent makes of the variable; numbers not said are Kubernetes' defaults."""
    text = """{
      "/app-health/a/livez": {"timeoutSeconds": 3, "httpGet": {
        "port": 80, "path": "x?y", "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}, {"name": "C"}]}},
      "/app-health/a/readyz": {"tcpSocket": {"port": 81}},
      "/app-lifecycle/a/prestopz": {"httpGet": {"port": 82}}
    }"""
    assert read_probes(text) == {
        "/app-health/a/livez": HttpProbe(80, "/x?y", True, (("A", "b"), ("C", "")), 3),
        "/app-health/a/readyz": TcpProbe(81, 1),
        "/app-lifecycle/a/prestopz": HttpProbe(82, seconds=30),
    }


LIVE = "/app-health/a/livez"


@pytest.mark.parametrize(("value", "why"), [
    ("", "is not JSON"), ("{", "is not JSON"), ("[]", "is not a JSON object"),
    ('{"/app-health/a/healthz": {"httpGet": {"port": 80}}}', "is not a path of a container's probe"),
    ('{"/app-health/a/b/livez": {"httpGet": {"port": 80}}}', "is not a path of a container's probe"),
    (f'{{"{LIVE}": 1}}', "one of httpGet and tcpSocket is needed"),
    (f'{{"{LIVE}": {{"httpGet": {{"port": 1}}, "tcpSocket": {{"port": 1}}}}}}', "one of httpGet and tcpSocket is needed"),
    (f'{{"{LIVE}": {{"grpc": {{"port": 1}}}}}}', "grpc is not built"),
    (f'{{"{LIVE}": {{"httpGet": {{"port": "http"}}}}}}', "port 'http' is not a number"),
    (f'{{"{LIVE}": {{"httpGet": {{"port": true}}}}}}', "port True is not a number"),
    (f'{{"{LIVE}": {{"tcpSocket": {{"port": 65536}}}}}}', "port 65536 is not a number"),
    (f'{{"{LIVE}": {{"tcpSocket": {{"port": 1}}, "timeoutSeconds": -1}}}}', "timeoutSeconds -1"),
    (f'{{"{LIVE}": {{"httpGet": {{"port": 1, "scheme": "FTP"}}}}}}', "scheme 'FTP'"),
    (f'{{"{LIVE}": {{"httpGet": {{"port": 1, "httpHeaders": {{"a": "b"}}}}}}}}', "httpHeaders must be a list"),
])  # fmt: skip
def test_bad(value: str, why: str) -> None:
    """What the sidecar cannot use stops its start, with a reason."""
    with pytest.raises(ValueError) as raised:
        read_probes(value)
    assert why in str(raised.value)
