"""Durations, percentages, ports, hosts and names: one value of a rule, checked and made.

Each function takes what the YAML holds and returns the value, or raises WrongType or ValueError with what would be right.
"""

import base64
import ipaddress
import re

_NANOSECONDS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION_PART = re.compile(r"(?=\.?[0-9])([0-9]{0,30})\.?([0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
TRUE, FALSE = frozenset(("1", "t", "T", "TRUE", "true", "True")), frozenset(("0", "f", "F", "FALSE", "false", "False"))
"""Booleans in labels, annotations and variables, which are texts. Source: Go's strconv.ParseBool."""
_MAX_NANOSECONDS = 10 * 365 * 86400 * 10**9
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
"""A DNS label in lower case (RFC 1123)."""
_QUALIFIED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9]\Z")
_NOT_IN_A_PATH = re.compile(r"[^!-~]")
_LABEL_KEY = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,252}/)?([A-Za-z0-9][A-Za-z0-9_.-]{0,61})?[A-Za-z0-9]\Z")
_LABEL_IN_ANY_CASE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")


class WrongType(Exception):
    """The YAML holds a value of another type. The message says what is wanted."""


class NotSupported(ValueError):
    """The value means something to Istio that meshcar does not do yet."""


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
    """A whole number, negative ones too; `100.0` is one, as JSON schemas have it."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise WrongType("a whole number")
    return value


def count(value: object) -> int:
    """A whole number from 0 to 2**31 - 1, as Istio's int32."""
    number = integer(value)
    if not 0 <= number < 1 << 31:
        raise ValueError("must lie between 0 and 2147483647")
    return number


def uint32(value: object) -> int:
    """A whole number from 0 to 2**32 - 1."""
    number = integer(value)
    if not 0 <= number < 1 << 32:
        raise ValueError("must lie between 0 and 4294967295")
    return number


def int32(value: object) -> int:
    """A whole number from -2**31 to 2**31 - 1."""
    number = integer(value)
    if not -1 << 31 <= number < 1 << 31:
        raise ValueError("must lie between -2147483648 and 2147483647")
    return number


def duration(value: object) -> float:
    """Seconds of `1.5s`, `1m30s`, `250ms`. Source: Go's time.ParseDuration, without a sign."""
    return _nanoseconds(value) / 1e9


def timespan(value: object) -> float:
    """Seconds of a duration of at least 1 ms, in whole milliseconds. Source: istiod's ValidateDuration."""
    nanoseconds = _nanoseconds(value)
    if nanoseconds < 10**6:
        raise ValueError("must be at least 1ms; leave it out where no limit is meant")
    if nanoseconds % 10**6:
        raise ValueError("must be whole milliseconds")
    return nanoseconds / 1e9


def timespan_or_none(value: object) -> float:
    """The same, but less than 1 ms is 0, which stands for no limit."""
    return 0.0 if _nanoseconds(value) < 10**6 else timespan(value)


def _nanoseconds(value: object) -> int:
    if type(value) is not str:
        raise WrongType("a duration such as 1.5s, 250ms or 1m30s")
    given = value
    end = total = 0
    for part in _DURATION_PART.finditer(given):
        if part.start() != end:
            break
        end = part.end()
        fraction = part[2][:30]
        total += int(f"0{part[1]}{fraction}") * _NANOSECONDS[part[3]] // 10 ** len(fraction)
    if not given or end != len(given):
        raise ValueError("must be a duration such as 1.5s, 250ms or 1m30s")
    if total > _MAX_NANOSECONDS:
        raise ValueError("is longer than ten years")
    return total


def percent(value: object) -> float:
    """A number from 0 to 100."""
    if type(value) is not int and type(value) is not float:
        raise WrongType("a number")
    if not 0 <= value <= 100:
        raise ValueError("must lie between 0 and 100")
    return float(value)


def fault_percent(value: object) -> float:
    """0, or a number from 0.0001, one request of a million, to 100. Source: istiod's validatePercentage."""
    share = percent(value)
    if 0 < share < 0.0001:
        raise ValueError("must be 0, or lie between 0.0001 (one of a million) and 100")
    return share


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


def port_or_none(value: object) -> int | None:
    """A port number; 0, as protobuf has it, is none."""
    return None if value == 0 and type(value) is int else port(value)


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
    """An HTTP status that a fault or a direct response may have. Source: istiod's validateHTTPStatus, which lets 600 pass."""
    number = integer(value)
    if not 200 <= number <= 600:
        raise ValueError("must be an HTTP status, 200 to 599")
    return number


