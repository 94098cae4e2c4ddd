"""What a proxy takes off a head, and what it never does."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import BadMessage
from meshcar.wire.head import Header, RequestHead, ResponseHead
from meshcar.wire.hops import (
    FROM_APPLICATION,
    FROM_MESH,
    FROM_STRANGER,
    NO_TOKENS,
    admit,
    connection_tokens,
    frame,
    is_internal,
    put,
    put_noted,
    remove,
    shadow_authority,
    strip_request,
    strip_response,
    websocket,
)
from meshcar.wire.http1_read import RequestReader, ResponseReader
from meshcar.wire.http1_write import response_head


def request(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> RequestHead:
    """A request as it is read."""
    head = RequestReader().feed(b"\r\n".join([first, b"host: a", *lines, b"", b""]))
    assert head is not None
    return head


def stripped(*lines: bytes, drop: frozenset[bytes] = FROM_MESH, first: bytes = b"GET / HTTP/1.1") -> list[Header]:
    """What is left of a request's headers."""
    head = request(*lines, first=first)
    tokens = connection_tokens(head.noted)
    strip_request(head, drop, tokens, websocket(head, tokens))
    return head.headers


def test_tokens() -> None:
    """Options in lower case, off every line; none without the header."""
    assert connection_tokens({}) is NO_TOKENS
    assert connection_tokens(request(b"Connection: Close, X-A", b"Connection:\tx-b ").noted) == {b"close", b"x-a", b"x-b"}


def test_hops() -> None:
    """What ends at this hop goes, other headers stay in order, Proxy-Authorization among them (RFC 9110, section 7.6.1)."""
    kept = stripped(
        b"X-A: 1", b"Connection: close, X-B", b"x-b: 2", b"Keep-Alive: 5", b"Proxy-Connection: close", b"Proxy-Authorization: z", b"X-B: 3",
        b"HTTP2-Settings: x", b"Upgrade: h2c", b"X-A: 4",
    )  # fmt: skip
    assert kept == [(b"x-a", b"1"), (b"proxy-authorization", b"z"), (b"x-a", b"4")]


def test_nothing_to_take() -> None:
    """A plain head is left alone."""
    head = request(b"X-A: 1", b"User-Agent: x")
    before = head.headers
    strip_request(head, FROM_STRANGER, NO_TOKENS, False)
    assert head.headers is before


@pytest.mark.parametrize("lines, left", [
    ((b"Connection: content-length, x-a", b"Content-Length: 3", b"X-A: 1"), [(b"content-length", b"3")]),
    ((b"Connection: Content-Length", b"Connection: close", b"Content-Length: 3"), [(b"content-length", b"3")]),
])  # fmt: skip
def test_framing_is_not_nominated_away(lines: tuple[bytes, ...], left: list[Header]) -> None:
    """Connection: content-length must not take off what says where the body ends (request smuggling)."""
    assert stripped(*lines, first=b"POST / HTTP/1.1") == left


