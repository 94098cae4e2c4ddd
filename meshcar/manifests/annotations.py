"""What a pod asks of its injection: Istio's annotations, each obeyed, refused with a reason, or told to have no effect."""

import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from typing import Any

import attrs

from meshcar.manifests import documents
from meshcar.manifests.iptables import parse_interfaces, parse_ports
from meshcar.rules.units import FALSE, TRUE, WrongType, duration

STATUS = "sidecar.istio.io/status"
INJECT = "sidecar.istio.io/inject"
CONFIG = "proxy.istio.io/config"
TEMPLATES = "inject.istio.io/templates"
AGENT_PORT = 15020
_KUBEVIRT = "traffic.sidecar.istio.io/kubevirtInterfaces"

_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE])?")
"""Source: Kubernetes' resource.Quantity."""


@attrs.frozen(kw_only=True)
class Choices:
    """What the annotations of a pod say; None, or the default, where they say nothing. Ports and ranges are as `meshcar iptables` takes
    them; `drain` is in seconds."""

    image: str | None = None
    native: bool | None = None
    mode: str = "REDIRECT"
    agent_port: int = AGENT_PORT
    rewrite_probes: bool = True
    hold: bool | None = None
    drain: float | None = None
    scraped: bool = True
    included_inbound: str = "*"
    excluded_inbound: str = ""
    included_ranges: str = "*"
    excluded_ranges: str = ""
    included_outbound: str | None = None
    excluded_outbound: str | None = None
    excluded_interfaces: str | None = None
    virtual_interfaces: str | None = None
    cpu: str | None = None
    memory: str | None = None
    cpu_limit: str | None = None
    memory_limit: str | None = None
    readiness_delay: int | None = None
    readiness_period: int | None = None
    readiness_failures: int | None = None
    volumes: Mapping[str, Any] = attrs.field(factory=dict)
    mounts: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def resources(self) -> dict[str, Any] | None:
        """The container's resources; None where the template's stand. As in Istio, one annotation replaces them all."""
        requests = {name: value for name, value in (("cpu", self.cpu), ("memory", self.memory)) if value is not None}
        limits = {name: value for name, value in (("cpu", self.cpu_limit), ("memory", self.memory_limit)) if value is not None}
        return {kind: found for kind, found in (("requests", requests), ("limits", limits)) if found} or None


@attrs.frozen
class Asked:
    """Choices, with `notes` on what has no effect and `problems` where injection cannot go on."""

    choices: Choices
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_annotations(annotations: Mapping[str, str]) -> Asked:
    """What a pod's annotations ask for."""
    values: dict[str, Any] = {}
    notes, problems = [], []
    for name, text in sorted(annotations.items(), key=lambda item: (item[0] not in _EARLY, item[0])):
        try:
            if name == CONFIG:
                notes += _config(text, values)
            elif name in _READERS:
                field, read = _READERS[name]
                values[field] = read(text)
            elif name in _WITHOUT_EFFECT or _is_istios(name) and name not in _SILENT:
                notes.append(f"annotation {name} has no effect: {_WITHOUT_EFFECT.get(name, 'meshcar does not know it')}")
        except (ValueError, WrongType) as e:
            problems.append(f"annotation {name}: {e}")
    return Asked(Choices(**values), tuple(notes), tuple(problems))


