"""`POST /logging`: what the sidecar's own log tells, shown and changed."""

from twisted.web.server import Request

from meshcar.admin.http import Answer, as_text, query, refusal
from meshcar.admin.operator import LogLevels, Operator

USAGE = """\
usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off
"""


def logging(operator: Operator, request: Request) -> Answer:
    """All levels; those named in the query are changed before, all or none. Source: Envoy's /logging."""
    levels = operator.log_levels
    if levels is None:
        return refusal(409, "twistd's --logfile, --syslog or --logger says what is logged")
    try:
        for part, level in _changes(levels, query(request)):
            levels.change(part, level)
    except ValueError as e:
        return as_text(f"error: {e}\n\n{USAGE}{_shown(levels)}", 400)
    return as_text(_shown(levels))


def _changes(levels: LogLevels, asked: dict[str, str]) -> list[tuple[str, str]]:
    """Raises ValueError where one of them is not possible."""
    if len(asked) > 1:
        raise ValueError("invalid number of parameters")
    changes = []
    for name, value in asked.items():
        if name == "level":
            changes += [(part, value) for part in levels.all()]
        elif name == "paths":
            changes += [(part, level) for part, _, level in (one.partition(":") for one in value.split(","))]
        else:
            changes.append((name, value))
    for part, level in changes:
        levels.check(part, level)
    return changes


def _shown(levels: LogLevels) -> str:
    return "active loggers:\n" + "".join(f"  {part}: {level}\n" for part, level in levels.all().items()) + "\n"
