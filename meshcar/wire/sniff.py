"""What the first bytes of a connection are: TLS, HTTP/1, HTTP/2 or something else."""

import enum
import re

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What an HTTP/2 client sends first (RFC 9113, section 3.4)."""
ENOUGH = 26
"""With so many bytes the guess is never MORE: the longest method, a blank, the target's first byte."""

_METHODS = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
_REQUEST = re.compile(rb"([A-Za-z][A-Za-z_-]{0,23})( (.)?)?", re.DOTALL)
_HANDSHAKE, _CLIENT_HELLO = 0x16, 0x01


class Guess(enum.Enum):
    """What a connection speaks. MORE: too few bytes to tell."""

    TLS = enum.auto()
    HTTP1 = enum.auto()
    HTTP2 = enum.auto()
    OPAQUE = enum.auto()
    MORE = enum.auto()


def sniff(first: bytes) -> Guess:
    """Judges the first bytes, given whole each time; a guess other than MORE does not change with more bytes.

    TLS is a handshake record that begins with a ClientHello (RFC 8446, sections 4 and 5.1). HTTP/1 is a word of letters, a blank,
    and a target that looks like one: any word before `/` or `*` (a bad method is then HTTP's to refuse), a well-known method
    before anything else. So `get key` of memcached stays opaque.
    """
    if not first:
        return Guess.MORE
    if first[0] == _HANDSHAKE:
        return _tls(first)
    if first[0] == PREFACE[0] and PREFACE.startswith(first[: len(PREFACE)]):
        return Guess.HTTP2 if len(first) >= len(PREFACE) else Guess.MORE
    return _http1(first)


def sniff_tls(first: bytes) -> Guess:
    """Judges only whether it is TLS; all else is OPAQUE, by the first byte that cannot be one of TLS."""
    return sniff(first) if not first or first[0] == _HANDSHAKE else Guess.OPAQUE


def _tls(first: bytes) -> Guess:
    if len(first) > 1 and first[1] != 3:
        return Guess.OPAQUE
    if len(first) < 6:
        return Guess.MORE
    return Guess.TLS if first[5] == _CLIENT_HELLO else Guess.OPAQUE


def _http1(first: bytes) -> Guess:
    match = _REQUEST.match(first)
    if match is None:
        return Guess.OPAQUE
    method, blank, start = match.groups()
    if blank is None:
        return Guess.MORE if match.end() == len(first) < ENOUGH - 2 else Guess.OPAQUE
    if start is None:
        return Guess.MORE
    return Guess.HTTP1 if start in b"/*" or (method in _METHODS and start not in b"\r\n") else Guess.OPAQUE
