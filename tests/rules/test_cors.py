"""Cross-origin requests."""

import pytest

from meshcar.rules.cors import cors, grants, preflight
from meshcar.rules.patterns import pattern
from meshcar.rules.schema_actions import CorsRule, OriginMatch
from meshcar.wire.head import RequestHead

A = b"https://a.example"
RULE = CorsRule(
    allow_origins=(OriginMatch(exact=A.decode()), OriginMatch(prefix="http://dev."), OriginMatch(regex=pattern("https://.*\\.b"))),
    allow_methods=("GET", "POST"), allow_headers=("x-a", "X-B"), expose_headers=("x-e",), max_age=86400.0, allow_credentials=True,
)  # fmt: skip


def request(verb: bytes = b"GET", origin: bytes | None = A, **more: bytes) -> RequestHead:
    headers = [(f"access-control-request-{name}".encode(), value) for name, value in more.items()]
    return RequestHead(verb, b"/", b"h", [*([(b"origin", origin)] if origin is not None else []), *headers])


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (A, True), (A + b"x", False), (A.upper(), False), (b"http://dev.x", True), (b"https://x.b", True), (b"https://x.bc", False),
        (b"", False), (None, False), (b"*", False),
    ],
)
def test_origins(origin: bytes | None, allowed: bool) -> None:
    """Whole and by prefix with case, a regex on the whole; without an origin nothing is granted."""
    assert bool(grants(cors(RULE), request(origin=origin))) is allowed


@pytest.mark.parametrize("rule", [CorsRule(allow_origin=("*",)), CorsRule(allow_origins=(OriginMatch(regex=pattern(".*")),))])
def test_any_origin(rule: CorsRule) -> None:
    """A pattern that takes `*` takes all, and the answer names the origin that asked."""
    assert list(grants(cors(rule), request())) == [(b"access-control-allow-origin", A)]


def test_no_origins() -> None:
    """Nobody is allowed where nobody is named."""
    assert not grants(cors(CorsRule()), request())


def test_preflight() -> None:
    """Everything the browser has to know; the method that it asks for is not judged."""
    assert preflight(cors(RULE), request(b"OPTIONS", method=b"PUT")) == [
        (b"access-control-allow-origin", A),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"GET,POST"),
        (b"access-control-allow-headers", b"x-a,X-B"),
        (b"access-control-max-age", b"86400"),
    ]
    assert grants(cors(RULE), request(b"OPTIONS"))[-1] == (b"access-control-expose-headers", b"x-e")


def test_asterisks_give_back_what_was_asked() -> None:
    """`*` alone allows the very method and headers of the preflight."""
    rule = CorsRule(allow_origin=("*",), allow_methods=("*",), allow_headers=("*",), max_age=0.0)
    found = preflight(cors(rule), request(b"OPTIONS", method=b"PUT", headers=b"x-1,x-2"))
    assert found is not None and found[1:] == [
        (b"access-control-allow-methods", b"PUT"), (b"access-control-allow-headers", b"x-1,x-2"), (b"access-control-max-age", b"0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "head", [request(method=b"PUT"), request(b"OPTIONS"), request(b"OPTIONS", None, method=b"PUT"), request(b"OPTIONS", method=b"")]
)
def test_no_preflight(head: RequestHead) -> None:
    """OPTIONS, an origin and the method it will ask for: else it is a request as any other."""
    assert preflight(cors(RULE), head) is None


def test_unmatched() -> None:
    """A preflight of another origin goes on to the application, or with IGNORE gets an answer that does not name the origin."""
    evil = request(b"OPTIONS", b"https://evil", method=b"GET")
    assert preflight(cors(RULE), evil) is None
    rule = CorsRule(allow_origins=RULE.allow_origins, allow_methods=("GET",), unmatched_preflights="IGNORE")
    assert preflight(cors(rule), evil) == [(b"access-control-allow-methods", b"GET")]
    assert not grants(cors(rule), evil)
