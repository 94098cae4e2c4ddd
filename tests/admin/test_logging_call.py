"""Levels of the log, over the admin port."""

import pytest

from meshcar.admin.site import admin_site
from meshcar.app.log_levels import PARTS, LogLevels
from tests.admin.fakes import Reply, call, clock, operator


def ask(levels: LogLevels | None, query: str = "") -> Reply:
    return call(admin_site(operator(log_levels=levels), clock()), "POST", f"/logging{query}")


def test_shown() -> None:
    """All of them, as Envoy shows them."""
    lines = ask(LogLevels()).body.decode().splitlines()
    assert lines[0] == "active loggers:" and lines[1:-1] == [f"  {part}: info" for part in PARTS]


@pytest.mark.parametrize(("query", "changed"), [
    ("?level=debug", dict.fromkeys(PARTS, "debug")),
    ("?app=warning", {"app": "warning"}),
    ("?paths=app:off,net:trace", {"app": "off", "net": "trace"}),
])
def test_changed(query: str, changed: dict[str, str]) -> None:
    """All, one, or several."""
    levels = LogLevels()
    assert ask(levels, query).status == 200
    assert levels.all() == dict.fromkeys(PARTS, "info") | changed


@pytest.mark.parametrize(("query", "why"), [
    ("?level=loud", "unknown logger level"),
    ("?paths=app:debug,nobody:info", "unknown logger name"),
    ("?app=info&net=info", "invalid number of parameters"),
    ("?paths=app", "unknown logger level"),
])
def test_refused(query: str, why: str) -> None:
    """400 with what is wrong and how to ask; nothing changes."""
    levels = LogLevels()
    reply = ask(levels, query)
    assert reply.status == 400 and reply.body.decode().startswith(f"error: {why}\n\nusage: ")
    assert levels.all() == dict.fromkeys(PARTS, "info")


def test_log_of_twistds_own() -> None:
    """Where twistd's options say where the log goes, its levels are not ours."""
    assert ask(None).status == 409
