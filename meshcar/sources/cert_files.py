"""Credentials out of a folder with Istio's three files, and new ones when the files change."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials

FILES = ("cert-chain.pem", "key.pem", "root-cert.pem")
"""Istio's names, in the order of Credentials.load."""

_GREATEST = 1 << 20


class CertFiles:
    """Watches `folder` by content on `clock`, an IReactorTime, so that replaced files and swapped symlinks are both seen.

    A change is seen within `interval` seconds, and `on_credentials` gets every new set. One that cannot be used is told to
    `on_error` once, in one line, and the old one stays: an unreadable or mismatched set, one that `on_credentials` refuses by
    a SettingsError, or one that peers would refuse while they accept the old. The owner calls load(), then start(), and stop()
    at the end.
    """

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        clock: Any,
        on_credentials: Callable[[Credentials], None],
        on_error: Callable[[str], None],
        interval: float = 1.0,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._on_credentials = on_credentials
        self._on_error = on_error
        self._interval = interval
        self._current: Credentials | None = None
        self._taken = b""
        self._suspect: object = None
        self._reported: object = None
        self._polling = LoopingCall(self._look)
        self._polling.clock = clock

    def load(self) -> Credentials:
        """The set that is there now. Raises SettingsError, in one line that names the file."""
        texts = self._read()
        self._current, self._taken = self._parse(texts), _digest(texts)
        return self._current

    def start(self) -> None:
        """Begins to poll."""
        self._polling.start(self._interval, now=False)

    def stop(self) -> None:
        """Ends polling."""
        if self._polling.running:
            self._polling.stop()

    def poll(self) -> None:
        """Looks once, now."""
        state: object = None
        try:
            texts = self._read()
            state = digest = _digest(texts)
            if digest == self._taken:
                self._suspect = self._reported = None
                return
            fresh = self._parse(texts)
            self._refuse_worse(fresh)
            self._on_credentials(fresh)
        except SettingsError as error:
            self._bad(state or str(error), str(error))
            return
        self._current, self._taken = fresh, digest
        self._suspect = self._reported = None

    def _look(self) -> None:
        try:
            self.poll()
        except Exception:
            self._log.failure("looking for new certificates failed; the old ones stay")

    def _bad(self, state: object, why: str) -> None:
        """Reports a state that is there for the second time: three files cannot be replaced at one stroke."""
        if state == self._suspect and state != self._reported:
            self._reported = state
            self._on_error(why)
        self._suspect = state

    def _refuse_worse(self, fresh: Credentials) -> None:
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        trouble = fresh.trouble(now)
        if trouble is not None and self._current is not None and self._current.trouble(now) is None:
            raise SettingsError(f"{self._folder}: {trouble}")

    def _read(self) -> list[bytes]:
        return [self._read_one(self._folder / name) for name in FILES]

    def _read_one(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                text = file.read(_GREATEST + 1)
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        if len(text) > _GREATEST:
            raise SettingsError(f"{path}: larger than 1 MiB")
        return text

    def _parse(self, texts: list[bytes]) -> Credentials:
        try:
            return Credentials.load(*texts)
        except SettingsError as error:
            raise SettingsError(f"{self._folder}/{error}") from error


def _digest(texts: list[bytes]) -> bytes:
    return sha256(b"".join(sha256(text).digest() for text in texts)).digest()
