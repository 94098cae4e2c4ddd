"""When a try is repeated, and after what wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.policy.retry import asked, backoff, retries_failure, retries_response, tried_priorities
from meshcar.rules.policies import RetryPolicy
from meshcar.wire.head import ResponseHead


def on(*conditions: str, codes: tuple[int, ...] = ()) -> RetryPolicy:
    """A policy with these words and numbers of retryOn."""
    words = (*conditions, "retriable-status-codes") if codes else conditions
    return RetryPolicy(conditions=frozenset(words), status_codes=frozenset(codes))


def answer(status: int, **headers: str) -> ResponseHead:
    """A response's head; `_` in a name stands for `-`."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return ResponseHead(status, lines, dict(lines), b"1.1")


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
    assert not retries_response(policy, answer(503))
    assert retries_response(policy, answer(200, grpc_status="14")) and retries_response(policy, answer(200, grpc_status="1"))


@pytest.mark.parametrize(
    "word, statuses",
    [
        ("5xx", {500, 501, 502, 503, 504, 599}), ("gateway-error", {502, 503, 504}), ("retriable-4xx", {409}), ("reset", set()),
        ("retriable-status-codes", set()), ("retriable-headers", set()), ("envoy-ratelimited", set()), ("unavailable", set()),
    ],
)
def test_statuses(word: str, statuses: set[int]) -> None:
    """Which answers each word throws away."""
    every = {200, 204, 301, 400, 404, 409, 429, 500, 501, 502, 503, 504, 599}
    assert {status for status in every if retries_response(on(word), answer(status))} == statuses


def test_status_codes() -> None:
    """Numbers in retryOn mean themselves."""
    policy = on(codes=(429, 204))
    assert [status for status in (200, 204, 404, 429, 503) if retries_response(policy, answer(status))] == [204, 429]
    assert policy.curious and not on(codes=(429,)).curious


@pytest.mark.parametrize(
    "word, statuses",
    [
        ("cancelled", {1}), ("deadline-exceeded", {4}), ("resource-exhausted", {8}), ("internal", {13}), ("unavailable", {14}),
        ("5xx", set()), ("retriable-headers", set()),
    ],
)
def test_grpc(word: str, statuses: set[int]) -> None:
    """The words of gRPC look at grpc-status, whatever HTTP's status is."""
    for status in (200, 404):
        assert {n for n in range(17) if retries_response(on(word), answer(status, grpc_status=str(n)))} == statuses


def test_rate_limited() -> None:
    """An answer that says it was limited is repeated for that alone, or not at all."""
    for status in (200, 429, 503):
        limited = answer(status, x_envoy_ratelimited="true")
        assert retries_response(on("envoy-ratelimited"), limited)
        assert not retries_response(on("5xx", "gateway-error", codes=(200, 429)), limited)


def noted(**headers: str) -> dict[bytes, bytes]:
    """A request's headers without their `x-envoy-`."""
    return {b"x-envoy-" + name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, None),
        ({"max_retries": "3"}, None),
        ({"retriable_status_codes": "503"}, None),
        ({"retry_on": "nonsense,unavailable"}, None),
        ({"retry_on": " 5xx , reset"}, RetryPolicy(1, None, frozenset({"5xx", "reset"}))),
        ({"retry_on": "5xx", "max_retries": "3"}, RetryPolicy(3, None, frozenset({"5xx"}))),
        ({"retry_on": "5xx", "max_retries": "many"}, RetryPolicy(1, None, frozenset({"5xx"}))),
        ({"retry_grpc_on": "internal,5xx"}, RetryPolicy(1, None, frozenset({"internal"}))),
        ({"upstream_rq_per_try_timeout_ms": "50"}, RetryPolicy(1, 0.05, frozenset())),
        (
            {"retry_on": "retriable-headers", "retriable_header_names": "X-A, x-b", "retriable_status_codes": "404,x"},
            RetryPolicy(1, None, frozenset({"retriable-headers"}), frozenset({404}), header_names=frozenset({b"x-a", b"x-b"})),
        ),
    ],
)
def test_asked(headers: dict[str, str], wanted: RetryPolicy | None) -> None:
    """What a caller asks for where the route says nothing: one further try, for the words that there are."""
    assert asked(None, noted(**headers)) == wanted


def test_asked_besides() -> None:
    """A route's policy stays, but for numbers that the caller gives."""
    policy = on("reset", codes=(503,))
    found = asked(policy, noted(retry_on="5xx", max_retries="0", upstream_rq_per_try_timeout_ms="20", retriable_status_codes="404"))
    assert found == RetryPolicy(0, 0.02, frozenset({"reset", "5xx", "retriable-status-codes"}), frozenset({503, 404}))
    assert asked(policy, {}) == policy


def test_retriable_headers() -> None:
    """Any answer that has one of the names."""
    policy = asked(None, noted(retry_on="retriable-headers", retriable_header_names="X-Again"))
    assert policy is not None and policy.curious
    assert retries_response(policy, answer(200, x_again="")) and not retries_response(policy, answer(500))


def test_backoff() -> None:
    """Full jitter under 25 ms, twice as much each time, at most 250 ms, as an Envoy 1.40 was seen to wait."""
    policy = RetryPolicy()
    assert [backoff(policy, tries, 1.0) for tries in (1, 2, 3, 4, 5)] == pytest.approx([0.025, 0.05, 0.1, 0.2, 0.25])
    assert backoff(policy, 3, 0.5) == pytest.approx(0.05)
    assert backoff(policy, 3, 0.0) == 0.0


@given(st.integers(1, 2**31), st.floats(0, 1, exclude_max=True))
def test_backoff_of_any_try(tries: int, roll: float) -> None:
    """However many tries a rule allows, the wait is a small number."""
    assert 0 <= backoff(RetryPolicy(), tries, roll) <= 0.25


def test_tried_priorities() -> None:
    """Two tries anywhere, then the priorities of the first two are left out for two, then those of the first four."""
    tried = (0, 0, 1, 1, 2)
    assert [tried_priorities(tried[:made]) for made in range(6)] == [set(), set(), {0}, {0}, {0, 1}, {0, 1}]
