"""GET /stats, as Envoy's."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from meshcar.admin.operator import ClusterStatus
from meshcar.admin.site import admin_site
from meshcar.observe.counters import Histogram
from meshcar.observe.names import COUNTER, GAUGE, HISTOGRAM
from meshcar.observe.stats import Stat
from tests.admin.fakes import Reply, operator
from tests.admin.fakes import call as call_site


def ask(query: str, **changes: Any) -> Reply:
    histogram = Histogram()
    histogram.observe(3)
    histogram.observe(7)
    found = [Stat("b.total", COUNTER, 2), Stat("a.total", COUNTER, 0), Stat("a.active", GAUGE, 1),
             Stat("a.time", HISTOGRAM, histogram), Stat("a.none", HISTOGRAM, Histogram())]
    return call(operator(stats=lambda: found, **changes), query)


def call(of: Any, query: str) -> Reply:
    return call_site(admin_site(of, Clock()), "GET", f"/stats{query}")


def names(reply: Reply) -> list[str]:
    return [line.partition(":")[0] for line in reply.body.decode().splitlines()]


def test_text() -> None:
    """A line each, `name: value`, by name; histograms last, by their buckets."""
    lines = ask("?filter=^[ab]\\.").body.decode().splitlines()
    assert lines[:4] == ["a.active: 1", "a.total: 0", "b.total: 2", "a.none: No recorded values"]
    assert lines[4].startswith("a.time: B0.5(0,0) B1(0,0) B5(1,1) B10(1,2) B25(0,2) ") and lines[4].endswith(" Binf(0,2)")


@pytest.mark.parametrize(("query", "wanted"), [
    ("?filter=^b", ["b.total"]),
    ("?filter=^[ab][.]&usedonly", ["a.active", "b.total", "a.time"]),
    ("?filter=^[ab][.]&type=Gauges", ["a.active"]),
    ("?filter=^[ab][.]&type=counters", ["a.total", "b.total"]),
    ("?filter=^[ab][.]&type=Histograms&usedonly", ["a.time"]),
    ("?type=TextReadouts", []),
    ("?filter=^(server|cluster|listener|a)&invert_filter", ["b.total"]),
])
def test_chosen(query: str, wanted: list[str]) -> None:
    """By pattern, by use, by kind."""
    assert names(ask(query)) == wanted


def test_json() -> None:
    """Envoy's shape."""
    assert ask("?format=json&filter=^b").value == {"stats": [{"name": "b.total", "value": 2}]}
    *_, last = ask("?format=json&filter=^a").value["stats"]
    assert [one["name"] for one in last["histograms"]] == ["a.none", "a.time"]
    assert last["histograms"][1]["buckets"][2] == {"upper_bound": 5, "interval": 1, "cumulative": 1}


def test_prometheus() -> None:
    """The same as /stats/prometheus."""
    assert ask("?format=prometheus").body == b"# HELP\n"


@pytest.mark.parametrize("query", ["?format=html", "?type=Nope", "?filter=%5B", "?filter=" + "a" * 2000])
def test_refused(query: str) -> None:
    """What is not understood is 400."""
    assert ask(query).status == 400


@pytest.mark.parametrize(("ready", "leaving", "state"), [(None, None, 0), ("no rules", None, 3), ("draining", "draining", 1)])
def test_server(ready: str | None, leaving: str | None, state: int) -> None:
    """What scripts look for: whether it lives, how long, and with how many listeners."""
    of = operator(ready=lambda: ready)
    of.life.leaving = leaving
    assert f"server.state: {state}\n" in call(of, "?filter=server").body.decode()
    assert call(of, "?filter=uptime|listeners_active").body == b"listener_manager.total_listeners_active: 2\nserver.uptime: 60\n"


def test_clusters_of_one_name() -> None:
    """Members and what runs; clusters of original destinations count together."""
    twice = [*operator().clusters(), *operator().clusters(), ClusterStatus("b", ())]
    lines = call(operator(clusters=lambda: twice), "?filter=^cluster").body.decode().splitlines()
    assert "cluster.outbound|80||a.membership_total: 4" in lines and "cluster.outbound|80||a.membership_healthy: 2" in lines
    assert "cluster.outbound|80||a.upstream_cx_active: 4" in lines and "cluster.b.membership_total: 0" in lines
