"""Heads of requests and responses: what is read, what is refused, and how."""

import random

import httptools
import pytest

from meshcar.errors import BadMessage
from meshcar.wire.head import RequestHead
from meshcar.wire.http1_body import request_body, response_body
from meshcar.wire.http1_read import MAX_HEAD, MAX_HEADERS, RequestReader, ResponseReader
from tests.wire.heads import GET, OK, events, seen, singly

CODEC, LENGTH_AND_CODING = "http1.codec_error", "http1.content_length_and_chunked_not_allowed"
CODING, URL, CHARACTERS = "http1.invalid_transfer_encoding", "http1.invalid_url", "http1.invalid_characters"
AUTHORITY, NOMINATED = "http.invalid_authority", "http1.connection_header_rejected"


def read(lines: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = b"host: a\r\n") -> RequestHead:
    """A request with these header lines."""
    head = RequestReader().feed(first + b"\r\n" + host + lines + b"\r\n")
    assert head is not None
    return head


def refused(lines: bytes, first: bytes = b"POST / HTTP/1.1", host: bytes = b"host: a\r\n") -> tuple[int, str]:
    """Status and details of the refusal."""
    with pytest.raises(BadMessage) as caught:
        read(lines, first, host)
    return caught.value.status, caught.value.details


# -- what is read


def test_request() -> None:
    """Names in lower case, values without blanks around them, order and duplicates kept, Host apart."""
    reader = RequestReader()
    head = reader.feed(GET + b"GET /next")
    assert head is not None
    assert (head.method, head.target, head.authority, head.has_host) == (b"GET", b"/r?q", b"reviews:9080", True)
    assert head.headers == [(b"accept", b"*/*"), (b"x-empty", b""), (b"x-two", b"1"), (b"x-two", b"2")]
    assert (reader.rest, reader.version, reader.begun) == (b"GET /next", "1.1", False)


def test_response() -> None:
    """The same for a response; its reason does not matter."""
    reader = ResponseReader()
    head = reader.feed(OK + b"abc")
    assert head is not None
    assert (head.status, head.version, reader.rest) == (200, b"1.1", b"abc")
    assert head.headers == [(b"server", b"app"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"3")]
    assert head.noted == {b"server": b"app", b"set-cookie": b"a,b", b"content-length": b"3"}


def test_begun() -> None:
    """A part of a head counts, an empty line before it does not."""
    reader = RequestReader()
    assert reader.feed(b"\r\n") is None and not reader.begun
    assert reader.feed(b"G") is None and reader.begun
    assert reader.feed(GET[1:]) is not None and not reader.begun


def test_noted() -> None:
    """Lines of one name are joined, so that none hides behind the last; order does not matter."""
    head = read(b"Connection: x-a\r\nX-Forwarded-For: 1.1.1.1\r\nconnection: x-b\r\nX-Forwarded-For: 10.0.0.1\r\nX-Other: 1\r\n")
    assert head.noted == {b"connection": b"x-a,x-b", b"x-forwarded-for": b"1.1.1.1,10.0.0.1", b"x-other": b"1"}


def test_latin_and_tabs() -> None:
    """Bytes above 127 and tabs inside a value pass, underscores and signs in names too."""
    assert read(b"a_b~!: \xffa\tb\r\n").headers == [(b"a_b~!", b"\xffa\tb")]


def test_bare_value_forms() -> None:
    """Several requests off one reader, with and without bodies, upgrades and Connection, do not influence each other."""
    kinds = [
        b"", b"Connection: close\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Proxy-Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n",
    ]  # fmt: skip
    reader = RequestReader()
    for lines in kinds * 2:
        for version in (b"1.1", b"1.0") if b"Transfer" not in lines else (b"1.1",):
            data = b"GET / HTTP/" + version + b"\r\nhost: a\r\n" + lines + b"\r\n"
            assert events(reader, [data]) == events(RequestReader(), [data])
            assert reader.version == version.decode()


