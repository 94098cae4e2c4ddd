"""Rules and matches of a VirtualService's http that no request reaches, because those before take every one of them.

Source: istiod's analyzeUnreachableHTTPRules, but for its guess that a match without a method asks for GET.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations

import attrs

from meshcar.rules.matchers import words
from meshcar.rules.problems import Fault
from meshcar.rules.schema_routes import HttpMatch, HttpRule, StringMatch

Ask = tuple[str, ...]
"""One condition: where, and what is wanted."""

_MOST_ASKS = 6
"""Of a match with more conditions only few others are compared, so that any number of rules is looked through quickly."""


def unreachable(rules: Iterable[HttpRule]) -> Iterator[Fault]:
    """Rules behind one that takes every request, and matches whose requests an earlier match takes."""
    catch_all: int | None = None
    taken = _Taken()
    for index, rule in enumerate(rules):
        path = ("spec", "http", index)
        if catch_all is not None:
            yield Fault(path, "UNREACHABLE", f"spec.http[{catch_all}] before it takes every request")
            continue
        lost = []
        for number, match in enumerate(rule.match):
            earlier = taken.by(match)
            if earlier is not None:
                lost.append(Fault((*path, "match", number), "UNREACHABLE", f"{earlier} before it takes what it asks for"))
            elif rule.delegate is None:
                taken.add(match, f"spec.http[{index}].match[{number}]")
        if rule.match and len(lost) == len(rule.match):
            yield attrs.evolve(lost[0], path=path)
            continue
        yield from lost
        if rule.delegate is None and (not rule.match or not all(map(_asks_something, rule.match))):
            catch_all = index


class _Taken:
    """The matches so far, found by what they ask for."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, frozenset[Ask]], str] = {}
        self._whole: dict[tuple[str, frozenset[Ask]], str] = {}

    def add(self, match: HttpMatch, place: str) -> None:
        """`place` says where the match stands."""
        asks = frozenset(_asks(match))
        self._whole.setdefault((_uri(match), asks), place)
        prefix = _prefix(match)
        if prefix is not None:
            self._places.setdefault((prefix, asks), place)

    def by(self, match: HttpMatch) -> str | None:
        """Where an earlier match stands that asks for the same, or for less and a shorter prefix; None: nowhere."""
        asks = frozenset(_asks(match))
        same = self._whole.get((_uri(match), asks))
        prefix = _prefix(match)
        if same is not None or prefix is None:
            return same
        fewer = _subsets(asks)
        for length in range(len(prefix) + 1):
            for some in fewer:
                found = self._places.get((prefix[:length], some))
                if found is not None:
                    return found
        return None


def _subsets(asks: frozenset[Ask]) -> list[frozenset[Ask]]:
    if len(asks) > _MOST_ASKS:
        return [frozenset(), asks]
    return [frozenset(some) for size in range(len(asks) + 1) for some in combinations(asks, size)]


def _uri(match: HttpMatch) -> str:
    return "" if match.uri is None else f"{match.ignore_uri_case} {words(match.uri)}"


def _prefix(match: HttpMatch) -> str | None:
    """The prefix that a match asks for; None where it asks for something else of the path, or does not heed its case."""
    if match.uri is None or match.uri == StringMatch():
        return ""
    return None if match.ignore_uri_case else match.uri.prefix


def _asks(match: HttpMatch) -> Iterator[Ask]:
    """What a match asks for besides the path."""
    for path, test in match.tests():
        if path != ("uri",):
            yield (*map(str, path), words(test))
    if match.port is not None:
        yield "port", str(match.port)
    if match.gateways:
        yield "gateways", *sorted(match.gateways)
        return  # which source it is does not count then
    yield from (("sourceLabels", name, value) for name, value in match.source_labels.items())
    if match.source_namespace:
        yield "sourceNamespace", match.source_namespace


def _asks_something(match: HttpMatch) -> bool:
    return _prefix(match) not in ("", "/") or any(True for _ in _asks(match))
