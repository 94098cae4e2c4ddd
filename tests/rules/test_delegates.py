"""VirtualServices that delegate."""

import pytest

from meshcar.rules.delegates import delegated
from meshcar.rules.read import read
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead
from tests.rules.conftest import Compile

TO = "route: [{destination: {host: httpbin}}]"


def root(http: str, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root}}
spec: {{hosts: [x.y], {more} http: {http}}}
"""


def leaf(http: str, namespace: str = "default", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: leaf, namespace: {namespace}}}
spec: {{{more} http: {http}}}
"""


def taken(compiled: Compile, *texts: str, path: bytes = b"/", **headers: str) -> str | None:
    """The name of the route that a request takes."""
    snapshot = compiled(*texts).snapshot
    host = snapshot.virtual_host(b"x.y", 80)
    head = RequestHead(b"GET", path, b"x.y", [(name.encode(), value.encode()) for name, value in headers.items()])
    route = host.route(head) if host else None
    return route.name if route else None


def test_rules_of_the_delegate(compiled: Compile, mesh: str) -> None:
    """They stand where the delegating rule stood, within its match; names are joined."""
    texts = (
        mesh,
        root(f"[{{name: r, match: [{{name: m, uri: {{prefix: /a}}}}], delegate: {{name: leaf}}}}, {{name: rest, {TO}}}]"),
        leaf(f"[{{name: l, match: [{{name: n, uri: {{prefix: /a/b}}}}], {TO}}}, {{{TO}}}]"),
    )
    assert compiled(*texts).problems == ()
    assert [taken(compiled, *texts, path=path) for path in (b"/a/b/c", b"/a/c", b"/b")] == ["r-l.m-n", "r.m", "rest"]


@pytest.mark.parametrize(
    ("outer", "inner", "fits"),
    [
        ("uri: {prefix: /a}", "uri: {exact: /a/b}", True),
        ("uri: {prefix: /a}", "uri: {prefix: /}", False),
        ("uri: {exact: /a}", "uri: {exact: /a}", True),
        ("uri: {exact: /a}", "uri: {prefix: /a}", False),
        ("uri: {prefix: /a}", "headers: {x: {exact: y}}", True),
        ("headers: {x: {exact: y}}", "headers: {x: {exact: z}}", False),
        ("headers: {x: {exact: y}}", "headers: {z: {}}", True),
        ("headers: {x: {exact: y}}", "headers: {x: {}}", False),
        ("queryParams: {x: {prefix: y}}", "queryParams: {x: {prefix: yz}}", True),
        ("port: 80", "port: 81", False),
        ("port: 80", "method: {exact: GET}", True),
        ("uri: {prefix: /a}", "uri: {prefix: /a}, ignoreUriCase: true", False),
        ("sourceLabels: {a: b}", "sourceLabels: {a: c}", False),
        ("sourceLabels: {a: b}", "sourceLabels: {c: d}", True),
        ("sourceNamespace: a", "sourceNamespace: b", False),
        ("gateways: [mesh]", "gateways: [g]", False),
    ],
)
def test_matches_only_narrow(compiled: Compile, mesh: str, outer: str, inner: str, fits: bool) -> None:
    """A rule whose match goes beyond the delegating one's is left out, with a warning."""
    found = compiled(mesh, root(f"[{{match: [{{{outer}}}], delegate: {{name: leaf}}}}]"), leaf(f"[{{match: [{{{inner}}}], {TO}}}]"))
    assert [problem.code for problem in found.problems] == ([] if fits else ["UNREACHABLE"])


def test_every_pair_that_fits(compiled: Compile, mesh: str) -> None:
    """Two matches of the one within two of the other."""
    rule = "[{match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}], delegate: {name: leaf}}]"
    texts = (mesh, root(rule), leaf(f"[{{name: l, match: [{{uri: {{prefix: /a/1}}}}, {{method: {{exact: GET}}}}], {TO}}}]"))
    assert [taken(compiled, *texts, path=path) for path in (b"/a/2", b"/b", b"/c")] == ["l", "l", None]


