"""Paths by segments, as the Gateway API sees them: `/foo` is the beginning of `/foo` and `/foo/bar`, not of `/foobar`."""

from collections.abc import Callable

from meshcar.rules.matchers import words
from meshcar.rules.patterns import pattern
from meshcar.rules.policies import Condition
from meshcar.rules.schema_gateway import PathMatch
from meshcar.rules.schema_routes import StringMatch
from meshcar.wire.head import RequestHead

_ENDS = (b"", b"/", b"?")


def path_condition(match: PathMatch) -> Condition | None:
    """What a path must be like, without its query; None where any will do. Source: HTTPPathMatch."""
    if match.type == "Exact":
        path = match.value.encode()
        with_query = path + b"?"
        return Condition(
            "path", words(StringMatch(exact=match.value)), lambda head: head.target == path or head.target.startswith(with_query), _path
        )
    if match.type == "RegularExpression":
        test = StringMatch(regex=pattern(match.value))
        fullmatch = test.regex.fullmatch
        return Condition("path", words(test), lambda head: fullmatch(head.path) is not None, _path)
    if match.prefix == "/":
        return None
    prefix = match.prefix.encode()
    length, after = len(prefix), len(prefix) + 1
    return Condition(
        "path", words(StringMatch(prefix=match.prefix)),
        lambda head: head.target.startswith(prefix) and head.target[length:after] in _ENDS, _path,
    )  # fmt: skip


def replaced_prefix(prefix: str, new: str) -> Callable[[bytes], bytes]:
    """What puts other segments in the place of the first ones of a path, without its query. No slash is doubled, and `/` is left of
    nothing. Source: HTTPPathModifier's replacePrefixMatch."""
    length, beginning = len(prefix.removesuffix("/").encode()), new.removesuffix("/").encode()
    return lambda path: beginning + path[length:] or b"/"


def on_path(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A change of a path as one of a target, whose query stays."""

    def changed(target: bytes) -> bytes:
        path, mark, query = target.partition(b"?")
        return change(path) + mark + query

    return changed


def _path(head: RequestHead) -> bytes:
    return head.path
