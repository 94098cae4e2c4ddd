"""What tests of the rules share: a mesh with two versions of httpbin, and a way to compile text."""

from collections.abc import Callable

import pytest

from meshcar.rules.compile import Compiled, compile_rules
from meshcar.rules.read import read
from meshcar.rules.workload import Workload

MESH = """
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec:
  clusterIP: 10.96.0.100
  selector: {app: httpbin}
  ports: [{name: http, port: 8000, targetPort: 80}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1}
spec: {address: 10.44.0.11, serviceAccount: one, labels: {app: httpbin, version: v1, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v2}
spec: {address: 10.44.0.12, labels: {app: httpbin, version: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""

Compile = Callable[..., Compiled]


@pytest.fixture
def compiled() -> Compile:
    """Compiles documents; what cannot be read fails the test."""

    def compile_text(*texts: str, workload: Workload | None = None) -> Compiled:
        found = read("\n---\n".join(texts), "rules.yaml")
        assert found.problems == ()
        return compile_rules(found.resources, workload or Workload(), 1)

    return compile_text


@pytest.fixture
def mesh() -> str:
    """The mesh's documents."""
    return MESH


def virtual_service(http: str, hosts: str = "[httpbin]", name: str = "httpbin") -> str:
    """A VirtualService with these rules, written as a YAML flow list."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: {hosts}, http: {http}}}
"""


def http_route(
    rules: str, parents: str = '{group: "", kind: Service, name: httpbin}', name: str = "httpbin", namespace: str = "default",
    age: str = "", more: str = "",
) -> str:  # fmt: skip
    """An HTTPRoute with these rules, written as a YAML flow list, for these parents; `age` is its creationTimestamp."""
    created = f", creationTimestamp: '{age}'" if age else ""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}{created}}}
spec: {{parentRefs: [{parents}], rules: {rules}{more}}}
"""