def test_policies_are_inherited(compiled: Compile, mesh: str) -> None:
    """What the delegate does not say, the root says; what it says stays."""
    http = "[{delegate: {name: leaf}, timeout: 1s, retries: {attempts: 5}, rewrite: {uri: /r}, mirror: {host: httpbin, subset: v2}}]"
    snapshot = compiled(mesh, root(http), leaf(f"[{{timeout: 2s, {TO}}}]")).snapshot
    host = snapshot.virtual_host(b"x.y", 80)
    assert host is not None
    (route,) = host.routes
    assert route.retries is not None and route.rewrite is not None
    assert (route.timeout, route.retries.attempts, len(route.mirrors)) == (2.0, 5, 1)
    assert route.virtual_service == "default/root"


def test_short_names_are_the_delegates(compiled: Compile, mesh: str) -> None:
    """A host without a dot is a service of the namespace where it is written."""
    snapshot = compiled(mesh, root("[{delegate: {name: leaf, namespace: far}}]"), leaf(f"[{{{TO}}}]", "far")).snapshot
    host = snapshot.virtual_host(b"x.y", 80)
    assert host is not None and host.routes[0].clusters[0].destination.host == "httpbin.far.svc.cluster.local"


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ([root("[{delegate: {name: leaf}}]")], [("UNKNOWN_DELEGATE", "spec.http[0].delegate")]),
        ([leaf(f"[{{{TO}}}]")], [("NO_EFFECT", "spec")]),
        (
            [root("[{delegate: {name: leaf, namespace: far}}]"), leaf("[{directResponse: {status: 200}}]", "far", "exportTo: ['.'],")],
            [("UNKNOWN_DELEGATE", "spec.http[0].delegate")],
        ),
    ],
    ids=["not there", "not used", "not exported"],
)
def test_warnings(compiled: Compile, mesh: str, texts: list[str], wanted: list[tuple[str, str]]) -> None:
    """A delegation that leads nowhere is told; the other rules count."""
    found = compiled(mesh, *texts)
    assert [(problem.code, problem.path) for problem in found.problems] == wanted
    assert found.snapshot.virtual_host(b"x.y", 80) is None


def test_root_for_others(compiled: Compile, mesh: str) -> None:
    """Whether a delegate is exported is asked for the root's namespace, not the caller's."""
    texts = (mesh, root("[{delegate: {name: leaf}}]"), leaf(f"[{{{TO}}}]", more="exportTo: ['.'],"))
    assert compiled(*texts, workload=Workload(namespace="other")).snapshot.virtual_host(b"x.y", 80) is not None


def test_origin(compiled: Compile, mesh: str) -> None:
    """A merged rule knows where both its parts stand."""
    outer = root(f"[{{match: [{{uri: {{prefix: /x}}}}], {TO}}}, {{delegate: {{name: leaf}}}}, {{{TO}}}]")
    inner = leaf(f"[{{{TO}}}, {{{TO}}}]")
    (found,), _ = delegated(read(f"{outer}---{inner}", "f.yaml").resources)
    wanted = [(0, None, 0), (1, "leaf", 0), (1, "leaf", 1), (2, None, 0)]
    assert [(one.number, one.leaf and one.leaf.name, one.leaf_number) for one in found.spec.http] == wanted
    assert (found.at("spec", "http", 1), found.spec.http[1].leaf.at("spec", "http", 0, "match")) == ("f.yaml:5", "f.yaml:10")


def test_mirrors_field_by_field(compiled: Compile, mesh: str) -> None:
    """A leaf's mirror without a percentage takes the root's, as in Istio."""
    outer = root("[{delegate: {name: leaf}, mirror: {host: b}, mirrorPercentage: {value: 10}}]")
    host = compiled(mesh, outer, leaf(f"[{{{TO}, mirror: {{host: httpbin}}}}]")).snapshot.virtual_host(b"x.y", 80)
    assert host is not None
    ((mirror,),) = (route.mirrors for route in host.routes)
    assert (mirror.destination.host, mirror.percent) == ("httpbin.default.svc.cluster.local", 10)
