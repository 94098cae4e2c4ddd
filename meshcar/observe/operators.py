"""What each of Envoy's command operators says of a record."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from urllib.parse import unquote_to_bytes

from meshcar.observe import flags
from meshcar.observe.record import Record
from meshcar.wire.formats import Command, Format
from meshcar.wire.head import Header

Value = str | int | None
"""Text or a number; None or `-` is nothing. Bytes that are no UTF-8 become surrogate escapes."""
Field = Callable[[Record], Value]


def field(command: Command, missing: Value = None) -> Field:
    """The function that fills in one operator, with `missing` for what a request or a peer did not bring.

    The command is one that `wire.formats.parse` let through. A format needs functions of its own: START_TIME remembers a second.
    """
    argument = command.argument or ""
    if command.name == "START_TIME":
        found = _start_time(argument or "%Y-%m-%dT%H:%M:%S.%3fZ")
    elif command.name in ("REQ", "RESP"):
        first, _, other = argument.lower().partition("?")
        wanted = _request if command.name == "REQ" else _response
        found = _either(wanted(first, None), wanted(other, missing)) if other else wanted(first, missing)
    elif command.name in _OF_PEER:
        found = _of_peer(_OF_PEER[command.name], missing)
    elif command.name == "PATH":
        found = _path(argument, missing)
    elif command.name == "QUERY_PARAM":
        found = _query_parameter(argument.encode(), missing)
    else:
        found = _PLAIN.get(command.name, lambda record: missing)
    return found if command.length is None else _shortened(found, command.length)


def render(form: Format, record: Record) -> bytes:
    """A format filled in for a header's value: as Envoy does there, what is missing leaves nothing."""
    if len(form) == 1 and isinstance(form[0], bytes):
        return form[0]
    return b"".join(part if isinstance(part, bytes) else _for_header(part, record) for part in form)


def word(name: bytes) -> str:
    """A client's server name, which may hold any byte, for `Record.sni`: it is not quoted in Istio's format."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name.decode("latin-1")) or "-"


def _for_header(command: Command, record: Record) -> bytes:
    """No flags are `-` even there."""
    value = field(command)(record)
    if value is None or (value == "-" and not command.name.startswith("RESPONSE_FLAGS")):
        return b""
    return str(value).encode("utf-8", "surrogateescape")


def _start_time(form: str) -> Field:
    """When the exchange began, UTC, in strftime's words; Envoy's %3f, %6f and %9f are fractions, %s whole seconds since 1970.

    Under load many exchanges begin in one tick and get the same text.
    """
    form = re.sub(r"%([369])?f", lambda match: f"\1{match[1] or 9}", form).replace("%s", "\1s")
    ticks = 1000 if set(re.findall("\1([369])", form)) <= {"3"} else 1_000_000
    last, text, second, known = -1, "", -1, ""

    def value(record: Record) -> str:
        nonlocal last, text, second, known
        tick = int(record.start * ticks + 0.5)
        if tick != last:
            last, (now, fraction) = tick, divmod(tick, ticks)
            if now != second:
                second, known = now, _template(time.strftime(form, time.gmtime(now)), now)
            micros = fraction * (1_000_000 // ticks)
            text = known.format(micros // 1000, micros, micros * 1000)
        return text

    return value


def _template(text: str, now: int) -> str:
    """A text whose fractions are left open."""
    text = text.replace("{", "{{").replace("}", "}}").replace("\1s", str(now))
    return text.replace("\x013", "{0:03d}").replace("\x016", "{1:06d}").replace("\x019", "{2:09d}")


def _either(first: Field, other: Field) -> Field:
    def value(record: Record) -> Value:
        found = first(record)
        return other(record) if found is None else found

    return value


def _shortened(whole: Field, length: int) -> Field:
    return lambda record: str(found)[:length] if (found := whole(record)) is not None else None


def _request(name: str, missing: Value) -> Field:
    known = _PSEUDO.get(name)
    return known if known is not None else _header(name.encode(), attrgetter("headers"), missing)


def _response(name: str, missing: Value) -> Field:
    if name == "x-envoy-upstream-service-time":
        return lambda record: missing if record.service_ms is None else record.service_ms
    return attrgetter("status") if name == ":status" else _header(name.encode(), attrgetter("response_headers"), missing)


def _header(name: bytes, headers: Callable[[Record], Sequence[Header]], missing: Value) -> Field:
    """The first value of a header."""

    def value(record: Record) -> Value:
        for key, found in headers(record):
            if key == name:
                return found.decode("utf-8", "surrogateescape")
        return missing

    return value


def _path(argument: str, missing: Value) -> Field:
    """Envoy's PATH: with the query or without, of the request as it came, as it goes on, or the former where there is one."""
    query, _, source = argument.partition(":")

    def value(record: Record) -> Value:
        original = next((found for name, found in record.headers if name == b"x-envoy-original-path"), None)
        target = record.target if source == "PATH" or (original is None and source != "ORIG") else original
        if target is None:
            return missing
        return (target.partition(b"?")[0] if query == "NQ" else target).decode("utf-8", "surrogateescape")

    return value