@pytest.mark.parametrize(
    "target, authority, origin",
    [
        (b"http://b:80/x?y", b"b:80", b"/x?y"),
        (b"HTTPS://b/x", b"b", b"/x"),
        (b"http://b", b"b", b"/"),
        (b"http://b?x", b"b", b"/?x"),
        (b"http://[::1]:8000/", b"[::1]:8000", b"/"),
        (b"http://user:word@b/x", b"b", b"/x"),
        (b"http://b:65535/x@y", b"b:65535", b"/x@y"),
    ],
)
def test_absolute_form(target: bytes, authority: bytes, origin: bytes) -> None:
    """The target's authority wins over Host, without userinfo (RFC 9112, section 3.2.2)."""
    for host in (b"host: a\r\n", b""):
        head = read(b"", b"GET " + target + b" HTTP/1.1", host)
        assert (head.authority, head.target, head.has_host, head.headers) == (authority, origin, True, [])
        assert head.given_scheme == target.partition(b":")[0].lower()


def test_other_forms() -> None:
    """CONNECT's authority form, the asterisk of OPTIONS, a path that looks like an authority, and no Host at all."""
    assert seen(read(b"", b"CONNECT b:443 HTTP/1.1"))[:4] == (b"CONNECT", b"b:443", b"b:443", True)  # type: ignore[index]
    assert seen(read(b"", b"OPTIONS * HTTP/1.1"))[:4] == (b"OPTIONS", b"*", b"a", True)  # type: ignore[index]
    assert read(b"", b"GET //evil/x HTTP/1.1").target == b"//evil/x"
    assert seen(read(b"", host=b""))[2:4] == (b"", False)  # type: ignore[index]
    assert seen(read(b"", host=b"host: \r\n"))[2:4] == (b"", True)  # type: ignore[index]


def test_old_version() -> None:
    """HTTP/1.0 is read, and said to be so."""
    reader = RequestReader()
    assert reader.feed(GET.replace(b"1.1", b"1.0", 1)) is not None
    assert reader.version == "1.0"


@pytest.mark.parametrize("first", [b"PURGE", b"TRACE", b"M-SEARCH", b"SOURCE", b"PROPFIND", b"QUERY"])
def test_rare_methods(first: bytes) -> None:
    """Registered methods pass."""
    assert read(b"", first + b" / HTTP/1.1").method == first


def test_lines_are_as_llhttp_reads_them() -> None:
    """We split what llhttp only judges; over heads that are almost right both find the same headers in whatever passes."""

    class Fields:
        def __init__(self) -> None:
            self.found: list[tuple[bytes, bytes]] = []

        def on_header(self, name: bytes, value: bytes) -> None:
            self.found.append((name.lower(), value.strip()))

    roll = random.Random(11)
    heads = [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\nc:d\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost:a\r\nContent-Length: 5\r\nA:\r\nB: \r\nC:\t x \t\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nhost: a\r\n\r\n",
    ]
    pieces = [b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b"\x0b", b"\xff", b"a", b"\r\n ", b"\r\n:", b" HTTP/1.1", b": b\r\n", b"#"]
    passed = 0
    for _ in range(20_000):
        head = bytearray(roll.choice(heads))
        for _ in range(roll.randint(1, 3)):
            at = roll.randrange(len(head))
            head[at : at + roll.choice((0, 0, 1, 3))] = roll.choice(pieces)
        data = bytes(head[: head.find(b"\r\n\r\n") + 4])
        if data[:1] <= b" ":
            continue
        try:
            request = RequestReader().feed(data)
        except BadMessage:
            continue
        if request is None:
            continue
        told = Fields()
        try:
            httptools.HttpRequestParser(told).feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        passed += 1
        assert [field for field in told.found if field[0] != b"host"] == request.headers, data
        assert b"\n" not in request.target, data
    assert passed > 1000


# -- what is refused


