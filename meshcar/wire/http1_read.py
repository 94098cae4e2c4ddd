"""Heads of HTTP/1.1 messages: bytes in, one RequestHead or ResponseHead out (RFC 9112)."""

import re
from typing import Any

import httptools

from meshcar.errors import BadMessage
from meshcar.wire.head import Header, RequestHead, ResponseHead

MAX_HEAD = 60 * 1024
"""Bytes of a head, as Envoy's max_request_headers_kb."""
MAX_HEADERS = 100
"""Lines of a head, as Envoy's max_headers_count."""

REQUEST_NOTED = frozenset(
    b"connection content-length expect http2-settings keep-alive proxy-connection te trailer transfer-encoding upgrade user-agent "
    b"x-forwarded-client-cert x-forwarded-for x-forwarded-proto x-request-id b3 traceparent tracestate x-b3-flags x-b3-parentspanid "
    b"x-b3-sampled x-b3-spanid x-b3-traceid x-envoy-attempt-count x-envoy-decorator-operation x-envoy-expected-rq-timeout-ms "
    b"x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags x-envoy-max-retries x-envoy-original-host "
    b"x-envoy-original-path x-envoy-original-url x-envoy-retriable-header-names x-envoy-retriable-status-codes x-envoy-retry-grpc-on "
    b"x-envoy-retry-on x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response "
    b"x-envoy-upstream-rq-timeout-ms x-meshcar-shadow".split()
)
"""Request headers that a proxy acts on."""
RESPONSE_NOTED = frozenset(
    b"connection content-length date keep-alive proxy-connection server trailer transfer-encoding upgrade "
    b"x-envoy-upstream-service-time".split()
)
"""Response headers that a proxy acts on."""

_LEADING_LINES = re.compile(rb"\A(?:\r\n)+")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]")
_VERSIONED_LINE = re.compile(rb"[A-Z-]+ [!-~]+(?: HTTP/\d\.\d)?")


class _HeadReader:
    """Collects a head that comes in pieces. A subclass parses it when it is whole."""

    __slots__ = ("_head", "_headers", "_noted", "_parser", "_pending", "rest")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._parser: Any = None
        self._headers: list[Header] = []
        self._noted: dict[bytes, bytes] = {}
        self.rest = b""

    @property
    def begun(self) -> bool:
        """Whether a part of a head waits for the rest."""
        return bool(self._pending)

    def _whole(self, data: bytes) -> bytes | None:
        """The bytes of a complete head with its end; what follows goes to `rest`. None: more is needed."""
        pending = self._pending
        if pending:
            start = max(len(pending) - 3, 0)
            pending += data
            end = pending.find(b"\r\n\r\n", start)
            if end < 0:
                return self._wait()
            data = bytes(pending)
            self._pending = bytearray()
        else:
            if data[:1] == b"\r":
                data = _LEADING_LINES.sub(b"", data)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                pending += data
                return self._wait()
        end += 4
        if end > MAX_HEAD:
            raise BadMessage("head too large", 431, "http1.headers_too_large")
        if end == len(data):
            self.rest = b""
            return data
        self.rest = data[end:]
        return data[:end]

    def _wait(self) -> None:
        """Refuses early what can not become a head any more."""
        pending = self._pending
        if len(pending) > MAX_HEAD:
            raise BadMessage("head too large", 431, "http1.headers_too_large")
        if _BARE_LF.search(pending):
            raise BadMessage("bare LF in a head")

    def _too_many(self) -> BadMessage:
        return BadMessage("too many headers", 431, "http1.too_many_headers")


