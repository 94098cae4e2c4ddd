"""Heads and chunks to bytes. A head is one piece, so that it is written at once."""

from meshcar.wire.head import Header

_COLON = b": ".join
LAST_CHUNK = b"0\r\n\r\n"

REASONS: dict[int, str] = {
    100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information",
    204: "No Content", 205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 305: "Use Proxy",
    307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
    421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency", 425: "Too Early",
    426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    505: "HTTP Version Not Supported", 506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected",
    510: "Not Extended", 511: "Network Authentication Required", 599: "Last Unassigned Server Error Code",
}  # fmt: skip
"""Envoy's reason phrases (Http::CodeUtility::toString); what is not here is `Unknown`."""

_STATUS_LINES = {code: f"HTTP/1.1 {code} {reason}\r\n".encode() for code, reason in REASONS.items()}


def field_lines(headers: list[Header]) -> bytes:
    """The lines of headers, without the CRLF of the last."""
    return b"\r\n".join(map(_COLON, headers))


def with_more(lines: bytes, headers: list[Header]) -> bytes:
    """`field_lines`, with those of more headers behind them."""
    more = field_lines(headers)
    return b"%b\r\n%b" % (lines, more) if lines and more else lines or more


def request_head(method: bytes, target: bytes, authority: bytes, lines: bytes) -> bytes:
    """A request's head out of its `field_lines`; Host comes first, as Envoy writes it."""
    if lines:
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n\r\n" % (method, target, authority, lines)
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (method, target, authority)


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` with its CRLF; the reason is Envoy's, whatever the application said."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def response_head(status: int, headers: list[Header]) -> bytes:
    """A response's head."""
    lines = field_lines(headers)
    return status_line(status) + (lines + b"\r\n\r\n" if lines else b"\r\n")


def chunk(data: bytes) -> bytes:
    """`data`, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
