"""Documents become resources, or problems with their place."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.rules.problems import Fault
from meshcar.rules.read import KINDS, REFUSED, SKIPPED, Known, read, read_steps
from meshcar.rules.steps import finish
from tests.rules.conftest import MESH, virtual_service

HEADER = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
ROUTE = "[{destination: {host: b}}]"
SPEC = f"spec: {{hosts: [a], http: [{{route: {ROUTE}}}]}}"


def problems(text: str) -> list[tuple[str, str]]:
    """Code and path of each problem."""
    return [(problem.code, problem.path) for problem in read(text, "f.yaml").problems]


def in_rule(more: str) -> list[tuple[str, str]]:
    """Problems of a rule with a route and more."""
    return problems(virtual_service(f"[{{route: {ROUTE}, {more}}}]"))


def test_resources() -> None:
    """Every document of a text, with its key, its place and its value."""
    found = read(MESH, "mesh.yaml", "shop")
    assert [one.key for one in found.resources] == [
        "Service/shop/httpbin", "WorkloadEntry/shop/v1", "WorkloadEntry/shop/v2", "DestinationRule/shop/httpbin",
    ]
    assert found.problems == found.skipped == ()
    last = found.resources[-1]
    assert (last.source, last.api_version, last.document["metadata"]) == ("mesh.yaml:20", "networking.istio.io/v1", {"name": "httpbin"})
    assert last.spec.subsets[1].labels == {"version": "v2"}


def test_page() -> None:
    """The Mirroring task's rule, in its old API version and its old percentage."""
    text = HEADER.replace("/v1", "/v1alpha3") + SPEC.replace("]}]", "], mirror: {host: b}, mirrorPercent: 100}]")
    assert problems(text) == [("DEPRECATED", "spec.http[0].mirrorPercent")]
    assert problems(text.replace("mirrorPercent", "mirror_percent")) == [("DEPRECATED", "spec.http[0].mirrorPercent")]


def test_problem_in_full() -> None:
    """File, line, column, kind, name, path, code and what would be right."""
    text = HEADER + "spec:\n  hosts: [a]\n  http:\n  - timout: 1s\n    route: " + ROUTE + "\n"
    (problem,) = read(text, "f.yaml").problems
    assert str(problem) == (
        "f.yaml:7:5: error UNKNOWN_FIELD VirtualService/a: there is no field timout in http; is it timeout?"
    )
    assert problem.path == "spec.http[0].timout"


def test_all_problems_at_once() -> None:
    """Of all documents, in order; the sound ones are still there."""
    text = f"{HEADER}spec: {{}}\n---\nkind: Service\n---\n3\n---\n{MESH}\n---\na: on\n---\napiVersion: v1\nkind: Srevice\n"
    found = read(text, "f.yaml")
    assert [(problem.code, problem.line) for problem in found.problems] == [
        ("REQUIRED", 4), ("REQUIRED", 6), ("WRONG_TYPE", 8), ("YAML_AMBIGUOUS", 37), ("UNKNOWN_KIND", 40),
    ]
    assert [text.split("\n")[line - 1] for line in (37, 40)] == ["a: on", "kind: Srevice"]
    assert len(found.resources) == 4


def test_kinds() -> None:
    """Others' kinds are skipped by name, those that would lie are refused, unknown ones are errors."""
    for group, kinds in SKIPPED.items():
        for kind in kinds:
            found = read(f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: x}}\n".replace(" /v1", " v1"), "f")
            assert (found.skipped, found.problems) == ((f"{kind}/default/x",), ())
    for group, kinds in REFUSED.items():
        for kind in kinds:
            assert problems(f"apiVersion: {group}/v1\nkind: {kind}\n") == [("UNSUPPORTED_KIND", "kind")]
    for group, kind in KINDS:
        version = f"{group}/v9".lstrip("/")
        assert problems(f"apiVersion: {version}\nkind: {kind}\n") == [("UNKNOWN_KIND", "apiVersion")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[]", [("WRONG_TYPE", "")]),
        ("kind: 5\n", [("REQUIRED", "apiVersion"), ("WRONG_TYPE", "kind")]),
        (HEADER.replace("name: a", "nme: a") + SPEC, [("REQUIRED", "metadata.name")]),
        (HEADER.replace("name: a", "name: A_b") + SPEC, [("INVALID_VALUE", "metadata.name")]),
        (HEADER + "spce: {}\n" + SPEC, [("UNKNOWN_FIELD", "spce")]),
        (HEADER + "status: {x: 1}\n" + SPEC, []),
        (HEADER + "spec: []", [("REQUIRED", "spec.http")]),
        (HEADER + "spec: x", [("WRONG_TYPE", "spec")]),
    ],
)
def test_header(text: str, wanted: list[tuple[str, str]]) -> None:
    """What every document needs."""
    assert problems(text) == wanted


