"""Which endpoints of a cluster fail so often that they are left out for a while. Source: Envoy's outlier detection.

Pure: `now` comes as an argument, in seconds. Who sees answers and failures tells the endpoint's Standing; who owns the cluster calls
`sweep` each `policy.interval` while `busy`.
"""

from collections.abc import Callable, Collection

from meshcar.rules.policies import OutlierPolicy

MAX_EJECTION = 300.0
"""Seconds; an ejection lasts no longer, unless the first one does. Source: Envoy's default of max_ejection_time."""

ERRORS, GATEWAY, LOCAL = "consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure"
"""Why an endpoint is ejected, in Envoy's words."""
KINDS = (ERRORS, GATEWAY, LOCAL)
_GATEWAY_STATUSES = (502, 503, 504)


class Tally:
    """What has happened, for metrics: by kind, and how often the limit on ejections stood in the way."""

    __slots__ = ("active", "detected", "enforced", "overflow")

    def __init__(self) -> None:
        self.active = self.overflow = 0
        self.detected = dict.fromkeys(KINDS, 0)
        self.enforced = dict.fromkeys(KINDS, 0)


class Standing:
    """How one endpoint does: its failures in a row, and whether it is out. Made and kept by Outliers."""

    __slots__ = ("_outliers", "_rows", "ejected", "since", "times")

    def __init__(self, outliers: "Outliers") -> None:
        self._outliers = outliers
        self._rows = dict.fromkeys(KINDS, 0)
        self.ejected = False
        self.since = 0.0
        self.times = 0

    def answered(self, status: int, now: float) -> None:
        """The endpoint answered with an HTTP status."""
        policy, rows = self._outliers.policy, self._rows
        if policy.local_failures is not None:
            rows[LOCAL] = 0
        if not (status in policy.statuses if policy.statuses else status >= 500):
            rows[ERRORS] = rows[GATEWAY] = 0
            return
        if status in _GATEWAY_STATUSES:
            self._add(GATEWAY, policy.gateway_errors, now)
        else:
            rows[GATEWAY] = 0
        self._add(ERRORS, policy.errors, now)

    def unreachable(self, now: float) -> None:
        """No connection could be had."""
        policy = self._outliers.policy
        if policy.local_failures is None:
            self._failed(now)
        else:
            self._add(LOCAL, policy.local_failures, now)

    def broke(self, now: float) -> None:
        """A connection was there, but no answer came of it, or not all: it was reset, or nothing came in time.

        As with Envoy, a connection that came about ends the row of local failures before this one is counted.
        """
        self._rows[LOCAL] = 0
        self.unreachable(now)

    def connected(self) -> None:
        """An opaque connection came about, which is all that is known of it."""
        self._rows = dict.fromkeys(KINDS, 0) if self._outliers.policy.local_failures is None else {**self._rows, LOCAL: 0}

    def restart(self) -> None:
        """Comes back, with nothing held against it but how often it was out."""
        self.ejected = False
        self._rows = dict.fromkeys(KINDS, 0)

    def _failed(self, now: float) -> None:
        policy = self._outliers.policy
        self._add(GATEWAY, policy.gateway_errors, now)
        self._add(ERRORS, policy.errors, now)

    def _add(self, kind: str, most: int, now: float) -> None:
        self._rows[kind] += 1
        if self._rows[kind] == most and not self.ejected:
            self._rows[kind] = 0
            self._outliers.eject(self, kind, now)


class Outliers:
    """The endpoints of one cluster. `changed` are called when one of them goes out or comes back."""

    def __init__(self, policy: OutlierPolicy) -> None:
        self.policy = policy
        self.tally = Tally()
        self.changed: list[Callable[[], None]] = []
        self._standings: dict[str, Standing] = {}

    @property
    def busy(self) -> bool:
        """Whether `sweep` has something to do, now or later."""
        return any(one.times for one in self._standings.values())

    def standing(self, name: str) -> Standing:
        """The standing of an endpoint by its name; the same for the same name."""
        return self._standings.setdefault(name, Standing(self))

    def keep(self, names: Collection[str]) -> None:
        """Forgets all endpoints but these."""
        for name in self._standings.keys() - set(names):
            gone = self._standings.pop(name)
            self.tally.active -= gone.ejected
            gone.ejected = True  # for good: what still runs there must not eject it once more

    def eject(self, one: Standing, kind: str, now: float) -> None:
        """Puts an endpoint out, unless too many would be: not even the first of nine where ten percent may."""
        self.tally.detected[kind] += 1
        if 100.0 * (self.tally.active + 1) > self.policy.max_percent * len(self._standings):
            self.tally.overflow += 1
            return
        base = self.policy.ejection
        if one.times * base < max(MAX_EJECTION, base) + base:
            one.times += 1
        one.ejected, one.since = True, now
        self.tally.active += 1
        self.tally.enforced[kind] += 1
        self._tell()

    def sweep(self, now: float) -> None:
        """Lets back who has been out for long enough: the ejection's time once for each time it happened.

        Who was in all the time since the last sweep has one time less against it.
        """
        base, back = self.policy.ejection, False
        for one in self._standings.values():
            if not one.ejected:
                one.times = max(0, one.times - 1)
            elif now - one.since >= min(base * one.times, max(MAX_EJECTION, base)):
                one.restart()
                self.tally.active -= 1
                back = True
        if back:
            self._tell()

    def _tell(self) -> None:
        for each in self.changed:
            each()
