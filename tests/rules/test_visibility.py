"""Who sees rules and services."""

import pytest

from meshcar.rules.read import read
from meshcar.rules.visibility import export_faults, visible
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile

ELSEWHERE = Workload(namespace="other")
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a}}
spec: {{hosts: [a.b], ports: [{{number: 80, name: http}}], resolution: STATIC, endpoints: [{{address: 1.1.1.1}}], exportTo: [{}]}}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: s, annotations: {{networking.istio.io/exportTo: "{}"}}}}
spec: {{selector: {{app: s}}, ports: [{{port: 80, name: http, targetPort: 8080}}]}}
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: r}}
spec: {{hosts: [x.y], exportTo: [{}], http: [{{directResponse: {{status: 200}}}}]}}
"""
LIMITS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d}}
spec: {{host: httpbin, exportTo: [{}], trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}
"""


@pytest.mark.parametrize(
    ("export_to", "seen"),
    [((), "ab"), (("*",), "ab"), ((".",), "a"), (("a",), "a"), (("b",), "b"), ((".", "b"), "ab"), (("~",), ""), (("c",), "")],
)
def test_visible(export_to: tuple[str, ...], seen: str) -> None:
    """From namespace a, to a and b."""
    assert "".join(home for home in "ab" if visible(export_to, "a", home)) == seen


@pytest.mark.parametrize(
    ("export_to", "code"),
    [(["*"], None), ([".", "b"], None), (["~"], "INVALID_VALUE"), (["*", "b"], "CONFLICT"), (["b", "b"], "INVALID_VALUE")],
)
def test_faults(export_to: list[str], code: str | None) -> None:
    """All and none stand alone; nobody is for services."""
    assert [fault.code for fault in export_faults(export_to)] == ([code] if code else [])
    assert not list(export_faults(["~"], may_be_hidden=True))
    assert [problem.path for problem in read(ROUTE.format("'a b'"), "f").problems] == ["spec.exportTo[0]"]


@pytest.mark.parametrize(("words", "here", "there"), [("'*'", True, True), ("'.'", True, False), ("other", False, True)])
def test_everywhere(compiled: Compile, mesh: str, words: str, here: bool, there: bool) -> None:
    """VirtualServices, DestinationRules, ServiceEntries and Services count only where they are seen."""
    texts = [mesh.rpartition("---")[0], *(text.format(words) for text in (ENTRY, ROUTE, LIMITS)), SERVICE.format(words.strip("'"))]
    for workload, seen in ((Workload(), here), (ELSEWHERE, there)):
        snapshot = compiled(*texts, workload=workload).snapshot
        assert (snapshot.virtual_host(b"a.b", 80) is not None) is seen
        assert ("outbound|80||a.b" in snapshot.clusters) is seen
        assert (snapshot.virtual_host(b"x.y", 80) is not None) is seen
        assert ("outbound|80||s.default.svc.cluster.local" in snapshot.clusters) is seen
        balance = snapshot.clusters["outbound|8000||httpbin.default.svc.cluster.local"].balance.policy
        assert balance == ("RANDOM" if seen else "LEAST_REQUEST")


def test_no_warnings_about_others(compiled: Compile) -> None:
    """What we do not see is not judged by what we see."""
    rule = ROUTE.replace("directResponse: {{status: 200}}", "route: [{{destination: {{host: nobody}}}}]")
    assert compiled(rule.format("other")).problems == ()
    assert [problem.code for problem in compiled(rule.format("other"), workload=ELSEWHERE).problems] == ["UNKNOWN_HOST"]


def test_hidden_service_serves(compiled: Compile) -> None:
    """A Service that nobody sees still has its own workloads' ports."""
    snapshot = compiled(SERVICE.format("~"), workload=Workload(labels={"app": "s"})).snapshot
    assert not snapshot.clusters
    assert snapshot.inbound(8080).service == "s.default.svc.cluster.local:80"


def test_hidden_service_gives_way(compiled: Compile) -> None:
    """Of two ServiceEntries for one host the one that is seen counts, without a warning."""
    other = ENTRY.format("'*'").replace("name: a}", "name: b}").replace("1.1.1.1", "2.2.2.2")
    for texts in ((ENTRY.format("nobody"), other), (other, ENTRY.format("nobody"))):
        found = compiled(*texts)
        assert found.problems == ()
        assert found.snapshot.clusters["outbound|80||a.b"].endpoints[0].address == "2.2.2.2"


def test_own_namespace_twice(compiled: Compile) -> None:
    """`.` and the name of the own namespace are one."""
    (problem,) = compiled(ENTRY.format("default, '.'")).problems
    assert (problem.severity, problem.code, problem.path) == ("error", "INVALID_VALUE", "spec.exportTo[0]")
    assert compiled(ENTRY.format("other, '.'")).problems == ()
