"""Limits and ejections beside a real Envoy that is configured as istiod does: the same requests, the same answers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.live.envoy import Envoy, _endpoint, _http
from tests.live.failing import Failing, failing
from tests.live.processes import call, sidecar
from tests.live.test_limits import rules

MOST = 4294967295
Answers = list[tuple[int, str]]


def ask(port: int) -> tuple[int, str]:
    return call(port, "GET", "/", headers={"host": "web.test:8000"})


def at_once(port: int) -> Answers:
    """Four requests, begun one after the other."""
    with ThreadPoolExecutor(4) as pool:
        begun = []
        for _ in range(4):
            begun.append(pool.submit(ask, port))
            sleep(0.05)
        return [each.result() for each in begun]


def of_envoy(folder: Path, web: Failing, cluster: dict[str, Any], requests: Any) -> Answers:
    envoy = Envoy(folder, {"filters": [_http("web")]}, {"load_assignment": _endpoint(web.port)} | cluster).ready()
    try:
        return list(requests(envoy.port))
    finally:
        envoy.process.stop()


@pytest.mark.parametrize(
    ("pool", "threshold"),
    [
        ("{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}", {"max_connections": 1, "max_pending_requests": 1}),
        ("{tcp: {maxConnections: 1}, http: {http2MaxRequests: 1}}", {"max_connections": 1, "max_requests": 1}),
        ("{http: {http2MaxRequests: 2}}", {"max_requests": 2}),
        ("{tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 1}}", {"max_connections": 2, "max_pending_requests": 1}),
    ],
)
def test_circuit_breakers(tmp_path: Path, pool: str, threshold: dict[str, int]) -> None:
    """Who is answered, and who is refused with which words."""
    limits = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), MOST) | threshold
    with failing() as web, sidecar(tmp_path / "one", rules(f"{{connectionPool: {pool}}}", web.port), "--intercept", "none") as one:
        web.wait = 0.4
        ours = at_once(one.outbound)
        theirs = of_envoy(tmp_path / "envoy", web, {"circuit_breakers": {"thresholds": [limits]}}, at_once)
    assert ours == theirs and {status for status, _ in ours} >= {200}


@pytest.mark.parametrize(
    ("outliers", "detection", "statuses"),
    [
        ("{consecutive5xxErrors: 2}", {"consecutive_5xx": 2}, [500, 200, 500, 404, 501, 502, 200, 200]),
        ("{consecutive5xxErrors: 2}", {"consecutive_5xx": 2}, [0, 503, 200, 200]),
        (
            "{consecutive5xxErrors: 0, consecutiveGatewayErrors: 2}",
            {"consecutive_5xx": 0, "enforcing_consecutive_5xx": 0, "consecutive_gateway_failure": 2,
             "enforcing_consecutive_gateway_failure": 100},
            [500, 500, 503, 500, 504, 0, 200, 200],
        ),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutive5xxErrors: 3}",
            {"split_external_local_origin_errors": True, "consecutive_local_origin_failure": 2, "consecutive_5xx": 3,
             "enforcing_consecutive_local_origin_failure": 100},
            [0, 0, 0, 503, 503, 503, 200],
        ),
    ],
)  # fmt: skip
def test_outliers(tmp_path: Path, outliers: str, detection: dict[str, Any], statuses: list[int]) -> None:
    """Which answers put the only endpoint out, and when."""

    def one_by_one(port: int) -> Answers:
        answers = []
        for status in statuses:
            web.status = status
            answers.append(ask(port))
            sleep(0.05)  # Envoy ejects on another thread
        return answers

    policy = f"{{outlierDetection: {outliers[:-1]}, maxEjectionPercent: 100}}}}"
    envoy = {
        "outlier_detection": {"enforcing_success_rate": 0, "max_ejection_percent": 100} | detection,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    with failing() as web, sidecar(tmp_path / "one", rules(policy, web.port), "--intercept", "none") as one:
        ours = one_by_one(one.outbound)
        theirs = of_envoy(tmp_path / "envoy", web, envoy, one_by_one)
    assert ours == theirs
