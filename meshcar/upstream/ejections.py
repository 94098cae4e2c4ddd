"""The outlier detection of a cluster, on the clock: endpoints come back by a timer that runs only while there is something to do."""

from collections.abc import Callable
from typing import Any

from meshcar.observe.names import EJECTIONS_ACTIVE, EJECTIONS_DETECTED, EJECTIONS_ENFORCED, EJECTIONS_OVERFLOW, EJECTIONS_TOTAL
from meshcar.policy.outliers import KINDS, Outliers
from meshcar.rules.policies import OutlierPolicy
from meshcar.upstream.opener import Opener


class Ejections:
    """Made with a cluster whose rule has outlierDetection; shared by HTTP and opaque bytes; ends with the cluster."""

    def __init__(self, name: str, policy: OutlierPolicy, opener: Opener) -> None:
        self.outliers = Outliers(policy)
        self.outliers.changed.append(self._arm)
        self._clock = opener.reactor
        self._timer: Any = None
        tally, measure = self.outliers.tally, opener.counters.measure
        measure(EJECTIONS_ACTIVE, lambda: tally.active, name)
        measure(EJECTIONS_TOTAL, lambda: sum(tally.enforced.values()), name)
        measure(EJECTIONS_OVERFLOW, lambda: tally.overflow, name)
        for kind in KINDS:
            measure(EJECTIONS_ENFORCED[kind], _reading(tally.enforced, kind), name)
            measure(EJECTIONS_DETECTED[kind], _reading(tally.detected, kind), name)

    def end(self) -> None:
        """The cluster is no more."""
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


def _reading(counts: dict[str, int], kind: str) -> Callable[[], float]:
    return lambda: counts[kind]
