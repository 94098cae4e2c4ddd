"""An application's probes, asked through the sidecar's agent port: how they are rewritten, and what the agent is told of them.

The kubelet has no certificate of the mesh, and its TCP probe would find the sidecar's listener instead of the application's.
Source: Istio's app_probe.go and pilot-agent's KubeAppProbers.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from meshcar.manifests.documents import value_of, whole_number

PATH = re.compile(r"/(app-health|app-lifecycle)/[^/]+/(livez|readyz|startupz|prestopz|poststartz)")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LIFECYCLE_SECONDS = 30
"""What a hook may take: Kubernetes sets it no time of its own."""

_PROBES = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}
_HOOKS = {"preStop": "prestopz", "postStart": "poststartz"}


@attrs.frozen
class HttpProbe:
    """A GET. `path` begins with a slash; `headers` are those that the probe sets besides the kubelet's."""

    port: int
    path: str = "/"
    secure: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 1.0


@attrs.frozen
class TcpProbe:
    """A connection that comes about."""

    port: int
    seconds: float = 1.0


Probe = HttpProbe | TcpProbe


@attrs.frozen
class Rewriting:
    """What became of a container's probes. `container` is it anew; `told` what the agent gets, `originals` what stood there, both by
    the agent's path; `notes` say which were left alone, and why."""

    container: dict[str, Any]
    told: dict[str, Any] = attrs.field(factory=dict)
    originals: dict[str, Any] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)


def rewritten(container: dict[str, Any], agent_port: int) -> Rewriting:
    """A container whose HTTP and TCP probes and hooks ask the agent. exec, grpc and what does not ask the pod itself stay."""
    result = Rewriting(dict(container))
    ports = _named_ports(container)
    for field, path, probe in _actions(container):
        told, why = _told(probe, ports, agent_port)
        if told is None:
            if why:
                result.notes.append(f"{'.'.join(field)} of container {container['name']!r} is left alone: {why}")
            continue
        if field[0] != "lifecycle":
            told["timeoutSeconds"] = whole_number(probe.get("timeoutSeconds")) or 1
        result.told[path] = told
        result.originals[path] = value_of({key: probe[key] for key in ("httpGet", "tcpSocket") if key in probe})
        _replace(result.container, field, _asking(probe, path, agent_port))
    return result


def restored(container: dict[str, Any], originals: Mapping[str, Any]) -> dict[str, Any]:
    """A container with the probes that stood there before `rewritten`."""
    result = dict(container)
    for field, path, probe in _actions(container):
        if path in originals and isinstance(originals[path], dict):
            _replace(result, field, _exchanged(probe, originals[path]))
    return result


def ports_of(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A container's ports, as far as they are mappings."""
    found = container.get("ports")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def read_probes(text: str) -> Mapping[str, Probe]:
    """The probes out of MESHCAR_APP_PROBES, by path. Raises ValueError."""
    try:
        value = json.loads(text)
    except ValueError as e:
        raise ValueError(f"is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")
    return {path: _read(path, action) for path, action in value.items()}


def _actions(container: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, dict[str, Any]]]:
    """Each probe and hook of a container: its fields, the agent's path for it, itself."""
    name = container["name"]
    for field, word in _PROBES.items():
        if isinstance(probe := container.get(field), dict):
            yield (field,), f"/app-health/{name}/{word}", probe
    lifecycle = container.get("lifecycle")
    for field, word in _HOOKS.items():
        if isinstance(lifecycle, dict) and isinstance(hook := lifecycle.get(field), dict):
            yield ("lifecycle", field), f"/app-lifecycle/{name}/{word}", hook