@pytest.mark.parametrize(
    "lines, refusal",
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", (400, LENGTH_AND_CODING)),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", (400, LENGTH_AND_CODING)),
        (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", (400, LENGTH_AND_CODING)),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", (400, CODEC)),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", (400, CODEC)),
        (b"Content-Length: 5, 5\r\n", (400, CODEC)),
        (b"Content-Length: +5\r\n", (400, CODEC)),
        (b"Content-Length: -5\r\n", (400, CODEC)),
        (b"Content-Length: 0x5\r\n", (400, CODEC)),
        (b"Content-Length: 5_0\r\n", (400, CODEC)),
        (b"Content-Length: 5 5\r\n", (400, CODEC)),
        (b"Content-Length: \xb2\r\n", (400, CODEC)),
        (b"Content-Length:\r\n", (400, CODEC)),
        (b"Content-Length: 18446744073709551615\r\n", (400, CODEC)),
        (b"Content-Length: 99999999999999999999\r\n", (400, CODEC)),
        (b"Content-Length: " + b"0" * 5000 + b"5\r\n", (400, CODEC)),
        (b"Transfer-Encoding: gzip\r\n", (501, CODING)),
        (b"Transfer-Encoding: identity\r\n", (501, CODING)),
        (b"Transfer-Encoding: gzip, chunked\r\n", (501, CODING)),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked, chunked\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked,\r\n", (501, CODING)),
        (b"Transfer-Encoding: xchunked\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked;q=1\r\n", (501, CODING)),
        (b"Transfer-Encoding:\r\n", (501, CODING)),
        (b"Transfer-Encoding: chunked\x0b\r\n", (400, CHARACTERS)),
        (b"X: a\x00b\r\n", (400, CHARACTERS)),
        (b"X: a\x7f\r\n", (400, CHARACTERS)),
        (b"X: a\rb\r\n", (400, CODEC)),
        (b"X: a\r\r\n", (400, CODEC)),
        (b"X: a\nY: b\r\n", (400, CODEC)),
        (b"X: a\r\n fold\r\n", (400, CODEC)),
        (b"X: a\r\n\tfold\r\n", (400, CODEC)),
        (b" X: a\r\n", (400, CODEC)),
        (b"X : a\r\n", (400, CODEC)),
        (b"X\t: a\r\n", (400, CODEC)),
        (b": a\r\n", (400, CODEC)),
        (b"X\r\n", (400, CODEC)),
        (b"X(: a\r\n", (400, CODEC)),
        (b"X\x00: a\r\n", (400, CODEC)),
        (b"X\xff: a\r\n", (400, CODEC)),
        (b"Host: b\r\n", (400, CODEC)),
        (b"host: a\r\n", (400, CODEC)),
        (b"Connection: x-forwarded-for\r\n", (400, NOMINATED)),
        (b"Connection: close\r\nConnection: X-Forwarded-Proto\r\n", (400, NOMINATED)),
        (b"Connection: a,b,c,d,e,f,g,h,i,j\r\n", (400, NOMINATED)),
        (b"Connection: close, Host\r\n", (400, "missing_host_header")),
    ],
)
def test_refused_lines(lines: bytes, refusal: tuple[int, str]) -> None:
    """Two framings, odd lengths and codings, control characters, folding and what Connection may not name: Envoy's words for it."""
    assert refused(lines) == refusal


@pytest.mark.parametrize(
    "lines", [b"Connection: a,b,c,d,e,f,g,h,,i,\r\n", b"Connection: upgrade, x-forwarded-for\r\nUpgrade: websocket\r\n"]
)
def test_connection_accepted(lines: bytes) -> None:
    """Nine options are enough; of an upgrade, Envoy does not look at them."""
    assert read(lines).noted[b"connection"] == lines.split(b"\r\n")[0][12:]


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"CHUNKED"])
def test_chunked_any_case(coding: bytes) -> None:
    """The one coding that is known."""
    assert request_body(read(b"Transfer-Encoding: " + coding + b"\r\n")) is not None


