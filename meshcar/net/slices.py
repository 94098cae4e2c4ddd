"""Long work between the reactor's turns: two milliseconds of it, then traffic, then the next."""

import gc
from collections.abc import Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

Work = Generator["Deferred[Any] | None", None, T]
"""Steps that may also wait: where one yields a Deferred, the next is taken when that has fired."""

SLICE_SECONDS = 0.002
"""How long a slice takes, and one step more; a thread would take the interpreter's lock from the reactor for longer."""
_UNSEEN = 20_000
"""New objects after which the collector is told that they stay: to look through a whole generation of rules takes it 100 ms."""


def in_slices(steps: Work[T], clock: Any) -> "Deferred[T]":
    """The result of `steps`, or what it raises. The first slice is done at once: little work takes no turn at all.

    `clock` is an IReactorTime. A Deferred that is cancelled ends the work where it is. What the work waits for must not fail.
    """
    done: Deferred[T] = Deferred(lambda _: steps.close())

    def work(_: object = None) -> None:
        if done.called:
            return
        end = clock.seconds() + SLICE_SECONDS
        try:
            while True:
                awaited = next(steps)
                if awaited is not None and not awaited.called:
                    awaited.addCallback(work)
                    return
                if clock.seconds() >= end:
                    break
        except StopIteration as stop:
            done.callback(stop.value)
        except BaseException:
            done.errback(Failure())
        else:
            if gc.get_count()[0] > _UNSEEN:
                gc.freeze()
            clock.callLater(0, work)

    work()
    return done
