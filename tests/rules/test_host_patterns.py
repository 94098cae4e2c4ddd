"""Host patterns: what covers what, and which of many is the nearest."""

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.rules.compile import compile_rules
from meshcar.rules.host_patterns import HostTable, covers, is_partial, overlap
from meshcar.rules.read import read
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload
from tests.rules.conftest import virtual_service
from tests.rules.opaque import document, entry, goes, service, to
from tests.rules.opaque import virtual_service as opaque

_HOSTS = st.text("ab-.", min_size=1, max_size=6)
_PATTERNS = st.one_of(_HOSTS, _HOSTS.map("*".__add__), st.just("*"))


def table(*patterns: str) -> HostTable[str]:
    """Each stands under itself."""
    made = HostTable[str]()
    for pattern in patterns:
        made.setdefault(pattern, pattern)
    return made


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("a.b", ["a.b"], ["x.a.b", "*.b", "*"]),
        ("*.a.b", ["*.a.b", "x.a.b", "*.x.a.b", "*-x.a.b"], ["a.b", "*a.b", "*.b", "xa.b", "*"]),
        ("*-a.b", ["*-a.b", "x-a.b", "y.x-a.b", "*x-a.b"], ["a.b", "x.a.b", "*a.b", "*.a.b"]),
        ("*a.b", ["*a.b", "a.b", "xa.b", "x.a.b", "*.a.b", "*-a.b"], ["b", "*.b", "a.b.c"]),
        ("*", ["a", "*", "*.a", "*-a.b"], []),
    ],
)
def test_covers(pattern: str, inside: list[str], outside: list[str]) -> None:
    """A pattern covers itself, hosts that end like it, and narrower patterns; one of two that overlap covers the other."""
    assert all(covers(pattern, one) and overlap(one, pattern) for one in inside)
    assert not any(covers(pattern, one) for one in outside)


def test_is_partial() -> None:
    """Only if a label goes on behind the wildcard."""
    assert [one for one in ("a", "*", "*.a", "*-a.b", "*a", "a.*b") if is_partial(one)] == ["*-a.b", "*a"]


def test_nearest() -> None:
    """The host itself, then the longest wildcard of whatever kind, then any."""
    made = table("a.b.c", "*.b.c", "*-a.b.c", "*.c", "*c", "*x.c", "*")
    wanted = {
        "a.b.c": "a.b.c", "x.b.c": "*.b.c", "x.y.b.c": "*.b.c", "v-a.b.c": "*-a.b.c", "v.x-a.b.c": "*-a.b.c", "b.c": "*.c",
        "y.xx.c": "*x.c",
        "x.c": "*x.c", "c": "*c", "z": "*", "*.b.c": "*.b.c", "*.a.b.c": "*.b.c", "*.x.c": "*x.c", "*b.c": "*.c", "*": "*",
    }  # fmt: skip
    assert {host: made.nearest(host) for host in wanted} == wanted
    assert table().nearest("a") is table("a", "*.a").nearest("b") is None


@given(st.lists(_PATTERNS, max_size=12), _PATTERNS, st.integers(0, 2))
def test_like_one_by_one(patterns: list[str], host: str, least: int) -> None:
    """A table finds the patterns that cover a host as if each was compared with it, the longest first, itself before all."""
    slow = [one for one in set(patterns) if covers(one, host) and (one == host or len(host) - len(one) + 1 >= least)]
    slow.sort(key=lambda one: (one != host, -len(one)))
    made = table(*patterns)
    assert list(made.covering(host, least)) == slow
    assert made.nearest(host, least) == next(iter(slow), None)


def test_many() -> None:
    """10,000 wildcards cost as many steps as they have lengths."""
    made = table(*(f"*-{number}.example.com" for number in range(10_000)))
    begin = process_time()
    assert {made.nearest(f"x-{number}.example.com") for number in range(10_000)} >= {"*-7.example.com", "*-9999.example.com"}
    assert made.nearest("x" * 100_000 + ".example.com") is None
    assert process_time() - begin < 2


def compiled(*texts: str) -> Snapshot:
    """A snapshot; only warnings are allowed."""
    found = read("\n---\n".join(texts), "rules.yaml")
    assert [one for one in found.problems if one.severity == "error"] == []
    return compile_rules(found.resources, Workload(), 1).snapshot


def answers(host: str, number: int) -> str:
    """A VirtualService for a host, whose route has the host's name."""
    return virtual_service(f"[{{name: '{host}', directResponse: {{status: 200}}}}]", f"['{host}']", f"n{number}")


_LABELS = st.from_regex(r"[ab](-?[ab]){0,2}", fullmatch=True)
_NAMES = st.lists(_LABELS, min_size=2, max_size=3).map(".".join)
_DOMAINS = st.one_of(_NAMES, _NAMES.map("*.".__add__), _NAMES.map("*".__add__), _NAMES.map("*-".__add__))


@settings(max_examples=50, deadline=None)
@given(st.lists(_DOMAINS, min_size=1, max_size=8, unique=True), st.lists(_NAMES, min_size=1, max_size=8))
def test_requests_go_to_the_longest(patterns: list[str], hosts: list[str]) -> None:
    """A request's host is routed by itself, else by the longest wildcard that stands for at least one character of it."""
    snapshot = compiled(*(answers(pattern, number) for number, pattern in enumerate(patterns)))
    for host in hosts:
        fit = [one for one in patterns if one == host or (one[0] == "*" and len(one) <= len(host) and host.endswith(one[1:]))]
        wanted = max(fit, key=lambda one: (one == host, len(one)), default=None)
        found = snapshot.virtual_host(host.upper().encode() + b":80", 80)
        assert (found and found.routes[0].name) == wanted


