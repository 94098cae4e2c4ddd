"""The deadline that a gRPC client sends along (gRPC over HTTP2, Timeout), and what it makes of a route's."""

import re

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DIGITS = 99_999_999


def within(most: float | None, told: bytes | None) -> float | None:
    """Seconds that a gRPC request may take: what its grpc-timeout says, or what the route allows, whichever is less; None: no limit.

    Source: Envoy's max_grpc_timeout, which Istio sets to the route's timeout.
    """
    match = _TIMEOUT.fullmatch(told) if told is not None else None
    seconds = int(match[1]) * _UNITS[match[2]] if match is not None else 0.0
    return min(seconds, most) if seconds and most else seconds or most


def grpc_timeout(seconds: float) -> bytes:
    """A grpc-timeout, in milliseconds unless that takes more than eight digits."""
    value = round(seconds * 1000)
    for unit, factor in ((b"m", 1000), (b"S", 60), (b"M", 60)):
        if value <= _MOST_DIGITS:
            return b"%d%b" % (value, unit)
        value //= factor
    return b"%dH" % min(value, _MOST_DIGITS)
