"""The template of what is injected: read, checked, filled in, and laid under what a pod says of the same container."""

import re
from collections.abc import Mapping
from typing import Any

import attrs

from meshcar.manifests import documents

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_MERGE_KEYS = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
"""Lists of a container whose entries have names. Source: the patch merge keys of Kubernetes' Container."""
_PARTS = {"labels": dict, "annotations": dict, "resources": dict, "init": dict, "sidecar": dict, "volumes": list}
_NOTHING = object()


@attrs.frozen
class Template:
    """The parts, not filled in. `init` and `sidecar` are containers with a name."""

    labels: dict[str, Any]
    annotations: dict[str, Any]
    resources: dict[str, Any]
    init: dict[str, Any]
    sidecar: dict[str, Any]
    volumes: list[Any]


def read_template(text: str) -> Template:
    """The template out of its YAML text. Raises ValueError."""
    found = [document for piece in documents.read(text) for document in piece.documents]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise ValueError("a template is one mapping")
    parts = found[0]
    for name in parts:
        if name not in _PARTS:
            raise ValueError(f"{name!r} is none of {', '.join(_PARTS)}")
    for name, kind in _PARTS.items():
        if not isinstance(parts.get(name) or kind(), kind):
            raise ValueError(f"{name} must be a {'list' if kind is list else 'mapping'}")
    for name in ("init", "sidecar"):
        if not isinstance((parts.get(name) or {}).get("name"), str):
            raise ValueError(f"{name} must be a container with a name")
    return Template(**{name: parts.get(name) or kind() for name, kind in _PARTS.items()})


def filled(part: Any, variables: Mapping[str, Any]) -> Any:
    """A part of a template with every `${name}` filled in. Raises ValueError for a name that is not among the variables.

    Where a variable is None, the key it is the value of is left out, and the entry of a list it is in; a list in a list becomes its
    entries.
    """
    if isinstance(part, dict):
        pairs = ((key, filled(child, variables)) for key, child in part.items())
        return {key: value for key, value in pairs if value is not _NOTHING}
    if isinstance(part, list):
        return [one for child in part for one in _entries(child, variables)]
    return _text(part, variables) if isinstance(part, str) else part


def overlaid(container: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A container with what the pod says of it on top: mappings are merged, env, volumeMounts and ports by their names, other lists
    and values replaced. Source: Kubernetes' strategic merge patch."""
    result = dict(container)
    for key, value in own.items():
        under = result.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            result[key] = overlaid(under, value)
        elif key in _MERGE_KEYS and isinstance(value, list) and isinstance(under, list):
            result[key] = _merged(under, value, _MERGE_KEYS[key])
        else:
            result[key] = value
    return result


def _entries(child: Any, variables: Mapping[str, Any]) -> list[Any]:
    value = filled(child, variables)
    if value is _NOTHING or isinstance(child, dict) and len(value) < len(child):
        return []
    return value if isinstance(value, list) and isinstance(child, str) else [value]


def _text(text: str, variables: Mapping[str, Any]) -> Any:
    for name in _VARIABLE.findall(text):
        if name not in variables:
            raise ValueError(f"${{{name}}} is none of the template's variables: {', '.join(sorted(variables))}")
    if whole := _VARIABLE.fullmatch(text):
        return _NOTHING if variables[whole[1]] is None else variables[whole[1]]
    return type(text)(_VARIABLE.sub(lambda found: str(variables[found[1]]), text))


def _merged(under: list[Any], own: list[Any], by: str) -> list[Any]:
    def name(entry: Any) -> str | None:
        return str(entry[by]) if isinstance(entry, dict) and by in entry else None

    ours = {name(entry): entry for entry in own if name(entry) is not None}
    kept = [overlaid(entry, ours.pop(name(entry))) if name(entry) in ours else entry for entry in under]
    return kept + [entry for entry in own if name(entry) is None or name(entry) in ours]
