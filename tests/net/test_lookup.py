"""Names that requests ask for."""

from typing import Any

import pytest

from meshcar.errors import TryFailed
from meshcar.net import lookup
from meshcar.net.lookup import SECONDS, LookUps
from tests.fakes import Loop


class Asked:
    """What became of a question."""

    def __init__(self, look_ups: LookUps, name: str) -> None:
        self.found: list[Any] = []
        look_ups.first(name).addBoth(self.found.append)

    @property
    def failed(self) -> bool:
        return bool(self.found) and self.found[0].check(TryFailed) is not None


def test_once_for_all() -> None:
    """Who asks for a name that is being looked up waits for the same answer; the next asks anew."""
    loop = Loop()
    look_ups = LookUps(loop)
    loop.nameResolver.known["a"] = ["10.0.0.1", "10.0.0.2"]
    one, other = Asked(look_ups, "a"), Asked(look_ups, "a")
    assert len(loop.nameResolver.asked) == 1
    loop.nameResolver.answer()
    assert one.found == other.found == ["10.0.0.1"]
    assert not Asked(look_ups, "a").found and len(loop.nameResolver.asked) == 1


def test_no_address() -> None:
    """All of them are told that there is none."""
    loop = Loop()
    look_ups = LookUps(loop)
    asked = [Asked(look_ups, "a") for _ in range(3)]
    loop.nameResolver.answer()
    assert all(one.failed for one in asked) and look_ups._open == {}


def test_no_name() -> None:
    """What can be no name is not asked for, and nothing is kept of it."""
    loop = Loop()
    look_ups = LookUps(loop)
    assert Asked(look_ups, "a" * 64).failed and Asked(look_ups, "a..b").failed
    assert loop.nameResolver.asked == [] and look_ups._open == {} and loop.getDelayedCalls() == []


def test_silent_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a resolver says nothing only so many questions are put to it, though nobody waits for them any more."""
    monkeypatch.setattr(lookup, "MOST_NAMES", 2)
    loop = Loop()
    look_ups = LookUps(loop)
    asked = [Asked(look_ups, name) for name in "aabb"]
    assert Asked(look_ups, "c").failed
    loop.advance(SECONDS)
    assert all(one.failed for one in asked) and list(look_ups._open.values()) == [{}, {}]
    late = Asked(look_ups, "a")
    assert Asked(look_ups, "c").failed and len(loop.nameResolver.asked) == 2
    loop.nameResolver.known["a"] = ["10.0.0.1"]
    loop.nameResolver.answer()
    assert late.found == ["10.0.0.1"] and not Asked(look_ups, "c").found
