"""A pod as it was before its sidecar came, by the status that injection wrote."""

import json
from collections.abc import Collection
from typing import Any

from meshcar.manifests.annotations import STATUS
from meshcar.manifests.podspec import BadManifest, Pod
from meshcar.manifests.probes import restored


def take_out(pod: Pod) -> bool:
    """Takes a sidecar of ours out of a pod, by what its status says; whether there was one."""
    status = _status(pod)
    if status is None:
        return False
    for of in ("initContainers", "containers"):
        drop_containers(pod, of, status[of])
        for at, one in enumerate(pod.containers(of)):
            pod.spec[of][at] = restored(one, status["probes"])
    for said in status["overrides"].values():
        pod.spec.setdefault(said["of"], []).insert(said["at"], said["container"])
    pod.spec["volumes"] = [one for one in pod.volumes() if one["name"] not in status["volumes"]]
    for of in ("labels", "annotations"):
        gone = {*status[of], STATUS}
        pod.metadata[of] = {key: value for key, value in (pod.metadata.get(of) or {}).items() if key not in gone}
    drop_empty(pod)
    return True


def _status(pod: Pod) -> dict[str, Any] | None:
    """What `inject` wrote about a pod, every part there; None if there is nothing, or Istio wrote it. Raises BadManifest."""
    said = pod.words("annotations").get(STATUS, "")
    try:
        status = json.loads(said)
    except ValueError:
        return None
    if not isinstance(status, dict) or "labels" not in status:
        return None
    lists = {name: status.get(name) or [] for name in ("initContainers", "containers", "volumes", "labels", "annotations")}
    maps = {name: status.get(name) or {} for name in ("probes", "overrides")}
    if not all(isinstance(one, list) for one in lists.values()) or not all(isinstance(one, dict) for one in maps.values()):
        raise BadManifest(f"{pod.who}: annotation {STATUS} is not as it was written")
    if not all(isinstance(one, dict) and one.keys() == {"of", "at", "container"} for one in maps["overrides"].values()):
        raise BadManifest(f"{pod.who}: annotation {STATUS} is not as it was written")
    return lists | maps


def drop_containers(pod: Pod, of: str, names: Collection[str]) -> None:
    """Takes those of the `containers`, or `initContainers`, that have one of the names out of a pod."""
    if of in pod.spec:
        pod.spec[of] = [one for one in pod.containers(of) if one["name"] not in names]


def drop_empty(pod: Pod) -> None:
    """What holds nothing is as good as not there, and must not decide on an order."""
    for holder, keys in ((pod.metadata, ("labels", "annotations")), (pod.spec, ("initContainers", "volumes"))):
        for key in keys:
            if holder.get(key) in (None, [], {}):
                holder.pop(key, None)
