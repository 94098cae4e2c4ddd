"""Istio's match conditions compiled to one predicate on a request head."""

from collections.abc import Callable

from meshcar.rules.schema_routes import HttpMatch, StringMatch
from meshcar.wire.head import RequestHead

Predicate = Callable[[RequestHead], bool]
Test = Callable[[bytes], bool]


def predicate(match: HttpMatch | None) -> Predicate | None:
    """What a head must be like; None if any head will do.

    Ports, gateways and the source's labels are not in it: they are known before a request comes.
    """
    conditions = _conditions(match) if match is not None else []
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    first, *rest = conditions
    if len(rest) == 1:
        second = rest[0]
        return lambda head: first(head) and second(head)
    return lambda head: first(head) and all(condition(head) for condition in rest)


def string_test(match: StringMatch) -> Test | None:
    """A test of a text; None if any will do. A regex has to match the whole text."""
    if match.exact is not None:
        return match.exact.encode().__eq__
    if match.prefix is not None:
        prefix = match.prefix.encode()
        return lambda text: text.startswith(prefix)
    if match.regex is not None:
        fullmatch = match.regex.fullmatch
        return lambda text: fullmatch(text) is not None
    return None


def first_query_value(query: bytes, name: bytes) -> bytes | None:
    """The first value of a parameter, not decoded, as Envoy compares it; empty for one without `=`, None for none."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name:
            return value
    return None


def _conditions(match: HttpMatch) -> list[Predicate]:
    """Cheap ones first; the order does not matter otherwise."""
    found = [_on_uri(match.uri, match.ignore_uri_case) if match.uri else None, _on_method(match.method), _on_authority(match.authority)]
    found.append(_on_scheme(match.scheme))
    found += (_on_header(name, rule) for name, rule in match.headers.items())
    found += (_on_header(name, rule, wanted=False) for name, rule in match.without_headers.items())
    found += (_on_query(name.encode(), rule) for name, rule in match.query_params.items())
    return [condition for condition in found if condition is not None]


def _on_uri(match: StringMatch, ignore_case: bool) -> Predicate | None:
    """On the path without its query. Case is ignored for exact and prefix only, as in Istio."""
    text = match.exact if match.exact is not None else match.prefix
    if text is not None and ignore_case:
        folded = text.lower().encode()
        if match.exact is not None:
            return lambda head: head.path.lower() == folded
        return lambda head: head.path.lower().startswith(folded)
    if text is not None and "?" not in text:
        return _on_exact_path(text.encode()) if match.exact is not None else _on_path_prefix(text.encode())
    test = string_test(match)
    return None if test is None else lambda head: test(head.path)


def _on_exact_path(path: bytes) -> Predicate:
    with_query = path + b"?"
    return lambda head: head.target == path or head.target.startswith(with_query)


def _on_path_prefix(prefix: bytes) -> Predicate | None:
    """A prefix without `?` cannot reach into the query, so the query need not be cut off."""
    return (lambda head: head.target.startswith(prefix)) if prefix not in (b"", b"/") else None


def _on_method(match: StringMatch | None) -> Predicate | None:
    test = string_test(match) if match else None
    return None if test is None else lambda head: test(head.method)


def _on_authority(match: StringMatch | None) -> Predicate | None:
    test = string_test(match) if match else None
    return None if test is None else lambda head: test(head.authority)


def _on_scheme(match: StringMatch | None) -> Predicate | None:
    test = string_test(match) if match else None
    return None if test is None else lambda head: test(head.scheme)


def _on_header(header: str, match: StringMatch, wanted: bool = True) -> Predicate | None:
    """Any line of the header may match. Not wanted: none may; an absent header counts as an empty one then, as in Envoy."""
    if header in ("host", ":authority"):
        on_authority = _on_authority(match)
        return on_authority if wanted or on_authority is None else lambda head: not on_authority(head)
    name, test = header.encode(), string_test(match)
    if test is None:
        return lambda head: (head.get(name) is not None) is wanted
    if wanted:
        return lambda head: any(test(value) for key, value in head.headers if key == name)
    return lambda head: not any(map(test, head.get_all(name) or (b"",)))


def _on_query(name: bytes, match: StringMatch) -> Predicate:
    test = string_test(match)

    def holds(head: RequestHead) -> bool:
        value = first_query_value(head.query, name)
        return value is not None and (test is None or test(value))

    return holds


