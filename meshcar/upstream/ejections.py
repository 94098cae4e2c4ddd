"""The outlier detection of a cluster, on the clock: endpoints come back by a timer that runs only while there is something to do."""

from collections.abc import Callable, Iterator
from typing import Any

from meshcar.observe.names import EJECTIONS_ACTIVE, EJECTIONS_DETECTED, EJECTIONS_ENFORCED, EJECTIONS_OVERFLOW, EJECTIONS_TOTAL, Metric
from meshcar.policy.outliers import KINDS, Outliers, Tally
from meshcar.rules.policies import OutlierPolicy
from meshcar.upstream.opener import Opener


class Ejections:
    """Made with a cluster whose rule has outlierDetection; shared by HTTP and opaque bytes; ends with the cluster."""

    def __init__(self, name: str, policy: OutlierPolicy, opener: Opener) -> None:
        self.outliers = Outliers(policy)
        self.outliers.changed.append(self._arm)
        self._clock = opener.reactor
        self._timer: Any = None
        self._name, self._counters = name, opener.counters
        self._measured = dict(_measures(self.outliers.tally))
        for metric, read in self._measured.items():
            self._counters.measure(metric, read, name)

    def end(self) -> None:
        """The cluster is no more."""
        for metric, read in self._measured.items():
            self._counters.forget(metric, read, self._name)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None and self.outliers.busy:
            self._timer = self._clock.callLater(self.outliers.policy.interval, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        self.outliers.sweep(self._clock.seconds())
        self._arm()


def _measures(tally: Tally) -> Iterator[tuple[Metric, Callable[[], float]]]:
    yield EJECTIONS_ACTIVE, lambda: tally.active
    yield EJECTIONS_TOTAL, lambda: sum(tally.enforced.values())
    yield EJECTIONS_OVERFLOW, lambda: tally.overflow
    for kind in KINDS:
        yield EJECTIONS_ENFORCED[kind], _reading(tally.enforced, kind)
        yield EJECTIONS_DETECTED[kind], _reading(tally.detected, kind)


def _reading(counts: dict[str, int], kind: str) -> Callable[[], float]:
    return lambda: counts[kind]
