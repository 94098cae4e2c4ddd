"""Values of the Gateway API: durations, names and limits as its CRDs have them. Each function as those of `meshcar.rules.units`.

Source: https://gateway-api.sigs.k8s.io/reference/spec/
"""

import re

from meshcar.rules import header_units, units
from meshcar.wire.formats import Format, parse

_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_FIELD_VALUE = re.compile(r"[!-~]+([\t ][!-~]+)*\Z")
_ORIGIN = re.compile(r"\*\Z|https?://((\*\.)?([a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(:[0-9]{1,5})?\Z")
_REDIRECTS = (301, 302, 303, 307, 308)
_LONGEST_NAME = 253
_LONGEST_KIND = 63
_LONGEST_VALUE = 4096
_LONGEST_PATH = 1024
_MAX_WEIGHT = 1_000_000


def duration(value: object) -> float:
    """Seconds of `10s`, `1m30s`, `250ms`: whole numbers of h, m, s, ms, at most four (GEP-2257)."""
    if type(value) is not str:
        raise units.WrongType("a duration such as 1m30s or 250ms")
    if not _DURATION.match(value):
        raise ValueError("must be a duration of the Gateway API: up to four whole numbers with h, m, s or ms, such as 1m30s or 250ms")
    return units.duration(value)


def dns_name(value: object) -> str:
    """A DNS name in lower case, at most 253 characters."""
    given = units.text(value)
    if len(given) > _LONGEST_NAME or not _NAME.match(given):
        raise ValueError("must be a DNS name: lower-case labels of letters, digits and '-', joined by dots, at most 253 characters")
    return given


def hostname(value: object) -> str:
    """A DNS name, or one behind `*.`."""
    given = units.text(value)
    dns_name(given.removeprefix("*."))
    return given


def group(value: object) -> str:
    """An API group: a DNS name, or nothing for the core group."""
    return "" if value == "" else dns_name(value)


def kind(value: object) -> str:
    """The name of a kind."""
    given = units.text(value)
    if len(given) > _LONGEST_KIND or not _KIND.match(given):
        raise ValueError("must be a kind: a letter, then letters, digits and '-', at most 63 characters")
    return given


def object_name(value: object) -> str:
    """The name of a resource, 1 to 253 characters."""
    given = units.text(value)
    if not 1 <= len(given) <= _LONGEST_NAME:
        raise ValueError("must have 1 to 253 characters")
    return given


def weight(value: object) -> int:
    """A whole number from 0 to 1000000."""
    number = units.integer(value)
    if not 0 <= number <= _MAX_WEIGHT:
        raise ValueError("must lie between 0 and 1000000")
    return number


def positive(value: object) -> int:
    """A whole number from 1."""
    number = units.count(value)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def retry_code(value: object) -> int:
    """An HTTP status on which to try again, 400 to 599."""
    number = units.integer(value)
    if not 400 <= number <= 599:
        raise ValueError("must be an HTTP status, 400 to 599")
    return number


def redirect_code(value: object) -> int:
    """One of 301, 302, 303, 307, 308."""
    number = units.integer(value)
    if number not in _REDIRECTS:
        raise ValueError("must be one of 301, 302, 303, 307, 308")
    return number


def match_name(value: object) -> str:
    """The name of a header or query parameter, as it is written."""
    given = units.text(value)
    if given.startswith(":"):
        raise ValueError("must be a header name; pseudo-headers cannot be named here")
    units.header_name(given)
    return given


def changeable_name(value: object) -> str:
    """A header's name that a filter may set, add or remove, as it is written."""
    match_name(value)
    header_units.changeable_header(value)
    return units.text(value)


def field_value(value: object) -> str:
    """A header's value: printable ASCII, single blanks inside, at most 4096 characters."""
    given = units.text(value)
    if len(given) > _LONGEST_VALUE or not _FIELD_VALUE.match(given):
        raise ValueError("must be 1 to 4096 printable ASCII characters, with at most single blanks or tabs between them")
    return given


def field_format(value: object) -> Format:
    """A header's value with Envoy's %OPERATORS% in it."""
    return parse(field_value(value))


def new_path(value: object) -> str:
    """A path that takes another's place, at most 1024 characters."""
    given = units.path_text(value)
    if len(given) > _LONGEST_PATH:
        raise ValueError("must have at most 1024 characters")
    return given


def origin(value: object) -> str:
    """An origin that may ask, `https://example.com`, `https://*.example.com:8443`, or `*`."""
    given = units.text(value)
    if len(given) > _LONGEST_NAME or not _ORIGIN.match(given):
        raise ValueError("must be http:// or https:// with a host and no path, *. or * for any of them, or * alone")
    return given
