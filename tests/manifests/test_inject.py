"""Injection: what comes into which pod, in which order, and what stays as it was."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.cli import inject as verb
from meshcar.manifests.inject import Outcome, inject, uninject
from meshcar.manifests.template import read_template
from meshcar.manifests.variables import Defaults
from tests.manifests.podrules import faults

TEMPLATE = read_template(verb.TEMPLATE.read_text())
DEFAULTS = Defaults(image="meshcar:1")
CLASSIC = attrs.evolve(DEFAULTS, native=False)
PAGE = Path(__file__).parents[2] / "meshcar/cli/page/deployments.yaml"

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  selector: {matchLabels: {app: hello}}
  template:
    metadata:
      labels: {app: hello}
      annotations: {ANNOTATIONS}
    spec: {SPEC}
"""
CONTAINERS = "containers: [{name: hello, image: hello, ports: [{name: http, containerPort: 80}]}]"


def deployment(annotations: str = "", spec: str = CONTAINERS) -> str:
    """A Deployment of pods with these annotations."""
    return DEPLOYMENT.replace("{ANNOTATIONS}", f"{{{annotations}}}").replace("{SPEC}", f"{{{spec}}}")


def done(text: str, defaults: Defaults = DEFAULTS) -> Outcome:
    """Injected without problems; whatever it is, twice is once, and taking it out gives what came in."""
    outcome = inject(text, TEMPLATE, defaults)
    assert outcome.problems == ()
    assert inject(outcome.text, TEMPLATE, defaults).text == outcome.text
    assert plain(uninject(outcome.text).text) == plain(text)
    return outcome


def plain(text: str) -> Any:
    """What an independent reader finds; empty annotations and metadata are as good as none."""
    return [without_empty(document) for document in yaml.safe_load_all(text)]


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = ((key, without_empty(child)) for key, child in value.items())
        return {key: child for key, child in pairs if child not in ({}, [], None)}
    return [without_empty(child) for child in value] if isinstance(value, list) else value


def template_of(text: str, defaults: Defaults = DEFAULTS) -> dict[str, Any]:
    """The pod template that comes out, by the published rules of a pod."""
    (document,) = yaml.safe_load_all(done(text, defaults).text)
    found: dict[str, Any] = document if document["kind"] == "Pod" else document["spec"]["template"]
    assert faults(found) == []
    return found


def named(template: dict[str, Any], name: str) -> dict[str, Any]:
    """A container, wherever it is."""
    (found,) = [one for one in template["spec"].get("initContainers", []) + template["spec"]["containers"] if one["name"] == name]
    return dict(found)