def test_service_entries() -> None:
    """Its wildcards take requests, by their length among others, and each has clusters and DestinationRules of its own."""
    hosts = ("*-api.w.example", "*.w.example", "*pi.w.example")
    entries = [entry(f"e{number}", host, [], ("http", 80)) for number, host in enumerate(hosts)]
    wide = document("DestinationRule", "wide", {"spec": {"host": "*.w.example", "subsets": [{"name": "wide"}]}})
    part = document("DestinationRule", "part", {"spec": {"host": "*api.w.example", "subsets": [{"name": "part"}]}})
    snapshot = compiled(*entries, wide, part)
    wanted = {"a-api.w.example": hosts[0], "x.a-api.w.example": hosts[0], "api.w.example": hosts[2], "b.w.example": hosts[1]}
    assert {name: _goes_to(snapshot, name) for name in wanted} == wanted
    subsets = {one.destination.host: one.destination.subset for one in snapshot.clusters.values() if one.destination.subset}
    assert subsets == {hosts[0]: "part", hosts[1]: "wide", hosts[2]: "wide"}


def _goes_to(snapshot: Snapshot, name: str) -> str | None:
    found = snapshot.virtual_host(name.encode(), 80)
    return found and found.routes[0].clusters[0].destination.host


def test_a_rule_for_a_wildcard_service() -> None:
    """A VirtualService for the same wildcard, or a wider one, routes it; one within it is for its own hosts."""
    one = entry("e", "*-api.w.example", [], ("http", 80))
    for host, name, wanted in (
        ("*-api.w.example", "a-api.w.example", True), ("*i.w.example", "a-api.w.example", True), ("*.w.example", "a-api.w.example", True),
        ("x-api.w.example", "x-api.w.example", True), ("x-api.w.example", "y-api.w.example", False),
    ):  # fmt: skip
        found = compiled(one, answers(host, 0)).virtual_host(name.encode(), 80)
        assert found is not None and (found.routes[0].name == host) is wanted


def test_server_names() -> None:
    """The longest wildcard counts, of whatever kind; it stands for one character at least."""
    services = (service("web", "10.0.0.1", ("https", 443)), service("other", "10.0.0.2", ("tls", 443)))
    names = ["*-a.w.example", "*.w.example", "x-a.w.example", "*a.w.example"]
    rules = [{"match": [{"sniHosts": [name]}], "route": [to("other", subset=f"v{number}")]} for number, name in enumerate(names)]
    snapshot = compiled(*services, opaque(["web", "*w.example"], tls=rules))
    wanted = {"y-a.w.example": 0, "z.y-a.w.example": 0, "X-A.w.example": 2, "b.w.example": 1, "ba.w.example": 3, "a.w.example": 1}
    assert {name: goes(snapshot, "10.0.0.1", 443, name) for name in wanted} == {name: f"443|v{at}|other" for name, at in wanted.items()}
    assert {goes(snapshot, "10.0.0.1", 443, name) for name in ("w.example", "", "x" * 10_000 + "-a.w.example")} == {"passthrough"}


def test_connections_to_wildcard_services() -> None:
    """An entry's name is a server name; rules for hosts within a wildcard service, and around it, are for its connections."""
    one = entry("e", "*-api.w.example", [], ("tls", 443), ("tcp", 9))
    plain = compiled(one)
    assert [goes(plain, "1.1.1.1", 443, name) for name in ("a-api.w.example", "b.w.example")] == ["443||*-api.w.example", "passthrough"]
    other = service("other", "10.0.0.2", ("tcp", 9))
    for host, wanted in (("x-api.w.example", "9||other"), ("*pi.w.example", "9||other"), ("*x.w.example", "9||*-api.w.example")):
        assert goes(compiled(one, other, opaque([host], tcp=[{"route": [to("other")]}])), "1.1.1.1", 9) == wanted


def test_imports() -> None:
    """A Sidecar's wildcard imports those within it; itself must not be for a part of a label, as with istiod."""
    one = entry("e", "*-api.w.example", [], ("http", 80))
    for host, wanted in (("*/*.w.example", True), ("*/*.x.example", False), ("*/*", True)):
        sidecar = document("Sidecar", "s", {"spec": {"egress": [{"hosts": [host]}]}})
        assert (compiled(one, sidecar).virtual_host(b"a-api.w.example", 80) is not None) is wanted
    (problem,) = read(document("Sidecar", "s", {"spec": {"egress": [{"hosts": ["*/*-api.w.example"]}]}}), "f").problems
    assert (problem.severity, problem.path) == ("error", "spec.egress[0].hosts[0]")


def test_many_rules() -> None:
    """Thousands of wildcards and services compile in time that grows as they do."""
    hosts = [f"*-{number}.example.com" for number in range(1500)]
    services = [service(f"s-{number}", "", ("http", 80)) for number in range(500)]
    found = read("\n---\n".join((*(answers(host, number) for number, host in enumerate(hosts)), *services)), "f").resources
    begin = process_time()
    snapshot = compile_rules(found, Workload(), 1).snapshot
    assert process_time() - begin < 3
    assert snapshot.partial[80] == tuple(sorted({len(host) - 1 for host in hosts}, reverse=True))
    assert compile_rules(read(answers("*.example.com", 0), "f").resources, Workload(), 1).snapshot.partial == {}
