"""Names and values of headers in rules: checked and made, one at a time, as in `meshcar.rules.units`."""

import re
from collections.abc import Iterator

from meshcar.rules.units import header_name, text
from meshcar.wire.formats import Command, Format, parse

MAX_VALUE = 16384
"""Characters of a header's value; Envoy takes no more."""
_CLAIM = re.compile(r"@request\.auth\.claims[.\[][!-~]+\Z", re.IGNORECASE)
_PSEUDO_HEADERS = (":authority", ":method", ":path", ":scheme", ":status")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset("connection content-length keep-alive proxy-connection te trailer transfer-encoding upgrade".split())


EMPTY = frozenset(
    "DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN "
    "DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 "
    "DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER "
    "DOWNSTREAM_PEER_SERIAL DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON "
    "DYNAMIC_METADATA TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT TRAILER VIRTUAL_CLUSTER_NAME".split()
)
"""Operators that have nothing to say where a rule's headers are written: the application speaks plaintext to its sidecar, nothing sets
metadata there, and trailers end at this hop."""


def says_nothing(form: Format) -> Iterator[str]:
    """The operators of a value that are always empty."""
    for part in form:
        if isinstance(part, Command) and (part.name in EMPTY or part.name.startswith("DOWNSTREAM_PEER_")):
            yield part.name


def matched_header(value: object) -> str:
    """What a match on headers may name, as it is written: a header, a pseudo-header, or a claim of a JWT, which gateways match."""
    given = text(value)
    if is_claim(given) or given in _PSEUDO_HEADERS:
        return given
    if given.startswith(":"):
        raise ValueError(f"must be a header name; of pseudo-headers there are {', '.join(_PSEUDO_HEADERS)}")
    header_name(given)
    return given


def is_claim(name: str) -> bool:
    """Whether a match on headers means a claim of a JWT."""
    return _CLAIM.match(name) is not None


def changeable_header(value: object) -> str:
    """A header's name, as it is written, that a rule may set, add or remove: any but those that say where a message ends, or end at
    this hop."""
    given = text(value)
    if header_name(given) in _FRAMING:
        raise ValueError("must not be changed by a rule: it belongs to the connection, not to the request")
    return given


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
    if len(given) > MAX_VALUE:
        raise ValueError(f"has more than {MAX_VALUE} characters")
    return parse(given, EMPTY)
