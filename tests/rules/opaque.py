"""What tests of listeners share: Services, ServiceEntries and VirtualServices in few words, and where a connection goes."""

import json
from typing import Any

from meshcar.rules.snapshot import Snapshot


def document(kind: str, name: str, spec: Any, created: str = "", namespace: str = "default", **metadata: Any) -> str:
    version = "v1" if kind in ("Service", "Endpoints") else "networking.istio.io/v1"
    time = {"creationTimestamp": created} if created else {}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace, **time, **metadata}, **spec})


def service(name: str, address: str, *ports: tuple[str, int], created: str = "") -> str:
    """A Service; a port is its name and number."""
    spec = {"clusterIP": address, "ports": [{"name": f"{kind}-{number}", "port": number} for kind, number in ports]}
    return document("Service", name, {"spec": spec}, created)


def entry(name: str, host: str, addresses: list[str], *ports: tuple[str, int], created: str = "", endpoint: str = "9.9.9.9") -> str:
    """A ServiceEntry; a port is its protocol and number."""
    spec: dict[str, Any] = {"hosts": [host], "resolution": "STATIC", "endpoints": [{"address": endpoint}]}
    spec |= {"addresses": addresses} if addresses else {}
    spec["ports"] = [{"number": number, "name": f"x{number}", "protocol": "" if kind == "auto" else kind.upper()} for kind, number in ports]
    return document("ServiceEntry", name, {"spec": spec}, created)


def to(host: str, weight: int | None = None, subset: str = "", port: int | None = None) -> dict[str, Any]:
    destination: dict[str, Any] = {"host": host}
    destination |= {"subset": subset} if subset else {}
    destination |= {"port": {"number": port}} if port else {}
    return {"destination": destination} | ({} if weight is None else {"weight": weight})


def virtual_service(hosts: list[str], *, name: str = "vs", created: str = "", namespace: str = "default", **rules: Any) -> str:
    return document("VirtualService", name, {"spec": {"hosts": hosts, **rules}}, created, namespace)


def goes(snapshot: Snapshot, address: str, port: int, name: str = "", http: bool = False) -> str:
    """`http`, a cluster, weighted ones joined by `+`, or `passthrough`."""
    listener = snapshot.listeners.get(address, port)
    chain = listener.choose(address, name, http) if listener else None
    if chain is None:
        return "passthrough"
    if chain.route is None:
        return "http"
    return "+".join(one.removeprefix("outbound|").removesuffix(".default.svc.cluster.local") for one in chain.route.clusters)