def any_status(value: object) -> int:
    """A status that an endpoint may answer. Source: Istio's OutlierDetection."""
    number = integer(value)
    if not 100 <= number <= 599:
        raise ValueError("must be an HTTP status, 100 to 599")
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
            raise NotSupported("must be an IP address; Unix sockets are not supported") from None
        raise ValueError("must be an IP address; host names are not supported here") from None


def cluster_ip(value: object) -> str:
    """A Service's clusterIP: an address, `None` (headless), or the empty text."""
    return str(value) if value in ("", "None") else address(value)


def label(value: object) -> str:
    """A DNS label (RFC 1123): a short name, a namespace, a port's name."""
    given = text(value)
    if not LABEL.match(given):
        raise ValueError("must be a DNS label: lower-case letters, digits and '-', at most 63")
    return given


def label_or_none(value: object) -> str:
    """A DNS label, or nothing."""
    return "" if value == "" else label(value)


def label_in_any_case(value: object) -> str:
    """A DNS label in any case: the name of a subset or a port. Source: istiod's validateSubsetName and ValidatePortName."""
    given = text(value)
    if not _LABEL_IN_ANY_CASE.match(given):
        raise ValueError("must be a DNS label: letters, digits and '-', at most 63")
    return given


def server_name(value: object) -> str:
    """What goes into a ClientHello as its server name (RFC 6066, section 3); istiod does not look at it, OpenSSL takes 255 bytes."""
    given = text(value)
    if not given.isascii() or not given.isprintable() or len(given) > 255:
        raise ValueError("must be a server name, at most 255 characters of ASCII")
    return given


def host(value: object) -> str:
    """A host name in lower case, short or with dots."""
    given = text(value).lower()
    if len(given) > 253 or not all(LABEL.match(part) for part in given.split(".")):
        raise ValueError("must be a host name: labels of letters, digits and '-', joined by dots")
    return given


def export_target(value: object) -> str:
    """To whom a rule is exported: a namespace, `.` for its own, `*` for all, `~` for none."""
    given = text(value)
    if given not in (".", "*", "~") and not LABEL.match(given):
        raise ValueError("must be a namespace, '.' or '*'")
    return given


def gateway_name(value: object) -> str:
    """`mesh`, `namespace/name`, a name, or the older `name.namespace.svc.cluster.local`. Source: istiod's validateGatewayNames."""
    given = text(value)
    namespace, slash, name = given.partition("/")
    if slash and not (LABEL.match(namespace.lower()) and LABEL.match(name.lower())):
        raise ValueError("must be namespace/name, both DNS labels")
    if not slash:
        host(given)
    return given


def label_key(value: object) -> str:
    """A label's key, with a DNS name and `/` before it or without (Kubernetes' labels)."""
    given = text(value)
    if not _LABEL_KEY.match(given):
        raise ValueError("must be a label's key: letters, digits, '-', '_', '.', after a DNS name and '/' if need be")
    return given


def label_value(value: object) -> str:
    """A label's value (Kubernetes' labels); may be empty."""
    given = text(value)
    if given and not _QUALIFIED.match(given):
        raise ValueError("must be a label's value: letters, digits, '-', '_', '.', beginning and ending with a letter or digit")
    return given


def parameter_name(value: object) -> str:
    """The name of a parameter of a query, as it stands there, not decoded. Source: Envoy's QueryParameterMatcher."""
    given = text(value)
    if not 0 < len(given) <= 1024:
        raise ValueError("must have 1 to 1024 characters")
    return given


def header_name(value: object) -> str:
    """A header's name in lower case (RFC 9110, section 5.1), or a pseudo-header's."""
    given = text(value)
    if not _TOKEN.match(given.removeprefix(":")):
        raise ValueError("must be a header name")
    return given.lower()


def path_text(value: object) -> str:
    """A path, or the beginning of one, as it goes into a request line (RFC 9112, section 3.2)."""
    given = text(value)
    if _NOT_IN_A_PATH.search(given):
        raise ValueError("must hold printable ASCII without blanks; percent-encode the rest")
    return given


def authority(value: object) -> str:
    """What may stand in a Host header; nothing leaves it."""
    given = text(value)
    if not given.isascii() or not given.isprintable() or " " in given:
        raise ValueError("must be a host name, with or without a port")
    return given
