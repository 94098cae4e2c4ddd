"""Where the access log's lines go."""

import os
import sys
from collections.abc import Callable

from meshcar.errors import SettingsError


def line_writer(where: str | None) -> Callable[[bytes], None]:
    """Writes whole lines to a file, to stdout (`-`), or nowhere (None). Raises SettingsError; the writer itself OSError."""
    if where is None:
        return lambda _: None
    try:
        descriptor = sys.stdout.fileno() if where == "-" else os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as e:
        raise SettingsError(f"--access-log {where}: {e.strerror}") from None

    def write(lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]

    return write