def _query_parameter(name: bytes, missing: Value) -> Field:
    """The first value of a parameter, decoded."""

    def value(record: Record) -> Value:
        for pair in record.target.partition(b"?")[2].split(b"&"):
            key, _, found = pair.partition(b"=")
            if unquote_to_bytes(key) == name:
                return unquote_to_bytes(found).decode("utf-8", "surrogateescape")
        return missing

    return value


def _query(record: Record) -> Value:
    return record.target.partition(b"?")[2].decode("utf-8", "surrogateescape") or None


def _of_peer(attribute: str, missing: Value) -> Field:
    """Several names of a peer are joined by commas."""

    def value(record: Record) -> Value:
        if record.peer is None:
            return missing
        found = getattr(record.peer, attribute)
        return (found if isinstance(found, str) else ",".join(found)) or missing

    return value


def _bytes(attribute: str) -> Field:
    get: Callable[[Record], bytes] = attrgetter(attribute)
    return lambda record: get(record).decode("utf-8", "surrogateescape")


def _host(attribute: str) -> Field:
    """An address without its port and without brackets."""
    get: Callable[[Record], str] = attrgetter(attribute)
    return lambda record: (get(record).rpartition(":")[0] or get(record)).strip("[]")


def _port(attribute: str) -> Field:
    get: Callable[[Record], str] = attrgetter(attribute)
    return lambda record: get(record).rpartition(":")[2] or "-"


def _address(prefix: str, attribute: str) -> dict[str, Field]:
    whole: Field = attrgetter(attribute)
    return {f"{prefix}_ADDRESS": whole, f"{prefix}_ADDRESS_WITHOUT_PORT": _host(attribute), f"{prefix}_PORT": _port(attribute)}


_PSEUDO: Mapping[str, Field] = {
    ":method": _bytes("method"),
    ":path": _bytes("target"),
    ":authority": _bytes("authority"),
    "host": _bytes("authority"),
    ":scheme": lambda record: "http" if record.peer is None else "https",
    "x-request-id": _bytes("request_id"),
}

_OF_PEER: Mapping[str, str] = {
    "DOWNSTREAM_PEER_CERT": "cert_pem",
    "DOWNSTREAM_PEER_DNS_SAN": "dns",
    "DOWNSTREAM_PEER_FINGERPRINT_256": "hash",
    "DOWNSTREAM_PEER_SUBJECT": "subject",
    "DOWNSTREAM_PEER_URI_SAN": "uris",
}

_ATTRIBUTES: Mapping[str, str] = {
    "BYTES_RECEIVED": "received",
    "BYTES_SENT": "sent",
    "CONNECTION_TERMINATION_DETAILS": "termination",
    "DURATION": "duration_ms",
    "HOSTNAME": "hostname",
    "PROTOCOL": "protocol",
    "REQUESTED_SERVER_NAME": "sni",
    "RESPONSE_CODE": "status",
    "RESPONSE_CODE_DETAILS": "details",
    "RESPONSE_FLAGS": "flags",
    "ROUTE_NAME": "route",
    "UPSTREAM_CLUSTER": "cluster",
    "UPSTREAM_CLUSTER_RAW": "cluster",
    "TRACE_ID": "trace_id",
    "UPSTREAM_HOST": "upstream_host",
    "UPSTREAM_HOST_NAME": "upstream_host",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": "attempts",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "failure",
}

_PLAIN: Mapping[str, Field] = (
    {name: attrgetter(attribute) for name, attribute in _ATTRIBUTES.items()}
    | {
        "RESPONSE_FLAGS_LONG": lambda record: flags.long(record.flags),
        "QUERY_PARAMS": _query,
        "UPSTREAM_HOST_NAME_WITHOUT_PORT": _host("upstream_host"),
        "UPSTREAM_PROTOCOL": lambda record: None if record.upstream_local == "-" else "HTTP/1.1",
    }
    | _address("DOWNSTREAM_DIRECT_LOCAL", "downstream_local")
    | _address("DOWNSTREAM_DIRECT_REMOTE", "downstream_direct_remote")
    | _address("DOWNSTREAM_LOCAL", "downstream_local")
    | _address("DOWNSTREAM_REMOTE", "downstream_remote")
    | _address("UPSTREAM_LOCAL", "upstream_local")
    | _address("UPSTREAM_REMOTE", "upstream_host")
)
