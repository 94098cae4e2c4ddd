"""Heads of HTTP/1.1 messages: bytes in, one RequestHead or ResponseHead out (RFC 9112).

llhttp judges a head, in C and without a call for each header; of what it lets pass, the lines can be split as they stand.
"""

import re

import httptools

from meshcar.errors import BadMessage
from meshcar.wire.head import Header, RequestHead, ResponseHead
from meshcar.wire.single import REQUEST_SINGLE, RESPONSE_SINGLE, joined

MAX_HEAD = 60 * 1024
"""Bytes of a head, as Envoy's max_request_headers_kb."""
MAX_HEADERS = 100
"""Lines of a head, as Envoy's max_headers_count."""
MAX_NOMINATED = 9
"""Options of Connection, as in Envoy."""

_HEAD_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]")
_OTHER_VERSION = re.compile(rb"[A-Z-]+ [!-~]+(?: HTTP/(?!1\.[01]\Z)\d\.\d)?")
_AUTHORITY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:@[]"
_TUNNEL_TARGET = re.compile(rb"[^/?#@*]+:[0-9]{1,5}")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#@]*@)?([^/?#@]+)((?:[/?#].*)?)")
_MAX_DIGITS = 18
_UNASKED_SWITCH = "Pause on CONNECT/Upgrade"
"""What llhttp says of a 101 that names no protocol; its head is whole."""
PERSISTENT = frozenset((b"keep-alive", b"Keep-Alive"))
"""What Connection mostly says, if anything: nothing but that it stays open."""
_NEVER_NOMINATED = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"))


class _HeadReader:
    """Collects a head that comes in pieces. A subclass parses it when it is whole."""

    __slots__ = ("_pending", "rest")

    def __init__(self) -> None:
        self._pending = bytearray()
        self.rest = b""

    @property
    def begun(self) -> bool:
        """Whether a part of a head waits for the rest."""
        return bool(self._pending)

    def _whole(self, data: bytes) -> bytes | None:
        """The bytes of a complete head with its end; what follows goes to `rest`. None: more is needed."""
        pending = self._pending
        known = len(pending)
        if known:
            pending += data
            end = pending.find(_HEAD_END, max(known - 3, 0))
            if end >= 0:
                data = bytes(pending)
                self._pending = bytearray()
        else:
            end = data.find(_HEAD_END)
            if end < 0:
                pending += data
        if end < 0:
            self._judge(known)
            return None
        end += 4
        if end > MAX_HEAD:
            raise _too_large()
        if end == len(data):
            self.rest = b""
            return data
        self.rest = data[end:]
        return data[:end]

    def _judge(self, known: int) -> None:
        """Refuses early what cannot become a head any more; all but the first `known` bytes are new."""
        if len(self._pending) > MAX_HEAD:
            raise _too_large()
        if _BARE_LF.search(self._pending, known):
            raise BadMessage("bare LF in a head")


