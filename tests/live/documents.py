"""The rules of the live tests."""

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: default}
spec:
  ports: [{name: http, port: 8000, targetPort: 80}]
  selector: {app: httpbin}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin, namespace: default}
spec:
  host: httpbin
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""


def workload(version: str, address: str, port: int | None = None, *, mesh: bool = True, account: str = "default") -> str:
    """A WorkloadEntry that the Service selects."""
    ports = f"  ports: {{http: {port}}}\n" if port else ""
    mode = ", security.istio.io/tlsMode: istio" if mesh else ""
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: httpbin-{version}, namespace: default}}
spec:
  address: "{address}"
  labels: {{app: httpbin, version: {version}{mode}}}
  serviceAccount: {account}
{ports}"""


def to_version(version: str, mirror: str | None = None) -> str:
    """A VirtualService that sends all to one version, and copies to another."""
    copies = f"    mirror: {{host: httpbin, subset: {mirror}}}\n" if mirror else ""
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin, namespace: default}}
spec:
  hosts: [httpbin]
  http:
  - route:
    - destination: {{host: httpbin, subset: {version}}}
{copies}"""


def strict() -> str:
    """Every port of every workload wants mTLS."""
    return """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
