"""Envoy's command operators: text with `%COMMAND(ARGUMENT):LENGTH%` in it, taken apart once."""

import difflib
import re
from collections.abc import Mapping

import attrs


@attrs.frozen
class Command:
    """One operator: name, argument (or None) and the greatest length in characters (or None)."""

    name: str
    argument: str | None = None
    length: int | None = None

    @property
    def spelled(self) -> str:
        """As it is written."""
        argument = "" if self.argument is None else f"({self.argument})"
        return f"%{self.name}{argument}{'' if self.length is None else f':{self.length}'}%"


Format = tuple[bytes | Command, ...]
"""Literal text and operators, in order."""

NO, MAY, MUST, HEADER, PATH = "no", "may", "must", "header", "path"
"""What stands in an operator's brackets: nothing; something or nothing; something; names of headers; how a path is written."""


@attrs.frozen
class Takes:
    """What an operator takes: an argument, and a greatest length behind it."""

    argument: str = NO
    length: bool = False


COMMANDS: Mapping[str, Takes] = {
    "REQ": Takes(HEADER, True),
    "RESP": Takes(HEADER, True),
    "QUERY_PARAM": Takes(MUST, True),
    "PATH": Takes(PATH, True),
    "START_TIME": Takes(MAY),
} | dict.fromkeys(
    "BYTES_RECEIVED BYTES_SENT CONNECTION_TERMINATION_DETAILS DOWNSTREAM_DIRECT_LOCAL_ADDRESS "
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS "
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS "
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_DNS_SAN "
    "DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS "
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DURATION HOSTNAME PROTOCOL QUERY_PARAMS REQUESTED_SERVER_NAME "
    "RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_FLAGS RESPONSE_FLAGS_LONG ROUTE_NAME TRACE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW "
    "UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT "
    "UPSTREAM_LOCAL_PORT UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT "
    "UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_TRANSPORT_FAILURE_REASON".split(),
    Takes(),
)
"""The operators that can be filled in. Source: Envoy, substitution formatter; what they take is what an Envoy 1.40 lets pass."""

NOT_HERE = frozenset(
    "ACCESS_LOG_TYPE BYTES_RETRANSMITTED CEL CLUSTER_METADATA COALESCE COMMON_DURATION CONNECTION_ID CUSTOM_FLAGS "
    "DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_WIRE_BYTES_RECEIVED "
    "DOWNSTREAM_WIRE_BYTES_SENT EMIT_TIME EMIT_TIME_LOCAL ENVIRONMENT FILTER_CHAIN_NAME FILTER_STATE GRPC_STATUS "
    "GRPC_STATUS_NUMBER LOCAL_REPLY_BODY METADATA PACKETS_RETRANSMITTED REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION "
    "RESPONSE_DURATION RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION ROUNDTRIP_DURATION SPAN_ID "
    "START_TIME_LOCAL STREAM_ID UNIQUE_ID UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_POOL_READY_DURATION UPSTREAM_FILTER_STATE "
    "UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_METADATA UPSTREAM_PEER_CERT UPSTREAM_PEER_DNS_SAN "
    "UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_TLS_CIPHER UPSTREAM_TLS_VERSION UPSTREAM_WIRE_BYTES_RECEIVED "
    "UPSTREAM_WIRE_BYTES_SENT".split()
)
"""Operators of Envoy that are refused by name."""

_PATHS = frozenset(part + source for part in ("WQ", "NQ") for source in ("", ":ORIG", ":PATH", ":ORIG_OR_PATH"))
_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]{1,6}))?%")
_HEADER_NAMES = re.compile(r":?[A-Za-z0-9!#$&'*+.^_`|~-]+(?:\?:?[A-Za-z0-9!#$&'*+.^_`|~-]+)?")


def parse(text: str, empty: frozenset[str] = frozenset()) -> Format:
    """Takes a format apart; `%%` is a percent sign. The argument of REQ and RESP is `NAME` or `NAME?OTHER`. `empty` are more operators,
    which are let through with any argument; there is nothing to fill in for them.

    Raises ValueError, `column N: ...` (from 1), on an unknown operator or one that is not well-formed.
    """
    parts: list[bytes | Command] = []
    literal, at = "", 0
    while (percent := text.find("%", at)) >= 0:
        literal += text[at:percent]
        if text.startswith("%%", percent):
            literal, at = literal + "%", percent + 2
            continue
        match = _OPERATOR.match(text, percent)
        if match is None:
            raise ValueError(f"column {percent + 1}: % neither doubled nor before an operator such as %PROTOCOL%")
        if literal:
            parts.append(literal.encode())
        parts.append(_command(match, empty))
        literal, at = "", match.end()
    literal += text[at:]
    return (*parts, literal.encode()) if literal else tuple(parts)


def spelled(form: Format) -> str:
    """A format as it is written."""
    return "".join(part.decode().replace("%", "%%") if isinstance(part, bytes) else part.spelled for part in form)


def _command(match: re.Match[str], empty: frozenset[str]) -> Command:
    name, argument, length = match.groups()
    takes, here = COMMANDS.get(name), f"column {match.start() + 1}: operator {name}"
    if takes is None and name not in empty:
        near = difflib.get_close_matches(name[:60], COMMANDS, 1, 0.7)
        why = "of Envoy's is not supported" if name in NOT_HERE else "is not known here"
        raise ValueError(f"{here} {why}" + (f"; {near[0]} is" if near else ""))
    if takes is not None:
        _check(takes, name, argument, here)
        if length and not takes.length:
            raise ValueError(f"{here} takes no length")
    return Command(name, argument, int(length) if length else None)


def _check(takes: Takes, name: str, argument: str | None, here: str) -> None:
    if takes.argument == NO and argument is not None:
        raise ValueError(f"{here} takes no argument")
    if takes.argument == HEADER and not _HEADER_NAMES.fullmatch(argument or ""):
        raise ValueError(f"{here} needs the name of a header, as in %{name}(X-NAME)%")
    if takes.argument == MUST and not argument:
        raise ValueError(f"{here} needs a name, as in %{name}(NAME)%")
    if takes.argument == PATH and argument is not None and argument not in _PATHS:
        raise ValueError(f"{here} takes WQ (with the query) or NQ, then :ORIG, :PATH or :ORIG_OR_PATH")
