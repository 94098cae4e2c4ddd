"""What the log tells, part by part."""

import io
from typing import Any

import pytest
from twisted.logger import LogLevel, PredicateResult
from twisted.logger import LogPublisher as NewPublisher
from twisted.python.log import LogPublisher

from meshcar.app.log_levels import PARTS, LogLevels


def told(levels: LogLevels, namespace: str, level: Any = LogLevel.info) -> bool:
    return levels({"log_namespace": namespace, "log_level": level}) is PredicateResult.maybe


def test_at_first() -> None:
    """Everything from info on."""
    levels = LogLevels()
    assert levels.all() == dict.fromkeys(PARTS, "info")
    assert told(levels, "meshcar.app.drain.Drain") and not told(levels, "meshcar.app.drain.Drain", LogLevel.debug)


def test_change() -> None:
    """A part hears as much as it was told to; others as before."""
    levels = LogLevels()
    levels.change("app", "error")
    assert not told(levels, "meshcar.app.world.World", LogLevel.warn) and told(levels, "meshcar.app.world.World", LogLevel.error)
    assert told(levels, "meshcar.net.listen.Port")
    levels.change("twisted", "debug")
    assert told(levels, "twisted.web", LogLevel.debug) and not told(levels, "meshcar.net.x", LogLevel.debug)
    levels.change("app", "off")
    assert not told(levels, "meshcar.app.x", LogLevel.critical)


@pytest.mark.parametrize(("part", "level", "why"), [("app", "loud", "unknown logger level"), ("nobody", "info", "unknown logger name")])
def test_refused(part: str, level: str, why: str) -> None:
    """In Envoy's words, and nothing changes."""
    levels = LogLevels()
    with pytest.raises(ValueError, match=why):
        levels.change(part, level)
    assert levels.all() == dict.fromkeys(PARTS, "info")


def test_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log lines go to the stderr of the moment."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    LogLevels().observer()({"log_format": "hello", "log_time": 0.0})
    assert "hello" in out.getvalue()


def test_ports_are_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Twisted's ports say of themselves is left out; what it says of troubles is not."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    publisher = LogPublisher(observerPublisher := NewPublisher(LogLevels().observer()), observerPublisher)
    publisher.msg("(TCP Port 15000 Closed)")
    publisher.msg("a traceback", isError=True)
    assert "Port" not in out.getvalue() and "a traceback" in out.getvalue()
