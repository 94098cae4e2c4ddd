"""A DestinationRule's keepalive, outlier detection and retry budget as values for the data path, with Istio's and Envoy's defaults."""

from meshcar.rules.policies import Keepalive, OutlierPolicy, RetryBudget
from meshcar.rules.schema_destinations import RetryBudget as RetryBudgetRule
from meshcar.rules.schema_outliers import OutlierDetection
from meshcar.rules.schema_pools import TcpKeepalive

_CONSECUTIVE = 5
_INTERVAL, _EJECTION = 10.0, 30.0
_MAX_EJECTION_PERCENT = 10


def keepalive(rule: TcpKeepalive | None) -> Keepalive | None:
    """Whole seconds, as sockets have them; what is less than one is one."""
    if rule is None:
        return None
    time, interval = (max(1, int(seconds)) if seconds else None for seconds in (rule.time, rule.interval))
    return Keepalive(rule.probes or None, time, interval)


def outlier_policy(rule: OutlierDetection | None) -> OutlierPolicy | None:
    """Source: istiod's applyOutlierDetection; the defaults are Envoy's. Gateway errors alone eject nobody unless a number is given."""
    if rule is None:
        return None
    any_error = rule.consecutive_5xx_errors
    return OutlierPolicy(
        errors=_CONSECUTIVE if any_error is None else any_error,
        gateway_errors=rule.consecutive_gateway_errors or 0,
        local_failures=(rule.consecutive_local_origin_failures or _CONSECUTIVE) if rule.split_external_local_origin_errors else None,
        interval=rule.interval or _INTERVAL,
        ejection=rule.base_ejection_time or _EJECTION,
        max_percent=rule.max_ejection_percent or _MAX_EJECTION_PERCENT,
        statuses=frozenset(rule.outlier_detection_http_error_codes),
    )


def retry_budget(rule: RetryBudgetRule | None) -> RetryBudget | None:
    """Source: istiod's applyRetryBudget."""
    if rule is None:
        return None
    return RetryBudget(20.0 if rule.percent is None else rule.percent, rule.min_retry_concurrency or 3, rule.budget_interval)