def names(template: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The names of init containers and of containers, in order."""
    spec = template["spec"]
    return [one["name"] for one in spec.get("initContainers", [])], [one["name"] for one in spec["containers"]]


def flags(template: dict[str, Any]) -> dict[str, str]:
    """The flags of the capture rules."""
    words = named(template, "meshcar-init")["args"]
    assert words[0] == "iptables"
    return dict(zip(words[1::2], words[2::2], strict=True))


def environment(template: dict[str, Any]) -> dict[str, str]:
    """The sidecar's variables that have a value."""
    return {one["name"]: one["value"] for one in named(template, "meshcar")["env"] if "value" in one}


# -- what comes in


def test_native() -> None:
    """Capture first, then the sidecar, which is restarted always and awaited, then the pod's own init containers."""
    template = template_of(deployment(spec=f"initContainers: [{{name: migrate, image: m}}], {CONTAINERS}"))
    assert names(template) == (["meshcar-init", "meshcar", "migrate"], ["hello"])
    sidecar = named(template, "meshcar")
    assert (sidecar["restartPolicy"], sidecar["startupProbe"]["httpGet"]) == ("Always", {"path": "/healthz/ready", "port": 15021})
    assert sidecar["lifecycle"] == {"preStop": {"exec": {"command": ["meshcar", "drain"]}}}


def test_classic() -> None:
    """The pod's own init containers run before capture, as nobody would answer them after it; the sidecar comes last."""
    template = template_of(deployment(spec=f"initContainers: [{{name: migrate, image: m}}], {CONTAINERS}"), CLASSIC)
    assert names(template) == (["migrate", "meshcar-init"], ["hello", "meshcar"])
    assert "restartPolicy" not in named(template, "meshcar")


def test_hold() -> None:
    """The sidecar comes first, and the next container starts when it is ready."""
    for text, defaults in (
        (deployment(), attrs.evolve(CLASSIC, hold=True)),
        (deployment("proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'"), CLASSIC),
    ):
        template = template_of(text, defaults)
        assert names(template) == (["meshcar-init"], ["meshcar", "hello"])
        assert named(template, "meshcar")["lifecycle"] == {"postStart": {"exec": {"command": ["meshcar", "wait"]}}}
    assert "lifecycle" not in named(template_of(deployment(), CLASSIC), "meshcar")
    assert "postStart" not in named(template_of(deployment(), attrs.evolve(DEFAULTS, hold=True)), "meshcar")["lifecycle"]


@pytest.mark.parametrize(("said", "defaults", "native"), [("true", CLASSIC, True), ("false", DEFAULTS, False)])
def test_native_by_annotation(said: str, defaults: Defaults, native: bool) -> None:
    """A pod may choose."""
    template = template_of(deployment(f"sidecar.istio.io/nativeSidecar: '{said}'"), defaults)
    assert ("meshcar" in names(template)[0]) is native


def test_rights() -> None:
    """Only what installs the rules is root, with two capabilities; the sidecar has none, and cannot write."""
    template = template_of(deployment())
    assert named(template, "meshcar-init")["securityContext"] == {
        "allowPrivilegeEscalation": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}, "privileged": False,
        "readOnlyRootFilesystem": False, "runAsGroup": 0, "runAsNonRoot": False, "runAsUser": 0,
    }  # fmt: skip
    assert named(template, "meshcar")["securityContext"] == {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "privileged": False, "readOnlyRootFilesystem": True,
        "runAsGroup": 1337, "runAsNonRoot": True, "runAsUser": 1337,
    }  # fmt: skip


