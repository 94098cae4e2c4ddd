"""May a failed try be repeated, and how long to wait before."""

from meshcar.rules.policies import RetryPolicy

_CLASSES = {
    "connect-failure": frozenset({"connect-failure"}),
    "reset-before-request": frozenset({"connect-failure", "reset-before-request"}),
    "reset": frozenset({"connect-failure", "reset-before-request", "reset", "timeout"}),
    "gateway-error": frozenset({"connect-failure", "reset-before-request", "reset", "timeout"}),
    "5xx": frozenset({"connect-failure", "reset-before-request", "reset", "timeout"}),
}
"""Envoy's retry_on words, and the failures of a try that each of them covers."""


def retries_failure(policy: RetryPolicy, failure: str) -> bool:
    """Whether a try that ended without a response is repeated. `failure`: connect-failure, reset-before-request, reset, timeout."""
    return any(failure in _CLASSES.get(word, ()) for word in policy.conditions)


def retries_status(policy: RetryPolicy, status: int) -> bool:
    """Whether a response with this status is thrown away and the request repeated."""
    if status in policy.status_codes:
        return True
    if status < 400:
        return False
    conditions = policy.conditions
    return (
        (status >= 500 and "5xx" in conditions)
        or (status in (502, 503, 504) and "gateway-error" in conditions)
        or (status == 409 and "retriable-4xx" in conditions)
    )


def backoff(policy: RetryPolicy, tries: int, roll: float) -> float:
    """Seconds before try `tries` + 1: Envoy's fully jittered exponential back-off."""
    ceiling = min(policy.base_interval * ((1 << min(tries, 30)) - 1), policy.max_interval)
    return roll * ceiling
