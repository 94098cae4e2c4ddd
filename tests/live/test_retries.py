"""Tries that fail on purpose: through the sidecar, and through a real Envoy with the same policy. Both do the same."""

import http.client
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.live.documents import SERVICE, workload
from tests.live.envoy import routing
from tests.live.processes import Process, Sidecar, call, free_ports, sidecar, until

WORDS = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
    "retriable-headers", "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
)
PATHS = (
    "/status/500", "/status/503", "/status/409", "/status/429", "/reset", "/garbage", "/grpc/1", "/grpc/4", "/grpc/8", "/grpc/13",
    "/grpc/14", "/header/x-envoy-ratelimited", "/sleep/0.3",
)


def rule(more: str, path: str = "/", subset: str = "v1") -> str:
    """A rule of the VirtualService."""
    return f"{{match: [{{uri: {{prefix: {path}}}}}], route: [{{destination: {{host: httpbin, subset: {subset}}}}}], {more}}}"


def rules(*http: str) -> str:
    """The VirtualService with these rules."""
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: httpbin}\n"
        f"spec: {{hosts: [httpbin], http: [{', '.join(http)}]}}\n"
    )


class Pair:
    """The server, and a sidecar and an Envoy before it."""

    def __init__(self, folder: Path) -> None:
        self.port, self.nobody = free_ports(2)
        self.server = Process([sys.executable, Path(__file__).with_name("fail_on_purpose.py"), str(self.port)], folder / "server")
        until(self._serves, what="the server")

    def _serves(self) -> bool:
        try:
            return bool(self.seen() is not None)
        except OSError:
            return False

    def seen(self) -> list[dict[str, Any]]:
        """What came, since it was asked last."""
        return list(json.loads(call(self.port, "GET", "/seen")[1]))

    def through(self, port: int, path: str, body: str | None = None, **headers: str) -> tuple[int, int]:
        """The status of the answer, and how many tries reached the server."""
        self.seen()
        lines = {"host": "httpbin:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
        status = call(port, "POST" if body else "GET", path, body, lines)[0]
        return status, len(self.seen())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"))
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def client(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    entries = workload("v1", "127.0.0.1", pair.port, mesh=False) + workload("v2", "127.0.0.1", pair.nobody, mesh=False)
    words = "--intercept", "none", "--internal-addresses", "10.0.0.0/8"
    with sidecar(tmp_path_factory.mktemp("client"), SERVICE + entries, *words) as one:
        yield one


def logged(client: Sidecar, path: str, words: str) -> None:
    """Waits for a line of the access log."""
    until(lambda: f'{path} HTTP/1.1" {words} ' in client.process.out.read_text(), what=words)


def test_words_as_envoy(pair: Pair, client: Sidecar, tmp_path: Path) -> None:
    """Each word of retryOn repeats what Envoy repeats by it, and nothing else; each try counts once, with a time of its own."""
    ours, routes = [], []
    for word in WORDS:
        policy = f"retries: {{attempts: 1, retryOn: {word}, perTryTimeout: 100ms, backoff: 1ms}}"
        ours.append(rule(f"rewrite: {{uri: /}}, {policy}", f"/{word}/"))
        policies = {"retry_on": word, "num_retries": 1, "per_try_timeout": "0.1s", "retry_back_off": {"base_interval": "0.001s"}}
        routes.append({"match": {"prefix": f"/{word}/"}, "route": {
            "cluster": "only", "timeout": "0s", "prefix_rewrite": "/", "retry_policy": policies}})
    client.apply(rules(*ours))
    envoy = routing(tmp_path / "envoy", pair.port, routes)
    try:
        for word in WORDS:
            for path in PATHS:
                here, there = (pair.through(port, f"/{word}{path}") for port in (client.outbound, envoy.port))
                assert here == there, (word, path)
    finally:
        envoy.process.stop()


def test_until_it_works(pair: Pair, client: Sidecar) -> None:
    """The third try succeeds; it says which it is."""
    client.apply(rules(rule("retries: {attempts: 3, retryOn: '503', backoff: 1ms}")))
    assert pair.through(client.outbound, "/2-then-ok/status/503") == (200, 3)
    pair.seen()
    call(client.outbound, "GET", "/9-then-ok/status/503", headers={"host": "httpbin:8000"})
    assert [one["headers"]["x-envoy-attempt-count"] for one in pair.seen()] == ["1", "2", "3", "4"]
    logged(client, "/9-then-ok/status/503", "503 URX via_upstream")


def test_bodies(pair: Pair, client: Sidecar) -> None:
    """A body of 1 MiB is sent again whole; one byte more, and the first answer counts."""
    client.apply(rules(rule("retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}")))
    assert pair.through(client.outbound, "/1-then-ok/status/500?a", "x" * (1 << 20)) == (200, 2)
    assert pair.through(client.outbound, "/1-then-ok/status/500?b", "x" * ((1 << 20) + 1)) == (500, 1)


def test_backoff(pair: Pair, client: Sidecar) -> None:
    """Pauses are by chance, up to the base interval, twice and four times that; together they reach past the base."""
    client.apply(rules(rule("retries: {attempts: 3, retryOn: 5xx, backoff: 40ms}")))
    gaps: list[list[float]] = []
    for number in range(15):
        call(client.outbound, "GET", f"/status/500?{number}", headers={"host": "httpbin:8000"})
        times = [one["at"] for one in pair.seen()]
        gaps.append([later - earlier for earlier, later in pairwise(times)])
    for column, most in zip(zip(*gaps, strict=True), (0.04, 0.08, 0.16), strict=True):
        assert len(column) == 15 and max(column) < most + 0.05 and len({round(gap, 3) for gap in column}) > 3
    assert max(map(sum, gaps)) > 0.08


def test_timeouts(pair: Pair, client: Sidecar) -> None:
    """The route's time ends all tries; an endpoint that is down costs none of the time of a try."""
    client.apply(rules(
        rule("timeout: 250ms, retries: {attempts: 9, perTryTimeout: 100ms, retryOn: 5xx, backoff: 1ms}", "/sleep"),
        rule("retries: {attempts: 2, perTryTimeout: 1s, retryOn: connect-failure}", "/down", "v2"),
    ))
    assert pair.through(client.outbound, "/sleep/1") == (504, 3)
    logged(client, "/sleep/1", "504 UT response_timeout")
    assert pair.through(client.outbound, "/down") == (503, 0)
    until(lambda: ' 503 URX,UF ' in client.process.out.read_text(), what="the log")


def test_callers_ask(pair: Pair, client: Sidecar) -> None:
    """Whom --internal-addresses names may ask for tries by headers; nobody else may, and none of it goes on."""
    client.apply(rules(rule("retries: {attempts: 0}")))
    asked = {"x_envoy_retry_on": "5xx", "x_envoy_max_retries": "2"}
    assert pair.through(client.outbound, "/status/500", x_forwarded_for="10.1.1.1", **asked) == (500, 3)
    assert pair.through(client.outbound, "/status/500", x_forwarded_for="11.1.1.1", **asked) == (500, 1)
    assert pair.through(client.outbound, "/sleep/2", x_forwarded_for="10.1.1.1", x_envoy_upstream_rq_timeout_ms="100") == (504, 1)


def test_shares(pair: Pair, client: Sidecar) -> None:
    """Of 2,000 requests on one connection as many as was said are aborted, copied and sent to each: within four sigma."""
    split = "route: [{destination: {host: httpbin, subset: v1}, weight: 70}, {destination: {host: httpbin, subset: v2}, weight: 30}]"
    client.apply(rules(f"{{{split}, retries: {{attempts: 0}}, fault: {{abort: {{httpStatus: 418, percentage: {{value: 25}}}}}}}}"))
    statuses = client_statuses(client, 2000)
    for status, share in ((418, 0.25), (200, 0.75 * 0.7), (503, 0.75 * 0.3)):
        assert abs(statuses.count(status) - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5, (status, statuses.count(status))


def client_statuses(client: Sidecar, count: int) -> list[int]:
    """The statuses of so many requests, one after another on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", client.outbound, timeout=10)
    found = []
    for _ in range(count):
        connection.request("GET", "/", headers={"host": "httpbin:8000"})
        answer = connection.getresponse()
        answer.read()
        found.append(answer.status)
    connection.close()
    return found
