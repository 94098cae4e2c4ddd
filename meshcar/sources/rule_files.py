"""Rules out of files and folders, and a word when their content changes."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.errors import SettingsError

SUFFIXES = (".yaml", ".yml")
"""What is read of a folder; hidden files are not."""

_GREATEST = 64 << 20
_SETTLE = 0.2


class RuleFiles:
    """Watches files and folders by content on `clock`, an IReactorTime: edits, replaced files and swapped symlinks are all seen.

    `on_change` is called when the content differs from what was there before and then stayed the same for 0.2 s, so that a file
    half written is not taken for a whole one; also when something cannot be read any more, once. It is not called while a change
    lasts. A change is told within `interval` + 0.2 seconds. The owner calls start() after the first read_all(), and stop() at the end.
    """

    _log = Logger()

    def __init__(self, paths: Sequence[str], clock: Any, on_change: Callable[[], object], interval: float = 1.0) -> None:
        self._paths = tuple(Path(path) for path in paths)
        self._clock, self._on_change, self._interval = clock, on_change, interval
        self._told = b""
        self._settling: Any = None
        self._polling = LoopingCall(self._look)
        self._polling.clock = clock

    def read_all(self) -> list[tuple[str, str]]:
        """Every file with its text, source by source, those of a folder by name.

        Raises OSError where there is nothing to read, and SettingsError, in one line, where it is no text or more than 64 MiB.
        """
        texts, left = [], _GREATEST
        for path in self._files():
            text = _read(path, left)
            left -= len(text)
            try:
                texts.append((str(path), text.decode("utf-8-sig")))
            except UnicodeDecodeError as error:
                raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
        return texts

    def start(self) -> None:
        """Begins to poll; what is there now is not told."""
        self._told = self._digest()
        self._polling.start(self._interval, now=False)

    def stop(self) -> None:
        """Ends polling."""
        if self._polling.running:
            self._polling.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _look(self) -> None:
        digest = self._digest()
        if digest != self._told and self._settling is None:
            self._settling = self._clock.callLater(_SETTLE, self._settled, digest)

    def _settled(self, seen: bytes) -> None:
        self._settling = None
        digest = self._digest()
        if digest == self._told:
            return
        if digest != seen:
            self._settling = self._clock.callLater(_SETTLE, self._settled, digest)
            return
        self._told = digest
        try:
            self._on_change()
        except Exception:
            self._log.failure("taking changed rules failed; the old ones stay")

    def _digest(self) -> bytes:
        """Of all names and contents, or of the reason why there are none."""
        whole = sha256()
        try:
            left = _GREATEST
            for path in self._files():
                text = _read(path, left)
                left -= len(text)
                whole.update(sha256(os.fsencode(path)).digest() + sha256(text).digest())
        except (OSError, SettingsError) as error:
            whole.update(b"cannot be read: " + str(error).encode(errors="replace"))
        return whole.digest()

    def _files(self) -> Iterator[Path]:
        for path in self._paths:
            if path.is_dir():
                yield from sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and not one.name.startswith("."))
            else:
                yield path


def _read(path: Path, most: int) -> bytes:
    """A regular file's bytes; what is none (a pipe would block) is refused."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise SettingsError(f"{path}: not a regular file")
        text = file.read(most + 1)
    if len(text) > most:
        raise SettingsError(f"{path}: the rules are larger than {_GREATEST >> 20} MiB")
    return text
