"""The verb of a preStop hook."""

from typing import Any

import pytest

from meshcar.cli import drain
from meshcar.cli.admin import Admin
from meshcar.cli.main import main


@pytest.mark.parametrize(("answer", "code", "out", "err"), [
    ((200, b"OK\n"), 0, "draining\n", ""),
    ((501, b"not\nbuilt\n"), 1, "", "meshcar drain: unix:/run/admin answered 501: not built\n"),
])  # fmt: skip
def test_drain(
    answer: tuple[int, bytes], code: int, out: str, err: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One call, of the admin port that the environment names."""
    asked = []

    def call(admin: Admin, *words: Any) -> tuple[int, bytes]:
        asked.append((admin.address, *words))
        return answer

    monkeypatch.setattr(Admin, "call", call)
    monkeypatch.setenv("MESHCAR_ADMIN", "unix:/run/admin")
    assert main(["drain"]) == code
    assert asked == [("unix:/run/admin", "POST", drain.CALL)]
    assert capsys.readouterr() == (out, err)
