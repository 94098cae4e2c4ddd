"""Envoy's command operators: text with `%COMMAND(ARGUMENT):LENGTH%` in it, taken apart once."""

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

_HEADER, _OPTIONAL, _NONE = "header", "optional", "none"

COMMANDS: Mapping[str, str] = {
    "REQ": _HEADER,
    "RESP": _HEADER,
    "START_TIME": _OPTIONAL,
} | dict.fromkeys(
    "BYTES_RECEIVED BYTES_SENT CONNECTION_TERMINATION_DETAILS DOWNSTREAM_DIRECT_REMOTE_ADDRESS "
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_LOCAL_ADDRESS "
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_LOCAL_PORT DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_DNS_SAN "
    "DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS "
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DURATION PROTOCOL REQUESTED_SERVER_NAME RESPONSE_CODE "
    "RESPONSE_CODE_DETAILS RESPONSE_FLAGS RESPONSE_FLAGS_LONG ROUTE_NAME UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_HOST "
    "UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_PORT UPSTREAM_REMOTE_ADDRESS "
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_TRANSPORT_FAILURE_REASON".split(),
    _NONE,
)
"""The operators that can be filled in, and what stands in their brackets. Source: Envoy, substitution formatter."""

_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]{1,6}))?%")
_HEADER_NAMES = re.compile(r":?[A-Za-z0-9!#$&'*+.^_`|~-]+(?:\?:?[A-Za-z0-9!#$&'*+.^_`|~-]+)?")


def parse(text: str) -> Format:
    """Takes a format apart; `%%` is a percent sign. The argument of REQ and RESP is `NAME` or `NAME?OTHER`.

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
        parts.append(_command(match))
        literal, at = "", match.end()
    literal += text[at:]
    return (*parts, literal.encode()) if literal else tuple(parts)


def spelled(form: Format) -> str:
    """A format as it is written, but for percent signs: of `%%` one is left."""
    return "".join(part.decode() if isinstance(part, bytes) else part.spelled for part in form)


def _command(match: re.Match[str]) -> Command:
    name, argument, length = match.groups()
    wanted = COMMANDS.get(name)
    if wanted is None:
        raise ValueError(f"column {match.start() + 1}: operator {name} is not known here")
    if wanted == _NONE and argument is not None:
        raise ValueError(f"column {match.start() + 1}: operator {name} takes no argument")
    if wanted == _HEADER and not _HEADER_NAMES.fullmatch(argument or ""):
        raise ValueError(f"column {match.start() + 1}: operator {name} needs the name of a header, as in %{name}(X-NAME)%")
    return Command(name, argument, int(length) if length else None)
