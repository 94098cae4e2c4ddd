"""Rules out of files and folders, and a word when their content changes."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshcar.errors import SettingsError
from meshcar.net.slices import in_slices
from meshcar.rules.steps import Steps, finish

SUFFIXES = (".yaml", ".yml")
"""What is read of a folder; hidden files are not."""

_GREATEST = 64 << 20
_SETTLE = 0.2
_SURE = 2.0
"""A file can change twice within one tick of its file system's clock; after so many seconds another change would show."""


@attrs.frozen
class Seen:
    """A file as it was: inode, size and times of change; since when they are the same, when it was read last (seconds), its SHA-256."""

    stamp: tuple[int, int, int, int]
    since: float
    read: float
    digest: bytes


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
        self._seen: dict[Path, Seen] = {}
        self._settling: Any = None
        self._polling = LoopingCall(self._look)
        self._polling.clock = clock

    def read_all(self) -> list[tuple[str, str]]:
        """Every file with its text, source by source, those of a folder by name.

        Raises OSError where there is nothing to read, and SettingsError, in one line, where it is no text or more than 64 MiB.
        """
        return finish(self.reading())

    def reading(self) -> Steps[list[tuple[str, str]]]:
        """The same, with a pause after each file."""
        texts, left = [], _GREATEST
        for path in self._files():
            text = _read(path, left)
            left -= len(text)
            try:
                texts.append((str(path), text.decode("utf-8-sig")))
            except UnicodeDecodeError as error:
                raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
            yield
        return texts

    def start(self) -> None:
        """Begins to poll; what is there now is not told."""
        self._told = finish(self._digest())
        self._polling.start(self._interval, now=False)

    def stop(self) -> None:
        """Ends polling."""
        if self._polling.running:
            self._polling.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _look(self) -> "Deferred[None]":
        return in_slices(self._digest(), self._clock).addCallback(self._looked)

    def _looked(self, digest: bytes) -> None:
        if digest != self._told and self._settling is None and self._polling.running:
            self._settling = self._clock.callLater(_SETTLE, self._settle, digest)

    def _settle(self, seen: bytes) -> None:
        self._settling = None
        in_slices(self._digest(), self._clock).addCallback(self._settled, seen)

    def _settled(self, digest: bytes, seen: bytes) -> None:
        if digest == self._told or not self._polling.running:
            return
        if digest != seen:
            self._settling = self._clock.callLater(_SETTLE, self._settle, digest)
            return
        self._told = digest
        try:
            self._on_change()
        except Exception:
            self._log.failure("taking changed rules failed; the old ones stay")

    def _digest(self) -> Steps[bytes]:
        """Of all names and contents, or of the reason why there are none."""
        whole = sha256()
        fresh: dict[Path, Seen] = {}
        try:
            left = _GREATEST
            for path in self._files():
                seen = fresh[path] = self._see(path, left)
                left -= seen.stamp[1]
                whole.update(sha256(os.fsencode(path)).digest() + seen.digest)
                yield
        except (OSError, SettingsError) as error:
            whole.update(b"cannot be read: " + str(error).encode(errors="replace"))
        self._seen = fresh
        return whole.digest()

    def _see(self, path: Path, most: int) -> "Seen":
        """A file's content; one whose stamp stayed the same for a while is not read again."""
        here, now = os.stat(path), self._clock.seconds()
        stamp = (here.st_ino, here.st_size, here.st_mtime_ns, here.st_ctime_ns)
        known = self._seen.get(path)
        if known is None or known.stamp != stamp:
            return Seen(stamp, now, now, sha256(_read(path, most)).digest())
        if known.read - known.since >= _SURE or here.st_size > most:
            return known
        return Seen(stamp, known.since, now, sha256(_read(path, most)).digest())

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
