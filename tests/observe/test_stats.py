"""Envoy's names for what is counted."""

import pytest

from meshcar.observe.counters import Counters
from meshcar.observe.names import (
    ACTIVE,
    CONNECTIONS,
    DURATION,
    GENERATION,
    HTTP_RBAC,
    MIRRORED,
    PENDING_OVERFLOW,
    TCP_OPENED,
    TCP_RBAC,
    Metric,
)  # fmt: skip
from meshcar.observe.stats import stat_name, stats


@pytest.mark.parametrize(("metric", "values", "name"), [
    (PENDING_OVERFLOW, ("outbound|80||a",), "cluster.outbound|80||a.upstream_rq_pending_overflow"),
    (PENDING_OVERFLOW, ("a:b",), "cluster.a_b.upstream_rq_pending_overflow"),
    (CONNECTIONS, ("outbound",), "listener.outbound.downstream_cx_total"),
    (ACTIVE, ("inbound",), "listener.inbound.downstream_cx_active"),
    (HTTP_RBAC, ("inbound_0.0.0.0_80", "denied", "", ""), "http.inbound_0.0.0.0_80.rbac.denied"),
    (HTTP_RBAC, ("x", "", "deny", "allowed"), "http.x.rbac.istio_dry_run_deny_shadow_allowed"),
    (TCP_RBAC, ("allowed", "", ""), "tcp.rbac.allowed"),
    (MIRRORED, ("a", "v1", "2xx"), "meshcar_mirror_requests_total.destination_service.a.subset.v1.outcome.2xx"),
    (GENERATION, (), "meshcar_rules_generation"),
])
def test_name(metric: Metric, values: tuple[str, ...], name: str) -> None:
    """Dotted; labels are a part of the name where Envoy has them there, and behind it elsewhere."""
    assert stat_name(metric, values) == name


def test_istio() -> None:
    """Istio's are in its own corner."""
    labels = [name.upper() for name in TCP_OPENED.labels]
    assert stat_name(TCP_OPENED, tuple(labels)).startswith("istiocustom.istio_tcp_connections_opened_total.reporter.REPORTER.source_")


def test_all() -> None:
    """Counters, measured values and histograms, used or not."""
    counters = Counters()
    counters.counter(CONNECTIONS, "outbound").value += 2
    counters.measure(GENERATION, lambda: 0)
    slot = counters.histogram(DURATION, *DURATION.labels)
    found = {stat.kind: stat for stat in stats(counters)}
    assert [(kind, stat.value, stat.used) for kind, stat in found.items()] == [
        ("histogram", slot, False), ("counter", 2, True), ("gauge", 0, False)]
    slot.observe(3)
    assert found["histogram"].used
