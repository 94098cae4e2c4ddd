"""How long a joined pair of connections may last, and how long nothing may move on it."""

from collections.abc import Callable

from meshcar.net.splice import Joined
from meshcar.net.timeouts import Timeout, Timeouts

_LOOKS = 8
"""How often the bytes are counted within an idle timeout: by so much of it, at most, an idle connection ends too late."""


class TimeLimits:
    """Made when two connections are joined, ended when they are closed. `expired` is told Envoy's response flag: DT, or none.

    `idle` and `duration` are in seconds, None is no limit. Source: Envoy's tcp_proxy, idle_timeout and
    max_downstream_connection_duration.
    """

    def __init__(
        self, timeouts: Timeouts, seconds: Callable[[], float], joined: Joined, idle: float | None, duration: float | None,
        expired: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._timeouts, self._seconds, self._joined, self._expired = timeouts, seconds, joined, expired
        self._idle = idle or 0.0
        self._moved, self._since = 0, seconds()
        self._look: Timeout | None = timeouts.after(self._idle / _LOOKS, self._on_look) if idle else None
        self._end: Timeout | None = timeouts.after(duration, self._on_end) if duration else None

    def cancel(self) -> None:
        """The connections are closed."""
        for each in (self._look, self._end):
            if each is not None:
                each.cancel()

    def _on_look(self) -> None:
        moved, now = self._joined.sent + self._joined.received, self._seconds()
        if moved != self._moved:
            self._moved, self._since = moved, now
        elif now - self._since >= self._idle:
            self._stop("")
            return
        self._look = self._timeouts.after(self._idle / _LOOKS, self._on_look)

    def _on_end(self) -> None:
        self._stop("DT")

    def _stop(self, flag: str) -> None:
        self.cancel()
        self._expired(flag)
        self._joined.close()
