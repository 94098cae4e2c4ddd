"""What the operator's port asks of the process, and the values it gets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from meshcar.identity.credentials import Credentials
from meshcar.net.slices import Work
from meshcar.observe.stats import Stat
from meshcar.rules.listeners import OutboundListener
from meshcar.rules.problems import Problem
from meshcar.rules.question import Question
from meshcar.rules.read import Resource

APPLIED = "applied"
"""The file, and the source, of a document that came over the admin port and is in force."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a change to the rules. With `errors` nothing changed. Keys are `Kind/namespace/name`.

    `changed` holds what was created, replaced or removed; `created` is a part of it. `warnings` are those of an applied text and
    those that were not there before.
    """

    generation: int
    changed: tuple[str, ...] = ()
    created: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    errors: tuple[Problem, ...] = ()


class Rules(Protocol):
    """The rules in force and the ways to change them; app.reload.LiveRules in a sidecar. Times in seconds since the epoch."""

    @property
    def generation(self) -> int:
        """Counts the snapshots that were put in force; 0 before the first."""

    @property
    def loaded_at(self) -> float:
        """When this generation was put in force."""

    @property
    def sources(self) -> Sequence[str]:
        """Where rules come from, as the options named it."""

    @property
    def skipped(self) -> Sequence[str]:
        """Documents of the sources that a sidecar has no use for."""

    def resources(self) -> Sequence[Resource]:
        """The documents in force, in order. The `file` of one that was applied is APPLIED."""

    def apply(self, text: str, dry_run: bool = False) -> Deferred[Outcome]:
        """Adds or replaces the documents of a YAML text: all of them or none."""

    def delete(self, kind: str, namespace: str, name: str) -> Deferred[Outcome | None]:
        """Takes an applied document back; None if there is none."""

    def reload(self) -> Deferred[Outcome]:
        """Reads the sources again."""


class LogLevels(Protocol):
    """What is logged; app.log_levels.LogLevels in a sidecar."""

    def all(self) -> dict[str, str]:
        """Levels by part of the sidecar."""

    def check(self, part: str, level: str) -> None:
        """Raises ValueError where `change` would."""

    def change(self, part: str, level: str) -> None:
        """From now on."""


class Life(Protocol):
    """Whether the process takes part; app.life.Life in a sidecar."""

    @property
    def leaving(self) -> str | None:
        """Why no new requests should come here, or None."""

    def fail_health(self) -> None:
        """Not ready until `pass_health`, and answers say `connection: close`."""

    def pass_health(self) -> None:
        """Takes that back."""

    def drain_listeners(self, *, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        """No more connections are accepted, now or after a while; the process goes on."""

    def quit(self) -> None:
        """Drains and ends the process."""


@attrs.frozen
class EndpointStatus:
    """One endpoint of a cluster. `counts` have Envoy's names: cx_active, cx_total, cx_connect_fail, rq_active, rq_total ...

    `locality` is region, zone and subzone, empty where nothing is said."""

    address: str
    port: int
    healthy: bool = True
    counts: Mapping[str, int] = attrs.field(factory=dict)
    weight: int = 1
    locality: tuple[str, str, str] = ("", "", "")
    priority: int = 0


@attrs.frozen
class ClusterStatus:
    """One cluster. `limits` have Envoy's names (max_connections, max_pending_requests, max_requests, max_retries); None is no limit."""

    name: str
    endpoints: tuple[EndpointStatus, ...]
    limits: Mapping[str, int | None] = attrs.field(factory=dict)


@attrs.frozen
class ListenerStatus:
    """One port that the sidecar listens on: its name (outbound, inbound ...), and the address, a path if `port` is None."""

    name: str
    address: str
    port: int | None


def nothing_new(clusters: bool) -> Work[None]:
    """Of a process that serves alone."""
    yield from ()


@attrs.frozen(kw_only=True)
class Operator:
    """The process, as far as its operator's port is concerned.

    `explain` tells what would become of a request, `outbound` what the rules make of captured connections; `ready` gives None, or the
    reason why not; `remarks` are lines for people besides; `config` the options in force, without secrets; `started_at` and `clock`
    are in seconds since the epoch; `log_levels` is None where twistd's own
    options say what is logged; `origins` says where an option that is not at its default came from. `news` waits until what further
    processes counted is known here, and, if asked, what they say of clusters.
    """

    rules: Rules
    life: Life
    explain: Callable[[Question], Deferred[dict[str, Any]]]
    ready: Callable[[], str | None]
    clusters: Callable[[], Iterable[ClusterStatus]]
    listeners: Callable[[], Sequence[ListenerStatus]]
    outbound: Callable[[], Iterable[OutboundListener]]
    credentials: Callable[[], Credentials | None]
    metrics: Callable[[], Iterable[str]]
    stats: Callable[[], Iterable[Stat]]
    config: Callable[[], Mapping[str, Any]]
    clock: Callable[[], float]
    started_at: float
    remarks: Callable[[], Sequence[str]] = tuple
    log_levels: LogLevels | None = None
    origins: Mapping[str, str] = attrs.field(factory=dict)
    news: Callable[[bool], Work[None]] = nothing_new
