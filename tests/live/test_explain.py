"""A running sidecar explains what it then does."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.live.documents import SERVICE, to_version, workload
from tests.live.processes import BIN, app, call, sidecar

REWRITE = """\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
  - match: [{uri: {prefix: /old}, headers: {x-user: {exact: anna}}}]
    rewrite: {uri: /new, authority: other}
    headers: {request: {set: {x-mark: "%REQ(x-user)%"}}}
    route: [{destination: {host: httpbin, subset: v2}}]
  - match: [{sourceLabels: {app: other}}]
    redirect: {uri: /elsewhere}
  - name: rest
    route: [{destination: {host: httpbin, subset: v1}}]
"""


def explained(admin: int, *words: str) -> Any:
    """What `meshcar explain --json` says of a running sidecar."""
    found = subprocess.run([BIN / "meshcar", "explain", "--admin", str(admin), "--json", *words], check=True, capture_output=True)
    return json.loads(found.stdout)


def test_explain(tmp_path: Path) -> None:
    """Host, path, headers and cluster of the answer are those that arrive; applied rules count at once."""
    with app("v1") as first, app("v2") as second:
        rules = SERVICE + "".join(workload(one.name, "127.0.0.1", one.port, mesh=False) for one in (first, second)) + to_version("v1")
        with sidecar(tmp_path, rules, "--intercept", "none") as client:
            assert explained(client.admin, "http://httpbin:8000/old/x")["source"] == f"{client.folder}/rules.yaml:41"
            client.apply(REWRITE)
            told = explained(client.admin, "-H", "X-User: anna", "http://httpbin:8000/old/x?q")
            call(client.outbound, "GET", "http://httpbin:8000/old/x?q", headers={"X-User": "anna"})
            (seen,) = second.seen
            headers = {name.lower(): value for name, value in seen["headers"]}
            assert (told["request"]["path"], told["request"]["authority"]) == (seen["path"], headers["host"]) == ("/new/x?q", "other")
            assert told["request"]["headers_set"] == {"x-mark": headers["x-mark"]} == {"x-mark": "anna"}
            assert (told["destinations"][0]["subset"], told["source"]) == ("v2", "applied:8")
            assert explained(client.admin, "http://httpbin:8000/")["route"] == "rest"
            assert explained(client.admin, "--labels", "app=other", "http://httpbin:8000/")["action"] == "redirect"
            assert call(client.admin, "POST", "/explain", "{}")[0] == 400
