"""A word in the log, once a day, about a certificate that nobody has replaced and that will soon be refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.identity.credentials import Credentials
from meshcar.observe.counters import Counter

LOOK_SECONDS = 60.0
AGAIN = timedelta(days=1)
NEAR = 0.2
"""What is left of a certificate's life when it should have been replaced long ago: Istio's agent does so at one half."""


class Expiry:
    """Looks at the credentials in force now and then; `warned` counts the warnings. The owner calls start(), and stop() at the end."""

    _log = Logger()

    def __init__(self, clock: Any, credentials: Callable[[], Credentials | None], warned: Counter) -> None:
        self._clock, self._credentials, self._warned = clock, credentials, warned
        self._last: datetime | None = None
        self._about: Credentials | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> None:
        """Looks at once, and each minute."""
        self._looking.start(LOOK_SECONDS)

    def stop(self) -> None:
        """Looks no more."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        credentials, now = self._credentials(), datetime.fromtimestamp(self._clock.seconds(), UTC)
        if credentials is None or not near(credentials, now):
            return
        if credentials is self._about and self._last is not None and now - self._last < AGAIN:
            return
        self._about, self._last = credentials, now
        self._warned.value += 1
        left = credentials.not_after - now
        when = f"expires in {_words(left)}" if left > timedelta() else "has expired"
        self._log.warn("certificates: {id} {when}; nobody has replaced the files", id=str(credentials.spiffe_id), when=when)


def near(credentials: Credentials, now: datetime) -> bool:
    """Whether less than a fifth of the certificate's life is left."""
    return credentials.not_after - now < NEAR * (credentials.not_after - credentials.not_before)


def _words(left: timedelta) -> str:
    hours = left / timedelta(hours=1)
    return f"{left.days} days" if left.days > 1 else f"{hours:.0f} h" if hours >= 2 else f"{hours * 60:.0f} min"
