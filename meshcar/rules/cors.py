"""Cross-origin requests: Istio's CorsPolicy compiled, and the headers that answers get by it. Source: Envoy's CORS filter."""

from collections.abc import Callable, Sequence

from meshcar.rules.policies import Cors
from meshcar.rules.schema_actions import CorsRule, OriginMatch
from meshcar.wire.head import Header, RequestHead

_ALLOW_ORIGIN = b"access-control-allow-origin"
_ALLOW_CREDENTIALS = (b"access-control-allow-credentials", b"true")


def cors(rule: CorsRule) -> Cors:
    """A rule as the data path obeys it. A pattern that matches `*` allows every origin."""
    patterns = rule.allow_origins or tuple(OriginMatch(exact=origin) for origin in rule.allow_origin)
    tests = tuple(map(_test, patterns))
    return Cors(
        allows=_always if any(test(b"*") for test in tests) else lambda origin: any(test(origin) for test in tests),
        methods=",".join(rule.allow_methods).encode(),
        headers=",".join(rule.allow_headers).encode(),
        expose=",".join(rule.expose_headers).encode(),
        max_age=b"%d" % rule.max_age if rule.max_age is not None else b"",
        credentials=rule.allow_credentials,
        forward=rule.unmatched_preflights != "IGNORE",
    )


def grants(policy: Cors, head: RequestHead) -> Sequence[Header]:
    """The headers that every answer to a request gets; none if its origin is not allowed, or it has none."""
    origin = head.get(b"origin")
    if not origin or not policy.allows(origin):
        return ()
    found = [(_ALLOW_ORIGIN, origin)]
    if policy.credentials:
        found.append(_ALLOW_CREDENTIALS)
    if policy.expose:
        found.append((b"access-control-expose-headers", policy.expose))
    return found


def preflight(policy: Cors, head: RequestHead) -> list[Header] | None:
    """The headers of the answer to a preflight; None for a request that goes on (https://fetch.spec.whatwg.org/#cors-preflight-fetch).

    The method and headers that it asks for are not judged: the browser does that.
    """
    origin, wanted = head.get(b"origin"), head.get(b"access-control-request-method")
    if head.method != b"OPTIONS" or not origin or not wanted:
        return None
    allowed = policy.allows(origin)
    if not allowed and policy.forward:
        return None
    found = [(_ALLOW_ORIGIN, origin)] if allowed else []
    if policy.credentials:
        found.append(_ALLOW_CREDENTIALS)
    if policy.methods:
        found.append((b"access-control-allow-methods", wanted if policy.methods == b"*" else policy.methods))
    if policy.headers:
        asked = head.get(b"access-control-request-headers") or b""
        found.append((b"access-control-allow-headers", asked if policy.headers == b"*" else policy.headers))
    if policy.max_age:
        found.append((b"access-control-max-age", policy.max_age))
    return found


def _test(match: OriginMatch) -> Callable[[bytes], bool]:
    if match.exact is not None:
        return match.exact.encode().__eq__
    if match.prefix is not None:
        prefix = match.prefix.encode()
        return lambda origin: origin.startswith(prefix)
    fullmatch = match.regex.fullmatch
    return lambda origin: fullmatch(origin) is not None


def _always(_: bytes) -> bool:
    return True
