"""May a failed try be repeated, and how long to wait before. Source: Envoy's router, and what an Envoy 1.40 was seen to do."""

from collections.abc import Mapping, Sequence

import attrs

from meshcar.rules.policies import RetryPolicy
from meshcar.wire.head import ResponseHead

_FAILURES = frozenset({"connect-failure", "reset-before-request", "reset", "timeout"})
_CLASSES = {
    "connect-failure": frozenset({"connect-failure"}),
    "reset-before-request": frozenset({"connect-failure", "reset-before-request"}),
    "reset": _FAILURES,
    "gateway-error": _FAILURES,
    "5xx": _FAILURES,
}
"""Envoy's words of retry_on, and the failures of a try that each of them covers."""
_GRPC = {
    b"1": "cancelled", b"4": "deadline-exceeded", b"8": "resource-exhausted", b"13": "internal", b"14": "unavailable",
}  # fmt: skip
"""The statuses of gRPC that have a word of their own."""
_HTTP_WORDS = frozenset({
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
})  # fmt: skip


def retries_failure(policy: RetryPolicy, failure: str) -> bool:
    """Whether a try that ended without a response is repeated. `failure`: connect-failure, reset-before-request, reset, timeout."""
    return any(failure in _CLASSES.get(word, ()) for word in policy.conditions)


def retries_response(policy: RetryPolicy, head: ResponseHead) -> bool:
    """Whether a response is thrown away and the request repeated. One with x-envoy-ratelimited goes by that alone."""
    status, noted, words = head.status, head.noted, policy.conditions
    if b"x-envoy-ratelimited" in noted:
        return "envoy-ratelimited" in words
    return (
        (status in policy.status_codes and "retriable-status-codes" in words)
        or (500 <= status < 600 and "5xx" in words)
        or (status in (502, 503, 504) and "gateway-error" in words)
        or (status == 409 and "retriable-4xx" in words)
        or _GRPC.get(noted.get(b"grpc-status", b"")) in words
        or ("retriable-headers" in words and any(name in policy.header_names for name, _ in head.headers))
    )


def backoff(policy: RetryPolicy, tries: int, roll: float) -> float:
    """Seconds before try `tries` + 1: up to the base interval, then twice as much each time, all of it by chance."""
    return roll * min(policy.base_interval * (1 << min(tries - 1, 30)), policy.max_interval)


def asked(policy: RetryPolicy | None, noted: Mapping[bytes, bytes]) -> RetryPolicy | None:
    """A route's policy with what an internal caller asks for by Envoy's headers besides (x-envoy-retry-on and those of its kind)."""
    words = _words(noted, b"x-envoy-retry-on") & _HTTP_WORDS | _words(noted, b"x-envoy-retry-grpc-on") & frozenset(_GRPC.values())
    per_try = milliseconds(noted, b"x-envoy-upstream-rq-per-try-timeout-ms")
    if policy is None:
        if not words and not per_try:
            return None
        policy = RetryPolicy(attempts=1, conditions=frozenset())
    words |= policy.conditions
    attempts = noted.get(b"x-envoy-max-retries", b"")
    codes = {int(code) for code in _words(noted, b"x-envoy-retriable-status-codes") if code.isascii() and code.isdigit() and len(code) < 6}
    names = {name.lower().encode("latin-1") for name in _words(noted, b"x-envoy-retriable-header-names")}
    return attrs.evolve(
        policy,
        conditions=words,
        attempts=int(attempts) if words and attempts.isdigit() and len(attempts) < 10 else policy.attempts,
        per_try_timeout=policy.per_try_timeout if per_try is None else per_try or None,
        status_codes=policy.status_codes | codes,
        header_names=policy.header_names | names,
    )


def milliseconds(noted: Mapping[bytes, bytes], name: bytes) -> float | None:
    """Seconds of a header that holds milliseconds; None without it, or if it is no number."""
    text = noted.get(name, b"")
    return int(text) / 1000 if text.isdigit() and len(text) < 10 else None


def _words(noted: Mapping[bytes, bytes], name: bytes) -> frozenset[str]:
    return frozenset(word.strip() for word in noted.get(name, b"").decode("latin-1").split(",") if word.strip())


def tried_priorities(tried: Sequence[int]) -> frozenset[int]:
    """Which priorities a further try leaves out, given those of the tries before: none until two were made, and anew after every
    second one. Source: Envoy's previous_priorities, with Istio's update_frequency of 2."""
    return frozenset(tried[: len(tried) // 2 * 2])