def _told(probe: dict[str, Any], ports: Mapping[str, int], agent_port: int) -> tuple[dict[str, Any] | None, str]:
    """What the agent has to know to ask in the kubelet's place; or None and, where people may wonder, why not."""
    if "grpc" in probe:
        return None, "grpc probes are not asked through the agent; they pass the inbound port, which STRICT closes to the kubelet"
    kind = "httpGet" if "httpGet" in probe else "tcpSocket"
    action = probe.get(kind)
    if not isinstance(action, dict):
        return None, ""
    if action.get("host"):
        return None, f"it asks {action['host']}, not the pod"
    port = _port(action.get("port"), ports)
    if port is None:
        return None, f"no port of the container is called {action.get('port')!r}"
    if port == agent_port:
        return None, f"port {port} is the agent's"
    told: dict[str, Any] = {"port": port}
    if kind == "httpGet":
        told |= {key: value_of(action[key]) for key in ("path", "scheme", "httpHeaders") if action.get(key)}
    return {kind: told}, ""


def _port(said: Any, ports: Mapping[str, int]) -> int | None:
    """A number, the name of a port, or, as the kubelet has it, a number in quotes."""
    number = whole_number(said)
    if number is None and isinstance(said, str):
        number = ports.get(said, int(said) if said.isascii() and said.isdigit() else None)
    return number


def _named_ports(container: dict[str, Any]) -> dict[str, int]:
    ports = {str(one["name"]): whole_number(one.get("containerPort")) for one in ports_of(container) if one.get("name")}
    return {name: port for name, port in ports.items() if port is not None}


def _asking(probe: dict[str, Any], path: str, agent_port: int) -> dict[str, Any]:
    """The probe with everything it has but for where it asks; its headers are the kubelet's to send, and the agent passes them on."""
    action: dict[str, Any] = {"path": path, "port": agent_port}
    if isinstance(probe.get("httpGet"), dict) and probe["httpGet"].get("httpHeaders"):
        action["httpHeaders"] = probe["httpGet"]["httpHeaders"]
    return _exchanged(probe, {"httpGet": action})


def _exchanged(probe: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    return action | {key: value for key, value in probe.items() if key not in ("httpGet", "tcpSocket")}


def _replace(container: dict[str, Any], field: tuple[str, ...], probe: dict[str, Any]) -> None:
    if field[0] == "lifecycle":
        container["lifecycle"] = container["lifecycle"] | {field[1]: probe}
    else:
        container[field[0]] = probe


def _read(path: str, action: Any) -> Probe:
    if not PATH.fullmatch(path):
        raise ValueError(f"{path!r} is not a path of a container's probe, as /app-health/CONTAINER/livez")
    action = action if isinstance(action, dict) else {}
    kinds = [kind for kind in ("httpGet", "tcpSocket", "grpc") if isinstance(action.get(kind), dict)]
    if kinds not in (["httpGet"], ["tcpSocket"]):
        raise ValueError(f"{path}: one of httpGet and tcpSocket is needed" + ("; grpc is not built" if "grpc" in kinds else ""))
    target = action[kinds[0]]
    port, seconds = target.get("port"), action.get("timeoutSeconds", LIFECYCLE_SECONDS if path.startswith("/app-lifecycle/") else 1)
    if type(port) is not int or not 1 <= port <= 65535:
        raise ValueError(f"{path}: port {port!r} is not a number from 1 to 65535")
    if type(seconds) is not int or not 0 <= seconds <= 86400:
        raise ValueError(f"{path}: timeoutSeconds {seconds!r} is not a number of seconds")
    if kinds == ["tcpSocket"]:
        return TcpProbe(port, seconds or 1)
    where, scheme = str(target.get("path") or "/"), str(target.get("scheme") or "HTTP")
    if scheme not in ("HTTP", "HTTPS"):
        raise ValueError(f"{path}: scheme {scheme!r} is neither HTTP nor HTTPS")
    return HttpProbe(port, where if where.startswith("/") else f"/{where}", scheme == "HTTPS", _headers(path, target), seconds or 1)


def _headers(path: str, target: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = target.get("httpHeaders") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in found):
        raise ValueError(f"{path}: httpHeaders must be a list of names and values")
    headers = tuple((one["name"], str(one.get("value") or "")) for one in found)
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise ValueError(f"{path}: {name!r} is no header that can be sent")
    return headers
