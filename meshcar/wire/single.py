"""Headers of which a message has one line at most: what Envoy keeps in a slot of its own. Several lines are one, joined by commas.

Sources: Envoy's HeaderMap (`INLINE_REQ_HEADERS`, `INLINE_RESP_HEADERS` and what filters register besides), as an Envoy 1.40 answers.
"""

from meshcar.wire.head import Header

REQUEST_SINGLE = frozenset(
    b"accept accept-encoding access-control-request-headers access-control-request-method authorization cache-control content-encoding "
    b"content-type expect grpc-accept-encoding grpc-timeout if-match if-modified-since if-none-match if-range if-unmodified-since origin "
    b"pragma referer te user-agent via x-client-trace-id x-envoy-attempt-count x-envoy-decorator-operation "
    b"x-envoy-downstream-service-cluster x-envoy-downstream-service-node x-envoy-external-address x-envoy-is-timeout-retry "
    b"x-envoy-original-host x-envoy-original-path x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port "
    b"x-forwarded-proto x-request-id".split()
)
RESPONSE_SINGLE = frozenset(
    b"access-control-allow-credentials access-control-allow-headers access-control-allow-methods access-control-allow-origin "
    b"access-control-allow-private-network access-control-expose-headers access-control-max-age age cache-control content-encoding "
    b"content-type date etag expires grpc-message grpc-status last-modified location proxy-status server vary via x-envoy-attempt-count "
    b"x-envoy-decorator-operation x-envoy-degraded x-envoy-immediate-health-check-fail x-envoy-ratelimited x-envoy-upstream-canary "
    b"x-envoy-upstream-healthchecked-cluster x-envoy-upstream-service-time x-request-id".split()
)


def joined(headers: list[Header], single: frozenset[bytes]) -> list[Header]:
    """Headers as they came, with several lines of a single one made one, in the place of the first."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in single:
            found.setdefault(name, []).append(value)
    made: list[Header] = []
    for header in headers:
        values = found.pop(header[0], None) if header[0] in single else [header[1]]
        if values is not None:
            made.append((header[0], b",".join(values)))
    return made


def add(headers: list[Header], name: bytes, value: bytes, single: frozenset[bytes]) -> None:
    """One more line of a header, or a longer one of a single header."""
    if name in single:
        for place, (known, old) in enumerate(headers):
            if known == name:
                headers[place] = (name, b"%b,%b" % (old, value))
                return
    headers.append((name, value))