@pytest.mark.parametrize(
    ("more", "code", "path"),
    [
        ("redirect: {uri: /b}", "CONFLICT", "redirect"),
        ("directResponse: {status: 200}", "CONFLICT", "directResponse"),
        ("delegate: {name: b}", "CONFLICT", "delegate"),
        ("retries: {attempts: -1}", "INVALID_VALUE", "retries.attempts"),
        ("retries: {backoff: 1s}", "NO_RETRIES", "retries"),
        ("retries: {attempts: 1, retryOn: '5xx,sometimes'}", "INVALID_VALUE", "retries.retryOn"),
        ("retries: {attempts: 1, backoff: often}", "INVALID_VALUE", "retries.backoff"),
        ("mirror: {host: b}, mirrors: [{destination: {host: b}}]", "CONFLICT", "mirrors"),
        ("mirrorPercentage: {value: 5}", "NO_EFFECT", "mirrorPercentage"),
        ("mirrors: [{destination: {host: b}}], mirrorPercentage: {value: 5}", "NO_EFFECT", "mirrorPercentage"),
        ("mirror: {host: b}, mirrorPercentage: {value: 101}", "INVALID_VALUE", "mirrorPercentage.value"),
        ("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}", "CONFLICT", "rewrite.uriRegexRewrite"),
        ("rewrite: {uriRegexRewrite: {match: '(a', rewrite: b}}", "INVALID_VALUE", "rewrite.uriRegexRewrite.match"),
        ("rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\2'}}", "INVALID_VALUE", "rewrite.uriRegexRewrite.rewrite"),
        ("rewrite: {uriRegexRewrite: {match: a, rewrite: 'x\\'}}", "INVALID_VALUE", "rewrite.uriRegexRewrite.rewrite"),
        ("match: [{uri: {exact: /, prefix: /}}]", "CONFLICT", "match[0].uri"),
        ("match: [{uri: {regex: '('}}]", "INVALID_VALUE", "match[0].uri.regex"),
        ("match: [{statPrefix: x}]", "NO_EFFECT", "match[0].statPrefix"),
        ("match: [{scheme: {regex: '('}}]", "INVALID_VALUE", "match[0].scheme.regex"),
        ("match: [{headers: {':x': {exact: /}}}]", "INVALID_VALUE", 'match[0].headers[":x"]'),
        ("match: [{port: 65536}]", "INVALID_VALUE", "match[0].port"),
        ("headers: {request: {set: {x: 5}}}", "WRONG_TYPE", "headers.request.set.x"),
        ("headers: {request: {set: {x: '%NO%'}}}", "INVALID_VALUE", "headers.request.set.x"),
        ("headers: {request: {remove: [host]}}", "INVALID_VALUE", "headers.request.remove[0]"),
        ("headers: {request: {set: {':path': /}}}", "INVALID_VALUE", 'headers.request.set[":path"]'),
        ("timeout: soon", "INVALID_VALUE", "timeout"),
        ("timeout: 5", "WRONG_TYPE", "timeout"),
    ],
)
def test_rule(more: str, code: str, path: str) -> None:
    """Each fault of a rule by its code and its path."""
    assert in_rule(more) == [(code, f"spec.http[0].{path}")]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("{hosts: [], http: []}", [("REQUIRED", "spec.http")]),
        ("{gateways: [mesh], http: [{route: " + ROUTE + "}]}", [("CONFLICT", "spec.gateways")]),
        ("{http: [{delegate: {name: b}}]}", [("CONFLICT", "spec.http[0].delegate")]),
        ("{http: [{match: [{headers: {x: {regex: a}}}], route: " + ROUTE + "}]}", []),
        ("{hosts: [a], http: [{match: [{uri: {regex: a}}], delegate: {name: b}}]}", []),
        ("{hosts: [a], exportTo: ['~'], http: [{route: " + ROUTE + "}]}", [("INVALID_VALUE", "spec.exportTo[0]")]),
        ("{hosts: [a, A], http: [{route: " + ROUTE + "}]}", [("INVALID_VALUE", "spec.hosts[1]")]),
        ("{hosts: [a], http: [{}]}", [("REQUIRED", "spec.http[0].route")]),
        ("{hosts: [a], http: [{route: [{destination: {host: b}}, {destination: {host: c}}]}]}", [("INVALID_VALUE", "spec.http[0].route")]),
        ("{hosts: [a], tls: []}", [("REQUIRED", "spec.http")]),
    ],
)
def test_virtual_service(spec: str, wanted: list[tuple[str, str]]) -> None:
    """Hosts, rules and weights."""
    assert problems(HEADER + "spec: " + spec) == wanted


