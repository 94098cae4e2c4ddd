"""What a DestinationRule may say, and what is wrong with others. The cases are those of istiod's own tests, on inputs of our own."""

import pytest

from meshcar.rules.read import read


def faults(spec: str) -> list[tuple[str, str]]:
    """Codes and paths of a DestinationRule's problems."""
    text = f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x}}\nspec: {spec}"
    return [(problem.code, problem.path.removeprefix("spec.")) for problem in read(text, "x.yaml").problems]


def of_policy(policy: str) -> list[tuple[str, str]]:
    """Those of a traffic policy, by paths within it."""
    return [(code, path.removeprefix("trafficPolicy.")) for code, path in faults(f"{{host: a, trafficPolicy: {policy}}}")]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("{host: a}", []),
        ("{host: a, subsets: [{name: v1}, {name: V-2, labels: {example.com/Version: '', app: a_B.c}}]}", []),
        ("{subsets: []}", [("REQUIRED", "host")]),
        ("{host: ''}", [("INVALID_VALUE", "host")]),
        ("{host: 1.1.1.1}", [("INVALID_VALUE", "host")]),
        ("{host: 'a.*.b'}", [("INVALID_VALUE", "host")]),
        ("{host: a, subsets: [{name: ''}]}", [("INVALID_VALUE", "subsets[0].name")]),
        ("{host: a, subsets: [{name: a_b}]}", [("INVALID_VALUE", "subsets[0].name")]),
        ("{host: a, subsets: [{labels: {}}]}", [("REQUIRED", "subsets[0].name")]),
        ("{host: a, subsets: [{name: b}, {name: b}]}", [("INVALID_VALUE", "subsets[1].name")]),
        ("{host: a, subsets: [null]}", [("WRONG_TYPE", "subsets[0]")]),
        ("{host: a, subsets: [{name: b, labels: {'-a': b}}]}", [("INVALID_VALUE", "subsets[0].labels[\"-a\"]")]),
        ("{host: a, subsets: [{name: b, labels: {a: 'b c'}}]}", [("INVALID_VALUE", "subsets[0].labels.a")]),
        ("{host: a, subsets: [{name: b, trafficPolicy: {}}]}", [("REQUIRED", "subsets[0].trafficPolicy")]),
        ("{host: a, workloadSelector: {matchLabels: {app: a}}, exportTo: [.]}", []),
        ("{host: a, workloadSelector: {}}", [("NO_EFFECT", "workloadSelector")]),
        ("{host: a, workloadSelector: {matchLabels: {'': a}}}", [("INVALID_VALUE", "workloadSelector.matchLabels[\"\"]")]),
        ("{host: a, workloadSelector: {matchLabels: {app: 'a*'}}}", [("INVALID_VALUE", "workloadSelector.matchLabels.app")]),
        ("{host: a, workloadSelector: {matchLabels: {app: a}}, exportTo: [a, b]}", [("CONFLICT", "exportTo")]),
        ("{host: a, exportTo: [b, b]}", [("INVALID_VALUE", "exportTo[1]")]),
        ("{host: a, exportTo: ['*', b]}", [("CONFLICT", "exportTo[0]")]),
        ("{host: a, exportTo: ['~']}", [("INVALID_VALUE", "exportTo[0]")]),
    ],
)
def test_rule(spec: str, wanted: list[tuple[str, str]]) -> None:
    """Hosts, subsets, selectors, exports."""
    assert faults(spec) == wanted


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("{}", [("REQUIRED", "trafficPolicy")]),
        ("{portLevelSettings: [{tls: {}}]}", [("REQUIRED", "portLevelSettings[0].port")]),
        ("{portLevelSettings: [{port: {number: 80}}]}", [("REQUIRED", "portLevelSettings[0]")]),
        (
            "{portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}]}",
            [("NO_EFFECT", "portLevelSettings[1].port.number")],
        ),
        ("{tunnel: {targetHost: a.b, targetPort: 1}}", [("UNSUPPORTED_FIELD", "tunnel")]),
        ("{proxyProtocol: {version: V2}}", []),
        ("{proxyProtocol: {version: V3}}", [("INVALID_VALUE", "proxyProtocol.version")]),
        ("{retryBudget: {percent: 12.5, minRetryConcurrency: 2, budgetInterval: 0ms}}", []),
        ("{retryBudget: {percent: 101}}", [("INVALID_VALUE", "retryBudget.percent")]),
        ("{retryBudget: {minRetryConcurrency: -1}}", [("INVALID_VALUE", "retryBudget.minRetryConcurrency")]),
    ],
)
def test_policy(policy: str, wanted: list[tuple[str, str]]) -> None:
    """What holds for a host in general."""
    assert of_policy(policy) == wanted


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        ("{}", [("REQUIRED", "connectionPool")]),
        ("{tcp: {}, http: {}}", []),
        ("{tcp: {maxConnections: 7, connectTimeout: 2s, tcpKeepalive: {probes: 3, time: 60s, interval: 5s}}}", []),
        ("{tcp: {maxConnections: -1}}", [("INVALID_VALUE", "tcp.maxConnections")]),
        ("{tcp: {maxConnections: x}}", [("WRONG_TYPE", "tcp.maxConnections")]),
        ("{tcp: {connectTimeout: 2.0000005s}}", [("INVALID_VALUE", "tcp.connectTimeout")]),
        ("{tcp: {connectTimeout: 0s}}", [("INVALID_VALUE", "tcp.connectTimeout")]),
        ("{tcp: {maxConnectionDuration: 500ns}}", [("INVALID_VALUE", "tcp.maxConnectionDuration")]),
        ("{tcp: {idleTimeout: 0s}}", []),
        ("{tcp: {idleTimeout: 1ms5us}}", [("INVALID_VALUE", "tcp.idleTimeout")]),
        ("{tcp: {tcpKeepalive: {time: 0s}}}", [("INVALID_VALUE", "tcp.tcpKeepalive.time")]),
        ("{http: {idleTimeout: 0s}}", [("INVALID_VALUE", "http.idleTimeout")]),
        ("{http: {http1MaxPendingRequests: -1}}", [("INVALID_VALUE", "http.http1MaxPendingRequests")]),
        ("{http: {http2MaxRequests: -1}}", [("INVALID_VALUE", "http.http2MaxRequests")]),
        ("{http: {maxRequestsPerConnection: -1}}", [("INVALID_VALUE", "http.maxRequestsPerConnection")]),
        ("{http: {maxRetries: -1}}", [("INVALID_VALUE", "http.maxRetries")]),
        ("{http: {maxConcurrentStreams: -1}}", [("INVALID_VALUE", "http.maxConcurrentStreams")]),
        ("{http: {maxConcurrentStreams: 5}}", [("NO_EFFECT", "http.maxConcurrentStreams")]),
        ("{http: {useClientProtocol: true, h2UpgradePolicy: DO_NOT_UPGRADE}}", []),
        ("{http: {h2UpgradePolicy: UPGRADE}}", [("UNSUPPORTED_VALUE", "http.h2UpgradePolicy")]),
        (
            "{http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
            [("UNSUPPORTED_VALUE", "http.h2UpgradePolicy"), ("CONFLICT", "http.useClientProtocol")],
        ),
        ("{http: {http2KeepAlive: {interval: 15s, timeout: 5s}}}", [("NO_EFFECT", "http.http2KeepAlive")]),
        ("{http: {http2KeepAlive: {timeout: 5s}}}", [("REQUIRED", "http.http2KeepAlive.interval")]),
        ("{http: {http2KeepAlive: {interval: 5s}}}", [("REQUIRED", "http.http2KeepAlive.timeout")]),
    ],
)
def test_connection_pool(pool: str, wanted: list[tuple[str, str]]) -> None:
    """Limits of connections and requests."""
    found = of_policy(f"{{connectionPool: {pool}}}")
    assert [(code, path.removeprefix("connectionPool.")) for code, path in found] == wanted


