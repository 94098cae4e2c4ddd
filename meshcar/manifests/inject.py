"""Kubernetes YAML in, the same with a sidecar in each pod out; and back again."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from meshcar.manifests import documents
from meshcar.manifests.annotations import STATUS, TEMPLATES, Choices, read_annotations, wants_injection
from meshcar.manifests.documents import value_of, whole_number
from meshcar.manifests.podspec import BadManifest, Pod, pods
from meshcar.manifests.probes import ports_of, rewritten
from meshcar.manifests.template import Template, filled, overlaid
from meshcar.manifests.uninject import drop_containers, drop_empty, take_out
from meshcar.manifests.variables import PORTS, UID, Defaults, of_pod, of_sidecar

SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "local-path-storage")
"""Whose pods keep the node alive. Source: Istio's IgnoredNamespaces."""


@attrs.frozen
class Outcome:
    """The text that came out, what people should know of it, and, where not empty, the problems that make it of no use."""

    text: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def inject(text: str, template: Template, defaults: Defaults) -> Outcome:
    """Every pod in the text gets its sidecar, or a new one in the place of the last. What holds no pod stays as it was written."""
    def change(pod: Pod, notes: list[str]) -> bool:
        if why := _left_alone(pod):
            notes.append(f"left alone: {pod.who} {why}")
            return False
        take_out(pod)
        _put_in(pod, template, defaults, notes)
        return True

    return _changed(text, change)


def uninject(text: str) -> Outcome:
    """Every pod as it was before `inject`."""
    return _changed(text, lambda pod, notes: take_out(pod))


def _changed(text: str, change: Callable[[Pod, list[str]], bool]) -> Outcome:
    parts, notes, problems = [], list[str](), list[str]()
    try:
        for piece in documents.read(text):
            new, any_changed = [], False
            for document in copy.deepcopy(piece.documents):
                try:
                    for pod in pods(document):
                        any_changed |= change(pod, notes)
                except ValueError as e:
                    problems += [f"{piece.line}: {line}" for line in str(e).splitlines()]
                new.append(documents.write(document))
            marker = "---\n" if piece.text.startswith("---") else ""
            parts.append(marker + "---\n".join(new) if any_changed else piece.text)
    except documents.BadYaml as e:
        problems.append(f"{e.line}: {e}")
    return Outcome(documents.join(parts), tuple(notes), tuple(problems))


def _left_alone(pod: Pod) -> str:
    """Why a pod gets no sidecar; empty if it does."""
    annotations = pod.words("annotations")
    if pod.on_host_network:
        return "is on its node's network, whose connections all pods share"
    if pod.namespace in SYSTEM_NAMESPACES:
        return f"is in namespace {pod.namespace}"
    if not wants_injection(pod.words("labels"), annotations)[0]:
        return 'has sidecar.istio.io/inject "false"'
    if {name.strip() for name in annotations.get(TEMPLATES, "sidecar").split(",")} != {"sidecar"}:
        return f"asks for the template {annotations[TEMPLATES]!r}; there is only sidecar"
    system = pod.spec.get("os")
    if isinstance(system, dict) and system.get("name") == "windows":
        return "runs on Windows"
    if any(one["name"] == "istio-proxy" for one in [*pod.containers(), *pod.containers("initContainers")]):
        return "has a container istio-proxy, Istio's sidecar"
    return ""


def _put_in(pod: Pod, template: Template, defaults: Defaults, notes: list[str]) -> None:
    """Changes a pod that has no sidecar. Raises ValueError with a line for each problem."""
    _check_containers(pod, template)
    choices, remarks = _choices(pod, defaults)
    (pod.metadata.get("annotations") or {}).pop(STATUS, None)  # Istio's, of a sidecar that is gone
    drop_empty(pod)
    own = _own_words(pod, template)
    probes = _rewrite_probes(pod, choices)
    notes += [f"{pod.who}: {remark}" for remark in (*remarks, *probes.notes, *_remarks(pod, choices))]
    variables = of_pod(pod, defaults, choices, _user(own, template), template.resources)
    status: dict[str, Any] = {"imagePullSecrets": None, "revision": "default", "probes": probes.originals, "overrides": own}
    for of, words in (("labels", template.labels), ("annotations", template.annotations)):
        status[of] = _add(pod, of, filled(words, variables))
    # the sidecar is told of its labels as they are now
    variables |= of_sidecar(pod, probes.text)
    sidecar = _sidecar(template, variables, own, choices)
    init = [] if choices.mode == "NONE" else [_container(template.init, variables, own)]
    status |= _place(pod, init, sidecar, choices)
    status["volumes"] = _add_volumes(pod, template, variables, choices)
    pod.metadata["annotations"][STATUS] = json.dumps({key: value for key, value in status.items() if value != {}}, separators=(",", ":"))


def _choices(pod: Pod, defaults: Defaults) -> tuple[Choices, list[str]]:
    """What the pod's annotations say, else the command line; and notes."""
    asked = read_annotations(pod.words("annotations"))
    if asked.problems:
        raise BadManifest("\n".join(f"{pod.who}: {problem}" for problem in asked.problems))
    _, remark = wants_injection(pod.words("labels"), pod.words("annotations"))
    choices = asked.choices
    choices = attrs.evolve(
        choices,
        native=defaults.native if choices.native is None else choices.native,
        hold=defaults.hold if choices.hold is None else choices.hold,
    )
    return choices, [*asked.notes, *([remark] if remark else [])]


