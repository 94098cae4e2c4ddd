"""VirtualServices: istiod's verdicts on what stands in them."""

import pytest

from meshcar.rules.read import read

TO = "route: [{destination: {host: b.c}}]"
GO = "redirect: {uri: /, authority: a.b}"


def verdict(spec: str) -> list[tuple[str, str]]:
    """Code and path, below spec, of each problem."""
    text = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {spec}\n"
    return [(problem.code, problem.path.removeprefix("spec.")) for problem in read(text, "f.yaml").problems]


def rule(text: str) -> list[tuple[str, str]]:
    """Problems of the only rule of a VirtualService."""
    return [(code, path.removeprefix("http[0].")) for code, path in verdict(f"{{hosts: [a.b], http: [{{{text}}}]}}")]


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ("headers: {x: {prefix: a}}, withoutHeaders: {y: {regex: a}}, queryParams: {q: {exact: a}}", None),
        ("headers: {x: {}}, withoutHeaders: {y: {regex: '*'}}, queryParams: {q: {}}, method: {}, uri: {}", None),
        ("headers: {x: null}", ("WRONG_TYPE", "headers.x")),
        ("headers: {x: {prefix: ''}}", ("INVALID_VALUE", "headers.x.prefix")),
        ("withoutHeaders: {x: {prefix: ''}}", ("INVALID_VALUE", "withoutHeaders.x.prefix")),
        ("withoutHeaders: {x: {regex: '?'}}", ("INVALID_VALUE", "withoutHeaders.x.regex")),
        ("method: {prefix: ''}", ("INVALID_VALUE", "method.prefix")),
        ("scheme: {prefix: ''}", ("INVALID_VALUE", "scheme.prefix")),
        ("authority: {prefix: ''}", ("INVALID_VALUE", "authority.prefix")),
        ("queryParams: {q: {prefix: ''}}", ("INVALID_VALUE", "queryParams.q.prefix")),
        ("uri: {prefix: ''}", None),
        ("uri: {regex: ''}", ("INVALID_VALUE", "uri.regex")),
        ("uri: {regex: '*'}", ("INVALID_VALUE", "uri.regex")),
        ("method: {regex: ''}", ("INVALID_VALUE", "method.regex")),
        ("queryParams: {q: {regex: ''}}", ("INVALID_VALUE", "queryParams.q.regex")),
        ("port: 0, sourceNamespace: ''", None),
        ("port: 70000", ("INVALID_VALUE", "port")),
        ("sourceNamespace: A_b", ("INVALID_VALUE", "sourceNamespace")),
        ("sourceLabels: {a.b/c: v-1, d: ''}", None),
        ("sourceLabels: {'a b': x}", ("INVALID_VALUE", 'sourceLabels["a b"]')),
        ("sourceLabels: {a: '-x'}", ("INVALID_VALUE", "sourceLabels.a")),
        ("gateways: [mesh, ns/gw]", None),
        ("gateways: [gw.ns.svc.cluster.local, mesh]", ("DEPRECATED", "gateways[0]")),
        ("gateways: ['ns/*']", ("INVALID_VALUE", "gateways[0]")),
        ("headers: {'@request.auth.claims.sub': {exact: a}}", ("INVALID_VALUE", 'headers["@request.auth.claims.sub"]')),
        ("withoutHeaders: {'@request.auth.claims[a]': {}}", ("INVALID_VALUE", 'withoutHeaders["@request.auth.claims[a]"]')),
    ],
)
def test_match(match: str, wanted: tuple[str, str] | None) -> None:
    """Empty prefixes only of paths, no empty pattern, names of ports, namespaces, labels and gateways as they are."""
    assert rule(f"match: [{{{match}}}], {GO}") == ([(wanted[0], f"match[0].{wanted[1]}")] if wanted else [])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("redirect: {prefixRewrite: /b}, match: [{uri: {prefix: /a}}, {headers: {x: {}}}]", []),
        ("redirect: {prefixRewrite: /b}, match: [{uri: {exact: /a}}]", [("CONFLICT", "match[0].uri")]),
        ("redirect: {prefixRewrite: /b}, match: [{uri: {regex: /a}}]", [("CONFLICT", "match[0].uri")]),
        (f"{TO}, rewrite: {{}}", [("REQUIRED", "rewrite")]),
        (f"{TO}, rewrite: {{uri: ''}}", [("REQUIRED", "rewrite")]),
        (f"{TO}, rewrite: {{uriRegexRewrite: {{match: a}}}}", [("REQUIRED", "rewrite.uriRegexRewrite.rewrite")]),
        (f"{TO}, rewrite: {{uriRegexRewrite: {{rewrite: a}}}}", [("REQUIRED", "rewrite.uriRegexRewrite.match")]),
        (f"{TO}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: ''}}}}", [("REQUIRED", "rewrite.uriRegexRewrite.rewrite")]),
        (f"{TO}, retries: {{}}", [("NO_RETRIES", "retries")]),
        (f"{TO}, retries: {{attempts: 0}}", []),
        (f"{TO}, retries: {{attempts: 10, retryOn: '503,connect-failure'}}", []),
        (
            f"{TO}, retries: {{attempts: 0, perTryTimeout: 1s, retryOn: 5xx}}",
            [("CONFLICT", "retries.perTryTimeout"), ("CONFLICT", "retries.retryOn")],
        ),
        (f"{TO}, retries: {{attempts: 0, retryRemoteLocalities: false}}", [("CONFLICT", "retries.retryRemoteLocalities")]),
        (f"{TO}, retries: {{attempts: 1, perTryTimeout: 2.000000001s}}", [("INVALID_VALUE", "retries.perTryTimeout")]),
        (f"{TO}, retries: {{attempts: 1, backoff: 999us}}", [("INVALID_VALUE", "retries.backoff")]),
        (f"{TO}, retries: {{attempts: 1, retryOn: '5xx, reset'}}", [("INVALID_VALUE", "retries.retryOn")]),
        (f"{TO}, retries: {{attempts: 1, retryOn: '600'}}", [("INVALID_VALUE", "retries.retryOn")]),
        (f"{TO}, retries: {{attempts: 1, retryOn: '5xx,'}}", [("INVALID_VALUE", "retries.retryOn")]),
        (f"{TO}, timeout: 0s", [("INVALID_VALUE", "timeout")]),
        (f"{TO}, mirrorPercent: 101", [("INVALID_VALUE", "mirrorPercent")]),
        (f"{TO}, mirror: {{host: b}}, mirrorPercent: 5", [("DEPRECATED", "mirrorPercent")]),
        (
            f"{TO}, mirror: {{host: b}}, mirrorPercent: 5, mirrorPercentage: {{value: 1}}",
            [("DEPRECATED", "mirrorPercent"), ("NO_EFFECT", "mirrorPercent")],
        ),
        (f"{TO}, mirrorPercentage: {{value: -1}}", [("INVALID_VALUE", "mirrorPercentage.value")]),
        (f"{TO}, mirrors: [{{percentage: {{value: 5}}}}]", [("REQUIRED", "mirrors[0].destination")]),
        (f"{TO}, mirrors: [{{destination: {{host: b}}, percentage: {{value: 101}}}}]", [("INVALID_VALUE", "mirrors[0].percentage.value")]),
        ("route: [{}]", [("REQUIRED", "route[0].destination")]),
        ("route: [{destination: {}}]", [("REQUIRED", "route[0].destination.host")]),
        ("route: [{destination: {host: '*'}}]", [("INVALID_VALUE", "route[0].destination.host")]),
        ("route: [{destination: {host: a, subset: A_b}}]", [("INVALID_VALUE", "route[0].destination.subset")]),
        ("route: [{destination: {host: a, port: {number: 0}}}]", [("INVALID_VALUE", "route[0].destination.port.number")]),
        ("route: [{destination: {host: a}, weight: -1}]", [("INVALID_VALUE", "route[0].weight")]),
        ("route: [{destination: {host: a}, weight: 550}, {destination: {host: b}, weight: 500}]", []),
        (f"{TO}, headers: {{request: {{set: {{':authority': a}}}}}}", []),
        (f"{TO}, headers: {{request: {{set: {{host: a}}}}}}, rewrite: {{authority: b}}", [("CONFLICT", "headers.request.set.host")]),
        (f"{TO}, headers: {{request: {{set: {{host: a}}, add: {{Host: b}}}}}}", [("CONFLICT", "headers.request.add.Host")]),
    ],
)
def test_rule(text: str, wanted: list[tuple[str, str]]) -> None:
    """What a rule may say, in each of its parts."""
    assert rule(text) == wanted


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (f"hosts: ['*'], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*'], gateways: [mesh, gw], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*'], gateways: [gw], http: [{{{TO}}}]", []),
        (f"hosts: [a.b, '*'], gateways: [gw], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*-a.b', '*.x-a.b', x-a.b, a.b, '*.a.b'], http: [{{{TO}}}]", [("INVALID_VALUE", f"hosts[{index}]") for index in (1, 2)]),
        (f"hosts: ['*a.b', a.b, '*.a.b', '*-a.b'], http: [{{{TO}}}]", [("INVALID_VALUE", f"hosts[{index}]") for index in (1, 2, 3)]),
        (f"hosts: [1.2.3.4, 'FD00::1', a.1b, '123'], http: [{{{TO}}}]", []),
        (f"hosts: [300.1.1.1, a.1], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]"), ("INVALID_VALUE", "hosts[1]")]),
        (f"hosts: ['*.foo.bar', '*.bar'], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]")]),
        (f"hosts: ['*.bar', foo.bar], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[1]")]),
        (f"hosts: [bar, '*.bar', foo.baz], http: [{{{TO}}}]", []),
        (f"hosts: [a], gateways: ['b@d'], http: [{{{TO}}}]", [("INVALID_VALUE", "gateways[0]")]),
        (f"hosts: [a], gateways: [gateway.example.com], http: [{{{TO}}}]", [("DEPRECATED", "gateways[0]")]),
        (f"hosts: [a], gateways: [gw], http: [{{match: [{{headers: {{'@request.auth.claims.a': {{}}}}}}], {TO}}}]", []),
        (f"hosts: ['a!b'], http: [{{{TO}}}]", [("INVALID_VALUE", "hosts[0]")]),
    ],
)
def test_spec(spec: str, wanted: list[tuple[str, str]]) -> None:
    """Hosts that do not overlap, `*` for gateways alone, gateways by their names."""
    assert verdict(f"{{{spec}}}") == wanted


def test_many_hosts() -> None:
    """Hosts are compared in linear time."""
    hosts = ", ".join(f"h{number}.a.b" for number in range(5000))
    assert verdict(f"{{hosts: [{hosts}], http: [{{{TO}}}]}}") == []
