"""The slots as Prometheus' exposition text, made when it is asked for."""

from collections.abc import Iterator
from itertools import accumulate

from meshcar.observe.counters import Counter, Histogram, Slot, Slots
from meshcar.observe.names import BUCKETS, METRICS, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `exposition` gives."""

_BOUNDS = (*(f"{bound:g}" if bound < 1e6 else f"{bound:.0f}" for bound in BUCKETS), "+Inf")


def exposition(counters: Slots) -> bytes:
    """Every metric that has slots, in text format 0.0.4. Label values of peers are escaped."""
    return "".join(exposition_parts(counters)).encode("utf-8", "backslashreplace")


def exposition_parts(counters: Slots) -> Iterator[str]:
    """The same, slot by slot: endpoints that answer with many statuses make many."""
    return (part for metric in METRICS for part in _family(metric, counters))


def _family(metric: Metric, counters: Slots) -> Iterator[str]:
    begun = False
    for values, slot in counters.slots(metric):
        if not begun:
            yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
            begun = True
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, values, strict=True))
        yield "".join(_samples(metric.name, labels, slot))


def _samples(name: str, labels: str, slot: Slot) -> Iterator[str]:
    if isinstance(slot, Histogram):
        between = "," if labels else ""
        total = 0
        for bound, total in zip(_BOUNDS, accumulate(slot.counts), strict=True):
            yield f'{name}_bucket{{{labels}{between}le="{bound}"}} {total}\n'
        yield from (f"{_sample(name + '_sum', labels)} {_number(slot.sum)}\n", f"{_sample(name + '_count', labels)} {total}\n")
    else:
        yield f"{_sample(name, labels)} {_number(slot.value if isinstance(slot, Counter) else slot())}\n"


def _sample(name: str, labels: str) -> str:
    return f"{name}{{{labels}}}" if labels else name


def _number(value: float) -> str:
    """Whole ones without a point, as most exporters write them."""
    return str(int(value)) if value == value // 1 else str(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