@pytest.mark.parametrize(
    ("policy", "code", "path"),
    [
        ("loadBalancer: {simple: FASTEST}", "INVALID_VALUE", "loadBalancer.simple"),
        ("loadBalancer: {simple: LEAST_CONN}", "DEPRECATED", "loadBalancer.simple"),
    ],
)
def test_destination_rule(policy: str, code: str, path: str) -> None:
    """Each fault of a traffic policy by its code and its path."""
    text = HEADER.replace("VirtualService", "DestinationRule") + f"spec: {{host: a, trafficPolicy: {{{policy}}}}}"
    assert problems(text) == [(code, f"spec.trafficPolicy.{path}")]


def test_other_istio_kinds() -> None:
    """What only a look at several fields shows."""
    subsets = HEADER.replace("VirtualService", "DestinationRule") + "spec: {host: a, subsets: [{name: x}, {name: x}]}"
    assert problems(subsets) == [("INVALID_VALUE", "spec.subsets[1].name")]
    peers = HEADER.replace("networking", "security").replace("VirtualService", "PeerAuthentication")
    assert problems(peers) == []
    assert problems(peers + "spec: {portLevelMtls: {80: {mode: STRICT}}}") == [("CONFLICT", "spec.portLevelMtls")]
    port_zero = "spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {0: {}}}"
    assert problems(peers + port_zero) == [("INVALID_VALUE", 'spec.portLevelMtls["0"]')]


