"""RE2 patterns of rules: compiled, and bounded each for itself and all of a document together.

RE2 matches in linear time, but a pattern that repeats others is large: to compile one takes up to ten milliseconds, and a document of
1 MiB has room for ten thousand. Source: Istio's bulletin ISTIO-SECURITY-2026-006.
"""

from collections.abc import Callable
from typing import Any

from meshcar.rules.units import text

MAX_PATTERN = 1024
MAX_INSTRUCTIONS = 250_000
"""Of all patterns of a document; a simple one has 10 to 50, and a million take about a second to compile."""
_OF_A_FAILURE = 1000
_MEMORY = 256 << 10


def pattern(value: object) -> Any:
    """An RE2 pattern over bytes, compiled. Its size is capped, as is the memory that matching may take."""
    given = text(value)
    if not given:
        raise ValueError("a pattern must not be empty")
    if len(given) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    import re2  # not before: it takes 2.5 MiB, and most rules have no patterns

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(given.encode(), options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise ValueError(f"RE2 refuses it: {reason.decode(errors='replace') if isinstance(reason, bytes) else reason}") from None


def pattern_or_any(value: object) -> Any:
    """The same, but None for `*`, by which Istio means that the thing is there at all."""
    return None if value == "*" else pattern(value)


class Patterns:
    """Compiles the patterns of one document, until they are too large together; that is said once, and what follows is not looked at."""

    def __init__(self) -> None:
        self._instructions = 0

    def compile(self, make: Callable[[object], Any], value: object) -> Any:
        """What `make`, pattern() or pattern_or_any(), makes of the value. Raises what that raises, and ValueError where it is too much."""
        if self._instructions > MAX_INSTRUCTIONS:
            return None
        cost = _OF_A_FAILURE
        try:
            made = make(value)
            cost = 0 if made is None else made.programsize
        finally:
            self._instructions += cost
        if self._instructions > MAX_INSTRUCTIONS:
            raise ValueError("all patterns of this document together are too large for RE2; divide the rules among several documents")
        return made
