"""The page's Deployments, injected, as Pods that podman 4.3 can play: what it reads otherwise than Kubernetes is said another way."""

import base64
from pathlib import Path
from typing import Any

import yaml

ADDRESSES = {"httpbin-v1": "10.44.0.11", "httpbin-v2": "10.44.0.12", "sleep": "10.44.0.10"}
"""By Deployment, in the order of the page's documents."""
CLUSTER_IP = "10.96.0.100"

Document = dict[str, Any]


def documents(injected: str, rules: str) -> str:
    """YAML for `podman kube play`: the ConfigMap that `meshcar inject` names, and a Pod for each Deployment."""
    return yaml.safe_dump_all([
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "meshcar-rules"}, "data": {"rules.yaml": rules}},
        *map(_pod, yaml.safe_load_all(injected)),
    ], sort_keys=False)  # fmt: skip


def secret(folder: Path, podman: str) -> str:
    """YAML for `podman secret create`: the files of a folder. `podman` is its version; before 4.4 it brings values undecoded."""
    decodes = tuple(map(int, podman.split(".")[:2])) >= (4, 4)
    files = {path.name: base64.b64encode(path.read_bytes()).decode() if decodes else path.read_text() for path in sorted(folder.iterdir())}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "data": files})


def _pod(deployment: Document) -> Document:
    name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
    metadata, spec = template["metadata"] | {"name": name}, template["spec"]
    # it refuses annotations of more than 63 characters, which only labels are limited to
    metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if len(value) < 64}
    # it would restart an init container that is done
    spec["restartPolicy"] = "OnFailure"
    # there are no Services, so nobody answers for the name
    spec["hostAliases"] = [{"ip": CLUSTER_IP, "hostnames": ["httpbin"]}]
    for container in [*spec["initContainers"], *spec["containers"]]:
        # it would bind these on its host
        container.pop("ports", None)
        for variable in container.get("env", ()):
            # it knows neither metadata.namespace nor spec.serviceAccountName
            if variable.pop("valueFrom", None):
                variable["value"] = "default"
        for mount in container.get("volumeMounts", ()):
            mount["name"] = _own(mount["name"], name)
    for volume in spec["volumes"]:
        volume["name"] = _own(volume["name"], name)
        # it dies of one that does not say
        if "secret" in volume:
            volume["secret"]["optional"] = False
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _own(volume: str, pod: str) -> str:
    """Pods that have an emptyDir of one name would share it."""
    return f"{pod}-{volume}"
