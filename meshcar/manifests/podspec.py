"""Where pods are in Kubernetes documents: a Pod itself, the template of a Deployment and its kin, the items of a List."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from meshcar.manifests.documents import is_true

_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "DeploymentConfig"): ("spec", "template"),
    ("", "Pod"): (),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps.openshift.io", "DeploymentConfig"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "Job"): ("spec", "template"),
}
"""Group and kind: the way to the pod template. Source: the kinds of Istio's injection scheme."""


class BadManifest(ValueError):
    """A document of a kind that holds pods is not built as that kind is. The message names it and the field."""


@attrs.define(eq=False)
class Pod:
    """A pod or a template of pods, within a document. `metadata` and `spec` are the document's own and may be changed.

    `who` is the document as people call it, `Deployment "httpbin"`; `name` the workload's name, `namespace` where it is,
    empty if it does not say.
    """

    who: str
    kind: str
    name: str
    namespace: str
    metadata: dict[str, Any]
    spec: dict[str, Any]

    def containers(self, of: str = "containers") -> list[dict[str, Any]]:
        """The containers, or the `initContainers`, for reading. Raises BadManifest where they are no list of mappings with names."""
        return self._named(of)

    def volumes(self) -> list[dict[str, Any]]:
        """The volumes, likewise."""
        return self._named("volumes")

    def words(self, of: str) -> dict[str, str]:
        """The `labels` or `annotations`, for reading. Raises BadManifest where they are not texts by name."""
        found = self.metadata.get(of)
        if found is None:
            return {}
        if not isinstance(found, dict) or not all(isinstance(value, str | None) for value in found.values()):
            raise BadManifest(f"{self.who}: metadata.{of} must be texts by name")
        return {key: value or "" for key, value in found.items()}

    @property
    def on_host_network(self) -> bool:
        """Whether the pod lives in its node's network."""
        return is_true(self.spec.get("hostNetwork"))

    @property
    def service_account(self) -> str:
        """Its name."""
        return str(self.spec.get("serviceAccountName") or self.spec.get("serviceAccount") or "default")

    def _named(self, of: str) -> list[dict[str, Any]]:
        found = self.spec.get(of)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in found):
            raise BadManifest(f"{self.who}: {of} must be a list whose entries have names")
        return found


def pods(document: Any) -> Iterator[Pod]:
    """The pods of a document, in order; none for other kinds. Raises BadManifest."""
    if not isinstance(document, dict):
        return
    group, _, version = str(document.get("apiVersion") or "").rpartition("/")
    kind = document.get("kind")
    if (group, kind) == ("", "List"):
        items = document.get("items") or []
        if not isinstance(items, list):
            raise BadManifest("List: items must be a list")
        for item in items:
            yield from pods(item)
    elif version and (group, kind) in _TEMPLATES:
        yield _pod(document, _TEMPLATES[group, str(kind)])


def _pod(document: dict[str, Any], way: tuple[str, ...]) -> Pod:
    kind = str(document["kind"])
    about = document.get("metadata")
    about = about if isinstance(about, dict) else {}
    who = f'{kind} "{"/".join(str(about[key]) for key in ("namespace", "name") if about.get(key)) or about.get("generateName") or "?"}"'
    holder: Any = document
    for number, step in enumerate(way, 1):
        holder = holder.get(step)
        if not isinstance(holder, dict):
            raise BadManifest(f"{who}: {'.'.join(way[:number])} is required")
    metadata, spec = holder.get("metadata") or {}, holder.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise BadManifest(f"{who}: {'.'.join((*way, 'spec' if isinstance(metadata, dict) else 'metadata'))} must be a mapping")
    if holder.get("metadata") is not metadata:
        rest = dict(holder)
        holder.clear()
        holder.update(rest | {"metadata": metadata} if "metadata" in rest else {"metadata": metadata} | rest)
    return Pod(who, kind, _workload(about), str(metadata.get("namespace") or about.get("namespace") or ""), metadata, spec)


def _workload(about: dict[str, Any]) -> str:
    """The name of the workload: that of the document, or of what controls a pod with a generated name; a ReplicaSet's is its
    Deployment's and a hash. Source: Istio's GetDeployMetaFromPod."""
    owners, labels = about.get("ownerReferences"), about.get("labels")
    owners = [one for one in owners if isinstance(one, dict) and is_true(one.get("controller"))] if isinstance(owners, list) else []
    if not owners or not about.get("generateName"):
        return str(about.get("name") or about.get("generateName") or "").rstrip("-")
    hashed = labels.get("pod-template-hash") if isinstance(labels, dict) and owners[0].get("kind") == "ReplicaSet" else None
    return str(owners[0].get("name") or "").removesuffix(f"-{hashed}")