@pytest.mark.parametrize(
    ("outliers", "wanted"),
    [
        ("{}", []),
        ("{interval: 2s, baseEjectionTime: 2s, maxEjectionPercent: 50, consecutive5xxErrors: null}", []),
        ("{interval: 2.0000005s}", [("INVALID_VALUE", "interval")]),
        ("{baseEjectionTime: 0s}", [("INVALID_VALUE", "baseEjectionTime")]),
        ("{maxEjectionPercent: 105}", [("INVALID_VALUE", "maxEjectionPercent")]),
        ("{minHealthPercent: -1}", [("INVALID_VALUE", "minHealthPercent")]),
        ("{minHealthPercent: 101}", [("INVALID_VALUE", "minHealthPercent")]),
        ("{consecutiveErrors: 101}", [("DEPRECATED", "consecutiveErrors")]),
        ("{consecutiveLocalOriginFailures: 10}", [("CONFLICT", "consecutiveLocalOriginFailures")]),
        ("{consecutiveLocalOriginFailures: 10, splitExternalLocalOriginErrors: true}", []),
        ("{consecutiveLocalOriginFailures: 0}", []),
        ("{outlierDetectionHttpErrorCodes: [404, 99]}", [("INVALID_VALUE", "outlierDetectionHttpErrorCodes[1]")]),
        ("{consecutive5xxErrors: 4294967296}", [("INVALID_VALUE", "consecutive5xxErrors")]),
    ],
)
def test_outlier_detection(outliers: str, wanted: list[tuple[str, str]]) -> None:
    """Who is left out, of a host and of a port."""
    for start, policy in (("", "POLICY"), ("portLevelSettings[0].", "{portLevelSettings: [{port: {number: 1}, REST}]}")):
        inner = f"outlierDetection: {outliers}"
        found = of_policy(policy.replace("POLICY", f"{{{inner}}}").replace("REST", inner))
        assert [(code, path.removeprefix(f"{start}outlierDetection.")) for code, path in found] == wanted


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        ("{}", []),
        ("{mode: SIMPLE, caCertificates: /ca, subjectAltNames: [a]}", []),
        ("{mode: SIMPLE, caCertificates: /ca, subjectAltNames: [a], insecureSkipVerify: false}", []),
        ("{mode: SIMPLE, insecureSkipVerify: true}", []),
        ("{mode: SIMPLE, insecureSkipVerify: true, caCertificates: /ca}", [("CONFLICT", "caCertificates")]),
        ("{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}", [("CONFLICT", "subjectAltNames")]),
        ("{mode: SIMPLE, clientCertificate: /c}", [("NO_EFFECT", "clientCertificate")]),
        ("{mode: SIMPLE, credentialName: a}", [("UNSUPPORTED_FIELD", "credentialName")]),
        ("{mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCrl: /r}", []),
        ("{mode: MUTUAL, clientCertificate: /c, privateKey: /k, insecureSkipVerify: true}", []),
        ("{mode: MUTUAL, privateKey: /k}", [("REQUIRED", "clientCertificate")]),
        ("{mode: MUTUAL, clientCertificate: /c}", [("REQUIRED", "privateKey")]),
        (
            "{mode: MUTUAL, clientCertificate: /c, privateKey: /k, insecureSkipVerify: true, caCertificates: /ca}",
            [("CONFLICT", "caCertificates")],
        ),
        ("{mode: ISTIO_MUTUAL, sni: a, subjectAltNames: [b]}", []),
        (
            "{mode: ISTIO_MUTUAL, privateKey: /k, insecureSkipVerify: true}",
            [("NO_EFFECT", "insecureSkipVerify"), ("NO_EFFECT", "privateKey")],
        ),
        ("{mode: DISABLE, sni: a}", [("NO_EFFECT", "sni")]),
        ("{mode: NONE}", [("INVALID_VALUE", "mode")]),
        ("{mode: SIMPLE, sni: 'a\u00e9'}", [("INVALID_VALUE", "sni")]),
    ],
)
def test_tls(tls: str, wanted: list[tuple[str, str]]) -> None:
    """TLS to endpoints."""
    assert [(code, path.removeprefix("tls.")) for code, path in of_policy(f"{{tls: {tls}}}")] == wanted
