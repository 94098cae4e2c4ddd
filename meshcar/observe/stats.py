"""The slots under the names by which Envoy's admin shows them: dotted, tags and their values behind."""

from collections.abc import Iterator

import attrs

from meshcar.observe.counters import Counter, Histogram, Slots
from meshcar.observe.names import ACTIVE, CONNECTIONS, HTTP_RBAC, METRICS, TCP_RBAC, Metric


@attrs.frozen
class Stat:
    """One statistic. `kind` is counter, gauge or histogram; a histogram's value is its slot."""

    name: str
    kind: str
    value: float | Histogram

    @property
    def used(self) -> bool:
        """Whether anything was counted."""
        return any(self.value.counts) if isinstance(self.value, Histogram) else self.value != 0


def stats(counters: Slots) -> Iterator[Stat]:
    """Every slot, in the order of the metrics."""
    for metric in METRICS:
        for values, slot in counters.slots(metric):
            value = slot if isinstance(slot, Histogram) else slot.value if isinstance(slot, Counter) else slot()
            yield Stat(stat_name(metric, values), metric.kind, value)


def stat_name(metric: Metric, values: tuple[str, ...]) -> str:
    """`cluster.outbound|80||a.upstream_cx_overflow`, `istiocustom.istio_requests_total.reporter.source`. Source: Envoy's statistics
    overview, and how it joins tags of metrics that have no place for them in their names."""
    if metric in (HTTP_RBAC, TCP_RBAC):
        prefix = f"http.{values[0]}" if metric is HTTP_RBAC else "tcp"
        enforced, action, shadow = values[-3:]
        return f"{prefix}.rbac.{f'istio_dry_run_{action}_shadow_{shadow}' if action else enforced}"
    if metric in (CONNECTIONS, ACTIVE):
        return f"listener.{values[0]}.{metric.name.removeprefix('envoy_listener_')}"
    if metric.name.startswith("envoy_cluster_"):
        return f"cluster.{values[0].replace(':', '_')}.{metric.name.removeprefix('envoy_cluster_')}"
    tags = "".join(f".{name}.{value}" for name, value in zip(metric.labels, values, strict=True))
    return ("istiocustom." if metric.name.startswith("istio_") else "") + metric.name + tags
