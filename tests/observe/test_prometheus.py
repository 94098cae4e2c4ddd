"""Tests of meshcar.observe.prometheus."""

from prometheus_client.parser import text_string_to_metric_families

from meshcar.observe.counters import Counters
from meshcar.observe.names import (
    BUCKETS,
    CERTIFICATE_EXPIRY,
    CONNECTIONS,
    DURATION,
    EJECTIONS_ACTIVE,
    GENERATION,
    HANDSHAKES,
    METRICS,
    MIRRORED,
    RETRY_OVERFLOW,
)
from meshcar.observe.prometheus import exposition, exposition_parts


def samples(counters: Counters) -> dict[tuple[str, str], float]:
    """What Prometheus' own parser reads, by name and the values of its labels."""
    families = text_string_to_metric_families(exposition(counters).decode())
    return {(sample.name, ",".join(sample.labels.values())): sample.value for family in families for sample in family.samples}


def test_nothing_bound() -> None:
    """A metric without slots is not shown."""
    assert exposition(Counters()) == b""


def test_read_by_prometheus() -> None:
    """Counters, gauges and values asked for are read back as they are."""
    counters = Counters()
    counters.counter(HANDSHAKES, "inbound", "ok").value += 2
    counters.counter(HANDSHAKES, "inbound", "unknown_ca").value += 1
    counters.counter(CONNECTIONS, "0.0.0.0_15006").value += 123456789
    counters.measure(GENERATION, lambda: 7)
    assert samples(counters) == {
        ("meshcar_tls_handshakes_total", "inbound,ok"): 2,
        ("meshcar_tls_handshakes_total", "inbound,unknown_ca"): 1,
        ("envoy_listener_downstream_cx_total", "0.0.0.0_15006"): 123456789,
        ("meshcar_rules_generation", ""): 7,
    }


def test_histogram() -> None:
    """Buckets add up and end with all; bounds are written in full."""
    counters = Counters()
    slot = counters.histogram(DURATION, *(["x"] * len(DURATION.labels)))
    for value in (0, 5, 6, 10**9):
        slot.observe(value)
    text = exposition(counters).decode()
    assert text.count("_bucket{") == len(BUCKETS) + 1
    bounds = {line.split('le="')[1].split('"')[0]: int(line.split()[-1]) for line in text.splitlines() if "_bucket{" in line}
    assert (bounds["0.5"], bounds["5"], bounds["10"], bounds["3600000"], bounds["+Inf"]) == (1, 2, 3, 3, 4)
    seen = samples(counters)
    assert {value for (name, _), value in seen.items() if name.endswith("_sum")} == {10**9 + 11}
    assert {value for (name, _), value in seen.items() if name.endswith("_count")} == {4}


def test_whole_numbers() -> None:
    """They have no point, counted or asked for; others keep their fraction."""
    counters = Counters()
    counters.counter(HANDSHAKES, "inbound", "ok").value += 2.0
    counters.measure(GENERATION, lambda: float(10**15))
    counters.measure(CERTIFICATE_EXPIRY, lambda: -0.5, "default")
    counters.histogram(DURATION, *(["x"] * len(DURATION.labels))).observe(3)
    values = [line.rpartition(" ")[2] for line in exposition(counters).decode().splitlines() if line[0] != "#" and "_bucket" not in line]
    assert values == ["3", "1", "2", str(10**15), "-0.5"]


def test_labels_of_peers() -> None:
    """Any text may be a label's value."""
    odd = 'a"b\\c\nd\u00e9'
    counters = Counters()
    counters.counter(MIRRORED, odd, "v2", "2xx").value += 1
    assert samples(counters) == {("meshcar_mirror_requests_total", f"{odd},v2,2xx"): 1}
    counters.counter(MIRRORED, "\udcff", "v2", "2xx").value += 1
    assert b"\\udcff" in exposition(counters)


def test_table() -> None:
    """Names occur once; each metric says what it is, and counters end as Prometheus wants them to, but for those of Envoy."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.help.endswith(".") and metric.unit
        assert metric.name.endswith("_total") == (metric.kind == "counter") or metric.source.startswith("Envoy"), metric.name


def test_changed_meanwhile() -> None:
    """What is bound or forgotten between two parts does no harm."""
    counters, read = Counters(), lambda: 1.0
    counters.counter(RETRY_OVERFLOW, "a").value += 1
    counters.measure(EJECTIONS_ACTIVE, read, "a")
    counters.measure(EJECTIONS_ACTIVE, read, "b")
    parts, found = exposition_parts(counters), ""
    for part in parts:
        found += part
        counters.counter(RETRY_OVERFLOW, f"x{len(found)}")
        counters.forget(EJECTIONS_ACTIVE, read, "b")
    assert 'upstream_rq_retry_overflow{cluster_name="a"} 1' in found and 'ejections_active{cluster_name="a"} 1' in found
