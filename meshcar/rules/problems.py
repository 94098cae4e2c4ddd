"""What is wrong with a rule, said so that its author finds the place and the remedy."""

import re
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import attrs

Path = tuple[str | int, ...]
"""Keys and indexes from the top of a document down to a value."""

WARNINGS = frozenset({
    "AMBIGUOUS_HOSTS", "DENIES_TCP", "DEPRECATED", "DUPLICATE_HOST", "EMPTY_SUBSET", "IGNORED", "LARGE_BODY", "NO_ADDRESS", "NO_EFFECT",
    "NO_RETRIES", "OPAQUE_PROTOCOL", "PARTIAL_WILDCARD", "SELECTS_ALL", "UNKNOWN_BACKEND", "UNKNOWN_DELEGATE", "UNKNOWN_HOST",
    "UNKNOWN_SUBSET", "UNREACHABLE", "UNREADABLE_FILE",
})
"""The codes that do not keep a rule from being used."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@attrs.frozen
class Problem:
    """One error or warning. `line` and `column` count from 1; `path` is `spec.http[0].route[1].weight`; `code` is stable.

    `kind` and `name` are empty where a document does not tell them.
    """

    severity: str
    file: str
    line: int
    column: int
    kind: str
    name: str
    path: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code} {self.kind or '-'}/{self.name or '-'}: {self.message}"

    def entry(self) -> dict[str, Any]:
        """The problem as the admin port and `meshcar check --json` show it."""
        return attrs.asdict(self)


@attrs.frozen
class Fault:
    """A problem that does not know its document yet: where in it, and what. `at_key` points at the key, not at its value."""

    path: Path
    code: str
    message: str
    at_key: bool = False


def repeated(values: Iterable[str | int], field: str, *part: str) -> Iterator[Fault]:
    """A fault for each item of a list whose value, or whose `part`, an earlier one has too."""
    known = set()
    for index, value in enumerate(values):
        if value in known:
            yield Fault((field, index, *part), "INVALID_VALUE", f"{value} stands twice among {field}")
        known.add(value)


def at_most(given: Sized | None, field: str, most: int) -> Iterator[Fault]:
    """A fault for a list, an object or a text that is too long."""
    if given is not None and len(given) > most:
        counted = "characters" if isinstance(given, str) else "entries"
        yield Fault((field,), "INVALID_VALUE", f"{field} has {len(given)} {counted}; at most {most} are allowed")


def severity(code: str) -> str:
    """`warning` or `error`."""
    return "warning" if code in WARNINGS else "error"


def spell(path: Path) -> str:
    """A path as people write it; keys that are no plain words stand in brackets and quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.match(step):
            text += f".{step}" if text else step
        else:
            text += f'["{shorten(step)}"]'
    return text


def shorten(text: str, length: int = 60) -> str:
    """Text that may be shown: control characters escaped, the end cut off."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: length + 1])
    return shown if len(shown) <= length else shown[: length - 3] + "..."