def wants_injection(labels: Mapping[str, str], annotations: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a pod is to be injected, by label, else by annotation, and a note where that cannot be read. Source: injectRequired."""
    said = labels.get(INJECT, annotations.get(INJECT, ""))
    if said in ("", "true", "false"):
        return said != "false", ""
    return True, f"{INJECT}: {said!r} is neither true nor false, and taken as not there"


def _is_istios(name: str) -> bool:
    domain, slash, _ = name.partition("/")
    return bool(slash) and (domain == "istio.io" or domain.endswith(".istio.io"))


def _mode(text: str) -> str:
    if text not in ("REDIRECT", "TPROXY", "NONE"):
        raise ValueError(f"{text!r} is none of REDIRECT, TPROXY, NONE")
    return text


def _boolean(text: str) -> bool:
    if text not in TRUE | FALSE:
        raise ValueError(f"{text!r} is neither true nor false")
    return text in TRUE


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**31:
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if not _number(text):
        raise ValueError("must be at least 1")
    return int(text)


def _port(text: str) -> int:
    if _number(text.strip()) > 65535:
        raise ValueError(f"{text!r} is not a port")
    return int(text)


def _ports(text: str) -> str:
    parse_ports(text)
    return text.strip()


def _ports_or_all(text: str) -> str:
    return text if text == "*" else _ports(text)


def _ranges(text: str) -> str:
    for word in text.split(",") if text else ():
        if "/" not in word:
            raise ValueError(f"{word!r} is not a range such as 10.0.0.0/8")
        ip_network(word, strict=False)
    return text


def _ranges_or_all(text: str) -> str:
    return text if text == "*" else _ranges(text)


def _interfaces(text: str) -> str:
    parse_interfaces(text)
    return text


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError(f"{text!r} is not a quantity such as 100m or 128Mi")
    return text


def _drain(text: str) -> float:
    seconds = duration(text)
    if seconds > 3600:
        raise ValueError("the sidecar drains for an hour at most")
    return seconds


def _image(text: str) -> str:
    if not re.fullmatch(r"[^\s\"']+", text):
        raise ValueError(f"{text!r} is not an image")
    return text


def _by_name(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise ValueError(f"is not JSON: {e}") from None
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ValueError("is not a JSON object of objects by name")
    return value


_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "istio.io/reroute-virtual-interfaces": ("virtual_interfaces", _interfaces),
    "prometheus.istio.io/merge-metrics": ("scraped", _boolean),
    "readiness.status.sidecar.istio.io/failureThreshold": ("readiness_failures", _positive),
    "readiness.status.sidecar.istio.io/initialDelaySeconds": ("readiness_delay", _number),
    "readiness.status.sidecar.istio.io/periodSeconds": ("readiness_period", _positive),
    "sidecar.istio.io/interceptionMode": ("mode", _mode),
    "sidecar.istio.io/nativeSidecar": ("native", _boolean),
    "sidecar.istio.io/proxyCPU": ("cpu", _quantity),
    "sidecar.istio.io/proxyCPULimit": ("cpu_limit", _quantity),
    "sidecar.istio.io/proxyImage": ("image", _image),
    "sidecar.istio.io/proxyMemory": ("memory", _quantity),
    "sidecar.istio.io/proxyMemoryLimit": ("memory_limit", _quantity),
    "sidecar.istio.io/rewriteAppHTTPProbers": ("rewrite_probes", _boolean),
    "sidecar.istio.io/userVolume": ("volumes", _by_name),
    "sidecar.istio.io/userVolumeMount": ("mounts", _by_name),
    "status.sidecar.istio.io/port": ("agent_port", _port),
    "traffic.sidecar.istio.io/excludeInboundPorts": ("excluded_inbound", _ports),
    "traffic.sidecar.istio.io/excludeInterfaces": ("excluded_interfaces", _interfaces),
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": ("excluded_ranges", _ranges),
    "traffic.sidecar.istio.io/excludeOutboundPorts": ("excluded_outbound", _ports),
    "traffic.sidecar.istio.io/includeInboundPorts": ("included_inbound", _ports_or_all),
    "traffic.sidecar.istio.io/includeOutboundIPRanges": ("included_ranges", _ranges_or_all),
    "traffic.sidecar.istio.io/includeOutboundPorts": ("included_outbound", _ports),
    _KUBEVIRT: ("virtual_interfaces", _interfaces),
}
_EARLY = (CONFIG, _KUBEVIRT)
"""Read before the others, which win over them: an annotation over the config's field, the newer name over the older."""

_SILENT = (STATUS, INJECT, TEMPLATES, "istio.io/rev")
_ENVOYS = "it configures Envoy"
_LEVELS = "POST /logging sets the levels of a sidecar's log"
_WITHOUT_EFFECT = {
    "sidecar.istio.io/agentLogLevel": _LEVELS,
    "sidecar.istio.io/bootstrapOverride": _ENVOYS,
    "sidecar.istio.io/capNetBindService": "the sidecar listens above port 1024",
    "sidecar.istio.io/componentLogLevel": _LEVELS,
    "sidecar.istio.io/discoveryAddress": "rules come from the ConfigMap",
    "sidecar.istio.io/logLevel": _LEVELS,
    "sidecar.istio.io/proxyImageType": "there is one image",
}
"""Annotations of Istio's that mean nothing here, and why."""


def _config(text: str, values: dict[str, Any]) -> list[str]:
    """Reads proxy.istio.io/config into `values`; notes on the fields that have no effect."""
    notes = []
    for piece in documents.read(text):
        for config in piece.documents:
            if not isinstance(config, dict):
                raise ValueError("is not a mapping")
            for field, value in config.items():
                if field in _CONFIG_READERS:
                    name, read = _CONFIG_READERS[field]
                    values[name] = read(str(value))
                else:
                    notes.append(f"annotation {CONFIG}: {field} has no effect")
    return notes


_CONFIG_READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "holdApplicationUntilProxyStarts": ("hold", _boolean),
    "interceptionMode": ("mode", _mode),
    "statusPort": ("agent_port", _port),
    "terminationDrainDuration": ("drain", _drain),
}
