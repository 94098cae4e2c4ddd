"""`GET /stats`: every counter by Envoy's name for it, as text or JSON, chosen by pattern and kind."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

import attrs
from twisted.web.server import Request

from meshcar.admin import dump
from meshcar.admin.http import TEXT, Answer, Answering, as_text, in_pieces, query
from meshcar.admin.operator import ClusterStatus, Operator
from meshcar.net.slices import Work
from meshcar.observe.counters import Histogram
from meshcar.observe.names import BUCKETS, COUNTER, GAUGE, HISTOGRAM
from meshcar.observe.stats import Stat
from meshcar.rules.patterns import pattern

FORMATS = ("json", "prometheus", "text")
KINDS = {"all": (COUNTER, GAUGE, HISTOGRAM), "counters": (COUNTER,), "gauges": (GAUGE,), "histograms": (HISTOGRAM,), "textreadouts": ()}
_BOUNDS = (*BUCKETS, float("inf"))


def stats(operator: Operator, request: Request) -> Answering:
    """Parameters as Envoy's: `filter` (RE2, found anywhere), `invert_filter`, `usedonly`, `type`, `format`.

    A histogram is shown by its buckets, `B5(2,7)`: two values above the bound before and up to 5, seven in all so far.
    """
    asked = query(request)
    form, kinds = asked.get("format", "text"), KINDS.get(asked.get("type", "all").lower())
    if form not in FORMATS:
        return as_text(f"usage: /stats?format=({'|'.join(FORMATS)})\n\n", 400)
    if kinds is None:
        return as_text("invalid &type= param\n", 400)
    if form == "prometheus":
        return dump.metrics(operator, request)
    try:
        matches = _matching(asked.get("filter", ""))
    except ValueError as e:
        return as_text(f"invalid &filter= param: {e}\n", 400)
    inverted, used_only = "invert_filter" in asked, "usedonly" in asked

    def wanted(stat: Stat) -> bool:
        return stat.kind in kinds and matches(stat.name) is not inverted and (stat.used or not used_only)

    return _answer(operator, wanted, form)


def _answer(operator: Operator, wanted: Callable[[Stat], bool], form: str) -> Work[Answer]:
    yield from operator.news(True)
    by_name: dict[str, Stat] = {}
    for stat in _all(operator):
        if wanted(stat):
            known = by_name.get(stat.name)  # clusters of original destinations share one name
            by_name[stat.name] = stat if known is None else _sum(known, stat)
        yield None
    chosen = sorted(by_name.values(), key=lambda stat: (stat.kind == HISTOGRAM, stat.name))
    if form == "json":
        return Answer(200, json.dumps({"stats": [*_values(chosen)]}).encode(), "application/json")
    return (yield from in_pieces((f"{stat.name}: {_text(stat.value)}\n" for stat in chosen), TEXT))


def _matching(text: str) -> Callable[[str], bool]:
    if not text:
        return lambda name: True
    found = pattern(text)
    return lambda name: found.search(name.encode()) is not None


def _all(operator: Operator) -> Iterator[Stat]:
    """What is counted, and what can be said at any time of the process and its clusters."""
    leaving = operator.life.leaving is not None
    live = operator.ready() is None
    yield Stat("server.live", GAUGE, int(live))
    yield Stat("server.state", GAUGE, 0 if live else 1 if leaving else 3)  # LIVE, DRAINING, INITIALIZING: Envoy's enum ServerInfo.State
    yield Stat("server.uptime", GAUGE, int(operator.clock() - operator.started_at))
    yield Stat("listener_manager.total_listeners_active", GAUGE, len(operator.listeners()))
    for cluster in operator.clusters():
        yield from _of_cluster(cluster)
    yield from operator.stats()


def _of_cluster(cluster: ClusterStatus) -> Iterator[Stat]:
    start, ends = f"cluster.{cluster.name.replace(':', '_')}.", cluster.endpoints
    yield Stat(f"{start}membership_total", GAUGE, len(ends))
    yield Stat(f"{start}membership_healthy", GAUGE, sum(end.healthy for end in ends))
    for name in ("cx_active", "rq_active"):
        yield Stat(f"{start}upstream_{name}", GAUGE, sum(end.counts.get(name, 0) for end in ends))


def _sum(one: Stat, other: Stat) -> Stat:
    assert not isinstance(one.value, Histogram) and not isinstance(other.value, Histogram)
    return attrs.evolve(one, value=one.value + other.value)


def _text(value: float | Histogram) -> str:
    if not isinstance(value, Histogram):
        return f"{int(value)}"
    if not any(value.counts):
        return "No recorded values"
    return " ".join(f"B{bound:g}({count},{total})" for bound, count, total in _buckets(value))


def _values(found: Iterable[Stat]) -> Iterator[dict[str, Any]]:
    histograms = []
    for stat in found:
        if isinstance(stat.value, Histogram):
            buckets = [{"upper_bound": bound, "interval": count, "cumulative": total} for bound, count, total in _buckets(stat.value)]
            histograms.append({"name": stat.name, "buckets": buckets[:-1]})
        else:
            yield {"name": stat.name, "value": int(stat.value)}
    if histograms:
        yield {"histograms": histograms}


def _buckets(histogram: Histogram) -> Iterator[tuple[float, int, int]]:
    return zip(_BOUNDS, histogram.counts, accumulate(histogram.counts), strict=True)