def _check_containers(pod: Pod, template: Template) -> None:
    """A probe is known by its container's name, and there must be an application."""
    names = [one["name"] for one in (*pod.containers("initContainers"), *pod.containers())]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadManifest(f"{pod.who}: two containers are called {twice[0]!r}")
    if not {one["name"] for one in pod.containers()} - {template.init["name"], template.sidecar["name"]}:
        raise BadManifest(f"{pod.who}: a pod needs containers")


def _container(part: dict[str, Any], variables: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A container of the template, under what the pod says of it."""
    generated: dict[str, Any] = filled(part, variables)
    if part["name"] not in own:
        return generated
    said = own[part["name"]]["container"]
    return overlaid(generated, {key: value for key, value in said.items() if (key, value) != ("image", "auto")})


def _sidecar(template: Template, variables: Mapping[str, Any], own: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    """The sidecar. With TPROXY it stays root, whatever the pod says: a capability added is root's alone (adjustInitContainerUser)."""
    sidecar = _container(template.sidecar, variables, own)
    mounts = [{"name": name, **mount} for name, mount in choices.mounts.items()]
    if mounts:
        sidecar["volumeMounts"] = [*(sidecar.get("volumeMounts") or []), *mounts]
    if choices.mode == "TPROXY" and _user(own, template) is not None:
        sidecar["securityContext"] = sidecar["securityContext"] | {"runAsUser": 0}
    return sidecar


def _user(own: Mapping[str, Any], template: Template) -> int | None:
    """The user that the pod, or the template itself, gives the sidecar."""
    said = own.get(template.sidecar["name"], {}).get("container", template.sidecar)
    security = said.get("securityContext")
    return whole_number(security.get("runAsUser")) if isinstance(security, dict) else None


def _own_words(pod: Pod, template: Template) -> dict[str, Any]:
    """What the pod says itself of the containers that are injected, taken out of it, and where it stood."""
    own = {}
    for of in ("containers", "initContainers"):
        for at, one in enumerate(pod.containers(of)):
            if one["name"] in (template.init["name"], template.sidecar["name"]):
                own[one["name"]] = {"of": of, "at": at, "container": value_of(one)}
        drop_containers(pod, of, own)
    return own


@attrs.frozen
class _Probes:
    text: str | None
    originals: dict[str, Any]
    notes: list[str]


def _rewrite_probes(pod: Pod, choices: Choices) -> _Probes:
    """Changes the probes of all containers; gives the text for the agent, what stood there, and notes."""
    told: dict[str, Any] = {}
    probes = _Probes(None, {}, [])
    if not choices.rewrite_probes or not choices.agent_port:
        return probes
    for of in ("containers", "initContainers"):
        for at, one in enumerate(pod.containers(of)):
            result = rewritten(one, choices.agent_port)
            pod.spec[of][at] = result.container
            told |= result.told
            probes.originals.update(result.originals)
            probes.notes.extend(result.notes)
    # Kubernetes reads $$ in a variable's value as $, and $(NAME) as another variable
    text = json.dumps(told, separators=(",", ":"), sort_keys=True).replace("$", "$$")
    return attrs.evolve(probes, text=text) if told else probes


def _remarks(pod: Pod, choices: Choices) -> Iterator[str]:
    """What will not work as people may think."""
    everyone = [*pod.containers("initContainers"), *pod.containers()]
    for who, holder in [("the pod", pod.spec), *((f"container {one['name']!r}", one) for one in everyone)]:
        security = holder.get("securityContext")
        if isinstance(security, dict) and UID in (whole_number(security.get("runAsUser")), whole_number(security.get("runAsGroup"))):
            yield f"{who} runs as user or group {UID}, the sidecar's: its connections are not captured"
    taken = {*PORTS, choices.agent_port}
    for one in everyone:
        for port in ports_of(one):
            if whole_number(port.get("containerPort")) in taken:
                yield f"port {port['containerPort']} of container {one['name']!r} is the sidecar's, too"
    if not choices.native and pod.kind in ("Job", "CronJob"):
        yield "the sidecar goes on when the job is done: end it with POST http://127.0.0.1:15020/quitquitquit"


def _add(pod: Pod, of: str, words: Mapping[str, Any]) -> list[str]:
    """Adds labels or annotations that are not there, and gives their names."""
    there = pod.metadata.get(of) or {}
    new = {key: value for key, value in words.items() if key not in there}
    pod.metadata[of] = {**there, **new}
    return list(new)


def _place(pod: Pod, init: list[dict[str, Any]], sidecar: dict[str, Any], choices: Choices) -> dict[str, Any]:
    """Puts the containers in their order, and gives their names as the status has them.

    Native: capture and sidecar before the pod's own init containers, which so are in the mesh. Classic: capture after them, as
    nobody would answer them. Source: reorderPod.
    """
    inits, containers = pod.containers("initContainers"), pod.containers()
    if choices.native:
        pod.spec["initContainers"] = [*init, sidecar, *inits]
    else:
        pod.spec["initContainers"] = [*inits, *init]
        pod.spec["containers"] = [sidecar, *containers] if choices.hold else [*containers, sidecar]
    if not pod.spec["initContainers"]:
        del pod.spec["initContainers"]
    before = [one["name"] for one in init]
    return {
        "initContainers": [*before, sidecar["name"]] if choices.native else before,
        "containers": [] if choices.native else [sidecar["name"]],
    }


def _add_volumes(pod: Pod, template: Template, variables: Mapping[str, Any], choices: Choices) -> list[str]:
    there = pod.volumes()
    names = [one["name"] for one in there]
    ours = [*filled(template.volumes, variables), *({"name": name, **volume} for name, volume in choices.volumes.items())]
    new = [one for one in ours if one["name"] not in names]
    pod.spec["volumes"] = [*there, *new]
    return [one["name"] for one in new]
