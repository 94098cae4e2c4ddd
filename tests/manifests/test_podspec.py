"""Where pods are, in each kind that holds some."""

from typing import Any

import pytest

from meshcar.manifests.documents import read
from meshcar.manifests.podspec import BadManifest, Pod, pods

POD = "{metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: b}]}}"


def found(text: str) -> list[Pod]:
    """All pods of a text."""
    return [pod for piece in read(text) for document in piece.documents for pod in pods(document)]


@pytest.mark.parametrize(("version", "kind"), [
    ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1beta2", "DaemonSet"), ("apps/v1", "ReplicaSet"),
    ("v1", "ReplicationController"), ("v1", "DeploymentConfig"), ("batch/v1", "Job"), ("apps.openshift.io/v1", "DeploymentConfig"),
])  # fmt: skip
def test_templates(version: str, kind: str) -> None:
    """Kinds with a template in their spec."""
    (pod,) = found(f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: x, namespace: n}}, spec: {{template: {POD}}}}}")
    assert (pod.who, pod.name, pod.namespace, pod.kind) == (f'{kind} "n/x"', "x", "n", kind)
    assert pod.words("labels") == {"app": "a"}
    assert [one["name"] for one in pod.containers()] == ["a"]


def test_cron_job() -> None:
    """A template within a template; labels are those of the pods, not of the jobs."""
    jobs = f"{{metadata: {{labels: {{x: y}}}}, spec: {{template: {POD}}}}}"
    (pod,) = found(f"{{apiVersion: batch/v1, kind: CronJob, spec: {{jobTemplate: {jobs}}}}}")
    assert (pod.who, pod.words("labels")) == ('CronJob "?"', {"app": "a"})


def test_pod() -> None:
    """A pod is its own template; one without a name yet has the beginning of one."""
    (pod,) = found("{apiVersion: v1, kind: Pod, metadata: {generateName: job-}, spec: {hostNetwork: true, serviceAccountName: s}}")
    assert (pod.who, pod.name, pod.on_host_network, pod.service_account) == ('Pod "job-"', "job", True, "s")


@pytest.mark.parametrize(("more", "name"), [
    ("", "web-1-x"),
    ("ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}], labels: {pod-template-hash: '1'}", "web"),
    ("ownerReferences: [{kind: ReplicaSet, name: web-1, controller: true}]", "web-1"),
    ("ownerReferences: [{kind: Other, name: o}, {kind: StatefulSet, name: db, controller: true}]", "db"),
    ("ownerReferences: [{kind: StatefulSet, name: db}]", "web-1-x"),
])  # fmt: skip
def test_controlled_pod(more: str, name: str) -> None:
    """A pod with a generated name is called as what controls it; a ReplicaSet as its Deployment."""
    (pod,) = found(f"{{apiVersion: v1, kind: Pod, metadata: {{name: web-1-x, generateName: web-1-, {more}}}, spec: {{}}}}")
    assert pod.name == name


def test_list() -> None:
    """The items of a List, in order, lists in it included."""
    item = "{{apiVersion: v1, kind: Pod, metadata: {{name: {}}}, spec: {{}}}}"
    text = f"{{apiVersion: v1, kind: List, items: [{item.format('a')}, {{kind: Service, apiVersion: v1}}, {item.format('b')}]}}"
    assert [pod.name for pod in found(text)] == ["a", "b"]


@pytest.mark.parametrize("text", [
    "{apiVersion: v1, kind: Service, spec: {}}", "{apiVersion: batch.volcano.sh/v1, kind: Job, spec: {}}", "[]", "", "text",
    "{kind: Pod}", "{apiVersion: apps, kind: Deployment}",
    "{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, spec: {template: {}}}",
])  # fmt: skip
def test_others(text: str) -> None:
    """Other kinds, and kinds of that name of somebody else's, hold no pods."""
    assert found(text) == []


def test_metadata_comes() -> None:
    """A template without metadata gets some, before its spec."""
    ((document,),) = [piece.documents for piece in read("{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {}}}}")]
    (pod,) = pods(document)
    assert pod.metadata == {}
    pod.metadata["labels"] = {}
    assert document["spec"]["template"] == {"metadata": {"labels": {}}, "spec": {}}
    assert list(document["spec"]["template"]) == ["metadata", "spec"]


@pytest.mark.parametrize(("text", "why"), [
    ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}", 'Deployment "x": spec is required'),
    ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {}}", 'Deployment "x": spec.template is required'),
    ("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {spec: []}}}", "spec.template.spec must be a mapping"),
    ("{apiVersion: v1, kind: Pod, metadata: [a], spec: {}}", "metadata must be a mapping"),
    ("{apiVersion: v1, kind: Pod}", "spec must be a mapping"),
    ("{apiVersion: v1, kind: List, items: {a: b}}", "items must be a list"),
])  # fmt: skip
def test_bad(text: str, why: str) -> None:
    """A document that is not built as its kind is names the field."""
    with pytest.raises(BadManifest) as raised:
        found(text)
    assert why in str(raised.value)


@pytest.mark.parametrize("spec", ["containers: {a: b}", "containers: [a]", "containers: [{image: x}]", "containers: [{name: [x]}]"])
def test_bad_containers(spec: str) -> None:
    """Containers have names."""
    (pod,) = found(f"{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {{{spec}}}}}")
    with pytest.raises(BadManifest, match='Pod "x": containers must be a list'):
        pod.containers()


@pytest.mark.parametrize(("labels", "words"), [("{a: b, c: }", {"a": "b", "c": ""}), ("", {}), ("{a: {}}", None), ("[]", None)])
def test_words(labels: str, words: Any) -> None:
    """Labels are texts by name."""
    (pod,) = found(f"{{apiVersion: v1, kind: Pod, metadata: {{name: x, labels: {labels}}}, spec: {{}}}}")
    if words is not None:
        assert pod.words("labels") == words
    else:
        with pytest.raises(BadManifest):
            pod.words("labels")