class RequestReader(_HeadReader):
    """Request heads off one connection. `version` is that of the last one, "1.1" or "1.0"."""

    __slots__ = ("_line_judged", "version")

    def __init__(self) -> None:
        super().__init__()
        self.version = "1.1"
        self._line_judged = False

    def feed(self, data: bytes) -> RequestHead | None:
        """One head, or None while it is incomplete; what came behind the head is in `rest`.

        Empty lines before a head are passed over (RFC 9112, section 2.2).
        Raises BadMessage (400, 426, 431 or 501, as Envoy answers); then the reader is dead.
        """
        head = self._whole(data)
        if head is None:
            return None
        if head[0] < 32:
            return self._behind_empty_lines(head + self.rest)
        return self._parse(head)

    def _behind_empty_lines(self, data: bytes) -> RequestHead | None:
        empty = _EMPTY_LINES.match(data)
        if empty is None:
            raise BadMessage("bad request line")
        return self.feed(data[empty.end() :])

    def _judge(self, known: int) -> None:
        pending = self._pending
        if pending.startswith(b"\r\n"):
            del pending[:2]
            known = 0
        super()._judge(known)
        if not known:
            self._line_judged = False
        if not self._line_judged:
            end = pending.find(b"\r\n", max(known - 1, 0))
            if end >= 0:
                self._line_judged = True
                if not _REQUEST_LINE.fullmatch(pending, 0, end):
                    raise _bad_line(pending[:end], "bad request line")

    def _parse(self, head: bytes) -> RequestHead:
        try:
            httptools.HttpRequestParser(None).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as e:
            raise _refusal(str(e), head) from None
        lines = head.split(b"\r\n")
        try:
            method, target, version = lines[0].split(b" ")
        except ValueError:  # HTTP/0.9
            raise _bad_line(head, "bad request line") from None
        if version == b"HTTP/1.1":
            self.version = "1.1"
        elif version == b"HTTP/1.0":
            self.version = "1.0"
        else:
            raise _bad_line(head, "bad request line")
        if b"\n" in target:  # HTTP/0.9 again, and a header of which the value looks like a version
            raise _bad_line(head, "bad request line")
        headers, noted = _fields(lines, REQUEST_SINGLE)
        authority = noted.pop(b"host", None)
        has_host = authority is not None
        if headers and headers[0][0] == b"host" and len(noted) + 1 == len(headers):  # the first, as it mostly is, and none twice
            del headers[0]
        elif authority is not None:
            count = len(headers)
            headers = [header for header in headers if header[0] != b"host"]
            if count - len(headers) > 1:
                raise BadMessage("more than one Host line")  # RFC 9112, section 3.2
        request = RequestHead(method, target, authority or b"", headers, noted, has_host)
        self._check_framing(noted)
        if noted.get(b"connection", b"keep-alive") not in PERSISTENT:
            _check_nominated(noted)
        if target[:1] != b"/" or method == b"CONNECT":
            _locate(request)
        if request.authority.translate(None, _AUTHORITY):
            raise BadMessage("characters that no authority has", details="http.invalid_authority")
        return request

    def _check_framing(self, noted: dict[bytes, bytes]) -> None:
        if b"transfer-encoding" in noted:
            _only_chunked(noted)
            if self.version != "1.1":
                raise BadMessage("chunked by HTTP/1.0")  # RFC 9112, section 6.1
        if b"content-length" in noted:
            _check_length(noted)


class ResponseReader(_HeadReader):
    """Response heads off one upstream connection."""

    __slots__ = ()

    def feed(self, data: bytes) -> ResponseHead | None:
        """One head, or None while it is incomplete; what came behind the head is in `rest`. Raises BadMessage."""
        head = self._whole(data)
        return None if head is None else self._parse(head)

    def _parse(self, head: bytes) -> ResponseHead:
        parser = httptools.HttpResponseParser(None)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as e:
            if str(e) != _UNASKED_SWITCH:
                raise BadMessage(str(e)) from None
        status = parser.get_status_code()
        if head[:5] != b"HTTP/" or status < 100:
            raise BadMessage("bad status line")
        headers, noted = _fields(head.split(b"\r\n"), RESPONSE_SINGLE)
        if b"transfer-encoding" in noted:
            _only_chunked(noted)
        if b"content-length" in noted:
            _check_length(noted)
        response = ResponseHead(status, headers, noted, head[5:8])
        if status < 200 or status == 204:
            _without_length(response)
        return response


def _fields(lines: list[bytes], single: frozenset[bytes]) -> tuple[list[Header], dict[bytes, bytes]]:
    """The headers of a head that llhttp let pass, and their values by name. Raises BadMessage.

    The first line is not one, nor are the last two. Several lines of a `single` header are made one.
    """
    if len(lines) > MAX_HEADERS + 3:
        raise _too_many()
    headers: list[Header] = []
    for line in lines[1:-2]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip()))
    values = dict(headers)
    if len(values) == len(headers):
        return headers, values
    return joined(headers, single), _values(headers)


