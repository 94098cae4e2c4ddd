"""PeerAuthentication as it may be written, and what is wrong with it."""

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
