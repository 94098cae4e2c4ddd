"""Which lines the sidecar's own log has: a level for each part of it, changed while it runs."""

import sys
from typing import Any

from twisted.logger import FilteringLogObserver, LogEvent, LogLevel, PredicateResult, textFileLogObserver

LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
"""Envoy's words, the least first. Nothing is told at trace that is not at debug."""
_OF_TWISTED = {LogLevel.debug: 1, LogLevel.info: 2, LogLevel.warn: 3, LogLevel.error: 4, LogLevel.critical: 5}
PARTS = ("admin", "app", "net", "proxy", "sources", "twisted", "upstream")
"""Packages of meshcar that log; `twisted` is everybody else."""


class LogLevels:
    """Asked for each event by the log's observer, changed by operators. Everything begins at info."""

    def __init__(self) -> None:
        self._levels = dict.fromkeys(PARTS, "info")

    def all(self) -> dict[str, str]:
        """By part."""
        return dict(self._levels)

    def check(self, part: str, level: str) -> None:
        """Raises ValueError, in Envoy's words, for a part or level that there is not."""
        if level not in LEVELS:
            raise ValueError("unknown logger level")
        if part not in self._levels:
            raise ValueError("unknown logger name")

    def change(self, part: str, level: str) -> None:
        """From now on. Raises ValueError as `check` does."""
        self.check(part, level)
        self._levels[part] = level

    def __call__(self, event: LogEvent) -> Any:
        """See ILogFilterPredicate. Twisted's ports tell of their lives by the old log.msg at info; the sidecar has lines of its own."""
        namespace, level = event.get("log_namespace") or "", _OF_TWISTED.get(event.get("log_level"), 2)
        if namespace == "log_legacy" and level == 2:
            return PredicateResult.no
        home, _, rest = namespace.partition(".")
        part = rest.partition(".")[0] if home == "meshcar" else "twisted"
        return PredicateResult.maybe if level >= LEVELS.index(self._levels.get(part, "info")) else PredicateResult.no

    def observer(self) -> FilteringLogObserver:
        """Where the sidecar's own log goes: stderr."""
        return FilteringLogObserver(textFileLogObserver(sys.stderr), [self])  # type: ignore[arg-type, list-item]
