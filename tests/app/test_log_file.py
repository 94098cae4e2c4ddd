"""Where lines of the access log go, also where several processes write."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.app.log_file import line_writer, log_descriptor, portions
from meshcar.errors import SettingsError

LINES = st.lists(st.text("ab", max_size=9).map(lambda text: text.encode() + b"\n"), max_size=9)


@settings(deadline=None)
@given(LINES, st.integers(1, 20))
def test_portions(lines: list[bytes], most: int) -> None:
    """All lines, in order, none torn; as many at a time as there is room for, and one in any case."""
    found = list(portions(b"".join(lines), most))
    assert b"".join(found) == b"".join(lines)
    assert all(part.endswith(b"\n") and (len(part) <= most or part.count(b"\n") == 1) for part in found)
    assert all(len(one + other.partition(b"\n")[0]) + 1 > most for one, other in pairwise(found))


def test_last_line_without_end() -> None:
    """Is a line as well."""
    assert list(portions(b"a\nbc", 3)) == [b"a\n", b"bc"]


def test_file(tmp_path: Path) -> None:
    """Two that write to one file write one behind the other; what was there stays."""
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    writers = [line_writer(log_descriptor(str(path)), shared=True) for _ in range(2)]
    for number, write in enumerate(writers):
        write(b"%d\n" % number * 10_000)
    assert path.read_bytes() == b"before\n" + b"0\n" * 10_000 + b"1\n" * 10_000


def test_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write to a pipe is longer than what is written whole."""
    sizes: list[int] = []
    true_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or true_write(fd, data))
    reading, writing = os.pipe()
    lines = b"".join(b"%0200d\n" % number for number in range(100))
    line_writer(writing, shared=True)(lines)
    assert os.read(reading, 65536) == lines and max(sizes) <= 4096 and len(sizes) == 5
    sizes.clear()
    line_writer(writing)(lines)
    assert sizes == [len(lines)]
    os.close(reading)
    os.close(writing)


def test_nowhere(tmp_path: Path) -> None:
    """No log; and one that cannot be opened."""
    line_writer(log_descriptor(None))(b"line\n")
    with pytest.raises(SettingsError, match=r"--access-log .*: No such file"):
        log_descriptor(str(tmp_path / "no" / "log"))