class RequestReader(_HeadReader):
    """Request heads off one connection. `version` is that of the last one, "1.1" or "1.0"."""

    __slots__ = ("_hosts", "_url", "version")

    def __init__(self) -> None:
        super().__init__()
        self.version = "1.1"
        self._url = b""
        self._hosts: list[bytes] = []

    def feed(self, data: bytes) -> RequestHead | None:
        """One head, or None while it is incomplete; what came behind the head is in `rest`.

        Raises BadMessage (400, 426, 431 or 501, as Envoy answers); then the reader is dead.
        """
        head = self._whole(data)
        if head is None:
            self._check_first_line()
            return None
        return self._parse(head)

    def _parse(self, head: bytes) -> RequestHead:
        parser = self._parser or httptools.HttpRequestParser(self)
        self._parser = None
        self._headers = headers = []
        self._noted = noted = {}
        self._hosts = []
        self._url = b""
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as e:
            raise self._refusal(e, head) from None
        self.version = parser.get_http_version()
        if self.version != "1.1":
            self._check_version(head)
        method, url = parser.get_method(), self._url
        if head[len(method) + 1 : len(method) + 1 + len(url)] != url:
            raise BadMessage("more than one blank in the request line")
        if b"transfer-encoding" in noted:
            _only_chunked(noted[b"transfer-encoding"])
        elif b"content-length" not in noted and b"upgrade" not in noted and method != b"CONNECT":
            self._parser = parser  # the message is at its end, so the parser may be used again
        return self._located(RequestHead(method, url, b"", headers, noted))

    def _located(self, head: RequestHead) -> RequestHead:
        """Puts path and authority where they belong (RFC 9112, section 3.2)."""
        hosts = self._hosts
        if len(hosts) > 1:
            raise BadMessage("more than one Host line")
        if hosts:
            head.authority = hosts[0]
        else:
            head.has_host = False
        target = head.target
        if target[:1] == b"/":
            return head
        if head.method == b"CONNECT":
            head.authority = target
            head.has_host = True
        elif target == b"*":
            if head.method != b"OPTIONS":
                raise BadMessage("asterisk form without OPTIONS", details="http1.invalid_url")
        else:
            scheme, separator, rest = target.partition(b"://")
            if not separator or scheme.lower() not in (b"http", b"https"):
                raise BadMessage("target in no known form")
            authority, query = _split_authority(rest)
            head.authority = authority
            head.has_host = True
            head.target = query
        return head

    def on_url(self, part: bytes) -> None:
        """For httptools."""
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools."""
        name = name.lower()
        if name == b"host":
            self._hosts.append(value.strip())
            return
        value = value.strip()
        headers = self._headers
        headers.append((name, value))
        if name in REQUEST_NOTED:
            self._noted[name] = value
        if len(headers) > MAX_HEADERS - 1:
            self._check_count()

    def _check_count(self) -> None:
        if len(self._headers) + len(self._hosts) > MAX_HEADERS:
            raise self._too_many()

    def _check_first_line(self) -> None:
        """A request line is judged when it is whole, before the headers have come."""
        pending = self._pending
        end = pending.find(b"\r\n", 0, MAX_HEAD)
        if end > 0 and not _REQUEST_LINE.fullmatch(pending, 0, end):
            self._check_version(bytes(pending[: end + 2]))
            raise BadMessage("bad request line")

    def _check_version(self, head: bytes) -> None:
        """HTTP/1.0 passes, here; the session may refuse it. Others are 426."""
        line = head.partition(b"\r\n")[0]
        if _VERSIONED_LINE.fullmatch(line) and not line.endswith((b" HTTP/1.0", b" HTTP/1.1")):
            raise BadMessage("HTTP version not supported", 426, "low_version")

    def _refusal(self, error: Exception, head: bytes) -> BadMessage:
        """Says of what kind a refused head is, in Envoy's words."""
        cause = error.__context__
        if isinstance(cause, BadMessage):
            return cause
        self._check_version(head)
        why = str(error)
        if "Transfer-Encoding" in why and "Content-Length" in why:
            return BadMessage(why, details="http1.content_length_and_chunked_not_allowed")
        if "Transfer-Encoding" in why:
            return BadMessage(why, 501, "http1.invalid_transfer_encoding")
        if "header value char" in why:
            return BadMessage(why, details="http1.invalid_characters")
        return BadMessage(why)


class ResponseReader(_HeadReader):
    """Response heads off one upstream connection."""

    __slots__ = ("_too_long",)

    def feed(self, data: bytes) -> ResponseHead | None:
        """One head, or None while it is incomplete; what came behind the head is in `rest`. Raises BadMessage."""
        head = self._whole(data)
        return None if head is None else self._parse(head)

    def _parse(self, head: bytes) -> ResponseHead:
        parser = httptools.HttpResponseParser(self)
        self._headers = headers = []
        self._noted = noted = {}
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as e:
            raise BadMessage(str(e)) from None
        if b"transfer-encoding" in noted:
            _only_chunked(noted[b"transfer-encoding"])
        return ResponseHead(parser.get_status_code(), headers, noted, parser.get_http_version().encode())

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools."""
        name = name.lower()
        value = value.strip()
        headers = self._headers
        headers.append((name, value))
        if name in RESPONSE_NOTED:
            self._noted[name] = value
        if len(headers) > MAX_HEADERS:
            raise self._too_many()


def _only_chunked(coding: bytes) -> None:
    if coding.lower() != b"chunked":
        raise BadMessage("a transfer coding other than chunked", 501, "http1.invalid_transfer_encoding")


def _split_authority(rest: bytes) -> tuple[bytes, bytes]:
    """`host/path?query` without its scheme -> (authority, target in origin form)."""
    found = re.search(rb"[/?#]", rest)
    if found is None:
        return rest, b"/"
    authority, target = rest[: found.start()], rest[found.start() :]
    return authority, target if target[:1] == b"/" else b"/" + target
