"""Many deadlines for little: those of one duration expire in the order in which they began, so one timer serves them all."""

from collections.abc import Callable
from typing import Any

MOST_QUEUES = 100
"""Durations whose deadlines share a timer. A client can ask for any duration (grpc-timeout), and a queue stays while its timer runs."""
LONGEST_QUEUE = 3600.0
"""Seconds; a longer deadline has a timer of its own, too."""


class Timeout:
    """One running deadline; ends by expiring or by `cancel`."""

    __slots__ = ("_callback", "_due", "_queue")

    def __init__(self, queue: "dict[Timeout, None]", due: float, callback: Callable[[], None]) -> None:
        self._queue = queue
        self._due = due
        self._callback = callback

    def cancel(self) -> None:
        """It will not expire any more; twice is once."""
        self._queue.pop(self, None)
        self._callback = _nothing  # whoever holds this is often who would be called: a cycle, left to the collector

    def expire(self) -> None:
        """Its time has come."""
        callback = self._callback
        self.cancel()
        callback()


class _Alone(Timeout):
    """One with a timer of its own."""

    __slots__ = ("_timer",)

    def __init__(self, clock: Any, seconds: float, callback: Callable[[], None]) -> None:
        self._timer = clock.callLater(seconds, callback)

    def cancel(self) -> None:
        """See Timeout."""
        if self._timer.active():
            self._timer.cancel()


def _nothing() -> None:
    """What a deadline that is over would call."""


def after(reactor: Any, seconds: float, callback: Callable[[], None]) -> Timeout:
    """One on the reactor's own Timeouts (`net/reactor.py`), or on a reactor that has none with a timer of its own."""
    timeouts: Timeouts | None = getattr(reactor, "timeouts", None)
    return _Alone(reactor, seconds, callback) if timeouts is None else timeouts.after(seconds, callback)


class Timeouts:
    """Deadlines on `clock`, an IReactorTime. Beginning and cancelling one costs two dict operations, no timer."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._queues: dict[float, dict[Timeout, None]] = {}
        self._armed: set[float] = set()

    def after(self, seconds: float, callback: Callable[[], None]) -> Timeout:
        """Calls `callback` once `seconds` have passed."""
        queue = self._queues.get(seconds)
        if queue is None:
            if len(self._queues) >= MOST_QUEUES or seconds > LONGEST_QUEUE:
                return _Alone(self._clock, seconds, callback)
            queue = self._queues[seconds] = {}
        timeout = Timeout(queue, self._clock.seconds() + seconds, callback)
        queue[timeout] = None
        if seconds not in self._armed:
            self._arm(seconds, seconds)
        return timeout

    def _arm(self, seconds: float, wait: float) -> None:
        self._armed.add(seconds)
        self._clock.callLater(wait, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        queue = self._queues[seconds]
        now = self._clock.seconds()
        due = []
        for timeout in queue:
            if timeout._due > now:
                break
            due.append(timeout)
        try:
            for timeout in due:
                if timeout in queue:
                    timeout.expire()
        finally:
            self._armed.discard(seconds)  # only now: a callback that begins one of the same duration must not arm past the others
            if queue:
                first = next(iter(queue))
                self._arm(seconds, max(0.0, first._due - now))
            else:
                del self._queues[seconds]
