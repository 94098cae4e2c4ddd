"""PeerAuthentication and AuthorizationPolicy as they may be written, and what is wrong with them."""

import pytest

from meshcar.rules.read import read

DOCUMENT = """
apiVersion: security.istio.io/v1
kind: {kind}
metadata: {{name: p, namespace: a, annotations: {{{annotations}}}}}
spec: {spec}
"""


def problems(spec: str, kind: str, annotations: str = "") -> list[tuple[str, str]]:
    """Code and path of what is wrong with a spec."""
    found = read(DOCUMENT.format(kind=kind, spec=spec, annotations=annotations), "f")
    return [(problem.code, problem.path.removeprefix("spec.")) for problem in found.problems]


@pytest.mark.parametrize(
    "spec",
    ["{}", "{mtls: {}}", "{mtls: {mode: UNSET}}", "{selector: {matchLabels: {app: a}}}",
     "{selector: {matchLabels: {app: a}}, portLevelMtls: {8080: {mode: UNSET}, 65535: {}}}", "{selector: {matchLabels: {app: ''}}}"],
)
def test_good_peer_authentication(spec: str) -> None:
    """What istiod accepts without a word."""
    assert problems(spec, "PeerAuthentication") == []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("{selector: {}}", [("NO_EFFECT", "selector")]),
        ("{selector: {matchLabels: {}}}", [("NO_EFFECT", "selector")]),
        (f"{{selector: {{matchLabels: {{a: {'b' * 64}}}}}}}", [("INVALID_VALUE", "selector.matchLabels.a")]),
        ("{selector: {matchLabels: {'': a}}}", [("INVALID_VALUE", 'selector.matchLabels[""]')]),
        ("{selector: {matchLabels: {app: 'a*'}}}", [("INVALID_VALUE", "selector.matchLabels.app")]),
        ("{selector: {matchLabels: {'*': a}}}", [("INVALID_VALUE", 'selector.matchLabels["*"]')]),
        ("{selector: {matchLabels: {app: a}}, portLevelMtls: {}}", [("REQUIRED", "portLevelMtls")]),
        ("{portLevelMtls: {80: {mode: STRICT}}}", [("CONFLICT", "portLevelMtls")]),
        ("{selector: {matchLabels: {app: a}}, portLevelMtls: {0: {mode: UNSET}}}", [("INVALID_VALUE", 'portLevelMtls["0"]')]),
        ("{mtls: {mode: strict}}", [("INVALID_VALUE", "mtls.mode")]),
    ],
)
def test_bad_peer_authentication(spec: str, found: list[tuple[str, str]]) -> None:
    """What istiod refuses or warns of, with the field that is wrong."""
    assert problems(spec, "PeerAuthentication") == found


GOOD_SOURCES = (
    "principals: ['*']", "notPrincipals: ['cluster.local/ns/a/sa/b', '*/sa/b', 'cluster.local/*']", "namespaces: [a, 'a-*', '*']",
    "notNamespaces: [a]", "serviceAccounts: [a, b/c]", "notServiceAccounts: [a]", "trustDomains: ['*', 'a*', '*a', a]",
    "notTrustDomains: [a]", "ipBlocks: [1.2.3.4, 10.0.0.1/8, '::1', 'fd00::/8', 0.0.0.0/0]", "notIpBlocks: [1.2.3.4]",
    "remoteIpBlocks: [1.2.3.4]", "notRemoteIpBlocks: [1.2.3.4]", "serviceAccounts: [a], trustDomains: [a]",
)  # fmt: skip
GOOD_OPERATIONS = (
    "hosts: [a, 'a:*', '*.a', '*']", "notHosts: [a]", "ports: ['0', '80', '65535', '0080']", "notPorts: ['80']", "methods: [GET, anything]",
    "notMethods: ['*']", "paths: ['/a', '/a*', '*/a', '*', a, '/{*}', '/a/{**}', '/a/{*}/b/{**}/c', '/{*}/', '/{**}/a', '/a b', '/a//b']",
    "notPaths: ['/a']",
)  # fmt: skip
GOOD_CONDITIONS = (
    "key: 'request.headers[X-User]', values: [a]", "key: 'request.headers[:authority]', notValues: ['*']",
    "key: source.ip, values: [1.2.3.0/24]",
    "key: remote.ip, notValues: ['::1']", "key: source.namespace, values: ['a*']", "key: source.principal, values: [a]",
    "key: source.serviceAccount, values: [a, a/b]", "key: source.trustDomain, values: ['a*']", "key: destination.ip, values: [1.2.3.4]",
    "key: destination.port, values: ['80']", "key: connection.sni, values: ['*.a']",
)  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    ["{}", "{rules: []}", "{action: ALLOW, rules: [{}]}", "{action: DENY, rules: [{}]}", "{action: AUDIT}",
     "{selector: {matchLabels: {a: b}}}",
     *(f"{{rules: [{{from: [{{source: {{{one}}}}}]}}]}}" for one in GOOD_SOURCES),
     *(f"{{rules: [{{to: [{{operation: {{{one}}}}}]}}]}}" for one in GOOD_OPERATIONS),
     *(f"{{rules: [{{when: [{{{one}}}]}}]}}" for one in GOOD_CONDITIONS)],
)
def test_good_policy(spec: str) -> None:
    """What istiod accepts without a word, but for what needs RequestAuthentication."""
    assert problems(spec, "AuthorizationPolicy") == []


