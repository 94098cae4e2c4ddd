"""Istio's match conditions compiled to one predicate on a request head."""

from collections.abc import Callable, Sequence

from meshcar.rules.policies import Condition, Predicate
from meshcar.rules.schema_routes import HttpMatch, StringMatch
from meshcar.wire.head import PSEUDO_HEADERS, RequestHead

Test = Callable[[bytes], bool]


def predicate(match: HttpMatch | None) -> Predicate | None:
    """What a head must be like; None if any head will do."""
    return all_of(conditions(match)) if match is not None else None


def all_of(conditions: Sequence[Condition]) -> Predicate | None:
    """One predicate of many; None if any head will do."""
    tests = [condition.holds for condition in conditions]
    if len(tests) < 2:
        return tests[0] if tests else None
    first, *rest = tests
    if len(rest) == 1:
        second = rest[0]
        return lambda head: first(head) and second(head)
    return lambda head: first(head) and all(test(head) for test in rest)


def conditions(match: HttpMatch) -> tuple[Condition, ...]:
    """Everything that a match asks of a head, cheap things first; the order does not matter otherwise.

    Ports, gateways and the source's labels are not in it: they are known before a request comes.
    """
    found = [_uri(match.uri, match.ignore_uri_case)] if match.uri else []
    found.append(_condition("method", match.method, lambda head: head.method))
    found.append(_condition("authority", match.authority, lambda head: head.authority))
    found.append(_condition("scheme", match.scheme, lambda head: head.scheme))
    found += (_header("headers", name, rule) for name, rule in match.headers.items())
    found += (_header("withoutHeaders", name, rule) for name, rule in match.without_headers.items())
    found += (_query(name.encode(), rule) for name, rule in match.query_params.items())
    return tuple([condition for condition in found if condition is not None])


def words(match: StringMatch) -> str:
    """A test of a text, for people."""
    for kind, text in (("exact", match.exact), ("prefix", match.prefix)):
        if text is not None:
            return f'{kind} "{text}"'
    return "present" if match.regex is None else f'regex "{match.regex.pattern.decode()}"'


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


def _condition(field: str, match: StringMatch | None, get: Callable[[RequestHead], bytes]) -> Condition | None:
    test = string_test(match) if match else None
    if match is None or test is None:
        return None
    return Condition(field, words(match), lambda head: test(get(head)), get)


def _uri(match: StringMatch, ignore_case: bool) -> Condition | None:
    """On the path without its query. Case is ignored for exact and prefix only, as in Istio."""
    holds = _on_uri(match, ignore_case)
    return None if holds is None else Condition("uri", words(match), holds, lambda head: head.path)


def _on_uri(match: StringMatch, ignore_case: bool) -> Predicate | None:
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


def _pseudo_header(field: str, get: Callable[[RequestHead], bytes], match: StringMatch) -> Condition | None:
    """These are always there."""
    wanted, test = field.startswith("headers"), string_test(match)
    if test is None:
        return None if wanted else Condition(field, words(match), lambda head: False, get)
    return Condition(field, words(match), lambda head: test(get(head)) is wanted, get)


def _header(field: str, written: str, match: StringMatch) -> Condition | None:
    """Any line of the header may match. In withoutHeaders none may; an absent header counts as an empty one then, as in Envoy."""
    wanted, header = field == "headers", written.lower()
    name = header.encode()
    if name in PSEUDO_HEADERS:
        return _pseudo_header(f"{field}[{':authority' if header == 'host' else header}]", PSEUDO_HEADERS[name], match)
    return Condition(f"{field}[{header}]", words(match), _on_header(name, string_test(match), wanted), lambda head: head.get(name))


def _on_header(name: bytes, test: Test | None, wanted: bool) -> Predicate:
    if test is None:
        return lambda head: (head.get(name) is not None) is wanted
    if wanted:
        return lambda head: any(test(value) for key, value in head.headers if key == name)
    return lambda head: not any(map(test, head.get_all(name) or (b"",)))


def _query(name: bytes, match: StringMatch) -> Condition:
    test = string_test(match)

    def holds(head: RequestHead) -> bool:
        value = first_query_value(head.query, name)
        return value is not None and (test is None or test(value))

    return Condition(f"queryParams[{name.decode()}]", words(match), holds, lambda head: first_query_value(head.query, name))
