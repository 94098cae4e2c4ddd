"""How verbs reach the admin port."""

import argparse

import pytest

from meshcar.cli.admin import Admin, add_admin_options, admin_of, parse_admin
from meshcar.errors import SettingsError


@pytest.mark.parametrize(("text", "address"), [
    ("http://127.0.0.1:15000", "http://127.0.0.1:15000"),
    ("http://localhost/", "http://localhost:15000"),
    ("10.0.0.1:1", "http://10.0.0.1:1"),
    ("[::1]:1", "http://[::1]:1"),
    ("15000", "http://127.0.0.1:15000"),
    ("unix:/run/a b", "unix:/run/a b"),
])
def test_addresses(text: str, address: str) -> None:
    """All that the sidecar's --admin takes, and URLs."""
    assert parse_admin(text).address == address


@pytest.mark.parametrize("text", ["", "https://a", "http://a:x", "http://a/b", "http://a:99999", "unix:", "http://u@a", "http://[::1"])
def test_no_address(text: str) -> None:
    """Anything else is refused by name."""
    with pytest.raises(argparse.ArgumentTypeError, match="is neither"):
        parse_admin(text)


def test_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """MESHCAR_ADMIN and MESHCAR_ADMIN_TOKEN mean for the command what they mean for the sidecar."""
    token = tmp_path / "token"  # type: ignore[operator]
    token.write_text("secret\n")
    monkeypatch.setenv("MESHCAR_ADMIN", "unix:/run/admin")
    monkeypatch.setenv("MESHCAR_ADMIN_TOKEN", str(token))
    parser = argparse.ArgumentParser()
    add_admin_options(parser)
    assert admin_of(parser.parse_args([])) == Admin("localhost", 0, "/run/admin", "secret")
    assert admin_of(parser.parse_args(["--admin", "1"])).address == "http://127.0.0.1:1"


def test_token_unreadable() -> None:
    """A token file that is not there is one line."""
    with pytest.raises(SettingsError, match="/nonexistent: No such file"):
        admin_of(argparse.Namespace(admin=Admin("a", 1), admin_token="/nonexistent"))


def test_token_is_not_shown() -> None:
    """No repr carries the token."""
    assert "secret" not in repr(Admin("a", 1, None, "secret"))