def test_kubernetes_fields() -> None:
    """A Service's fields are checked; those of pods that are others' business are read over."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, uid: x}\nspec: {type: ExternalName, externalName: X}"
    assert problems(service) == []
    assert problems(service.replace(", externalName: X", "")) == [("REQUIRED", "spec.externalName")]
    wide = "{internalTrafficPolicy: Local, trafficDistribution: PreferClose, sessionAffinity: ClientIP}"
    assert problems(f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {wide}") == [
        ("NO_EFFECT", "spec.internalTrafficPolicy"),
    ]
    assert problems("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}") == [("UNKNOWN_FIELD", "spec.prots")]
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {volumes: [], containers: [{image: x}]}\n"
    assert problems(pod + "status: {podIP: 10.0.0.1, qosClass: x}") == []
    assert problems("apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nspec: {}") == [("UNKNOWN_FIELD", "spec")]


SCALARS = st.sampled_from("a /x 1s 80 100 true ~ {} [] STRICT v1 10.0.0.1 '%PROTOCOL%' -1 1e999".split())
FIELDS = st.sampled_from(
    "hosts http route destination host subset port number match uri exact prefix regex headers request set add remove weight "
    "mirror mirrors percentage value timeout retries attempts retryOn fault abort delay httpStatus redirect uri authority delegate name "
    "directResponse status body string bytes corsPolicy allowOrigins exportTo tls mode subsets labels trafficPolicy "
    "address ports selector".split()
)
NODES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    | st.dictionaries(FIELDS, inner, max_size=4).map(lambda fields: f"{{{', '.join(f'{k}: {v}' for k, v in fields.items())}}}"),
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)), NODES)
def test_nothing_raises(kind: tuple[str, str], spec: str) -> None:
    """Whatever stands in a document, it is a resource or there is an error with a place inside the text."""
    group, name = kind
    api = f"{group}/v1".lstrip("/")
    text = f"apiVersion: {api}\nkind: {name}\nmetadata: {{name: x}}\nspec: {spec}\n"
    found = read(text, "f")
    errors = [problem for problem in found.problems if problem.severity == "error"]
    assert len(found.resources) == (0 if errors else 1)
    assert all(1 <= problem.line <= 5 for problem in found.problems)


def test_hostile_documents_are_quick() -> None:
    """Twenty thousand faults, hosts or rules: a few hundred lines at most, within seconds."""
    many = 20_000
    texts = [
        HEADER + "spec: {" + ", ".join(f"a{index}: 1" for index in range(many)) + "}",
        HEADER + "spec: {hosts: [" + ", ".join(f"h{index % 2}" for index in range(many)) + "], http: [{route: " + ROUTE + "}]}",
        HEADER + "spec: {hosts: [a], http: [" + ", ".join(["{route: 1}"] * many) + "]}",
        HEADER + "x: [" + "on, " * many + "]",
    ]
    before = time.process_time()
    for text in texts:
        found = read(text, "f").problems
        assert 200 <= len(found) <= 201
    assert time.process_time() - before < 8


def test_what_is_known_is_not_read_again() -> None:
    """A document whose text is as it was is the same resource; one that moved has its new lines, in what is said about it, too."""
    texts = ["", MESH, virtual_service("[{route: [{destination: {host: httpbin}}]}]"), virtual_service("[]", name="bad")]
    known: Known = {}
    first = finish(read_steps("---\n".join(texts[:3]), "a.yaml", new=known))
    again: Known = {}
    second = finish(read_steps("---\n".join(["# a line\n# more\n", *texts]), "a.yaml", old=known, new=again))
    assert [one.key for one in second.resources] == [one.key for one in first.resources]
    assert [new.line - old.line for old, new in zip(first.resources, second.resources, strict=True)] == [3] * len(first.resources)
    assert all(new.spec is old.spec for old, new in zip(first.resources, second.resources, strict=True))
    fault = Fault(("spec", "hosts"), "X", "")
    lines = [found.resources[-1].problems([fault])[0].line for found in (first, second)]
    assert lines[1] == lines[0] + 3
    assert [problem.name for problem in second.problems] == ["bad"]
    assert len(again) == len(known) == len(first.resources)
    assert finish(read_steps("---\n".join(texts[:3]), "b.yaml", old=known)).resources[0].spec is not first.resources[0].spec


def test_an_error_does_not_hide_the_next() -> None:
    """A document that is no YAML says so, and those behind it are read all the same."""
    found = read("a: [\n---\nkind: 1\n---\n" + MESH, "a.yaml")
    assert [(problem.line, problem.code) for problem in found.problems] == [(2, "YAML_SYNTAX"), (3, "REQUIRED"), (3, "WRONG_TYPE")]
    assert found.resources[0].line == 6


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("hosts: [a], http: [{timeout: 5, route: %s}]", "timeout must be a duration such as 1.5s, 250ms or 1m30s, not 5"),
        ("hosts: [a], http: [{route: [{host: a, destination: {host: a}}]}]",
         "there is no field host in route; it has destination, weight, headers"),
        ("hosts: [a], http: [{route: [a]}]", "each of route must be an object with destination, weight, headers, not 'a'"),
        ("hosts: [a], http: [a]",
         "each of http must be an object with name, match, route, redirect, directResponse, delegate, and others, not 'a'"),
        ("hosts: [a], http: [{match: [{sourceLabels: {'a b': c}}], route: %s}]",
         "sourceLabels 'a b': must be a label's key: letters, digits, '-', '_', '.', after a DNS name and '/' if need be"),
    ],
)  # fmt: skip
def test_what_would_be_right(spec: str, wanted: str) -> None:
    """Each error says it."""
    (problem,) = read(f"{HEADER}spec: {{{spec.replace('%s', ROUTE)}}}", "f").problems
    assert problem.message == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("apiVersion: v1\nkind: VirtualService",
         "v1 VirtualService is no kind that meshcar knows; VirtualService is of networking.istio.io/v1"),
        ("apiVersion: v1\nkind: Services", "v1 Services is no kind that meshcar knows; is it Service?"),
        ("apiVersion: v1\nkind: Ingress", "v1 Ingress is no kind that meshcar knows"),
    ],
)  # fmt: skip
def test_which_kind_is_meant(header: str, wanted: str) -> None:
    """A wrong group or a slip of the pen is seen."""
    (problem,) = read(f"{header}\nmetadata: {{name: a}}\n", "f").problems
    assert problem.message == wanted


def test_spec_that_is_not_indented() -> None:
    """Is not said to lack what stands beside it."""
    found = read(f"{HEADER}spec:\nhosts: [a]\nhttp: [{{route: {ROUTE}}}]\n", "f")
    assert [(one.code, one.path) for one in found.problems] == [("UNKNOWN_FIELD", "hosts"), ("UNKNOWN_FIELD", "http")]


def test_lists() -> None:
    """What `kubectl get -o yaml` writes: each item is a document, with its own places, paths and namespace."""
    items = "- apiVersion: v1\n  kind: Service\n  metadata: {name: a, namespace: b}\n  spec: {ports: [{port: 80}]}\n"
    items += "- apiVersion: v1\n  kind: Secret\n  metadata: {name: s}\n- kind: 1\n"
    items += "- apiVersion: v1\n  kind: Service\n  metadata: {name: c}\n  spec: {ports: [{port: 0}]}\n"
    found = read(f"---\napiVersion: v1\nitems:\n{items}kind: List\nmetadata: {{resourceVersion: ''}}\n---\n{MESH}", "f")
    assert found.resources[0].key == "Service/b/a"
    assert (found.resources[0].source, found.resources[0].at("spec", "ports", 0)) == ("f:4", "f:7")
    assert (found.skipped, found.documents) == (("Secret/default/s",), 4 + MESH.count("---") + 1)
    assert [(one.line, one.column, one.path) for one in found.problems] == [
        (11, 3, "apiVersion"), (11, 9, "kind"), (15, 25, "spec.ports[0].port"),
    ]  # fmt: skip
    (wrong,) = read("apiVersion: v1\nkind: List\nitems: {}\n", "f").problems
    assert wrong.code == "UNKNOWN_KIND"
    assert read("apiVersion: v1\nkind: List\nitems: []\n", "f").problems == ()
