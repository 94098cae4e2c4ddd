"""What a proxy changes in a head on its way: hop-by-hop names and the names only a proxy may set (RFC 9110, section 7.6.1)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from meshcar.errors import BadMessage
from meshcar.wire.head import Header, RequestHead, ResponseHead

NO_TOKENS: frozenset[bytes] = frozenset()
_HOP_BY_HOP = frozenset(b"connection http2-settings keep-alive proxy-connection te transfer-encoding upgrade".split())
ROUTER_CONTROL = frozenset(
    b"x-envoy-expected-rq-timeout-ms x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-ip-tags x-envoy-max-retries "
    b"x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on "
    b"x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
    b"x-envoy-upstream-rq-timeout-ms".split()
)
"""Envoy's headers by which a client steers the router: not to be believed from outside."""

FROM_APPLICATION = _HOP_BY_HOP | ROUTER_CONTROL | frozenset(
    b"x-envoy-internal x-envoy-original-host x-envoy-original-path x-forwarded-client-cert x-envoy-decorator-operation "
    b"x-meshcar-shadow".split()
)  # fmt: skip
"""What the application may not tell the outbound side."""
FROM_MESH = _HOP_BY_HOP | ROUTER_CONTROL | frozenset(b"x-envoy-internal x-envoy-decorator-operation x-meshcar-shadow".split())
"""What a peer in the mesh may not tell the inbound side; its X-Forwarded-Client-Cert is a matter of its own."""
FROM_STRANGER = FROM_MESH | frozenset(b"x-envoy-original-host x-envoy-original-path".split())
"""What a peer without an identity may not tell the inbound side."""

_FRAMING = frozenset(b"content-length host transfer-encoding".split())
_OF_H2C = frozenset((b"http2-settings",))
_SWITCH = frozenset(b"connection upgrade".split())
_RESPONSE_HOPS = frozenset(b"connection keep-alive proxy-connection transfer-encoding upgrade".split())
_WITHOUT_LENGTH = frozenset(b"GET HEAD DELETE TRACE CONNECT".split())


def connection_tokens(noted: dict[bytes, bytes]) -> frozenset[bytes]:
    """The options of Connection, in lower case."""
    value = noted.get(b"connection")
    if value is None:
        return NO_TOKENS
    return frozenset(token.strip() for token in value.lower().split(b","))


def websocket(head: RequestHead, tokens: frozenset[bytes]) -> bool:
    """Whether a request, one without a body, asks for the one upgrade that is passed on (Istio's upgrade_configs)."""
    noted = head.noted
    if b"upgrade" not in tokens or noted.get(b"upgrade", b"").lower() != b"websocket":
        return False
    return b"transfer-encoding" not in noted and noted.get(b"content-length", b"0") == b"0"


def strip_request(head: RequestHead, drop: frozenset[bytes], tokens: frozenset[bytes], upgrade: bool) -> None:
    """Takes off what ends at this hop or must not be believed. `drop` is one of the FROM_ sets, `tokens` the options of Connection.

    Headers that Connection names go too, but for those that say where the message ends. Of TE only `trailers` is passed on.
    Raises BadMessage (403, as Envoy) on an upgrade that is not passed on, but for h2c, which a client can do without.
    """
    noted = head.noted
    if drop.isdisjoint(noted) and not tokens:
        return
    if b"te" in noted and b"trailers" in [option.strip() for option in noted[b"te"].split(b",")]:
        put(head.headers, b"te", b"trailers")
        tokens, drop = tokens - {b"te"}, drop - {b"te"}
    if upgrade:
        drop = drop - _SWITCH
    else:
        if b"upgrade" not in noted:
            drop = drop - _OF_H2C
        elif b"upgrade" in tokens and noted[b"upgrade"].lower() != b"h2c":
            raise BadMessage("an upgrade that is not passed on", 403, "upgrade_failed", b"", "-")
        nominated = tokens - drop - _FRAMING
        if nominated:
            drop = drop | nominated
            for name in nominated:
                noted.pop(name, None)
    head.headers = [header for header in head.headers if header[0] not in drop]


def admit(head: RequestHead, drop: frozenset[bytes], tokens: frozenset[bytes], upgrade: bool, secure: bool, internal: bool) -> None:
    """`strip_request`, and what a proxy says of where a request came from: by TLS or not, and from an internal address or not.

    Raises BadMessage.
    """
    noted = head.noted
    strip_request(head, drop - ROUTER_CONTROL if internal else drop, tokens, upgrade)
    if b"x-forwarded-proto" not in noted:
        head.headers.append((b"x-forwarded-proto", b"https" if secure else b"http"))
    if internal:
        head.headers.append((b"x-envoy-internal", b"true"))
        noted[b"x-envoy-internal"] = b"true"
    else:
        noted.pop(b"x-envoy-internal", None)


def is_internal(forwarded: bytes, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether X-Forwarded-For is one address, and an internal one. Source: Envoy's internal_address_config."""
    address = literal(forwarded)
    return address is not None and any(address in network for network in networks)


def literal(text: bytes) -> IPv4Address | IPv6Address | None:
    """An address as a header has it, or None. One with a zone is none: behind its `%` a client could write anything."""
    try:
        return None if b"%" in text else ip_address(text.decode("ascii"))
    except ValueError:
        return None


def strip_response(head: ResponseHead, upgraded: bool) -> None:
    """Takes off what ends at this hop. What Connection names is passed on, as by Envoy."""
    if not upgraded and not _RESPONSE_HOPS.isdisjoint(head.noted):
        head.headers = [header for header in head.headers if header[0] not in _RESPONSE_HOPS]


def put(headers: list[Header], name: bytes, value: bytes) -> None:
    """Sets a header: in the place of its first line, others of the name taken out; at the end when there is none."""
    places = [place for place, header in enumerate(headers) if header[0] == name]
    if not places:
        headers.append((name, value))
        return
    headers[places[0]] = (name, value)
    for place in reversed(places[1:]):
        del headers[place]


def put_noted(headers: list[Header], noted: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """As `put`, for a header that the reader of heads notes: mostly there is none, or one line, found by what it says."""
    old = noted.get(name)
    if old is None:
        headers.append((name, value))
        return
    try:
        headers[headers.index((name, old))] = (name, value)
    except ValueError:  # several lines, or changed since
        put(headers, name, value)


def remove(headers: list[Header], name: bytes) -> None:
    """Takes out every line of a header."""
    headers[:] = [header for header in headers if header[0] != name]


def frame(headers: list[Header], head: RequestHead) -> None:
    """Puts the framing of a request's body last, as Envoy's codec does: chunked, or a length of 0 where one is expected."""
    if b"transfer-encoding" in head.noted:
        headers.append((b"transfer-encoding", b"chunked"))
    elif b"content-length" not in head.noted and head.method not in _WITHOUT_LENGTH:
        headers.append((b"content-length", b"0"))


def shadow_authority(authority: bytes) -> bytes:
    """`cluster1:8000` -> `cluster1-shadow:8000`: what Envoy does to the Host of a mirrored copy."""
    host, colon, port = authority.rpartition(b":")
    return b"%b-shadow:%b" % (host, port) if colon and port.isdigit() else authority + b"-shadow"
