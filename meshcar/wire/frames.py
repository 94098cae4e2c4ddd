"""Messages between processes of one sidecar: two lengths, a head in JSON, a body of any bytes."""

import json
import struct
from collections.abc import Mapping
from typing import Any

import attrs

_LENGTHS = struct.Struct(">II")
MAX_BYTES = 256 << 20
"""Of one message: the rules, at most 64 MiB of YAML, and room for how JSON escapes them."""


@attrs.frozen
class Frame:
    """One message. `head` holds what JSON can say."""

    head: Mapping[str, Any]
    body: bytes = b""


def frame(head: Mapping[str, Any], body: bytes = b"") -> bytes:
    """The bytes of a message."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(body)) + text + body


class Frames:
    """Cuts a stream into messages, whatever pieces it comes in; one for each direction of a connection."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have, self._need = 0, _LENGTHS.size

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete with these bytes. Raises ValueError where the other side does not keep to the format."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        found, data, at = [], b"".join(self._parts), 0
        while True:
            self._need = _LENGTHS.size
            if len(data) - at >= _LENGTHS.size:
                head, body = _LENGTHS.unpack_from(data, at)
                self._need += head + body
                if self._need > MAX_BYTES:
                    raise ValueError(f"a message of {self._need} bytes")
            if len(data) - at < self._need:
                break
            begin = at + _LENGTHS.size
            found.append(_frame(data[begin : begin + head], data[begin + head : begin + head + body]))
            at += self._need
        self._parts, self._have = [data[at:]], len(data) - at
        return found


def _frame(text: bytes, body: bytes) -> Frame:
    head = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("a message whose head is no object")
    return Frame(head, body)
