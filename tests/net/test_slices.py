"""Long work between the reactor's turns."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from meshcar.net.slices import SLICE_SECONDS, Work, in_slices
from meshcar.rules.steps import Steps


class Slow:
    """Work of so many steps, each of which takes a millisecond of a clock. `turns` notes what was left at each turn of the reactor."""

    def __init__(self, steps: int) -> None:
        self.clock = Clock()
        self.turns: list[int] = []
        true_call_later = self.clock.callLater
        self.clock.callLater = lambda *args: self.turns.append(self.left) or true_call_later(*args)
        self.left = steps
        self.ended = False

    def work(self) -> Steps[str]:
        try:
            while self.left:
                self.left -= 1
                self.clock.rightNow += 0.001
                yield
            return "done"
        finally:
            self.ended = True


def test_little_work_takes_no_turn() -> None:
    """What fits into a slice is done at once."""
    slow, found = Slow(1), []
    in_slices(slow.work(), slow.clock).addCallback(found.append)
    assert found == ["done"]


def test_a_slice_is_short() -> None:
    """Between two turns of the reactor no more is done than a slice allows, and a step."""
    slow, found = Slow(40), []
    in_slices(slow.work(), slow.clock).addCallback(found.append)
    assert found == []
    slow.clock.pump([0.001] * 40)
    assert found == ["done"] and slow.ended
    most = round(SLICE_SECONDS * 1000) + 1
    assert all(before - after <= most for before, after in zip([40, *slow.turns], slow.turns, strict=False))


def test_failure() -> None:
    """What the work raises is what the Deferred fails with."""

    def work() -> Steps[int]:
        yield
        raise ValueError("no")

    failed: list[object] = []
    in_slices(work(), Clock()).addErrback(lambda failure: failed.append(failure.value))
    assert [str(error) for error in failed] == ["no"]


def test_cancelled() -> None:
    """Nobody wants the result any more: the work ends where it is."""
    slow, failed = Slow(40), []
    wanted = in_slices(slow.work(), slow.clock)
    wanted.addErrback(lambda failure: failed.append(failure.type))
    wanted.cancel()
    left = slow.left
    slow.clock.pump([0.1] * 10)
    assert failed == [CancelledError] and slow.left == left > 0 and slow.ended


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_result_does_not_depend_on_slices(steps: int) -> None:
    """However it is cut, the result is the same."""
    slow, found = Slow(steps), []
    in_slices(slow.work(), slow.clock).addCallback(found.append)
    slow.clock.pump([0.0] * steps)
    assert found == ["done"]


def test_waits() -> None:
    """Work that yields a Deferred goes on when that has fired, and not before; what has fired already is not waited for."""
    clock, found = Clock(), list[str]()
    first: Deferred[None] = Deferred()

    def work() -> Work[str]:
        yield succeed(None)
        yield first
        return "done"

    in_slices(work(), clock).addCallback(found.append)
    clock.advance(60)
    assert not found and not clock.getDelayedCalls()
    first.callback(None)
    assert found == ["done"]


def test_given_up_while_waiting() -> None:
    """Who cancels the work does not hear of it again."""
    awaited: Deferred[None] = Deferred()

    def work() -> Work[None]:
        yield awaited
        raise AssertionError("went on")

    errors: list[object] = []
    done = in_slices(work(), Clock()).addErrback(errors.append)
    done.cancel()
    awaited.callback(None)
    assert len(errors) == 1