def test_coding_is_not_nominated_away() -> None:
    """Nor transfer-encoding: the body goes on in chunks."""
    head = request(b"Connection: transfer-encoding", b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1")
    strip_request(head, FROM_MESH, connection_tokens(head.noted), False)
    assert head.headers == []
    frame(head.headers, head)
    assert head.headers == [(b"transfer-encoding", b"chunked")]


def test_nominated_are_not_noted() -> None:
    """What Connection named is gone, so nobody acts on it, and a proxy's own header of that name is set anew."""
    head = request(b"Connection: x-request-id, x-b3-traceid", b"X-Request-Id: 1", b"X-B3-TraceId: 2", b"B3: 0")
    strip_request(head, FROM_MESH, connection_tokens(head.noted), False)
    assert head.headers == [(b"b3", b"0")]
    assert head.noted.keys() == {b"connection", b"b3"}


@pytest.mark.parametrize(
    "lines, left",
    [
        ([b"TE: trailers"], [(b"te", b"trailers")]),
        ([b"TE: gzip, trailers"], [(b"te", b"trailers")]),
        ([b"TE: gzip", b"TE: trailers"], [(b"te", b"trailers")]),
        ([b"Connection: te", b"TE: trailers, gzip"], [(b"te", b"trailers")]),
        ([b"TE: gzip"], []),
        ([b"TE: Trailers"], []),
        ([b"TE: trailers;q=0.5"], []),
        ([b"Connection: te", b"TE: gzip"], []),
    ],
)
def test_te(lines: list[bytes], left: list[Header]) -> None:
    """Of TE only `trailers` goes on, as with Envoy, in its place."""
    assert stripped(b"X-A: 1", *lines, b"X-B: 2") == [(b"x-a", b"1"), *left, (b"x-b", b"2")]


def test_who_may_say_what() -> None:
    """An application sets nothing that a sidecar does; a stranger no less; a peer may name original host and path, and an XFCC."""
    lines = [
        b"x-envoy-retry-on: 5xx", b"x-envoy-internal: true", b"x-envoy-original-path: /fake", b"x-forwarded-client-cert: By=x",
        b"x-meshcar-shadow: 1",
        b"x-envoy-decorator-operation: x", b"x-envoy-attempt-count: 9",
    ]  # fmt: skip

    def left(drop: frozenset[bytes]) -> list[bytes]:
        return [name for name, _ in stripped(*lines, drop=drop)]

    assert left(FROM_APPLICATION) == [b"x-envoy-attempt-count"]
    assert left(FROM_STRANGER) == [b"x-forwarded-client-cert", b"x-envoy-attempt-count"]
    assert left(FROM_MESH) == [b"x-envoy-original-path", b"x-forwarded-client-cert", b"x-envoy-attempt-count"]


# -- upgrades


def test_websocket() -> None:
    """The one upgrade that is passed on, in any spelling, keeps what asks for it."""
    kept = stripped(b"Connection: keep-alive, Upgrade, X-A", b"Upgrade: WebSocket", b"X-A: 1", b"Keep-Alive: 5", b"TE: trailers")
    assert kept == [(b"connection", b"keep-alive, Upgrade, X-A"), (b"upgrade", b"WebSocket"), (b"x-a", b"1"), (b"te", b"trailers")]


@pytest.mark.parametrize(
    "lines",
    [
        [b"Connection: upgrade", b"Upgrade: foo"],
        [b"Connection: upgrade", b"Upgrade: foo", b"Upgrade: websocket"],
        [b"Connection: upgrade", b"Upgrade: websocket, foo"],
        [b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 3"],
        [b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"],
    ],
)
def test_other_upgrades(lines: list[bytes]) -> None:
    """Other protocols, and a handshake with a body, are refused as Envoy refuses an upgrade that it does not know."""
    with pytest.raises(BadMessage) as caught:
        stripped(*lines)
    refusal = caught.value
    assert (refusal.status, refusal.details, refusal.body, refusal.flag) == (403, "upgrade_failed", b"", "-")


@pytest.mark.parametrize(
    "lines", [[b"Upgrade: foo"], [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"], [b"Connection: upgrade"]]
)
def test_upgrades_that_are_none(lines: list[bytes]) -> None:
    """Upgrade without Connection, h2c, and Connection without Upgrade are ordinary requests."""
    assert stripped(*lines) == []


# -- responses


def response(*lines: bytes, status: int = 200) -> ResponseHead:
    """A response as it is read."""
    head = ResponseReader().feed(b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines, b"", b""]))
    assert head is not None
    return head


def test_response() -> None:
    """Hop-by-hop headers go; what Connection names stays, as with Envoy, above all the length."""
    head = response(
        b"X-A: 1", b"Connection: close, content-length, x-a", b"Keep-Alive: 5", b"Upgrade: h2c", b"Content-Length: 3", b"Via: 1.1 x"
    )
    strip_response(head, False)
    assert head.headers == [(b"x-a", b"1"), (b"content-length", b"3"), (b"via", b"1.1 x")]


def test_response_left_alone() -> None:
    """Nothing to take, or an upgrade whose headers are the answer."""
    for head, upgraded in ((response(b"X-A: 1"), False), (response(b"Connection: upgrade", b"Upgrade: websocket", status=101), True)):
        before = list(head.headers)
        strip_response(head, upgraded)
        assert head.headers == before
        assert ResponseReader().feed(response_head(head.status, head.headers)) is not None


# -- pieces


def test_put_and_remove() -> None:
    """A header is set in its first place, at the end when it is new, and taken out wherever it is."""
    headers = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    put(headers, b"a", b"4")
    assert headers == [(b"a", b"4"), (b"b", b"2")]
    put(headers, b"c", b"5")
    assert headers == [(b"a", b"4"), (b"b", b"2"), (b"c", b"5")]
    remove(headers, b"b")
    remove(headers, b"z")
    assert headers == [(b"a", b"4"), (b"c", b"5")]


names = st.sampled_from([b"a", b"b", b"c"])


@given(st.lists(st.tuples(names, st.binary(max_size=2))), names)
def test_put_any(headers: list[Header], name: bytes) -> None:
    """After it there is one line of the name, and the others are as they were."""
    others = [header for header in headers if header[0] != name]
    first = [key for key, _ in headers].index(name) if name in dict(headers) else len(headers)
    put(headers, name, b"new")
    assert headers[first] == (name, b"new")
    assert headers[:first] + headers[first + 1 :] == others


@pytest.mark.parametrize(
    "method, lines, added",
    [
        (b"GET", [], []),
        (b"HEAD", [], []),
        (b"DELETE", [], []),
        (b"TRACE", [], []),
        (b"POST", [], [(b"content-length", b"0")]),
        (b"OPTIONS", [], [(b"content-length", b"0")]),
        (b"PURGE", [], [(b"content-length", b"0")]),
        (b"POST", [b"content-length: 0"], []),
        (b"GET", [b"content-length: 3"], []),
        (b"GET", [b"transfer-encoding: Chunked"], [(b"transfer-encoding", b"chunked")]),
    ],
)
def test_frame(method: bytes, lines: list[bytes], added: list[Header]) -> None:
    """Chunked, or a length of 0 where one is expected, or nothing: as Envoy writes it."""
    headers: list[Header] = []
    frame(headers, request(*lines, first=method + b" / HTTP/1.1"))
    assert headers == added


@pytest.mark.parametrize(
    "authority, shadow",
    [
        (b"cluster1", b"cluster1-shadow"),
        (b"cluster1:8000", b"cluster1-shadow:8000"),
        (b"[::1]:80", b"[::1]-shadow:80"),
        (b"[::1]", b"[::1]-shadow"),
        (b"a:b", b"a:b-shadow"),
        (b"", b"-shadow"),
    ],
)
def test_shadow_authority(authority: bytes, shadow: bytes) -> None:
    """The suffix stands before the port. Source: Envoy's shadow writer."""
    assert shadow_authority(authority) == shadow


@pytest.mark.parametrize("lines", [[], [b"server: a"], [b"x: 1", b"server: a", b"y: 2"], [b"server: a", b"x: 1", b"server: b"]])
def test_put_noted(lines: list[bytes]) -> None:
    """The short way does what `put` does."""
    head = ResponseReader().feed(b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""]))
    assert head is not None
    wanted = list(head.headers)
    put(wanted, b"server", b"meshcar")
    put_noted(head.headers, head.noted, b"server", b"meshcar")
    assert head.headers == wanted


@pytest.mark.parametrize(
    ("lines", "secure", "internal", "wanted"),
    [
        ([b"x-envoy-internal: 1"], False, False, [(b"x-forwarded-proto", b"http")]),
        ([], True, False, [(b"x-forwarded-proto", b"https")]),
        ([b"x-forwarded-proto: ftp", b"x-envoy-max-retries: 1"], True, False, [(b"x-forwarded-proto", b"ftp")]),
        ([b"x-envoy-max-retries: 1"], False, True,
         [(b"x-envoy-max-retries", b"1"), (b"x-forwarded-proto", b"http"), (b"x-envoy-internal", b"true")]),
    ],
)  # fmt: skip
def test_admit(lines: list[bytes], secure: bool, internal: bool, wanted: list[tuple[bytes, bytes]]) -> None:
    """The proxy says whether a request came by TLS and from inside; only who is inside steers the router."""
    head = RequestReader().feed(b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *lines, b"", b""]))
    assert head is not None
    admit(head, FROM_APPLICATION, NO_TOKENS, False, secure, internal)
    assert head.headers == wanted
    assert (b"x-envoy-internal" in head.noted) is internal


def test_h2c_settings() -> None:
    """HTTP2-Settings go with the upgrade that they are for; without one they are a header as any other."""
    for lines, kept in ((b"HTTP2-Settings: a", True), (b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a", False)):
        head = RequestReader().feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
        assert head is not None
        strip_request(head, FROM_APPLICATION, connection_tokens(head.noted), False)
        assert (head.get(b"http2-settings") is not None) is kept


@pytest.mark.parametrize("forwarded", [b"::1%eth0", b"::1%x y", b"::1 ", b"\xff", b"1.2.3.4,1.2.3.4"])
def test_not_internal(forwarded: bytes) -> None:
    """Neither an address with a zone nor what is none is internal."""
    assert not is_internal(forwarded, [ip_network("::/0"), ip_network("0.0.0.0/0")])
