"""Certificates out of a folder, and their rotation."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import UniformResourceIdentifier
from twisted.internet.task import Clock

from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority, Issued
from meshcar.identity.spiffe import SpiffeId
from meshcar.sources.cert_files import CertFiles

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 10 * DAY)
ID = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/default")


def issue(days: float = 1) -> Issued:
    return ROOT.issue(ID, NOW, days * DAY)


def put(folder: Path, issued: Issued, roots: bytes = ROOT.pem) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in {"cert-chain.pem": issued.chain, "key.pem": issued.key, "root-cert.pem": roots}.items():
        (folder / name).write_bytes(text)


class Watched:
    """A folder under watch: what was pushed, and what was complained about."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.pushed: list[Credentials] = []
        self.errors: list[str] = []
        self.refuse: Exception | None = None
        self.files = CertFiles(folder, self.clock, self.take, self.errors.append)
        self.files.load()
        self.files.start()

    def take(self, credentials: Credentials) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.pushed.append(credentials)

    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "certs"
    put(place, issue())
    return place


def test_load(folder: Path) -> None:
    """The set of the folder, as it is."""
    clock = Clock()
    assert CertFiles(folder, clock, lambda _: None, lambda _: None).load().spiffe_id == ID


@pytest.mark.parametrize("name", ["cert-chain.pem", "key.pem", "root-cert.pem"])
def test_unusable_at_start(folder: Path, name: str) -> None:
    """A file that is missing, broken or huge is one line that names it."""
    files = CertFiles(folder, Clock(), lambda _: None, lambda _: None)
    for text in (b"garbage", b"x" * (1 << 20) + b"x", None):
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(text)
        with pytest.raises(SettingsError) as caught:
            files.load()
        assert str(folder / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_rotation(folder: Path) -> None:
    """A new set is pushed once, at the next look; an unchanged one never."""
    watched = Watched(folder)
    watched.seconds(3)
    assert watched.pushed == []
    fresh = issue()
    put(folder, fresh)
    watched.seconds(3)
    (pushed,) = watched.pushed
    assert pushed.chain == Credentials.load(fresh.chain, fresh.key, ROOT.pem).chain
    assert watched.errors == []


def test_symlink_swap(tmp_path: Path) -> None:
    """Kubernetes' way: the folder's files are links through one link, which is swapped."""
    for name in ("first", "second"):
        put(tmp_path / name, issue())
    (tmp_path / "data").symlink_to("first")
    mount = tmp_path / "mount"
    mount.mkdir()
    for name in ("cert-chain.pem", "key.pem", "root-cert.pem"):
        (mount / name).symlink_to(Path("..", "data", name))
    watched = Watched(mount)
    (tmp_path / "fresh").symlink_to("second")
    os.replace(tmp_path / "fresh", tmp_path / "data")
    watched.seconds(1)
    assert len(watched.pushed) == 1


def test_half_written(folder: Path) -> None:
    """A set that is replaced file by file, with a look in between, is no error."""
    watched = Watched(folder)
    fresh = issue()
    (folder / "cert-chain.pem").write_bytes(fresh.chain)
    watched.seconds(1)
    (folder / "key.pem").write_bytes(fresh.key)
    watched.seconds(1)
    assert len(watched.pushed) == 1
    assert watched.errors == []


@pytest.mark.parametrize("spoil", ["mismatch", "missing", "garbage"])
def test_unusable_later(folder: Path, spoil: str) -> None:
    """A set that stays unusable is told once; the old one stays; a good one is taken again, even the old one silently."""
    watched = Watched(folder)
    before = (folder / "key.pem").read_bytes()
    if spoil == "missing":
        (folder / "key.pem").unlink()
    else:
        (folder / "key.pem").write_bytes(issue().key if spoil == "mismatch" else b"garbage")
    watched.seconds(10)
    assert watched.pushed == []
    (error,) = watched.errors
    assert str(folder / "key.pem") in error
    (folder / "key.pem").write_bytes(before)
    watched.seconds(2)
    put(folder, issue())
    watched.seconds(2)
    assert len(watched.pushed) == len(watched.errors) == 1


def test_told_again(folder: Path) -> None:
    """Another unusable set is another report."""
    watched = Watched(folder)
    for text in (b"garbage", b"rubbish"):
        (folder / "key.pem").write_bytes(text)
        watched.seconds(5)
    assert len(watched.errors) == 2


@pytest.mark.parametrize("spoil", ["expired", "foreign"])
def test_worse_set(folder: Path, spoil: str) -> None:
    """A set that peers would refuse does not replace one that they accept."""
    watched = Watched(folder)
    if spoil == "expired":
        put(folder, ROOT.sign([UniformResourceIdentifier(str(ID))], NOW - 2 * DAY, NOW - DAY))
    else:
        put(folder, issue(), Authority.new("cluster.local", NOW, DAY).pem)
    watched.seconds(5)
    assert watched.pushed == []
    (error,) = watched.errors
    assert error.startswith(f"{folder}: ")


def test_anything_after_expiry(folder: Path) -> None:
    """Once the old set has expired, a consistent one is taken as it is."""
    watched = Watched(folder)
    watched.clock.advance(2 * 86400)
    put(folder, issue(1.5))
    watched.seconds(2)
    assert len(watched.pushed) == 1


def test_refused_by_the_taker(folder: Path) -> None:
    """A set that OpenSSL will not take is an unusable set like any other; any other failure does not end the watch."""
    watched = Watched(folder)
    for error in (SettingsError("key too small"), RuntimeError("odd")):
        put(folder, issue())
        watched.refuse = error
        watched.seconds(3)
    assert watched.errors == ["key too small"]
    watched.refuse = None
    watched.seconds(1)
    assert len(watched.pushed) == 1


def test_stop(folder: Path) -> None:
    """After stop nobody looks; stopping twice does no harm."""
    watched = Watched(folder)
    watched.files.stop()
    watched.files.stop()
    put(folder, issue())
    watched.seconds(3)
    assert watched.pushed == []
    assert watched.clock.getDelayedCalls() == []
