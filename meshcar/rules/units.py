"""Durations, percentages, ports, hosts and names: one value of a rule, checked and made.

Each function takes what the YAML holds and returns the value, or raises WrongType or ValueError with what would be right.
"""

import base64
import ipaddress
import re
from typing import Any

import re2

from meshcar.wire.formats import Format, parse

MAX_PATTERN = 1024
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE")
_MAX_SECONDS = 10.0 * 365 * 86400
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_PREFIX_LENGTH = re.compile(r"(0|[1-9][0-9]{0,2})\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class WrongType(Exception):
    """The YAML holds a value of another type. The message says what is wanted."""


def text(value: object) -> str:
    """Any text."""
    if type(value) is not str:
        raise WrongType("text")
    return value


def boolean(value: object) -> bool:
    """true or false."""
    if type(value) is not bool:
        raise WrongType("true or false")
    return value


def integer(value: object) -> int:
    """A whole number, negative ones too."""
    if type(value) is not int:
        raise WrongType("a whole number")
    return value


def count(value: object) -> int:
    """A whole number from 0 to 2**31 - 1, as Istio's int32."""
    number = integer(value)
    if not 0 <= number < 1 << 31:
        raise ValueError("must lie between 0 and 2147483647")
    return number


def duration(value: object) -> float:
    """Seconds of `1.5s`, `1m30s`, `250ms`. Source: Go's time.ParseDuration, without a sign."""
    given = text(value)
    end, seconds = 0, 0.0
    for part in _DURATION_PART.finditer(given):
        if part.start() != end:
            break
        end = part.end()
        seconds += float(part[1]) * _UNITS[part[2]]
    if not given or end != len(given):
        raise ValueError("must be a duration such as 1.5s, 250ms or 1m30s")
    if seconds > _MAX_SECONDS:
        raise ValueError("is longer than ten years")
    return seconds


def percent(value: object) -> float:
    """A number from 0 to 100."""
    if type(value) is not int and type(value) is not float:
        raise WrongType("a number")
    if not 0 <= value <= 100:
        raise ValueError("must lie between 0 and 100")
    return float(value)


def whole_percent(value: object) -> int:
    """A whole number from 0 to 100."""
    number = integer(value)
    if not 0 <= number <= 100:
        raise ValueError("must lie between 0 and 100")
    return number


def port(value: object) -> int:
    """A port number, 1 to 65535."""
    number = integer(value)
    if not 1 <= number <= 65535:
        raise ValueError("must be a port, 1 to 65535")
    return number


def port_key(value: object) -> int:
    """A port number as the key of a mapping, which YAML gives as text."""
    given = text(value)
    if not (given.isascii() and given.isdigit() and len(given) <= 5):
        raise ValueError("must be a port, 1 to 65535")
    return port(int(given))


def port_or_name(value: object) -> int | str:
    """Kubernetes' IntOrString of a targetPort."""
    return port(value) if type(value) is int else label(value)


def status(value: object) -> int:
    """An HTTP status that a fault may answer. Source: Istio's validation of HTTPFaultInjection.Abort."""
    number = integer(value)
    if not 200 <= number <= 599:
        raise ValueError("must be an HTTP status, 200 to 599")
    return number


def redirect_status(value: object) -> int:
    """A status that sends the client elsewhere; 0 stands for 301. Source: Envoy's RedirectAction, RedirectResponseCode."""
    number = integer(value)
    if number not in (0, 301, 302, 303, 307, 308):
        raise ValueError("must be one of 301, 302, 303, 307, 308")
    return number or 301


def grpc_status(value: object) -> int:
    """A gRPC status by its name. Source: https://grpc.io/docs/guides/status-codes/"""
    given = text(value)
    if given not in _GRPC_STATUSES:
        raise ValueError(f"must be one of {', '.join(_GRPC_STATUSES)}")
    return _GRPC_STATUSES.index(given)


def base64_bytes(value: object) -> bytes:
    """Bytes in base64 (RFC 4648, section 4)."""
    try:
        return base64.b64decode(text(value), validate=True)
    except ValueError:
        raise ValueError("must be base64") from None


def address(value: object) -> str:
    """An IPv4 or IPv6 address in its shortest spelling."""
    given = text(value)
    try:
        return str(ipaddress.ip_address(given))
    except ValueError:
        if given.startswith("unix://"):
            raise ValueError("must be an IP address; Unix sockets are not supported") from None
        raise ValueError("must be an IP address; host names are not supported here") from None


def network_address(value: object) -> str:
    """An IP address, or a range as `10.0.0.0/8`, whose bits behind the prefix do not count; one of a single address is that address."""
    given = text(value)
    _, slash, length = given.partition("/")
    try:
        if "%" in given or (slash and not _PREFIX_LENGTH.match(length)):
            raise ValueError
        network = ipaddress.ip_network(given, strict=False)
    except ValueError:
        raise ValueError("must be an IP address, or a range such as 10.0.0.0/8") from None
    return str(network.network_address if network.num_addresses == 1 else network)


def cluster_ip(value: object) -> str:
    """A Service's clusterIP: an address, or nothing for `None` (headless) and the empty text."""
    return "" if value in ("", "None") else address(value)


def label(value: object) -> str:
    """A DNS label (RFC 1123): a short name, a namespace, a port's name."""
    given = text(value)
    if not _LABEL.match(given):
        raise ValueError("must be a DNS label: lower-case letters, digits and '-', at most 63")
    return given


def host(value: object) -> str:
    """A host name in lower case, short or with dots."""
    given = text(value).lower()
    if len(given) > 253 or not all(_LABEL.match(part) for part in given.split(".")):
        raise ValueError("must be a host name: labels of letters, digits and '-', joined by dots")
    return given


def host_pattern(value: object) -> str:
    """A host name, `*.` before one, or `*`."""
    given = text(value)
    if given == "*":
        return given
    return "*." + host(given[2:]) if given.startswith("*.") else host(given)


def export_target(value: object) -> str:
    """To whom a rule is exported: a namespace, `.` for its own, `*` for all, `~` for none."""
    given = text(value)
    if given not in (".", "*", "~") and not _LABEL.match(given):
        raise ValueError("must be a namespace, '.' or '*'")
    return given


def header_name(value: object) -> str:
    """A header's name in lower case (RFC 9110, section 5.1), or a pseudo-header's."""
    given = text(value)
    if not _TOKEN.match(given.removeprefix(":")):
        raise ValueError("must be a header name")
    return given.lower()


_NOT_IN_A_PATH = re.compile(r"[^!-~]")
_FRAMING = frozenset("connection content-length keep-alive proxy-connection te trailer transfer-encoding upgrade".split())


def changeable_header(value: object) -> str:
    """A header's name that a rule may set, add or remove: any but those that say where a message ends, or end at this hop."""
    name = header_name(value)
    if name in _FRAMING:
        raise ValueError("must not be changed by a rule: it belongs to the connection, not to the request")
    return name


def header_or_any(value: object) -> str:
    """A header's name as it is written, or `*`. Source: Istio's validation of CorsPolicy."""
    given = text(value)
    if given != "*":
        header_name(given)
    return given


def method_or_any(value: object) -> str:
    """A method's name (RFC 9110, section 9), or `*`."""
    given = text(value)
    if given != "*" and given not in _METHODS:
        raise ValueError(f"must be one of {', '.join(_METHODS)}, or *")
    return given


def header_format(value: object) -> Format:
    """A header's value with Envoy's %OPERATORS% in it; nothing for the empty text."""
    given = text(value)
    if _CONTROL.search(given):
        raise ValueError("must not hold line ends or other control characters")
    return parse(given)


def path_text(value: object) -> str:
    """A path, or the beginning of one, as it goes into a request line (RFC 9112, section 3.2)."""
    given = text(value)
    if _NOT_IN_A_PATH.search(given):
        raise ValueError("must hold printable ASCII without blanks; percent-encode the rest")
    return given


def authority(value: object) -> str:
    """What may stand in a Host header."""
    given = text(value)
    if not given or not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError("must be a host name, with or without a port")
    return given


def pattern(value: object) -> Any:
    """An RE2 pattern over bytes, compiled. Its size is capped, as is the memory that matching may take."""
    given = text(value)
    if len(given) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 256 << 10
    try:
        return re2.compile(given.encode(), options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(f"RE2 refuses it: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}") from None


def pattern_or_any(value: object) -> Any:
    """The same, but None for `*`, by which Istio means that anything will do."""
    return None if value == "*" else pattern(value)
