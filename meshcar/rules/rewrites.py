"""Istio's rewrite of a path compiled to one function: by prefix, whole, or by regular expression."""

import re
from collections.abc import Callable
from typing import Any

from meshcar.rules.policies import Rewrite
from meshcar.rules.schema_actions import RewriteRule
from meshcar.rules.schema_routes import HttpMatch
from meshcar.wire.head import RequestHead
from meshcar.wire.hops import put

PathRewrite = Callable[[bytes], bytes]
_GROUP = re.compile(rb"\\([0-9\\])")


def path_rewrite(rule: RewriteRule, match: HttpMatch | None) -> PathRewrite | None:
    """What makes the new path of the old one (both without the query); None leaves it.

    A matched prefix is replaced as text, a path that was matched exactly or by regex as a whole. Without a match on the path the
    prefix is `/`. Source: Istio HTTPRewrite, as Envoy's prefix_rewrite does it.
    """
    if rule.uri_regex_rewrite is not None:
        pattern, replacement = rule.uri_regex_rewrite.match, pieces(rule.uri_regex_rewrite.rewrite)
        return lambda path: replace_all(pattern, replacement, path)
    if not rule.uri:
        return None
    new, uri = rule.uri.encode(), match.uri if match else None
    if uri is not None and (uri.exact is not None or uri.regex is not None):
        return lambda path: new
    length = len(uri.prefix.encode()) if uri is not None and uri.prefix is not None else 1
    return lambda path: new + path[length:]


def rewrite(head: RequestHead, change: Rewrite) -> None:
    """Changes authority and path of a request, and notes in headers what they were."""
    if change.authority is not None:
        put(head.headers, b"x-envoy-original-host", head.authority)
        head.authority = change.authority
    if change.path is not None:
        head.noted[b"x-envoy-original-path"] = head.target
        put(head.headers, b"x-envoy-original-path", head.target)
        path, mark, query = head.target.partition(b"?")
        head.target = change.path(path) + mark + query


def pieces(replacement: str) -> tuple[bytes | int, ...]:
    """A replacement taken apart into text and numbers of groups; `\\\\` is a backslash."""
    found: list[bytes | int] = []
    text, end = replacement.encode(), 0
    for escape in _GROUP.finditer(text):
        found += [text[end : escape.start()], escape[1] if escape[1] == b"\\" else int(escape[1])]
        end = escape.end()
    return tuple(piece for piece in (*found, text[end:]) if piece != b"")


def replace_all(pattern: Any, replacement: tuple[bytes | int, ...], text: bytes) -> bytes:
    """Every match replaced; an empty match right behind another is none. Source: RE2::GlobalReplace."""
    made: list[bytes] = []
    at, last_end = 0, -1
    while at <= len(text):
        match = pattern.search(text, at)
        if match is None:
            break
        start, end = match.span()
        made.append(text[at:start])
        if start == end == last_end:
            made.append(text[start : start + 1])
            at = start + 1
            continue
        made += (piece if isinstance(piece, bytes) else match[piece] or b"" for piece in replacement)
        at = last_end = end
    return b"".join(made) + text[at:]
