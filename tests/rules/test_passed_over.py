"""Why rules did not take a request."""

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.passed_over import Candidates, rejections
from meshcar.rules.read import read
from meshcar.rules.workload import Workload
from meshcar.wire.head import RequestHead
from tests.rules.conftest import MESH, virtual_service

V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
ALL = f"[{{{V1}}}]"


def passed(*texts: str, authority: bytes = b"httpbin:8000", port: int = 8000, path: bytes = b"/b", workload: Workload | None = None,
           headers: tuple[tuple[bytes, bytes], ...] = ()) -> list[tuple[str, str | None, str]]:  # fmt: skip
    """What a request passes over on its way: (VirtualService, rule, why)."""
    found = read("\n---\n".join((MESH, *texts)), "f.yaml")
    who = workload or Workload()
    snapshot = compile_rules(found.resources, who, 1).snapshot
    host = snapshot.virtual_host(authority, port)
    head = RequestHead(b"GET", path, authority, list(headers))
    candidates = Candidates.find(found.resources, who, authority, host)
    taken = host.route(head) if host is not None else None
    told = rejections(candidates, who, host, head, port, taken)
    return [(one.virtual_service, one.route, one.because) for one in told]


@pytest.mark.parametrize(
    ("match", "because"),
    [
        ("{uri: {prefix: /a}}", 'uri is "/b", not prefix "/a"'),
        ("{uri: {regex: '/[ac]'}}", 'uri is "/b", not regex "/[ac]"'),
        ("{method: {exact: POST}}", 'method is "GET", not exact "POST"'),
        ("{authority: {exact: httpbin}}", 'authority is "httpbin:8000", not exact "httpbin"'),
        ("{scheme: {exact: https}}", 'scheme is "http", not exact "https"'),
        ("{headers: {x: {exact: '1'}}}", 'headers[x] is absent, not exact "1"'),
        ("{headers: {y: {exact: '1'}}}", 'headers[y] is "2", not exact "1"'),
        ("{headers: {x: {}}}", "headers[x] is absent, not present"),
        ("{withoutHeaders: {y: {}}}", 'withoutHeaders[y] is "2", and must not be present'),
        ("{withoutHeaders: {y: {exact: '2'}}}", 'withoutHeaders[y] is "2", and must not be exact "2"'),
        ("{queryParams: {q: {exact: '1'}}}", 'queryParams[q] is absent, not exact "1"'),
        ("{port: 80}", "port is 8000, not 80"),
        ("{sourceLabels: {app: a}}", 'sourceLabels[app] is absent, not "a"'),
        ("{sourceNamespace: other}", 'sourceNamespace is "default", not "other"'),
        ("{gateways: [gate]}", "gateways are gate, not mesh"),
    ],
)
def test_conditions(match: str, because: str) -> None:
    """Names the condition, what it wants and what the request has; also what was decided before there was a request."""
    rules = virtual_service(f"[{{match: [{match}], {V1}}}, {{name: next, {V1}}}]")
    assert passed(rules, headers=((b"y", b"2"),)) == [("default/httpbin", "http[0]", because)]


def test_matches_of_one_rule() -> None:
    """Each tells why; a rule of which one match holds is not passed over, nor is what stands behind it."""
    first, second = "[{uri: {exact: /x}}, {port: 9}]", "[{port: 9}, {uri: {exact: /b}}]"
    http = f"[{{name: a, match: {first}, {V1}}}, {{match: {second}, {V1}}}, {{{V1}}}]"
    because = 'match[0]: uri is "/b", not exact "/x"; match[1]: port is 8000, not 9'
    assert passed(virtual_service(http)) == [("default/httpbin", "a", because)]


def test_virtual_services_not_meant() -> None:
    """For other gateways, or not exported to us: before all others."""
    gate = virtual_service(ALL, name="gate").replace("hosts:", "gateways: [x, y], hosts:")
    hidden = virtual_service(ALL, "[httpbin.default.svc.cluster.local]", "hidden").replace("{name: hidden}", "{name: hidden, namespace: o}")
    hidden = hidden.replace("hosts:", "exportTo: [.], hosts:")
    assert passed(virtual_service(ALL), gate, hidden) == [
        ("default/gate", None, "it is for the gateways x, y, not for mesh"),
        ("o/hidden", None, "it is exported to ., not to namespace default"),
    ]


def test_virtual_services_that_lose() -> None:
    """Another comes before, or is closer; one of which no rule applies says so for each rule."""
    elsewhere = virtual_service(f"[{{match: [{{sourceLabels: {{app: a}}}}], {V1}}}]", name="elsewhere")
    wide = virtual_service(ALL, "['*.default.svc.cluster.local']", "wide")
    found = passed(elsewhere, virtual_service(ALL), virtual_service(ALL, name="late"), wide)
    source = "VirtualService default/httpbin (f.yaml:36)"
    assert found == [
        ("default/elsewhere", "http[0]", 'sourceLabels[app] is absent, not "a"'),
        ("default/late", None, f"{source} has httpbin.default.svc.cluster.local too, and comes before it"),
        ("default/wide", None, f"{source} names httpbin.default.svc.cluster.local, which is closer than *.default.svc.cluster.local"),
    ]


def test_hosts_that_do_not_count_here() -> None:
    """A host that no service has counts on port 80; a wildcard over services for them alone."""
    mine = virtual_service(ALL, "[x.example]", "x")
    assert passed(mine, authority=b"x.example") == [
        ("default/x", None, "no service on port 8000 is x.example; such a host counts on port 80, and on those of services beside it")
    ]
    assert passed(mine, authority=b"x.example", port=80) == []
    wide = virtual_service(ALL, "['*.default.svc.cluster.local']", "wide")
    assert passed(wide, authority=b"x.default.svc.cluster.local") == [
        (
            "default/wide", None,
            "*.default.svc.cluster.local stands for the services that it covers on port 8000, and for other hosts on port 80 where it "
            "covers none",
        )
    ]  # fmt: skip


def test_closer_without_a_rule() -> None:
    """A service that is named goes by no wildcard, though no rule of its own applies."""
    elsewhere = virtual_service(f"[{{match: [{{port: 1}}], {V1}}}]")
    wide = virtual_service(ALL, "['*.default.svc.cluster.local']", "wide")
    assert passed(elsewhere, wide)[1] == (
        "default/wide", None,
        "another VirtualService names httpbin.default.svc.cluster.local, which is closer than *.default.svc.cluster.local",
    )  # fmt: skip


def test_hostile_bytes() -> None:
    """What cannot be shown is escaped, what is long is cut."""
    ((_, _, because),) = passed(virtual_service(f"[{{match: [{{uri: {{exact: /a}}}}], {V1}}}]"), path=b"/\x1b[2J\xff" + b"x" * 999)
    assert because.startswith('uri is "/\\x1b[2J�x') and len(because) < 120
