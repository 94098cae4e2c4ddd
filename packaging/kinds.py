"""A document of each kind that `meshcar inject` knows, for each manner in which a pod can ask for its sidecar."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]

MANNERS: dict[str, dict[str, str]] = {
    "plain": {},
    "tproxy": {"sidecar.istio.io/interceptionMode": "TPROXY"},
    "uncaptured": {"sidecar.istio.io/interceptionMode": "NONE"},
    "held": {"proxy.istio.io/config": '{"holdApplicationUntilProxyStarts": true, "terminationDrainDuration": "20s"}'},
    "sized": {
        "sidecar.istio.io/proxyCPU": "250m", "sidecar.istio.io/proxyMemory": "96Mi",
        "sidecar.istio.io/proxyCPULimit": "1500m", "sidecar.istio.io/proxyMemoryLimit": "256Mi",
    },
    "probed": {
        "readiness.status.sidecar.istio.io/initialDelaySeconds": "2", "readiness.status.sidecar.istio.io/periodSeconds": "5",
        "readiness.status.sidecar.istio.io/failureThreshold": "7", "status.sidecar.istio.io/port": "15999",
    },
    "chosen": {
        "traffic.sidecar.istio.io/includeInboundPorts": "8080,8443", "traffic.sidecar.istio.io/excludeOutboundPorts": "25,3306",
        "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8,fd00::/8", "traffic.sidecar.istio.io/excludeInterfaces": "eth1",
        "traffic.sidecar.istio.io/kubevirtInterfaces": "tap0", "sidecar.istio.io/proxyImage": "example.com/meshcar:1",
        "sidecar.istio.io/userVolume": '{"more": {"emptyDir": {"medium": "Memory"}}}',
        "sidecar.istio.io/userVolumeMount": '{"more": {"mountPath": "/more", "readOnly": true}}',
    },
}  # fmt: skip
"""Annotations by a name for what they ask."""

_HEADERS = [{"name": "X-Probe", "value": "$HOME"}]
_CONTAINERS: list[Document] = [
    {
        "name": "web",
        "image": "example.com/web:1",
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "https", "containerPort": 8443}],
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "httpHeaders": _HEADERS}, "timeoutSeconds": 3},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 7},
        "startupProbe": {"tcpSocket": {"port": "http"}, "failureThreshold": 30},
        "lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": "http"}}},
    },
    {"name": "shell", "image": "example.com/shell:1", "livenessProbe": {"exec": {"command": ["true"]}}},
]


def documents(manner: str) -> Iterator[Document]:
    """One of each kind, as Kubernetes 1.20 has them; the last is a List."""
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        extra = {"serviceName": "web"} if kind == "StatefulSet" else {}
        selector = {"selector": {"matchLabels": {"app": kind.lower()}}}
        yield _document("apps/v1", kind, manner, {**selector, **extra, "template": _template(manner, kind)})
    template = _template(manner, "ReplicationController")
    yield _document("v1", "ReplicationController", manner, {"selector": template["metadata"]["labels"], "template": template})
    job = {"template": _template(manner, "Job", restartPolicy="Never")}
    yield _document("batch/v1", "Job", manner, job)
    yield _document("batch/v1beta1", "CronJob", manner, {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}})
    yield _pod("pod", manner)
    service = _document("v1", "Service", manner, {"selector": {"app": "pod"}, "ports": [{"name": "http", "port": 80}]})
    yield {"apiVersion": "v1", "kind": "List", "items": [service, _pod("listed", manner)]}


def _document(version: str, kind: str, manner: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": f"{kind.lower()}-{manner}"}, "spec": spec}


def _pod(name: str, manner: str) -> Document:
    template = _template(manner, name)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-{manner}", **template["metadata"]}, "spec": template["spec"]}


def _template(manner: str, kind: str, **more: Any) -> Document:
    spec = {
        "serviceAccountName": "shop",
        "initContainers": [{"name": "migrate", "image": "example.com/migrate:1"}],
        "containers": _CONTAINERS,
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        **more,
    }
    return {"metadata": {"labels": {"app": kind.lower()}, "annotations": MANNERS[manner]}, "spec": spec}
