"""The published rules of a PodSpec, written down by hand: what a kube-apiserver would say of a pod template.

Source: the API reference of core/v1 Pod (Kubernetes 1.29 to 1.34), and validation.go's rules for what it does not say.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|Ki|Mi|Gi|)")
SCALE = {"m": Decimal("0.001"), "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
FIELDS = "metadata.name metadata.namespace metadata.uid spec.nodeName spec.serviceAccountName status.hostIP status.podIP".split()
TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str, "image": str, "command": list, "args": list, "env": list, "envFrom": list, "ports": list, "resources": dict,
    "securityContext": dict, "volumeMounts": list, "startupProbe": dict, "readinessProbe": dict, "livenessProbe": dict, "lifecycle": dict,
    "restartPolicy": str, "imagePullPolicy": str, "workingDir": str, "tty": bool,
}  # fmt: skip
SECURITY: dict[str, type] = {
    "allowPrivilegeEscalation": bool, "capabilities": dict, "privileged": bool, "readOnlyRootFilesystem": bool, "runAsGroup": int,
    "runAsNonRoot": bool, "runAsUser": int, "seccompProfile": dict,
}  # fmt: skip
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
ACTIONS: dict[str, dict[str, Any]] = {
    "exec": {"command": list},
    "httpGet": {"path": str, "port": (int, str), "host": str, "scheme": str, "httpHeaders": list},
    "tcpSocket": {"port": (int, str), "host": str},
    "grpc": {"port": int, "service": str},
}


def faults(template: dict[str, Any]) -> list[str]:
    """What is wrong with a pod or a pod template."""
    return [*_metadata(template["metadata"]), *_spec(template["spec"])]


def _metadata(metadata: dict[str, Any]) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        if not (LABEL_KEY.fullmatch(key) and isinstance(value, str) and LABEL_VALUE.fullmatch(value)):
            yield f"label {key}: {value!r}"
    for key, value in metadata.get("annotations", {}).items():
        if not (LABEL_KEY.fullmatch(key) and isinstance(value, str)):
            yield f"annotation {key}: {value!r}"


def _spec(spec: dict[str, Any]) -> Iterator[str]:
    inits, containers = spec.get("initContainers", []), spec["containers"]
    names = [one["name"] for one in inits + containers]
    yield from _unique("container", names)
    if not containers:
        yield "no containers"
    volumes = spec.get("volumes", [])
    yield from _unique("volume", [one["name"] for one in volumes])
    for volume in volumes:
        sources = [key for key in volume if key != "name"]
        if not LABEL.fullmatch(volume["name"]) or len(sources) != 1 or not isinstance(volume[sources[0]], dict):
            yield f"volume {volume}"
    for one in inits + containers:
        yield from (f"{one['name']}: {fault}" for fault in _container(one, one in inits, {volume["name"] for volume in volumes}))


def _container(one: dict[str, Any], init: bool, volumes: set[str]) -> Iterator[str]:
    yield from _types(one, TYPES)
    if not LABEL.fullmatch(one["name"]) or not one.get("image"):
        yield "name or image"
    if not init and "restartPolicy" in one or one.get("restartPolicy", "Always") != "Always":
        yield "restartPolicy"
    if init and "restartPolicy" not in one and (one.keys() & {*PROBES, "lifecycle"}):
        yield "an init container that ends has no probes and no hooks"
    if not all(isinstance(word, str) for word in one.get("command", []) + one.get("args", [])):
        yield "command or args hold what is no text"
    yield from _env(one.get("env", []))
    yield from _ports(one.get("ports", []))
    yield from _unique("mountPath", [mount["mountPath"] for mount in one.get("volumeMounts", [])])
    for mount in one.get("volumeMounts", []):
        if mount["name"] not in volumes or ":" in mount["mountPath"] or not mount["mountPath"].startswith("/"):
            yield f"mount {mount}"
    yield from _resources(one.get("resources", {}))
    yield from _security(one.get("securityContext", {}))
    for name in PROBES:
        if name in one:
            yield from _probe(name, one[name])
    for name, hook in one.get("lifecycle", {}).items():
        if name not in ("preStop", "postStart"):
            yield f"lifecycle.{name}"
        yield from _action(f"lifecycle.{name}", hook, ())


def _env(env: list[dict[str, Any]]) -> Iterator[str]:
    yield from _unique("env", [one["name"] for one in env])
    for one in env:
        path = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        if not re.fullmatch(r"[-._A-Za-z][-._A-Za-z0-9]*", one["name"]) or ("value" in one) == ("valueFrom" in one):
            yield f"env {one}"
        if "value" in one and not isinstance(one["value"], str) or path is not None and path not in FIELDS:
            yield f"env {one}"


def _ports(ports: list[dict[str, Any]]) -> Iterator[str]:
    yield from _unique("port", [one["name"] for one in ports if "name" in one])
    for one in ports:
        if not _is_port(one["containerPort"]) or "name" in one and not PORT_NAME.fullmatch(one["name"]):
            yield f"port {one}"
        if one.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
            yield f"port {one}"


def _resources(resources: dict[str, Any]) -> Iterator[str]:
    amounts: dict[tuple[str, str], Decimal] = {}
    for kind, found in resources.items():
        for name, text in found.items():
            match = QUANTITY.fullmatch(str(text))
            if kind not in ("requests", "limits") or match is None:
                yield f"resources.{kind}.{name}: {text!r}"
            else:
                amounts[kind, name] = Decimal(match[1]) * SCALE[match[2]]
    for name in ("cpu", "memory"):
        if amounts.get(("requests", name), Decimal(0)) > amounts.get(("limits", name), Decimal("inf")):
            yield f"requests of {name} over its limit"


def _security(security: dict[str, Any]) -> Iterator[str]:
    yield from _types(security, SECURITY)
    capabilities = security.get("capabilities", {})
    words = [word for kind in ("add", "drop") for word in capabilities.get(kind, [])]
    if not all(isinstance(word, str) for word in words) or capabilities.keys() - {"add", "drop"}:
        yield f"capabilities {capabilities}"
    if security.get("allowPrivilegeEscalation") is False and (security.get("privileged") or "SYS_ADMIN" in capabilities.get("add", [])):
        yield "allowPrivilegeEscalation false, and privileged"
    if security.get("runAsNonRoot") and security.get("runAsUser") == 0:
        yield "runAsNonRoot and user 0"


def _probe(name: str, probe: dict[str, Any]) -> Iterator[str]:
    numbers = {
        "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1, "successThreshold": 1,
        "terminationGracePeriodSeconds": 1,
    }  # fmt: skip
    yield from _action(name, probe, tuple(numbers))
    for field, least in numbers.items():
        value = probe.get(field, least)
        if type(value) is not int or value < least or field == "successThreshold" and name != "readinessProbe" and value != 1:
            yield f"{name}.{field}: {value!r}"


def _action(name: str, holder: dict[str, Any], others: tuple[str, ...]) -> Iterator[str]:
    found = [key for key in holder if key not in others]
    if len(found) != 1 or found[0] not in ACTIONS:
        yield f"{name}: {found}"
        return
    action = holder[found[0]]
    yield from _types(action, ACTIONS[found[0]])
    port = action.get("port", 1)
    if not (_is_port(port) or isinstance(port, str) and PORT_NAME.fullmatch(port)):
        yield f"{name}: port {port!r}"


def _types(holder: dict[str, Any], types: dict[str, Any]) -> Iterator[str]:
    for key, value in holder.items():
        if key not in types:
            yield f"unknown field {key}"
        elif not isinstance(value, types[key]) or isinstance(value, bool) and types[key] is not bool:
            yield f"{key}: {value!r}"


def _unique(what: str, names: list[str]) -> Iterator[str]:
    if len(names) != len(set(names)):
        yield f"{what} twice: {names}"


def _is_port(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 65535
