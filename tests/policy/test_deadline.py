"""gRPC's deadlines."""

import pytest

from meshcar.policy.deadline import grpc_timeout, within


@pytest.mark.parametrize(
    ("most", "told", "seconds"),
    [
        (None, None, None), (5.0, None, 5.0), (None, b"2S", 2.0), (5.0, b"2S", 2.0), (5.0, b"1H", 5.0), (5.0, b"0S", 5.0),
        (None, b"0m", None), (5.0, b"100m", 0.1), (None, b"3M", 180.0), (5.0, b"soon", 5.0),
        (5.0, b"123456789S", 5.0), (5.0, b"1s", 5.0), (None, b"", None),
    ],
)  # fmt: skip
def test_within(most: float | None, told: bytes | None, seconds: float | None) -> None:
    """The client's deadline counts where it is the shorter; one that is none, or zero, does not."""
    assert within(most, told) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, b"5000m"), (0.0004, b"0m"), (99_999.999, b"99999999m"), (100_000, b"100000S"), (1e9, b"16666666M"), (1e12, b"99999999H")],
)
def test_text(seconds: float, text: bytes) -> None:
    """Milliseconds, or the smallest unit that needs eight digits at most."""
    assert grpc_timeout(seconds) == text