@pytest.mark.parametrize(
    "first, refusal",
    [
        (b"GET /", (426, "low_version")),
        (b"GET / HTTP/0.9", (426, "low_version")),
        (b"GET /x\nA: HTTP/1.1", (400, CODEC)),
        (b"GET /x\nA: b", (400, CODEC)),
        (b"GET / HTTP/1.2", (426, "low_version")),
        (b"GET / HTTP/2.0", (426, "low_version")),
        (b"GET / HTTP/9.9", (426, "low_version")),
        (b"PRI * HTTP/2.0", (426, "low_version")),
        (b"GET / HTTP/1.10", (400, CODEC)),
        (b"GET / HTTP/1.1 ", (400, CODEC)),
        (b"GET / HTTP/1.1\x00", (400, CODEC)),
        (b"GET / HTTP/1.1\n", (400, CODEC)),
        (b"GET / HTTP/1.1\r", (400, CODEC)),
        (b"GET / http/1.1", (400, CODEC)),
        (b"GET  / HTTP/1.1", (400, CODEC)),
        (b"GET /  HTTP/1.1", (400, CODEC)),
        (b"GET\t/ HTTP/1.1", (400, CODEC)),
        (b" GET / HTTP/1.1", (400, CODEC)),
        (b"\nGET / HTTP/1.1", (400, CODEC)),
        (b"\rGET / HTTP/1.1", (400, CODEC)),
        (b"\n", (400, CODEC)),
        (b"get / HTTP/1.1", (400, CODEC)),
        (b"FOOBAR / HTTP/1.1", (400, CODEC)),
        (b"GET /a b HTTP/1.1", (400, CODEC)),
        (b"GET /\xff HTTP/1.1", (400, CODEC)),
        (b"GET /\x7f HTTP/1.1", (400, CODEC)),
        (b"GET x HTTP/1.1", (400, CODEC)),
        (b"GET b:80 HTTP/1.1", (400, CODEC)),
        (b"PLAY / RTSP/1.0", (400, CODEC)),
        (b"PLAY / HTTP/1.1", (400, CODEC)),
        (b"SOURCE / ICE/1.0", (400, CODEC)),
        (b"GET * HTTP/1.1", (400, URL)),
        (b"OPTIONS *x HTTP/1.1", (400, URL)),
        (b"GET http:///x HTTP/1.1", (400, URL)),
        (b"GET http://?x HTTP/1.1", (400, URL)),
        (b"GET http://a@/x HTTP/1.1", (400, URL)),
        (b"GET http://a@b@c/x HTTP/1.1", (400, URL)),
        (b"GET http://b:65536/ HTTP/1.1", (400, URL)),
        (b"GET http://b:" + b"1" + b"0" * 5000 + b"/ HTTP/1.1", (400, URL)),
        (b"GET ftp://b/ HTTP/1.1", (400, "http1.invalid_scheme")),
        (b"CONNECT / HTTP/1.1", (400, URL)),
        (b"CONNECT * HTTP/1.1", (400, URL)),
        (b"CONNECT b HTTP/1.1", (400, URL)),
        (b"CONNECT http://b/ HTTP/1.1", (400, URL)),
    ],
)
def test_refused_request_lines(first: bytes, refusal: tuple[int, str]) -> None:
    """Other versions, blanks, methods, characters, protocols and targets, in one piece or in many."""
    assert refused(b"", first) == refusal
    assert events(RequestReader(), singly(first + b"\r\nhost: a\r\n\r\n")) == [BadMessage]


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a\xff", b'a"', b"a?b", b"a#b", b"a\\b", b"a<", b"a\tb"])
def test_refused_authorities(host: bytes) -> None:
    """What cannot stand in an authority is refused as by Envoy; odd names that can, are not."""
    assert refused(b"", host=b"host: " + host + b"\r\n") == (400, AUTHORITY)


