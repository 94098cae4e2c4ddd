"""Where the access log's lines go."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from select import PIPE_BUF

from meshcar.errors import SettingsError


def log_descriptor(where: str | None) -> int | None:
    """Of the file of this path, opened for appending, or of stdout (`-`); None: there is no log. Raises SettingsError."""
    if where is None:
        return None
    try:
        return sys.stdout.fileno() if where == "-" else os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise SettingsError(f"--access-log {where}: {e.strerror}") from None


def line_writer(descriptor: int | None, *, shared: bool = False) -> Callable[[bytes], None]:
    """Writes whole lines, or, to None, nothing. The writer raises OSError.

    `shared`: other processes write there, too. One write to a file is never torn; one to a pipe is, beyond PIPE_BUF bytes (write(2),
    pipe(7)), so lines go there in portions of that size; a line that is longer by itself may be torn.
    """
    if descriptor is None:
        return lambda _: None

    def write(lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]

    if not shared or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return write

    def write_portions(lines: bytes) -> None:
        for portion in portions(lines, PIPE_BUF):
            write(portion)

    return write_portions


def portions(lines: bytes, most: int) -> Iterator[bytes]:
    """Whole lines, as many at a time as `most` bytes hold; at least one."""
    begin = 0
    while begin < len(lines):
        end = lines.rfind(b"\n", begin, begin + most) + 1 or lines.find(b"\n", begin) + 1 or len(lines)
        yield lines[begin:end]
        begin = end