def _values(headers: list[Header]) -> dict[bytes, bytes]:
    """Each header's value; those of several lines joined by commas."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        values[name] = b"%b,%b" % (values[name], value) if name in values else value
    return values


def _locate(head: RequestHead) -> None:
    """Puts path and authority of a target that is not in origin form where they belong (RFC 9112, section 3.2)."""
    target = head.target
    if head.method == b"CONNECT":
        if not _TUNNEL_TARGET.fullmatch(target):
            raise BadMessage("CONNECT without host and port", details="http1.invalid_url")
        if head.noted.get(b"content-length", b"0") != b"0":
            raise BadMessage("CONNECT with a body", details="http1.body_disallowed")
        if b"transfer-encoding" in head.noted:
            raise _unknown_coding()
        head.authority = target
    elif target == b"*":
        if head.method != b"OPTIONS":
            raise BadMessage("asterisk form without OPTIONS", details="http1.invalid_url")
        return
    else:
        head.authority, head.target = _split(target)
        head.given_scheme = target.partition(b":")[0].lower()
    head.has_host = True


def _split(target: bytes) -> tuple[bytes, bytes]:
    """A target in absolute form -> (authority without userinfo, target in origin form)."""
    parts = _ABSOLUTE.fullmatch(target)
    if parts is None:
        raise BadMessage("target in no known form", details="http1.invalid_url")
    scheme, authority, path = parts.groups()
    if scheme.lower() not in (b"http", b"https"):
        raise BadMessage("scheme is not http", details="http1.invalid_scheme")
    port = authority.rpartition(b":")[2]
    if port.isdigit() and port != authority and (len(port) > 5 or int(port) > 65535):
        raise BadMessage("port above 65535", details="http1.invalid_url")
    return authority, path if path[:1] == b"/" else b"/" + path


def _check_length(noted: dict[bytes, bytes]) -> None:
    if len(noted[b"content-length"]) > _MAX_DIGITS:
        raise BadMessage("Content-Length too large")


def _only_chunked(noted: dict[bytes, bytes]) -> None:
    if noted[b"transfer-encoding"].lower() != b"chunked":
        raise _unknown_coding()


def _check_nominated(noted: dict[bytes, bytes]) -> None:
    """Connection may not name what other hops rely on. Source: Envoy's Utility::sanitizeConnectionHeader."""
    if b"upgrade" in noted:
        return
    options = [option.strip() for option in noted[b"connection"].lower().split(b",")]
    if len(options) - options.count(b"") > MAX_NOMINATED or not _NEVER_NOMINATED.isdisjoint(options):
        raise BadMessage("Connection names what it may not", details="http1.connection_header_rejected")
    if b"host" in options:
        raise BadMessage("Connection names Host", details="missing_host_header", body=b"", flag="-")


def _without_length(head: ResponseHead) -> None:
    """A response that never has a body may have no length either; a 0 is passed over (RFC 9110, section 8.6)."""
    noted = head.noted
    if b"transfer-encoding" in noted or noted.pop(b"content-length", b"0") != b"0":
        raise BadMessage("a body where there is none")
    head.headers = [header for header in head.headers if header[0] != b"content-length"]


def _refusal(why: str, head: bytes) -> BadMessage:
    """Says of what kind a refused request head is, in Envoy's words."""
    coding = "Transfer-Encoding" in why
    if coding and "Content-Length" in why:
        return BadMessage(why, details="http1.content_length_and_chunked_not_allowed")
    if coding:
        return _unknown_coding()
    if "header value char" in why:
        return BadMessage(why, details="http1.invalid_characters")
    return _bad_line(head, why)


def _bad_line(head: bytes | bytearray, why: str) -> BadMessage:
    """HTTP/1.0 passes, here; the session may refuse it. Others are 426."""
    if _OTHER_VERSION.fullmatch(head.partition(b"\r\n")[0]):
        return BadMessage("HTTP version not supported", 426, "low_version")
    return BadMessage(why)


def _too_large() -> BadMessage:
    return BadMessage("head too large", 431, "http1.headers_too_large")


def _too_many() -> BadMessage:
    return BadMessage("too many headers", 431, "http1.too_many_headers")


def _unknown_coding() -> BadMessage:
    return BadMessage("a transfer coding other than chunked", 501, "http1.invalid_transfer_encoding")