def test_tproxy() -> None:
    """NET_ADMIN, which only root can be given; its group keeps it out of its own capture."""
    template = template_of(deployment("sidecar.istio.io/interceptionMode: TPROXY"))
    security = named(template, "meshcar")["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (0, 1337, False)
    assert security["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}
    assert (flags(template)["-m"], flags(template)["-u"]) == ("TPROXY", "1337")
    assert option(template, "--intercept") == "tproxy"


def option(template: dict[str, Any], name: str) -> str:
    """The value of one of the sidecar's options."""
    words = named(template, "meshcar")["args"]
    return str(words[words.index(name) + 1])


@pytest.mark.parametrize("defaults", [DEFAULTS, CLASSIC])
def test_no_interception(defaults: Defaults) -> None:
    """NONE needs no capture; the pod's init containers stay."""
    text = deployment("sidecar.istio.io/interceptionMode: NONE", f"initContainers: [{{name: one, image: busybox}}], {CONTAINERS}")
    template = template_of(text, defaults)
    assert names(template)[0] == (["meshcar", "one"] if defaults.native else ["one"])
    assert option(template, "--intercept") == "none"
    without = template_of(deployment("sidecar.istio.io/interceptionMode: NONE"), defaults)
    assert ("initContainers" in without["spec"]) is defaults.native


def test_capture() -> None:
    """Istio's flags, in Istio's order."""
    assert named(template_of(deployment()), "meshcar-init")["args"] == [
        "iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020",
    ]  # fmt: skip


@pytest.mark.parametrize(("annotation", "flag", "value"), [
    ("includeInboundPorts: ''", "-b", ""),
    ("includeInboundPorts: '80,81'", "-b", "80,81"),
    ("excludeInboundPorts: '4,5,15020,6'", "-d", "15090,15021,15020,4,5,6"),
    ("includeOutboundIPRanges: '127.0.0.1/24,10.96.0.1/24'", "-i", "127.0.0.1/24,10.96.0.1/24"),
    ("includeOutboundIPRanges: ''", "-i", ""),
    ("excludeOutboundIPRanges: 10.96.0.2/24", "-x", "10.96.0.2/24"),
    ("includeOutboundPorts: '443'", "-q", "443"),
    ("excludeOutboundPorts: '7,8'", "-o", "7,8"),
    ("kubevirtInterfaces: 'net1,net2'", "-k", "net1,net2"),
    ("excludeInterfaces: eth1", "-c", "eth1"),
])  # fmt: skip
def test_capture_by_annotation(annotation: str, flag: str, value: str) -> None:
    """One annotation, one flag; the others keep their defaults."""
    found, default = flags(template_of(deployment(f"traffic.sidecar.istio.io/{annotation}"))), flags(template_of(deployment()))
    assert found[flag] == value
    assert {key: text for key, text in found.items() if key != flag} == {key: text for key, text in default.items() if key != flag}


def test_volumes() -> None:
    """Certificates of the service account, rules, and a folder for the admin socket that only the sidecar has."""
    template = template_of(deployment(spec=f"serviceAccountName: ticker, volumes: [{{name: v, emptyDir: {{}}}}], {CONTAINERS}"))
    assert template["spec"]["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "meshcar-admin", "emptyDir": {}},
        {"name": "meshcar-certs", "secret": {"secretName": "meshcar.ticker"}},
        {"name": "meshcar-rules", "configMap": {"name": "meshcar-rules"}},
    ]
    assert environment(template)["MESHCAR_ADMIN"] == "unix:/run/meshcar/admin.sock"
    mounts = {one["mountPath"]: (one["name"], one.get("readOnly", False)) for one in named(template, "meshcar")["volumeMounts"]}
    assert mounts == {
        "/run/meshcar": ("meshcar-admin", False),
        "/etc/meshcar/certs": ("meshcar-certs", True),
        "/etc/meshcar/rules": ("meshcar-rules", True),
    }  # fmt: skip
    assert not any("volumeMounts" in one for one in template["spec"]["containers"])


@pytest.mark.parametrize(("spec", "secret"), [
    ("", "meshcar.default"), ("serviceAccount: old, ", "meshcar.old"), ("serviceAccountName: new, serviceAccount: old, ", "meshcar.new"),
])  # fmt: skip
def test_service_account(spec: str, secret: str) -> None:
    """Whose certificates: the field's, the deprecated field's, or the default account's."""
    template = template_of(deployment(spec=spec + CONTAINERS))
    assert {"name": "meshcar-certs", "secret": {"secretName": secret}} in template["spec"]["volumes"]


def test_own_volume() -> None:
    """A volume of the pod's own with that name is used: certificates from a CSI driver, say. It stays when the sidecar goes."""
    own = "volumes: [{name: meshcar-certs, csi: {driver: certs.example}}]"
    template = template_of(deployment(spec=f"{own}, {CONTAINERS}"))
    assert template["spec"]["volumes"][0] == {"name": "meshcar-certs", "csi": {"driver": "certs.example"}}
    assert len(template["spec"]["volumes"]) == 3


def test_flags_of_the_verb() -> None:
    """Image, secret, config map and trust domain from the command line."""
    defaults = Defaults(image="x/y:1", certs_secret="s", rules_configmap="c", trust_domain="example.org")
    template = template_of(deployment(), defaults)
    assert {named(template, name)["image"] for name in ("meshcar", "meshcar-init")} == {"x/y:1"}
    assert template["spec"]["volumes"][1:] == [
        {"name": "meshcar-certs", "secret": {"secretName": "s"}}, {"name": "meshcar-rules", "configMap": {"name": "c"}},
    ]  # fmt: skip
    assert option(template, "--trust-domain") == "example.org"


def test_labels() -> None:
    """Peers learn by a label that this pod speaks mTLS; names for telemetry are Istio's. What is there stays."""
    labels = template_of(deployment())["metadata"]["labels"]
    assert labels == {
        "app": "hello", "security.istio.io/tlsMode": "istio", "service.istio.io/canonical-name": "hello",
        "service.istio.io/canonical-revision": "latest",
    }  # fmt: skip
    own = "{app: hello, version: v1, app.kubernetes.io/name: other, security.istio.io/tlsMode: disabled}"
    labels = template_of(deployment().replace("labels: {app: hello}", f"labels: {own}"))["metadata"]["labels"]
    assert labels["security.istio.io/tlsMode"] == "disabled"
    assert (labels["service.istio.io/canonical-name"], labels["service.istio.io/canonical-revision"]) == ("other", "v1")


def test_long_name() -> None:
    """A label's value has at most 63 characters, and ends in none of `-_.`."""
    text = deployment().replace("labels: {app: hello}", "labels: {}").replace("{name: hello}", f"{{name: {'a' * 62}-b}}", 1)
    assert template_of(text)["metadata"]["labels"]["service.istio.io/canonical-name"] == "a" * 62


def test_told() -> None:
    """The sidecar learns who it is: by the pod's fields, and by the labels that it has in the end."""
    template = template_of(deployment())
    labels = sorted(template["metadata"]["labels"].items())
    assert environment(template)["MESHCAR_LABELS"] == ",".join(f"{key}={value}" for key, value in labels)
    fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in named(template, "meshcar")["env"] if "valueFrom" in one}
    assert fields == {"MESHCAR_NAMESPACE": "metadata.namespace", "MESHCAR_SERVICE_ACCOUNT": "spec.serviceAccountName"}


def test_command() -> None:
    """As it runs in a container: in the foreground, without a pid file, which a read-only root could not hold."""
    sidecar = named(template_of(deployment()), "meshcar")
    assert sidecar["command"] == ["twistd"]
    assert sidecar["args"] == [
        "-n", "--pidfile=", "meshcar", "--rules", "/etc/meshcar/rules", "--certs", "/etc/meshcar/certs", "--agent", "15020",
        "--intercept", "redirect", "--trust-domain", "cluster.local",
    ]  # fmt: skip


def test_scraping() -> None:
    """Prometheus finds the metrics, unless the pod has annotations for it of its own, or wants none."""
    found = template_of(deployment())["metadata"]["annotations"]
    assert {key: value for key, value in found.items() if key.startswith("prometheus")} == {
        "prometheus.io/scrape": "true", "prometheus.io/port": "15090", "prometheus.io/path": "/stats/prometheus",
    }  # fmt: skip
    own = template_of(deployment("prometheus.io/port: '9'"))["metadata"]["annotations"]
    assert [key for key in own if key.startswith("prometheus")] == ["prometheus.io/port"]
    none = template_of(deployment("prometheus.istio.io/merge-metrics: 'false'"))["metadata"]["annotations"]
    assert "prometheus.io/scrape" not in none


def test_default_container() -> None:
    """kubectl goes on to mean the application."""
    assert template_of(deployment(), CLASSIC)["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "hello"
    own = deployment("kubectl.kubernetes.io/default-container: other")
    assert template_of(own)["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "other"


def test_annotations_choose() -> None:
    """Image, resources, readiness, drain, agent port and volumes."""
    template = template_of(deployment(
        "sidecar.istio.io/proxyImage: r/m:2, sidecar.istio.io/proxyCPU: 50m, sidecar.istio.io/proxyMemoryLimit: 300Mi, "
        "readiness.status.sidecar.istio.io/initialDelaySeconds: '3', readiness.status.sidecar.istio.io/periodSeconds: '4', "
        "readiness.status.sidecar.istio.io/failureThreshold: '5', status.sidecar.istio.io/port: '15025', "
        "proxy.istio.io/config: 'terminationDrainDuration: 1m5s', "
        """sidecar.istio.io/userVolume: '{"v":{"emptyDir":{}}}', """
        """sidecar.istio.io/userVolumeMount: '{"v":{"mountPath":"/v","readOnly":true}}'"""
    ))  # fmt: skip
    sidecar, init = named(template, "meshcar"), named(template, "meshcar-init")
    assert sidecar["image"] == init["image"] == "r/m:2"
    assert sidecar["resources"] == init["resources"] == {"requests": {"cpu": "50m"}, "limits": {"memory": "300Mi"}}
    probe = sidecar["readinessProbe"]
    assert (probe["initialDelaySeconds"], probe["periodSeconds"], probe["failureThreshold"]) == (3, 4, 5)
    assert (option(template, "--agent"), flags(template)["-d"], option(template, "--drain")) == ("15025", "15090,15021,15025", "65")
    assert {"name": "v", "mountPath": "/v", "readOnly": True} in sidecar["volumeMounts"]
    assert {"name": "v", "emptyDir": {}} in template["spec"]["volumes"]


def test_status() -> None:
    """Istio's annotation, for whoever reads it, and what it takes to undo it all."""
    status = json.loads(template_of(deployment())["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert status["initContainers"] == ["meshcar-init", "meshcar"]
    assert (status["containers"], status["volumes"]) == ([], ["meshcar-admin", "meshcar-certs", "meshcar-rules"])


# -- probes

PROBES = """containers: [
  {name: hello, image: a, ports: [{name: http, containerPort: 80}], livenessProbe: {httpGet: {port: http}},
   readinessProbe: {httpGet: {port: 3333}}, lifecycle: {preStop: {httpGet: {port: 91}}, postStart: {tcpSocket: {port: 93}}}},
  {name: world, image: b, ports: [{name: http, containerPort: 90}], livenessProbe: {httpGet: {port: http}},
   readinessProbe: {exec: {command: [cat]}}, startupProbe: {grpc: {port: 7}}}]"""


def test_probes() -> None:
    """The kubelet asks the agent, and the agent knows whom to ask; each container's port names are its own."""
    template = template_of(deployment(spec=PROBES))
    assert json.loads(environment(template)["MESHCAR_APP_PROBES"]) == {
        "/app-health/hello/livez": {"httpGet": {"port": 80}, "timeoutSeconds": 1},
        "/app-health/hello/readyz": {"httpGet": {"port": 3333}, "timeoutSeconds": 1},
        "/app-health/world/livez": {"httpGet": {"port": 90}, "timeoutSeconds": 1},
        "/app-lifecycle/hello/poststartz": {"tcpSocket": {"port": 93}},
        "/app-lifecycle/hello/prestopz": {"httpGet": {"port": 91}},
    }
    assert named(template, "hello")["livenessProbe"] == {"httpGet": {"path": "/app-health/hello/livez", "port": 15020}}
    assert named(template, "world")["readinessProbe"] == {"exec": {"command": ["cat"]}}
    assert named(template, "world")["startupProbe"] == {"grpc": {"port": 7}}
    assert any("startupProbe of container 'world' is left alone: grpc" in note for note in done(deployment(spec=PROBES)).notes)


def test_probes_of_init_containers() -> None:
    """A native sidecar of the pod's own has probes too."""
    spec = "initContainers: [{name: log, image: l, restartPolicy: Always, startupProbe: {tcpSocket: {port: 5}}}], " + CONTAINERS
    assert list(json.loads(environment(template_of(deployment(spec=spec)))["MESHCAR_APP_PROBES"])) == ["/app-health/log/startupz"]


def test_dollars() -> None:
    """Kubernetes must not take a path of the application's for a variable."""
    spec = "containers: [{name: a, image: b, livenessProbe: {httpGet: {port: 1, path: '/$(HOME)$$'}}}]"
    text = environment(template_of(deployment(spec=spec)))["MESHCAR_APP_PROBES"]
    assert json.loads(text.replace("$$", "$"))["/app-health/a/livez"]["httpGet"]["path"] == "/$(HOME)$$"
    assert re.sub(r"\$\$", "", text).count("$") == 0


@pytest.mark.parametrize("annotation", ["sidecar.istio.io/rewriteAppHTTPProbers: 'false'", "status.sidecar.istio.io/port: '0'"])
def test_probes_not_rewritten(annotation: str) -> None:
    """Where they are not wanted, or there is no agent, they stay."""
    template = template_of(deployment(annotation, PROBES))
    assert "MESHCAR_APP_PROBES" not in environment(template)
    assert named(template, "hello")["livenessProbe"] == {"httpGet": {"port": "http"}}


def test_probes_added_later() -> None:
    """A container that came into an injected pod gets its probes rewritten too, and nobody's twice."""
    first = yaml.safe_load(done(deployment(spec=PROBES)).text)
    new = {"name": "new", "image": "n", "livenessProbe": {"httpGet": {"port": 8008, "path": "/x"}}}
    first["spec"]["template"]["spec"]["containers"].append(new)
    (second,) = yaml.safe_load_all(inject(yaml.safe_dump(first), TEMPLATE, DEFAULTS).text)
    told = json.loads(environment(second["spec"]["template"])["MESHCAR_APP_PROBES"])
    assert len(told) == 6
    assert told["/app-health/new/livez"]["httpGet"] == {"port": 8008, "path": "/x"}


# -- what stays


def test_page() -> None:
    """The documents of the page that meshcar began with."""
    outcome = done(PAGE.read_text())
    assert outcome.notes == ()
    documents = list(yaml.safe_load_all(outcome.text))
    assert [document["metadata"]["name"] for document in documents] == ["httpbin-v1", "httpbin-v2", "sleep"]
    for document in documents:
        assert faults(document["spec"]["template"]) == []
        assert names(document["spec"]["template"])[0] == ["meshcar-init", "meshcar"]
    classic = list(yaml.safe_load_all(done(PAGE.read_text(), CLASSIC).text))
    assert [faults(document["spec"]["template"]) for document in classic] == [[], [], []]


def test_others_untouched() -> None:
    """What holds no pod stays to the last byte, comments and all, and in its place."""
    service = "# ours\napiVersion: v1\nkind: Service # web\nmetadata: {name:   x}\n"
    outcome = done(f"{service}---\n{deployment()}--- # last\n{{}}\n")
    assert outcome.text.startswith(f"{service}---\napiVersion: apps/v1\nkind: Deployment\n")
    assert outcome.text.endswith("\n--- # last\n{}\n")


def test_list() -> None:
    """A List's pods are injected, its other items not, and what is left alone is left alone."""
    host = "{apiVersion: v1, kind: Pod, metadata: {name: h}, spec: {hostNetwork: true, containers: [{name: a, image: b}]}}"
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a, image: b}]}}"
    outcome = done(f"{{apiVersion: v1, kind: List, items: [{host}, {{apiVersion: v1, kind: Service}}, {pod}]}}")
    items = yaml.safe_load(outcome.text)["items"]
    assert items[:2] == yaml.safe_load(f"[{host}, {{apiVersion: v1, kind: Service}}]")
    assert faults(items[2]) == []
    assert outcome.notes == ('left alone: Pod "h" is on its node\'s network, whose connections all pods share',)


@pytest.mark.parametrize(("change", "why"), [
    (("spec: {", "spec: {hostNetwork: true, "), "is on its node's network"),
    (("labels: {", "labels: {sidecar.istio.io/inject: 'false', "), 'has sidecar.istio.io/inject "false"'),
    (("annotations: {", "annotations: {sidecar.istio.io/inject: 'false', "), 'has sidecar.istio.io/inject "false"'),
    (("annotations: {", "annotations: {inject.istio.io/templates: gateway, "), "asks for the template 'gateway'"),
    (("metadata: {name: hello}", "metadata: {name: hello, namespace: kube-system}"), "is in namespace kube-system"),
    (("spec: {", "spec: {os: {name: windows}, "), "runs on Windows"),
    (("containers: [", "containers: [{name: istio-proxy, image: auto}, "), "has a container istio-proxy"),
])  # fmt: skip
def test_left_alone(change: tuple[str, str], why: str) -> None:
    """To the last byte, and it is said."""
    text = deployment().replace(*change)
    outcome = done(text)
    assert outcome.text == text
    (note,) = outcome.notes
    assert note.startswith("left alone: Deployment ")
    assert why in note


@pytest.mark.parametrize(("spec", "note"), [
    ("securityContext: {runAsUser: 1337}", "the pod runs as user or group 1337"),
    ("containers: [{name: a, image: b, securityContext: {runAsGroup: 1337}}]", "container 'a' runs as user or group 1337"),
    ("containers: [{name: a, image: b, ports: [{containerPort: 15021}]}]", "port 15021 of container 'a' is the sidecar's, too"),
])  # fmt: skip
def test_remarks(spec: str, note: str) -> None:
    """What will not work as people may think is said."""
    text = deployment(spec=spec if spec.startswith("containers") else f"{spec}, {CONTAINERS}")
    assert any(note in one for one in done(text).notes)


def test_jobs() -> None:
    """A Job ends with its containers: a native sidecar is ended by the kubelet, a classic one has to be told."""
    pod = "{spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}"
    job = f"{{apiVersion: batch/v1, kind: Job, metadata: {{name: j}}, spec: {{template: {pod}}}}}"
    assert done(job).notes == ()
    assert ["quitquitquit" in note for note in done(job, CLASSIC).notes] == [True]


def test_problems() -> None:
    """All of them, each with the line of its document; nothing that came out is to be used."""
    bad = deployment("sidecar.istio.io/proxyCPU: x, traffic.sidecar.istio.io/excludeInboundPorts: y")
    outcome = inject(f"{bad}---\n{deployment()}---\napiVersion: v1\nkind: Pod\nspec: {{}}\n", TEMPLATE, DEFAULTS)
    assert [problem.partition(" annotation")[0] for problem in outcome.problems] == [
        '1: Deployment "hello":', '1: Deployment "hello":', '22: Pod "?": a pod needs containers',
    ]  # fmt: skip
    assert inject("a: 1\na: 2", TEMPLATE, DEFAULTS).problems == ("2: 'a' stands here twice",)


# -- what the pod says of the sidecar itself


def test_own_words() -> None:
    """A container called meshcar is what the pod wants otherwise: over the template, wherever that puts the sidecar."""
    own = "{name: meshcar, image: auto, args: [x], env: [{name: MESHCAR_LABELS, value: 'a=b'}], securityContext: {runAsUser: 1234}}"
    text = deployment(spec=f"containers: [{{name: hello, image: h}}, {own}]")
    for defaults in (DEFAULTS, CLASSIC):
        template = template_of(text, defaults)
        sidecar = named(template, "meshcar")
        assert (sidecar["image"], sidecar["args"], environment(template)["MESHCAR_LABELS"]) == ("meshcar:1", ["x"], "a=b")
        assert (sidecar["securityContext"]["runAsUser"], sidecar["securityContext"]["runAsGroup"]) == (1234, 1337)
        assert flags(template)["-u"] == "1234"


def test_own_user_with_tproxy() -> None:
    """TPROXY needs root, whatever the pod says."""
    own = "{name: meshcar, image: r/x, securityContext: {runAsUser: 1234, runAsGroup: 4321}}"
    template = template_of(deployment("sidecar.istio.io/interceptionMode: TPROXY", f"containers: [{own}, {{name: a, image: b}}]"))
    security = named(template, "meshcar")["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], flags(template)["-u"]) == (0, 4321, "1234")
    assert named(template, "meshcar")["image"] == "r/x"


# -- templates


def test_template() -> None:
    """Another template, other containers, volumes and labels; what it does not know is named."""
    text = "labels: {a: b}\ninit: {name: i, image: '${image}', args: ['${capture}']}\n"
    text += "sidecar: {name: s, image: '${image}', args: ['${options}']}\n"
    outcome = inject(deployment(), read_template(text), DEFAULTS)
    template = yaml.safe_load(outcome.text)["spec"]["template"]
    assert faults(template) == []
    assert (names(template), template["metadata"]["labels"]) == ((["i", "s"], ["hello"]), {"app": "hello", "a": "b"})
    assert plain(uninject(outcome.text).text) == plain(deployment())
    misspelt = inject(deployment(), read_template(text.replace("{options}", "{opt}")), DEFAULTS)
    assert "${opt} is none of the template's variables" in misspelt.problems[0]


# -- anything at all

TEXTS = st.sampled_from(["a", "x", "http", "80", "true", "meshcar", "1337", "", "*", "0644", "~"])
JUNK = st.recursive(
    TEXTS | st.integers(0, 70000) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
ACTIONS = st.fixed_dictionaries({}, optional={
    "httpGet": st.fixed_dictionaries({"port": st.sampled_from([80, "http", "81", 15020])}, optional={"path": TEXTS, "host": TEXTS}),
    "tcpSocket": st.fixed_dictionaries({"port": st.sampled_from([80, "http"])}),
    "exec": st.just({"command": ["x"]}),
    "periodSeconds": st.just(3),
})  # fmt: skip
SOME = st.fixed_dictionaries({"name": TEXTS, "image": TEXTS}, optional={
    "livenessProbe": ACTIONS, "readinessProbe": ACTIONS | JUNK, "ports": st.just([{"name": "http", "containerPort": 8080}]) | JUNK,
    "lifecycle": st.dictionaries(st.sampled_from(["preStop", "postStart"]), ACTIONS, max_size=2) | JUNK, "securityContext": JUNK,
})  # fmt: skip
PODS = st.fixed_dictionaries({"apiVersion": st.just("v1"), "kind": st.just("Pod"), "metadata": st.fixed_dictionaries({}, optional={
    "name": TEXTS, "labels": st.dictionaries(TEXTS, TEXTS, max_size=2) | JUNK, "annotations": st.dictionaries(
        TEXTS | st.sampled_from(["sidecar.istio.io/status", "sidecar.istio.io/interceptionMode"]), TEXTS, max_size=2) | JUNK,
}), "spec": st.fixed_dictionaries({"containers": st.lists(SOME, max_size=3) | JUNK}, optional={
    "initContainers": st.lists(SOME, max_size=2) | JUNK, "volumes": JUNK, "hostNetwork": JUNK, "serviceAccountName": JUNK, "os": JUNK,
})})  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PODS, st.booleans())
def test_anything(pod: Any, native: bool) -> None:
    """No pod makes it fail but by saying why; and what is injected can be taken out again, and injected again."""
    text = yaml.safe_dump(pod)
    outcome = inject(text, TEMPLATE, attrs.evolve(DEFAULTS, native=native))
    if outcome.problems:
        return
    again = inject(outcome.text, TEMPLATE, attrs.evolve(DEFAULTS, native=native))
    assert (again.text, again.problems) == (outcome.text, ())
    if outcome.text != text:
        (pod["metadata"].get("annotations") or {}).pop("sidecar.istio.io/status", None)
    assert without_empty(yaml.safe_load(uninject(outcome.text).text)) == without_empty(pod)
