"""Waiting for a sidecar, on a clock of the test's own."""

import pytest

from meshcar.cli.admin import Admin
from meshcar.cli.main import main
from meshcar.cli.wait import PAUSE, wait
from meshcar.errors import SettingsError


class FakeAdmin(Admin):
    """Answers what it is told, in turn; the last for ever."""

    def script(self, *answers: tuple[int, bytes] | None) -> "FakeAdmin":
        object.__setattr__(self, "answers", list(answers))
        return self

    def call(self, method: str, path: str, body: bytes | None = None, **options: object) -> tuple[int, bytes]:
        assert (method, path) == ("GET", "/ready")
        answers: list[tuple[int, bytes] | None] = self.answers  # type: ignore[attr-defined]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            raise SettingsError("no answer")
        return answer


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_until_ready() -> None:
    """Not there yet, not ready yet, ready."""
    time = Time()
    wait(FakeAdmin("a", 1).script(None, (503, b"no rules\n"), (200, b"LIVE\n")), 5.0, lambda: time.now, time.sleep)
    assert time.now == pytest.approx(2 * PAUSE)


@pytest.mark.parametrize(("answer", "reason"), [((503, b"no\nrules\n"), "no rules"), (None, "no answer")])
def test_too_late(answer: tuple[int, bytes] | None, reason: str) -> None:
    """When the time is over, the last reason is told."""
    time = Time()
    with pytest.raises(SettingsError, match=f"not ready within 1 s: {reason}"):
        wait(FakeAdmin("a", 1).script(answer), 1.0, lambda: time.now, time.sleep)
    assert time.now == pytest.approx(1.0, abs=2 * PAUSE)


def test_asked_once_at_least() -> None:
    """--timeout 0 is a question, not a refusal."""
    slept: list[float] = []
    wait(FakeAdmin("a", 1).script((200, b"LIVE\n")), 0.0, lambda: 0.0, slept.append)
    assert slept == []


def test_options_of_istio(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of pilot-agent wait: another URL, its own pauses and patience."""
    asked = []

    def call(self: Admin, method: str, path: str, body: bytes | None = None, **options: object) -> tuple[int, bytes]:
        asked.append((self.address, method, path, options["timeout"]))
        return 200, b"ready"

    monkeypatch.setattr(Admin, "call", call)
    url = "http://localhost:15021/healthz/ready"
    assert main(["wait", "--url", url, "--timeoutSeconds", "30", "--periodMillis", "50", "--requestTimeoutMillis", "250"]) == 0
    assert asked == [("http://localhost:15021", "GET", "/healthz/ready", 0.25)]


def test_period() -> None:
    """How long it waits between two questions."""
    time = Time()
    wait(FakeAdmin("a", 1).script(None, (200, b"LIVE\n")), 5.0, lambda: time.now, time.sleep, period=0.5)
    assert time.now == 0.5


@pytest.mark.parametrize("words", [["--periodMillis", "0"], ["--periodMillis", "x"], ["--url", "https://x"], ["--url", "http://x:99999/"]])
def test_wrong_options(words: list[str]) -> None:
    """Wrong usage is exit 2."""
    with pytest.raises(SystemExit) as done:
        main(["wait", *words])
    assert done.value.code == 2
