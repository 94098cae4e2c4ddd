"""What the template's variables are for one pod."""

from typing import Any

import attrs

from meshcar.manifests.annotations import Choices
from meshcar.manifests.podspec import Pod

UID = 1337
OUTBOUND, INBOUND, METRICS, HEALTH = 15001, 15006, 15090, 15021
PORTS = (OUTBOUND, INBOUND, METRICS, HEALTH)
"""What the sidecar listens on, besides the agent's port."""
_WAIT = {"postStart": {"exec": {"command": ["meshcar", "wait"]}}}
"""For a classic sidecar that holds: containers start one after another, and the next only when this hook has ended."""
_DRAIN = {"preStop": {"exec": {"command": ["meshcar", "drain"]}}}
"""For a native one: the hook runs when the pod begins to end, SIGTERM comes when the application has ended."""


@attrs.frozen(kw_only=True)
class Defaults:
    """What holds for pods that say nothing else. `certs_secret` None: `meshcar.` and the service account. `native`: as an init
    container that is restarted always, which Kubernetes has since 1.29. `hold`: without that, the application starts after it."""

    image: str
    certs_secret: str | None = None
    rules_configmap: str = "meshcar-rules"
    trust_domain: str = "cluster.local"
    native: bool = True
    hold: bool = False


def of_pod(pod: Pod, defaults: Defaults, choices: Choices, user: int | None, resources: Any) -> dict[str, Any]:
    """The variables by name; those of `of_sidecar` are nothing yet. `user` is whom the pod or the template makes the sidecar run as,
    if they say so; `resources` those of the template."""
    labels, annotations = pod.words("labels"), pod.words("annotations")
    tproxy = choices.mode == "TPROXY"
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or pod.name
    scraped = choices.scraped and not any(key.startswith("prometheus.io/") for key in annotations)
    return {
        "image": choices.image or defaults.image,
        "canonical_name": name[:63].strip("-_.") or None,
        "canonical_revision": labels.get("app.kubernetes.io/version") or labels.get("version") or "latest",
        "first_container": pod.containers()[0]["name"],
        "scrape": "true" if scraped else None,
        "scrape_port": str(METRICS) if scraped else None,
        "scrape_path": "/stats/prometheus" if scraped else None,
        "options": _options(defaults, choices),
        "readiness_delay": choices.readiness_delay,
        "readiness_period": choices.readiness_period or 15,
        "readiness_failures": choices.readiness_failures or 4,
        "capabilities": ["NET_ADMIN"] if tproxy else None,
        "non_root": not tproxy,
        "uid": 0 if tproxy else UID,
        "certs_secret": defaults.certs_secret or f"meshcar.{pod.service_account}",
        "rules_configmap": defaults.rules_configmap,
        "resources": choices.resources or resources,
        "capture": _capture(choices, user or UID),
        "restart_policy": "Always" if choices.native else None,
        "lifecycle": _DRAIN if choices.native else _WAIT if choices.hold else None,
        "labels": None,
        "app_probes": None,
    }


def of_sidecar(pod: Pod, app_probes: str | None) -> dict[str, Any]:
    """The variables that show when the pod's labels are all there and its probes are known."""
    labels = sorted(pod.words("labels").items())
    return {"labels": ",".join(f"{key}={value}" for key, value in labels), "app_probes": app_probes}


def _options(defaults: Defaults, choices: Choices) -> list[str]:
    """The sidecar's options that depend on the pod."""
    words = ["--agent", str(choices.agent_port or "off"), "--intercept", choices.mode.lower(), "--trust-domain", defaults.trust_domain]
    return words + (["--drain", f"{choices.drain:g}"] if choices.drain is not None else [])


def _capture(choices: Choices, uid: int) -> list[str]:
    """The arguments of `meshcar iptables`, in the order of Istio's template."""
    alone = [str(port) for port in (METRICS, HEALTH, choices.agent_port) if port]
    alone += [port for word in choices.excluded_inbound.split(",") if (port := word.strip()) and port not in alone]
    words = ["-p", str(OUTBOUND), "-z", str(INBOUND), "-u", str(uid), "-m", choices.mode]
    words += ["-i", choices.included_ranges, "-x", choices.excluded_ranges, "-b", choices.included_inbound, "-d", ",".join(alone)]
    more = (
        ("-q", choices.included_outbound), ("-o", choices.excluded_outbound),
        ("-k", choices.virtual_interfaces), ("-c", choices.excluded_interfaces),
    )  # fmt: skip
    return words + [word for flag, value in more if value is not None for word in (flag, value)]