def in_source(text: str) -> str:
    return f"{{rules: [{{from: [{{source: {{{text}}}}}]}}]}}"


def in_operation(text: str) -> str:
    return f"{{rules: [{{to: [{{operation: {{{text}}}}}]}}]}}"


def in_when(text: str) -> str:
    return f"{{rules: [{{when: [{{{text}}}]}}]}}"


def invalid(place: str, *indexes: int) -> list[tuple[str, str]]:
    return [("INVALID_VALUE", f"{place}[{index}]") for index in indexes]


SOURCE, OPERATION, WHEN = "rules[0].from[0].source", "rules[0].to[0].operation", "rules[0].when[0]"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("{action: DENY}", [("REQUIRED", "rules")]),
        ("{action: DENY, rules: []}", [("REQUIRED", "rules")]),
        ("{action: REFUSE}", [("INVALID_VALUE", "action")]),
        ("{action: CUSTOM, provider: {name: a}, rules: [{}]}", [("UNSUPPORTED_FIELD", "provider")]),
        ("{action: CUSTOM, rules: [{}]}", [("UNSUPPORTED_FIELD", "action")]),
        ("{rules: [null]}", [("WRONG_TYPE", "rules[0]")]),
        ("{rules: [{from: []}]}", [("REQUIRED", "rules[0].from")]),
        ("{rules: [{from: [{}]}]}", [("REQUIRED", SOURCE)]),
        ("{rules: [{from: [null]}]}", [("WRONG_TYPE", "rules[0].from[0]")]),
        (in_source(""), [("REQUIRED", SOURCE)]),
        ("{rules: [{to: []}]}", [("REQUIRED", "rules[0].to")]),
        ("{rules: [{to: [{}]}]}", [("REQUIRED", OPERATION)]),
        (in_operation(""), [("REQUIRED", OPERATION)]),
        *((in_source(f"{field}: [a, '']"), invalid(f"{SOURCE}.{field}", 1)) for field in (
            "principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts", "notServiceAccounts", "trustDomains",
            "notTrustDomains")),
        *((in_source(f"{field}: ['', 1.2.3.4, a.b.c.d, 1.2.3.4/33, 1.2.3.4/255.0.0.0, '1.2.3.4:80', 'fe80::1%eth0', 1.2.3.0/08]"),
           invalid(f"{SOURCE}.{field}", 0, 2, 3, 4, 5, 6, 7)) for field in (
            "ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks")),
        *((in_operation(f"{field}: ['']"), invalid(f"{OPERATION}.{field}", 0)) for field in (
            "hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths")),
        (in_operation("ports: [80]"), [("WRONG_TYPE", f"{OPERATION}.ports[0]")]),
        (in_operation("ports: ['65536', '-1', '8a', '80-90', '+80', '99999999999999999999']"),
         invalid(f"{OPERATION}.ports", *range(6))),
        (in_source("serviceAccounts: ['a*', a/b/c, /a, a/]"), invalid(f"{SOURCE}.serviceAccounts", *range(4))),
        (in_source(f"serviceAccounts: [{'a' * 321}]"), invalid(f"{SOURCE}.serviceAccounts", 0)),
        (in_source(f"notServiceAccounts: [{', '.join(f'a{number}' for number in range(17))}]"),
         [("INVALID_VALUE", f"{SOURCE}.notServiceAccounts")]),
        (in_source("serviceAccounts: [a], namespaces: [b]"), [("CONFLICT", f"{SOURCE}.serviceAccounts")]),
        (in_source("notServiceAccounts: [a], notPrincipals: [b]"), [("CONFLICT", f"{SOURCE}.notServiceAccounts")]),
        (in_source("trustDomains: ['a*b', 'a*b*', a/ns/b, 'spiffe://a']"), invalid(f"{SOURCE}.trustDomains", *range(4))),
        (in_source("requestPrincipals: ['*']"), [("UNSUPPORTED_FIELD", f"{SOURCE}.requestPrincipals")]),
        (in_source("notRequestPrincipals: ['*']"), [("UNSUPPORTED_FIELD", f"{SOURCE}.notRequestPrincipals")]),
        (in_operation("paths: ['/a/{**}x', '/{}', '/{*}/*', '/{*}/**/a', '/{name}', '/{a=*}', '/{*}.txt', '/{*}/{a', '/a}', '/{**}/{*}',"
                      " '/{**}/{**}', '/{*}//a', '{*}/a', '//{*}', '/{*}//', '/{*}/a b']"), invalid(f"{OPERATION}.paths", *range(16))),
        (in_when("values: [a]"), [("REQUIRED", f"{WHEN}.key")]),
        (in_when("key: '', values: [a]"), [("INVALID_VALUE", f"{WHEN}.key")]),
        (in_when("key: source.principal"), [("REQUIRED", WHEN)]),
        (in_when("key: source.principal, values: []"), [("REQUIRED", WHEN)]),
        (in_when("key: source.ip, values: [a.b.c.d], notValues: ['']"),
         invalid(f"{WHEN}.values", 0) + invalid(f"{WHEN}.notValues", 0)),
        (in_when("key: destination.port, values: ['80', x]"), invalid(f"{WHEN}.values", 1)),
        (in_when("key: source.serviceAccount, values: [a/b/c, /a, a/]"), invalid(f"{WHEN}.values", *range(3))),
        (in_when("key: source.trustDomain, values: ['a*b', '*a*', '']"), invalid(f"{WHEN}.values", *range(3))),
        *((in_when(f"key: '{key}', values: [a]"), [("INVALID_VALUE", f"{WHEN}.key")]) for key in (
            "key1", "source.user", "destination.name", "destination.namespace", "destination.user", "destination.labels[a]",
            "request.headers[]", "request.headers", "request.headers[a", "request.headersx[a]", "request.headers[a b]", "Source.ip")),
        *((in_when(f"key: '{key}', values: [a]"), [("UNSUPPORTED_FIELD", f"{WHEN}.key")]) for key in (
            "request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.auth.claims[iss]",
            "experimental.envoy.filters.a.b[c]")),
        ("{selector: {matchLabels: {}}}", [("NO_EFFECT", "selector")]),
        ("{selector: {matchLabels: {a: '*'}}}", [("INVALID_VALUE", "selector.matchLabels.a")]),
        (f"{{rules: [{', '.join(['{}'] * 513)}]}}", [("INVALID_VALUE", "rules")]),
        (f"{{rules: [{{from: [{', '.join(['{source: {principals: [a]}}'] * 513)}]}}]}}", [("INVALID_VALUE", "rules[0].from")]),
        (f"{{targetRef: {{kind: Service, name: {'a' * 254}}}}}", [("INVALID_VALUE", "targetRef.name")]),
        ("{targetRef: {kind: Service, name: a}}", [("NO_EFFECT", "targetRef")]),
        ("{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}]}", [("NO_EFFECT", "targetRefs")]),
        ("{targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: a}]}", [("NO_EFFECT", "targetRefs")]),
        ("{targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: a}]}", [("NO_EFFECT", "targetRefs")]),
        ("{targetRef: {kind: Service, name: a, namespace: b}}", [("INVALID_VALUE", "targetRef.namespace")]),
        ("{targetRef: {kind: Service}}", [("REQUIRED", "targetRef.name")]),
        ("{targetRef: {kind: Service, name: ''}}", [("INVALID_VALUE", "targetRef.name")]),
        ("{targetRef: {kind: Gateway, name: a}}", [("INVALID_VALUE", "targetRef.kind")]),
        ("{targetRef: {kind: Pod, name: a}}", [("INVALID_VALUE", "targetRef.kind")]),
        ("{targetRef: {kind: Service, name: a}, selector: {matchLabels: {a: b}}}", [("CONFLICT", "targetRef")]),
        ("{targetRefs: [{kind: Service, name: a}], selector: {matchLabels: {a: b}}}", [("CONFLICT", "targetRefs")]),
        ("{targetRefs: [{kind: Service, name: a}], targetRef: {kind: Service, name: a}}", [("CONFLICT", "targetRefs")]),
    ],
)
def test_bad_policy(spec: str, found: list[tuple[str, str]]) -> None:
    """What istiod refuses or warns of, with the field that is wrong; and what is refused by name."""
    assert problems(spec, "AuthorizationPolicy") == found


@pytest.mark.parametrize(
    ("rule", "wide"),
    [
        ("{to: [{operation: {methods: [GET]}}]}", True),
        ("{from: [{source: {principals: [a]}}], to: [{operation: {paths: [/a]}}]}", True),
        ("{when: [{key: 'request.headers[a]', values: [a]}]}", True),
        ("{to: [{operation: {methods: [GET], ports: ['80']}}]}", False),
        ("{to: [{operation: {methods: [GET]}}], when: [{key: destination.port, values: ['80']}]}", False),
        ("{from: [{source: {principals: [a]}}]}", False),
        ("{when: [{key: source.ip, values: [1.2.3.4]}]}", False),
        ("{}", False),
    ],
)
def test_denies_tcp(rule: str, wide: bool) -> None:
    """A DENY that asks only for HTTP, and names no port, refuses every other connection too: that is told."""
    assert problems(f"{{action: DENY, rules: [{rule}]}}", "AuthorizationPolicy") == [("DENIES_TCP", "rules[0]")] * wide
    assert problems(f"{{action: ALLOW, rules: [{rule}]}}", "AuthorizationPolicy") == []
