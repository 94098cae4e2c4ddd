"""Access log lines in Istio's text format, as JSON, or in a format of one's own, written in batches."""

import json
from collections.abc import Callable

from meshcar.observe.operators import Value, field
from meshcar.observe.record import Record
from meshcar.wire.formats import Command, Format, parse

ISTIO_TEXT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% '
    '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
"""Istio's default format. Source: Istio, task "Envoy access logs"."""

ISTIO_JSON = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
}
"""Istio's default JSON format; what is missing is null, as with Envoy."""

Line = Callable[[Record], bytes]
"""Makes the line of a record, with its end."""

_CLEAN = bytes(set(range(0x20, 0x7F)) - {ord('"')})
"""Bytes that may come from a peer and go into a line as they are."""
_MARKS = ISTIO_TEXT.encode().translate(None, _CLEAN)
_WRITE_AT = 512
"""Lines kept at most; then they are written without waiting for `flush`."""


def line_format(spec: str) -> Line:
    """The lines that `--access-log-format` asks for: `text`, `json`, or a format of Envoy's operators.

    Raises ValueError, `column N: ...`, as `wire.formats.parse` does.
    """
    if spec == "json":
        return json_line()
    if spec == "text":
        return istio_line()
    return text_line(parse(spec if spec.endswith("\n") else spec + "\n"))


def istio_line() -> Line:
    """What `text_line` makes of ISTIO_TEXT, in half the time, because nearly every sidecar writes it for every request.

    A record with a byte that must be escaped goes to `text_line`.
    """
    form = parse(ISTIO_TEXT)
    careful = text_line(form)
    start_time = field(_command(form[1:2]))

    def line(r: Record) -> bytes:
        noted = r.noted
        target = noted.get(b"x-envoy-original-path", r.target).decode("latin-1")
        client = noted.get(b"x-forwarded-for", b"-").decode("latin-1")
        agent = noted.get(b"user-agent", b"-").decode("latin-1")
        text = (
            f'[{start_time(r)}] "{r.method.decode("latin-1")} {target} {r.protocol}" {r.status} {r.flags} {r.details} {r.termination} '
            f'"{r.failure}" {r.received} {r.sent} {r.duration_ms} {"-" if r.service_ms is None else r.service_ms} "{client}" "{agent}" '
            f'"{r.request_id.decode("latin-1")}" "{r.authority.decode("latin-1")}" "{r.upstream_host}" {r.cluster} {r.upstream_local} '
            f"{r.downstream_local} {r.downstream_remote} {r.sni} {r.route}\n"
        ).encode("utf-8", "surrogateescape")
        return text if text.translate(None, _CLEAN) == _MARKS else careful(r)

    return line


def text_line(form: Format) -> Line:
    """One line of text; what is missing is `-`.

    In what comes from peers a control byte, a quote and what is no UTF-8 are written as `\\xNN`, so nobody can forge a field.
    """
    template = "".join("%s" if isinstance(part, Command) else part.decode().replace("%", "%%") for part in form)
    fields = tuple(field(part, "-") for part in form if isinstance(part, Command))
    own_marks = b"".join(part for part in form if isinstance(part, bytes)).translate(None, _CLEAN)

    def line(record: Record) -> bytes:
        values = tuple([value(record) for value in fields])
        text = (template % values).encode("utf-8", "surrogateescape")
        if text.translate(None, _CLEAN) == own_marks:
            return text
        return (template % tuple([_escaped(str(value)) for value in values])).encode()

    return line


def json_line() -> Line:
    """Istio's JSON fields on one line; only ASCII, so control characters and what is no UTF-8 are escaped."""
    fields = tuple((name, _json_field(_command(parse(form)))) for name, form in ISTIO_JSON.items())
    encode = json.JSONEncoder(separators=(",", ":")).encode

    def line(record: Record) -> bytes:
        return encode({name: value(record) for name, value in fields}).encode() + b"\n"

    return line


class AccessLog:
    """Lines on their way to a file. The data path adds, its owner flushes a few times a second and once at the end.

    `write` takes whole lines and raises OSError when it can not; such lines are lost and counted in `dropped`.
    """

    __slots__ = ("_line", "_lines", "_write", "dropped")

    def __init__(self, write: Callable[[bytes], None], line: Line) -> None:
        self._write = write
        self._line = line
        self._lines: list[bytes] = []
        self.dropped = 0

    def add(self, record: Record) -> None:
        """Keeps the line of a record that is complete."""
        self._lines.append(self._line(record))
        if len(self._lines) >= _WRITE_AT:
            self.flush()

    def flush(self) -> None:
        """Writes what is kept."""
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        try:
            self._write(b"".join(lines))
        except OSError:
            self.dropped += len(lines)


def _command(form: Format) -> Command:
    """The operator that a format consists of."""
    (command,) = form
    assert isinstance(command, Command)
    return command


def _json_field(command: Command) -> Callable[[Record], Value]:
    get = field(command)
    is_header = command.name == "RESP"

    def value(record: Record) -> Value:
        found = get(record)
        if found is None or found == "-":
            return None
        if isinstance(found, str):
            return found.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return str(found) if is_header else found

    return value


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return "".join(c if c.isprintable() and c != '"' else _bytes_of(c) for c in text)


def _bytes_of(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
