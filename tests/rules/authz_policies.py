"""Policies and callers for the tests of AuthorizationPolicy."""

import json
from typing import Any

import attrs

from meshcar.rules.authz import Authorization, Decision, authorization
from meshcar.rules.authz_clauses import Caller
from meshcar.rules.read import read
from meshcar.rules.steps import finish
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead

CART = "spiffe://cluster.local/ns/shop/sa/cart"
WORKLOAD = Workload(namespace="shop", labels={"app": "store", "version": "v1"})


def policy(spec: dict[str, Any], name: str = "p", namespace: str = "shop", dry: str = "") -> dict[str, Any]:
    annotations = {"istio.io/dry-run": dry} if dry else {}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def compiled(*policies: dict[str, Any], workload: Workload = WORKLOAD) -> Authorization | None:
    found = read("\n---\n".join(map(json.dumps, policies)), "f")
    assert not [one for one in found.problems if one.severity == "error"]
    made, problems = finish(authorization(found.resources, workload))
    assert problems == []
    return made


def head(method: str = "GET", target: str = "/", host: str = "store:8000", **headers: str) -> RequestHead:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead(method.encode(), target.encode(), host.encode(), lines)


CALLER = Caller((CART, ""), "10.0.0.7", "10.0.0.7", "10.0.0.8", 8080, "", head())
PLAIN = attrs.evolve(CALLER, names=())


def decide(caller: Caller, *policies: dict[str, Any]) -> Decision:
    made = compiled(*policies)
    assert made is not None
    return made.decide(caller)


def allows(rule: dict[str, Any], caller: Caller = CALLER) -> bool:
    """Whether a rule matches, as the only one of a policy that allows."""
    return decide(caller, policy({"rules": [rule]})).allowed


def source(**fields: list[str]) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def when(key: str, **values: list[str]) -> dict[str, Any]:
    return {"when": [{"key": key, **values}]}
