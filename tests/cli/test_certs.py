"""`meshcar certs`."""

import json
import stat
from pathlib import Path

import pytest

from meshcar.cli.main import main
from meshcar.identity.credentials import Credentials

SLEEP = "spiffe://cluster.local/ns/default/sa/sleep"


def certs(folder: Path, *words: str) -> int:
    verb, *rest = words
    return main(["certs", verb, "--dir", str(folder), *rest])


def load(folder: Path) -> Credentials:
    return Credentials.load(*((folder / name).read_bytes() for name in ("cert-chain.pem", "key.pem", "root-cert.pem")))


def test_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CA, a certificate, and a look at them."""
    assert certs(tmp_path, "init") == certs(tmp_path, "issue", SLEEP) == certs(tmp_path, "show") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{tmp_path}/ca/root-cert.pem: a CA for cluster.local, valid until ")
    assert said[1] == said[2]
    assert said[2].startswith(f"{tmp_path}/default.sleep: {SLEEP}, valid until ")
    assert str(load(tmp_path / "default.sleep").spiffe_id) == SLEEP


def test_files(tmp_path: Path) -> None:
    """Keys are for their owner alone, git ignores them all, and nothing else is left lying about."""
    certs(tmp_path, "init")
    certs(tmp_path, "issue", SLEEP)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.pem")}
    assert modes == {
        "ca/ca-key.pem": 0o600,
        "ca/root-cert.pem": 0o644,
        "default.sleep/cert-chain.pem": 0o644,
        "default.sleep/key.pem": 0o600,
        "default.sleep/root-cert.pem": 0o644,
    }
    assert (tmp_path / ".gitignore").read_text() == "*.pem\n"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(modes) + 1


def test_init_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CA that is there stays: other certificates stand on it."""
    certs(tmp_path, "init")
    before = (tmp_path / "ca" / "root-cert.pem").read_bytes()
    assert certs(tmp_path, "init") == 0
    assert (tmp_path / "ca" / "root-cert.pem").read_bytes() == before
    assert "is there, and stays" in capsys.readouterr().out


def test_renewal(tmp_path: Path) -> None:
    """Issuing again replaces the certificate, which stands on the same CA."""
    certs(tmp_path, "init")
    certs(tmp_path, "issue", SLEEP)
    old = load(tmp_path / "default.sleep")
    certs(tmp_path, "issue", SLEEP, "--days", "0.5")
    new = load(tmp_path / "default.sleep")
    assert new.serial != old.serial
    assert new.roots == old.roots
    assert new.not_after < old.not_after


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("issue", SLEEP), "no CA there; `meshcar certs init` makes one"),
        (("issue", "sleep"), "sleep: a SPIFFE id starts with spiffe://"),
        (("issue", "spiffe://cluster.local/sleep"), "not a workload's id"),
        (("init", "--trust-domain", "Bad Name"), "--trust-domain Bad Name: "),
    ],
)
def test_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    """What cannot be done is one line on stderr, and exit code 1."""
    assert certs(tmp_path, *words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


def test_half_a_ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CA whose key is gone or another's is not overwritten, and signs nothing."""
    certs(tmp_path, "init")
    (tmp_path / "ca" / "ca-key.pem").write_bytes(b"garbage")
    assert certs(tmp_path, "init") == certs(tmp_path, "issue", SLEEP) == 1
    (tmp_path / "ca" / "ca-key.pem").unlink()
    assert certs(tmp_path, "init") == certs(tmp_path, "issue", SLEEP) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("days", ["0", "-1", "x", "nan", "1e9"])
def test_usage(tmp_path: Path, days: str) -> None:
    """A lifetime that is none is wrong usage."""
    with pytest.raises(SystemExit) as caught:
        certs(tmp_path, "issue", SLEEP, "--days", days)
    assert caught.value.code == 2


def test_show_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What peers would refuse is said, and the exit code is 1; JSON has everything but keys."""
    certs(tmp_path, "init")
    certs(tmp_path, "issue", SLEEP)
    certs(tmp_path / "other", "init")
    root = (tmp_path / "other" / "ca" / "root-cert.pem").read_bytes()
    (tmp_path / "default.sleep" / "root-cert.pem").write_bytes(root)
    capsys.readouterr()
    assert certs(tmp_path, "show") == 1
    assert "not issued by the trust bundle" in capsys.readouterr().out
    assert certs(tmp_path, "show", "--json") == 1
    (one,) = json.loads(capsys.readouterr().out)["certificates"]
    assert one["cert_chain"][0]["subject_alt_names"] == [{"uri": SLEEP}]
    assert "trust bundle" in one["trouble"]


def test_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder holds no certificates, which is no error."""
    assert certs(tmp_path, "show") == 0
    assert capsys.readouterr().out == f"{tmp_path}: no workload certificates\n"
    (tmp_path / "default.sleep").mkdir()
    (tmp_path / "default.sleep" / "cert-chain.pem").write_bytes(b"x")
    assert certs(tmp_path, "show") == 1
