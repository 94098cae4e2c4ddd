"""Rules out of files and folders."""

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from meshcar.errors import SettingsError
from meshcar.sources import rule_files
from meshcar.sources.rule_files import RuleFiles


class Watched:
    """Paths under watch: what a reader got at each word of a change."""

    def __init__(self, *paths: Path) -> None:
        self.clock = Clock()
        self.seen: list[list[str] | str] = []
        self.files = RuleFiles([str(path) for path in paths], self.clock, self.look)
        self.files.start()

    def look(self) -> None:
        try:
            self.seen.append([text for _, text in self.files.read_all()])
        except (OSError, SettingsError) as error:
            self.seen.append(type(error).__name__)

    def wait(self, seconds: float = 1.5) -> None:
        self.clock.pump([0.1] * round(seconds * 10))


def read(*paths: Path) -> list[tuple[str, str]]:
    """What stands there now, names without their folder."""
    return [(Path(name).name, text) for name, text in RuleFiles([str(path) for path in paths], Clock(), lambda: None).read_all()]


def test_read_all(tmp_path: Path) -> None:
    """A folder's YAML files by name, sources in their order; hidden and other files are left out."""
    for name in ("b.yaml", "a.yml", "c.txt", ".d.yaml", "e.json"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path) == [("a.yml", "a.yml"), ("b.yaml", "b.yaml")]
    assert read(tmp_path / "c.txt", tmp_path) == [("c.txt", "c.txt"), ("a.yml", "a.yml"), ("b.yaml", "b.yaml")]


def test_byte_order_mark(tmp_path: Path) -> None:
    """Is no part of the text."""
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa")
    assert read(tmp_path) == [("a.yaml", "a")]


def test_unreadable(tmp_path: Path) -> None:
    """No file, no text, no regular file, too much of it: each in one line."""
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_bytes(b"a\xff")
    with pytest.raises(SettingsError, match=r"a\.yaml: not UTF-8 at byte 1"):
        read(tmp_path)
    (tmp_path / "a.yaml").unlink()
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(SettingsError, match="not a regular file"):
        read(tmp_path)
    (tmp_path / "a.yaml").unlink()
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(SettingsError, match="larger than 64 MiB"):
        read(tmp_path)


def test_change(tmp_path: Path) -> None:
    """An edit, a new file and a removed one are each told once, within two seconds."""
    (tmp_path / "a.yaml").write_text("1")
    watched = Watched(tmp_path)
    watched.wait(5)
    assert watched.seen == []
    (tmp_path / "a.yaml").write_text("2")
    watched.wait()
    (tmp_path / "b.yaml").write_text("3")
    watched.wait()
    (tmp_path / "a.yaml").unlink()
    watched.wait(5)
    assert watched.seen == [["2"], ["2", "3"], ["3"]]


def test_swapped_symlink(tmp_path: Path) -> None:
    """Kubernetes swaps one symlink under all files of a ConfigMap."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(name)
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "..data").symlink_to(tmp_path / "one")
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    watched = Watched(folder)
    (folder / "..new").symlink_to(tmp_path / "two")
    (folder / "..new").rename(folder / "..data")
    watched.wait()
    assert watched.seen == [["two"]]


def test_half_written(tmp_path: Path) -> None:
    """While a change lasts nothing is told; then once."""
    path = tmp_path / "a.yaml"
    path.write_text("")
    watched = Watched(path)
    for count in range(20):
        path.write_text("x" * (count + 1))
        watched.wait(0.1)
    watched.wait(2)
    assert watched.seen == [["x" * 20]]


def test_change_taken_back(tmp_path: Path) -> None:
    """A change that is gone again is not told."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watched = Watched(path)
    path.write_text("2")
    watched.wait(1.0)
    path.write_text("1")
    watched.wait(3)
    assert watched.seen == []


def test_gone_and_back(tmp_path: Path) -> None:
    """A file that goes is told once, and again when it comes back."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watched = Watched(path)
    path.unlink()
    watched.wait(5)
    path.write_text("2")
    watched.wait(5)
    assert watched.seen == ["FileNotFoundError", ["2"]]


def test_reader_fails(tmp_path: Path) -> None:
    """A failure of the one who is told ends nothing."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    clock, told = Clock(), list[int]()

    def fail() -> None:
        told.append(1)
        raise ValueError("no")

    files = RuleFiles([str(path)], clock, fail)
    files.start()
    for text in ("2", "3"):
        path.write_text(text)
        clock.pump([0.1] * 15)
    assert told == [1, 1]


def test_stop(tmp_path: Path) -> None:
    """After stop nothing is called, nor left on the clock."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    watched = Watched(path)
    path.write_text("2")
    watched.wait(1.0)
    watched.files.stop()
    watched.files.stop()
    assert watched.clock.getDelayedCalls() == []
    assert watched.seen == []


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that kept its stamp for two seconds is looked at, not read; one that is touched is read again."""
    read_files: list[str] = []
    true_read = rule_files._read
    monkeypatch.setattr(rule_files, "_read", lambda path, most: read_files.append(path.name) or true_read(path, most))
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("a")
    watched = Watched(tmp_path)
    watched.wait(5)
    read_files.clear()
    watched.wait(5)
    assert read_files == []
    os.utime(tmp_path / "b.yaml", ns=(1, 1))
    watched.wait(1.2)
    assert set(read_files) == {"b.yaml"} and watched.seen == []
    (tmp_path / "b.yaml").write_text("b")
    watched.wait()
    assert watched.seen == [["a", "b"]]
