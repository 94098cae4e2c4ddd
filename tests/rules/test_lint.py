"""Warnings."""

import time

import pytest

from tests.rules.conftest import Compile, virtual_service

TO = "route: [{destination: {host: httpbin}}]"


@pytest.mark.parametrize(
    ("http", "wanted"),
    [
        (f"[{{{TO}}}]", []),
        ("[{route: [{destination: {host: nobody}}]}]", [("UNKNOWN_HOST", "spec.http[0].route[0].destination.host")]),
        (
            "[{route: [{destination: {host: httpbin, subset: v9}}]}]",
            [("UNKNOWN_SUBSET", "spec.http[0].route[0].destination.subset")],
        ),
        (
            "[{route: [{destination: {host: httpbin, port: {number: 1}}}]}]",
            [("UNKNOWN_HOST", "spec.http[0].route[0].destination.port.number")],
        ),
        (f"[{{{TO}, mirror: {{host: x}}}}]", [("UNKNOWN_HOST", "spec.http[0].mirror.host")]),
        (f"[{{{TO}, mirrors: [{{destination: {{host: x}}}}]}}]", [("UNKNOWN_HOST", "spec.http[0].mirrors[0].destination.host")]),
        (f"[{{{TO}}}, {{{TO}}}]", [("UNREACHABLE", "spec.http[1]")]),
        (f"[{{match: [{{uri: {{prefix: /}}}}], {TO}}}, {{{TO}}}]", [("UNREACHABLE", "spec.http[1]")]),
        (f"[{{match: [{{uri: {{prefix: /}}, method: {{exact: GET}}}}], {TO}}}, {{{TO}}}]", []),
        (f"[{{match: [{{uri: {{prefix: /a}}}}], {TO}}}, {{{TO}}}]", []),
        (f"[{{match: [{{scheme: {{exact: http}}}}], {TO}}}, {{{TO}}}]", []),
        (f"[{{delegate: {{name: x}}}}, {{{TO}}}]", [("UNKNOWN_DELEGATE", "spec.http[0].delegate")]),
        (f"[{{redirect: {{uri: /x}}}}, {{{TO}}}]", [("UNREACHABLE", "spec.http[1]")]),
    ],
)
def test_virtual_service(compiled: Compile, mesh: str, http: str, wanted: list[tuple[str, str]]) -> None:
    """Hosts, ports and subsets that nobody declares; rules behind one that takes all."""
    problems = compiled(mesh, virtual_service(http)).problems
    assert [(problem.code, problem.path) for problem in problems] == wanted
    assert all(problem.severity == "warning" and problem.line > 1 for problem in problems)


def test_destination_rule(compiled: Compile) -> None:
    """A rule for nobody."""
    text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: HOST}"
    assert [problem.path for problem in compiled(text.replace("HOST", "nobody")).problems] == ["spec.host"]
    assert compiled(text.replace("HOST", "'*.example'")).problems == ()


def test_opaque_protocol(compiled: Compile) -> None:
    """HTTP/2 is passed on as TCP, and that is said."""
    (problem,) = compiled("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: grpc, port: 80}]}").problems
    assert (problem.code, problem.path) == ("OPAQUE_PROTOCOL", "spec.ports[0]")


def test_many_warnings_are_quick(compiled: Compile) -> None:
    """The places of a document's warnings are found in one walk."""
    rules = ", ".join(["{match: [{method: {exact: A}}], route: [{destination: {host: x}}]}"] * 3000)
    before = time.process_time()
    assert len(compiled(virtual_service(f"[{rules}]")).problems) == 5999
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("tcp: [{route: [{destination: {host: nobody}}]}]", [("UNKNOWN_HOST", "spec.tcp[0].route[0].destination.host")]),
        (
            "tcp: [{route: [{destination: {host: a, port: {number: 1}}}]}]",
            [("UNKNOWN_HOST", "spec.tcp[0].route[0].destination.port.number")],
        ),
        ("tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]", [("NO_EFFECT", "spec.tls")]),
        ("tcp: [{route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}]", [("UNREACHABLE", "spec.tcp[1]")]),
        (
            "tcp: [{match: [{port: 9}], route: [{destination: {host: a}}]}, {match: [{port: 8}, {port: 9}], "
            "route: [{destination: {host: a}}]}]",
            [("UNREACHABLE", "spec.tcp[1].match[1]")],
        ),
        ("tcp: [{match: [{port: 9}], route: [{destination: {host: a}}]}, {route: [{destination: {host: a}}]}]", []),
    ],
)
def test_opaque_rules(compiled: Compile, spec: str, wanted: list[tuple[str, str]]) -> None:
    """Of tcp and tls rules: destinations that nobody declares, rules behind others, rules for no port."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, ports: [{name: tcp, port: 9}]}"
    text = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec: {{hosts: [a], {spec}}}"
    assert [(problem.code, problem.path) for problem in compiled(service, text).problems] == wanted


def test_http_rules_for_no_http(compiled: Compile) -> None:
    """Rules for requests do nothing where no port may carry requests; nobody can tell of hosts that are no services."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.0.0.1, ports: [{name: https, port: 9}]}"
    http = "[{route: [{destination: {host: a}}]}]"
    assert [one.path for one in compiled(service, virtual_service(http, "[a]")).problems] == ["spec.http"]
    assert compiled(service.replace("https", "x"), virtual_service(http, "[a]")).problems == ()
    assert compiled(service, virtual_service(http, "[a, b.example]")).problems == ()


