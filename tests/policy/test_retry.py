"""When a try is repeated, and after what wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.policy.retry import backoff, retries_failure, retries_status
from meshcar.rules.policies import RetryPolicy


def on(*conditions: str, codes: tuple[int, ...] = ()) -> RetryPolicy:
    """A policy with these words and numbers of retryOn."""
    return RetryPolicy(conditions=frozenset(conditions), status_codes=frozenset(codes))


@pytest.mark.parametrize(
    "word, failures",
    [
        ("connect-failure", {"connect-failure"}),
        ("reset-before-request", {"connect-failure", "reset-before-request"}),
        ("reset", {"connect-failure", "reset-before-request", "reset", "timeout"}),
        ("gateway-error", {"connect-failure", "reset-before-request", "reset", "timeout"}),
        ("5xx", {"connect-failure", "reset-before-request", "reset", "timeout"}),
        ("refused-stream", set()),
        ("retriable-4xx", set()),
        ("no-such-word", set()),
    ],
)
def test_failures(word: str, failures: set[str]) -> None:
    """What each word of retryOn covers; `none` (a loop, an open breaker) is never repeated."""
    kinds = {"connect-failure", "reset-before-request", "reset", "timeout", "none"}
    assert {kind for kind in kinds if retries_failure(on(word), kind)} == failures


def test_default() -> None:
    """Istio's default repeats a refused connection, but neither a timeout nor a 503."""
    policy = RetryPolicy()
    assert retries_failure(policy, "connect-failure")
    assert not retries_failure(policy, "timeout")
    assert not retries_status(policy, 503)


@pytest.mark.parametrize(
    "word, statuses",
    [("5xx", {500, 501, 502, 503, 504, 599}), ("gateway-error", {502, 503, 504}), ("retriable-4xx", {409}), ("reset", set())],
)
def test_statuses(word: str, statuses: set[int]) -> None:
    """Which answers each word throws away."""
    every = {200, 204, 301, 400, 404, 409, 429, 500, 501, 502, 503, 504, 599}
    assert {status for status in every if retries_status(on(word), status)} == statuses


def test_status_codes() -> None:
    """Numbers in retryOn mean themselves."""
    policy = on(codes=(429, 204))
    assert [status for status in (200, 204, 404, 429, 503) if retries_status(policy, status)] == [204, 429]


def test_backoff() -> None:
    """Full jitter under 25 ms x (2^n - 1), at most 250 ms. Source: Envoy's router, x-envoy-max-retries."""
    policy = RetryPolicy()
    assert [backoff(policy, tries, 1.0) for tries in (1, 2, 3, 4, 9)] == pytest.approx([0.025, 0.075, 0.175, 0.25, 0.25])
    assert backoff(policy, 3, 0.5) == pytest.approx(0.0875)
    assert backoff(policy, 3, 0.0) == 0.0


@given(st.integers(1, 2**31), st.floats(0, 1, exclude_max=True))
def test_backoff_of_any_try(tries: int, roll: float) -> None:
    """However many tries a rule allows, the wait is a small number."""
    assert 0 <= backoff(RetryPolicy(), tries, roll) <= 0.25