@pytest.mark.parametrize("host", [b"u@h", b"a,b", b"[::1]:80", b"a_b~", b"a%41", b"a:b:c", b"A.b."])
def test_odd_authorities(host: bytes) -> None:
    """They pass, and match no rule."""
    assert read(b"", host=b"host: " + host + b"\r\n").authority == host


def test_connect_with_a_body() -> None:
    """CONNECT has none (RFC 9110, section 9.3.6)."""
    connect = b"CONNECT b:443 HTTP/1.1"
    assert refused(b"Content-Length: 3\r\n", connect) == (400, "http1.body_disallowed")
    assert refused(b"Transfer-Encoding: chunked\r\n", connect) == (501, CODING)
    assert read(b"Content-Length: 0\r\n", connect).authority == b"b:443"


def test_chunked_by_http_1_0() -> None:
    """HTTP/1.0 knows no chunks: faulty framing (RFC 9112, section 6.1)."""
    assert refused(b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.0") == (400, CODEC)


def test_too_many_headers() -> None:
    """A hundred lines pass, Host among them; one more does not, wherever Host stands."""
    lines = [b"x: %d\r\n" % i for i in range(MAX_HEADERS - 1)]
    assert len(read(b"".join(lines)).headers) == MAX_HEADERS - 1
    for at in (0, len(lines)):
        more = b"".join([*lines[:at], b"host: a\r\n", *lines[at:], b"y: 1\r\n"])
        assert refused(more, host=b"") == (431, "http1.too_many_headers")


@pytest.mark.parametrize("step", [1 << 20, 1000])
def test_too_large(step: int) -> None:
    """60 KiB of head pass; more are 431, as soon as they are there."""
    start, end = b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"\r\n\r\n"
    fits = start + b"x" * (MAX_HEAD - len(start) - len(end)) + end
    reader = RequestReader()
    assert len(events(reader, [fits[i : i + step] for i in range(0, len(fits), step)])) == 1
    for large in (fits[:-4] + b"x" + end, fits[:-4] + b"xxxxx", b"GET /" + b"x" * MAX_HEAD):
        with pytest.raises(BadMessage) as caught:
            for i in range(0, len(large), step):
                assert reader.feed(large[i : i + step]) is None
        assert (caught.value.status, caught.value.details) == (431, "http1.headers_too_large")
        reader = RequestReader()


# -- responses


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 +20 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n", b"ICE/1.0 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nb: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 103 Early\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * (MAX_HEADERS + 1) + b"\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"x" * MAX_HEAD,
    ],
)  # fmt: skip
def test_refused_responses(response: bytes) -> None:
    """An endpoint is not believed more than a client: no response that two readers could take differently."""
    assert events(ResponseReader(), [response]) == [BadMessage]


@pytest.mark.parametrize("status", [100, 103, 204])
def test_length_of_nothing(status: int) -> None:
    """Where there is never a body, a length of 0 is passed over, as by Envoy."""
    head = ResponseReader().feed(b"HTTP/1.1 %d X\r\nA: 1\r\nContent-Length: 0\r\n\r\n" % status)
    assert head is not None and (head.headers, head.noted) == ([(b"a", b"1")], {b"a": b"1"})


def test_bodiless_statuses() -> None:
    """304 keeps the length of what it stands for; 101 is a head like others, whatever follows."""
    head = ResponseReader().feed(b"HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n")
    assert head is not None and head.noted == {b"content-length": b"3"} and response_body(head, b"GET") is None
    reader = ResponseReader()
    head = reader.feed(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    assert head is not None and (head.status, reader.rest) == (101, b"\x81\x00")


def test_old_response() -> None:
    """HTTP/1.0 says so, for its connection ends with it."""
    head = ResponseReader().feed(b"HTTP/1.0 200\r\n\r\n")
    assert head is not None and head.version == b"1.0"