def sidecar(hosts: str = "./*", name: str = "a", selector: str = "", created: str = "2026-01-01T00:00:00Z") -> str:
    """A Sidecar with these egress hosts, or this selector."""
    metadata = f"{{name: {name}, namespace: home, creationTimestamp: '{created}'}}"
    return f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {metadata}\nspec: {{{selector}egress: [{{hosts: [{hosts}]}}]}}\n"


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [
        ("a/b.c, a/d.c, e/*, ./*, ~a/b.c, ~a/b.c", []),
        ("a/b.c, a/*", [1]),
        ("a/b.c, a/b.c", [1]),
        ("./*, home/a.b", [1]),
        ("home/*, ./*", [1]),
        ("*/*, a/b.c, ./*", [1, 2]),
        ("a/b.c, */*", [0]),
        ("*/a.b, */*", [1]),
    ],
)
def test_egress_hosts(compiled: Compile, hosts: str, wanted: list[int]) -> None:
    """What others of the list import already; `.` is the Sidecar's own namespace."""
    problems = compiled(sidecar(", ".join(f"'{one}'" for one in hosts.split(", ")))).problems
    assert [(problem.code, problem.path) for problem in problems] == [("NO_EFFECT", f"spec.egress[0].hosts[{index}]") for index in wanted]


def test_sidecars_for_the_same_workloads(compiled: Compile) -> None:
    """The oldest counts; other selectors, and other namespaces, are other workloads."""
    one, other = (f"workloadSelector: {{labels: {{app: {name}}}}}, " for name in ("one", "other"))
    texts = [sidecar(name="b"), sidecar(name="old", created="2025-01-01T00:00:00Z"), sidecar(name="c", selector=one)]
    texts += [sidecar(name="d", selector=one), sidecar(name="e", selector=other), sidecar(name="f").replace("home", "away")]
    problems = compiled(*texts).problems
    assert [(problem.code, problem.name, problem.path) for problem in problems] == [
        ("NO_EFFECT", "b", "metadata.name"), ("NO_EFFECT", "d", "spec.workloadSelector"),
    ]  # fmt: skip
    assert problems[0].message.startswith("Sidecar old (rules.yaml:")


def test_subsets_of_nobody(compiled: Compile, mesh: str) -> None:
    """Of a service whose endpoints are known a subset without any is told; where none are known, nothing is."""
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: more}\nspec: {host: httpbin, subsets: [%s]}"
    subsets = "{name: a, labels: {version: v1}}, {name: b, labels: {version: v3}}, {name: c, labels: {version: v1, x: y}}, {name: d}"
    problems = compiled(mesh, rule % subsets).problems
    assert [(one.code, one.path) for one in problems] == [("EMPTY_SUBSET", "spec.subsets[1]"), ("EMPTY_SUBSET", "spec.subsets[2]")]
    alone = "apiVersion: v1\nkind: Service\nmetadata: {name: httpbin}\nspec: {ports: [{name: http, port: 8000}]}"
    assert compiled(alone, rule % subsets).problems == ()


@pytest.mark.parametrize(
    ("hosts", "to", "told"),
    [
        ("[web]", "{host: two}", True),
        ("[web, two]", "{host: two}", False),
        ("[two]", "{host: two}", False),
        ("[web]", "{host: two, port: {number: 81}}", False),
        ("[web]", "{host: httpbin}", False),
        ("[www.example.com]", "{host: two}", True),
        ("['*.example.com']", "{host: two}", False),
    ],
)
def test_which_port_is_meant(compiled: Compile, mesh: str, hosts: str, to: str, told: bool) -> None:
    """A destination with several ports, none of which requests come to, needs one."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [%s]}"
    web, two = service % ("web", "{name: http, port: 8000}"), service % ("two", "{name: http-a, port: 81}, {name: http-b, port: 82}")
    problems = compiled(mesh, web, two, virtual_service(f"[{{route: [{{destination: {to}}}]}}]", hosts)).problems
    assert [(one.code, one.path) for one in problems] == [("UNKNOWN_HOST", "spec.http[0].route[0].destination")] * told
