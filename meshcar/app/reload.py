"""The rules in force: sources below, applied documents above, compiled first and swapped second."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs
import yaml
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from meshcar.admin.operator import APPLIED, Outcome
from meshcar.app.tls_files import unreadable_files
from meshcar.errors import SettingsError
from meshcar.net.slices import Work, in_slices
from meshcar.rules.compile import compile_steps
from meshcar.rules.problems import Problem
from meshcar.rules.read import Known, Resource, read_steps
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.steps import Steps, discarded, finish
from meshcar.rules.workload import Workload

T = TypeVar("T")

BODY = "-"
"""The file name of what came over the admin port, while it is judged."""

Layer = dict[str, Resource]
"""Documents by `Kind/namespace/name`."""


class Others(Protocol):
    """Further processes that serve by the same rules; app.crew.Crew in a sidecar."""

    def prepare(self, generation: int, resources: Sequence[Resource], refusals: list[str]) -> "Deferred[Any] | None":
        """They compile at the same time as we do. Fires when they are done, and why one cannot is in `refusals`; then they wait for
        `put_in_force` or `abandon`."""

    def abandon(self) -> None:
        """What was prepared is not wanted."""


class LiveRules:
    """Owns the documents that are in force, and their generation.

    `texts` reads every source now, [(file, text)], and raises SettingsError or OSError where it cannot. `put_in_force` takes a new
    snapshot: when it ends, all that comes sees the new one. `others` have prepared it before. `clock` is an IReactorTime whose time
    counts from the epoch; `state` is a file that keeps the applied documents over a restart. Called by the wiring (`load`, once, before
    traffic), the admin port, the watched sources and SIGHUP (`reload`). Changes are made one after the other, each in slices between
    which traffic is served.
    Lives as long as the process. `failures` counts the changes that were refused.
    """

    _log = Logger()

    def __init__(
        self, texts: Callable[[], Steps[Sequence[tuple[str, str]]]], workload: Workload, put_in_force: Callable[[Snapshot], Work[None]],
        clock: Any, *, sources: Sequence[str] = (), state: Path | None = None, others: Others | None = None,
    ) -> None:
        self._texts, self._workload, self._put_in_force, self._clock, self._state = texts, workload, put_in_force, clock, state
        self._others = others
        self._turn = DeferredLock()
        self.sources, self.skipped = tuple(sources), tuple[str, ...]()
        self.generation, self.loaded_at, self.failures = 0, 0.0, 0
        self._from_sources: tuple[Resource, ...] = ()
        self._applied: Layer = {}
        self._known: Known = {}
        self._in_force: tuple[Resource, ...] = ()
        self._warned: frozenset[Problem] = frozenset()

    def load(self, handed_over: str | None = None) -> Outcome:
        """Reads the sources, and what was applied: to the process before this one, or the state file, if there is one.

        With errors in the outcome there are no rules yet.
        """
        return finish(self._loading(handed_over))

    def reload(self) -> "Deferred[Outcome]":
        """Reads the sources again. Applied documents stay. What changes nothing keeps the generation."""
        return self.in_turn(self._reloading())

    def apply(self, text: str, dry_run: bool = False) -> "Deferred[Outcome]":
        """As kubectl apply: the documents are added, or replace those of the same kind, namespace and name. All or none."""
        return self.in_turn(self._applying(text, dry_run))

    def delete(self, kind: str, namespace: str, name: str) -> "Deferred[Outcome | None]":
        """Takes an applied document back and uncovers what a source holds. None if nothing of that name was applied."""
        return self.in_turn(self._deleting(f"{kind}/{namespace}/{name}"))

    def resources(self) -> Sequence[Resource]:
        """The documents in force, in order of their files, applied ones in the place of what they cover, or last."""
        return self._in_force

    def hold(self) -> "Deferred[DeferredLock]":
        """Fires when no change is under way; until `release`, changes wait."""
        return self._turn.acquire()

    def release(self) -> None:
        """Changes go on."""
        self._turn.release()

    def applied_text(self) -> str:
        """The applied documents as YAML, for `load`."""
        return _dumped(self._applied)

    def in_turn(self, steps: Work[T]) -> "Deferred[T]":
        """Work in slices, during which the rules stay as they are."""
        turn: Deferred[T] = self._turn.run(in_slices, steps, self._clock)
        return turn

    # -- the work

    def _loading(self, handed_over: str | None) -> Work[Outcome]:
        applied, wrong = yield from (self._read_state() if handed_over is None else self._read_layer(APPLIED, handed_over))
        if wrong:
            return self._refused(wrong)
        self._applied = applied
        return (yield from self._reloading())

    def _reloading(self) -> Work[Outcome]:
        try:
            texts = yield from self._texts()
        except (SettingsError, OSError) as e:
            return self._refused([_failure(getattr(e, "filename", None) or "-", "UNREADABLE", getattr(e, "strerror", None) or str(e))])
        self._known, old = {}, self._known
        resources, skipped, problems = yield from self._read(texts, old, self._known)
        outcome = yield from self._replace(tuple(resources), self._applied, problems)
        if not outcome.errors:
            self.skipped = skipped
            outcome = attrs.evolve(outcome, skipped=skipped)
        return outcome

    def _applying(self, text: str, dry_run: bool) -> Work[Outcome]:
        resources, skipped, problems = yield from self._read([(BODY, text)])
        body = {resource.key: resource for resource in resources}
        outcome = yield from self._replace(self._from_sources, {**self._applied, **body}, problems, dry_run)
        if outcome.errors:
            return outcome
        unchanged = tuple(key for key in body if key not in outcome.changed)
        return attrs.evolve(outcome, unchanged=unchanged, skipped=skipped)

    def _deleting(self, key: str) -> Work[Outcome | None]:
        if key not in self._applied:
            return None
        rest = {kept: resource for kept, resource in self._applied.items() if kept != key}
        return (yield from self._replace(self._from_sources, rest, ()))

    def _read(
        self, texts: Iterable[tuple[str, str]], old: Known | None = None, new: Known | None = None
    ) -> Steps[tuple[list[Resource], tuple[str, ...], list[Problem]]]:
        resources: list[Resource] = []
        skipped: list[str] = []
        problems: list[Problem] = []
        for file, text in texts:
            found = yield from read_steps(text, file, self._workload.namespace, old, new)
            resources += found.resources
            skipped += found.skipped
            problems += found.problems
        return resources, tuple(skipped), problems

    def _replace(
        self, sources: tuple[Resource, ...], applied: Layer, problems: Iterable[Problem], dry_run: bool = False
    ) -> Work[Outcome]:
        """Compiles these two layers and, if nothing is wrong, puts them in force."""
        found = list(problems)
        resources = tuple(_overlaid(sources, applied))
        changed, created = yield from _difference(self._in_force, resources)
        snapshot, asked, refusals = None, None, list[str]()
        if _errors(found) or not self.generation or changed or _keys(resources) != _keys(self._in_force):
            if self._others is not None and not dry_run and not _errors(found):
                asked = self._others.prepare(self.generation + 1, resources, refusals)
            compiled = yield from compile_steps(resources, self._workload, self.generation + 1)
            found += compiled.problems
            found += yield from unreadable_files(resources)
            snapshot = compiled.snapshot
            yield asked
        found += [_failure(BODY, "WORKER_REFUSED", why) for why in refusals if not _errors(found)]
        if errors := _errors(found):
            self._abandon(asked)
            return self._refused(errors, dry_run)
        news = tuple(problem for problem in found if problem.file == BODY or _anywhere(problem) not in self._warned)
        if not dry_run:
            if wrong := self._write_state(applied):
                self._abandon(asked)
                return self._refused(wrong)
            yield from self._commit(sources, applied, snapshot)
            self._warned = frozenset(map(_anywhere, found)) if snapshot is not None else self._warned
        return Outcome(generation=self.generation, changed=changed, created=created, warnings=news)

    def _abandon(self, asked: object) -> None:
        if self._others is not None and asked is not None:
            self._others.abandon()

    def _commit(self, sources: tuple[Resource, ...], applied: Layer, snapshot: Snapshot | None) -> Work[None]:
        if snapshot is not None:
            yield from self._put_in_force(snapshot)
            self.generation, self.loaded_at = snapshot.generation, self._clock.seconds()
        old: list[object] = [*self._from_sources, *self._in_force]
        self._from_sources = sources
        self._applied = {key: attrs.evolve(resource, file=APPLIED) for key, resource in applied.items()}
        self._in_force = tuple(_overlaid(sources, self._applied))
        if snapshot is not None:
            self._log.info("rules: generation {generation}, documents: {count}", generation=self.generation, count=len(self._in_force))
        yield from discarded(old)

    def _refused(self, errors: Sequence[Problem], dry_run: bool = False) -> Outcome:
        if not dry_run:
            self.failures += 1
            self._log.error("rules: refused, generation {generation} stays: {errors}", generation=self.generation,
                            errors="; ".join(map(str, errors[:20])))
        return Outcome(generation=self.generation, errors=tuple(errors))

    def _read_state(self) -> Steps[tuple[Layer, list[Problem]]]:
        if self._state is None:
            return {}, []
        try:
            text = self._state.read_text()
        except FileNotFoundError:
            return {}, []
        except (OSError, UnicodeDecodeError) as e:
            return {}, [_failure(str(self._state), "UNREADABLE", str(e))]
        return (yield from self._read_layer(str(self._state), text))

    def _read_layer(self, file: str, text: str) -> Steps[tuple[Layer, list[Problem]]]:
        resources, _, problems = yield from self._read([(file, text)])
        return {resource.key: resource for resource in resources}, _errors(problems)

    def _write_state(self, applied: Layer) -> list[Problem]:
        """Replaces the state file, whole, before the rules are put in force: what was answered with 200 is kept."""
        if self._state is None or applied == self._applied:
            return []
        fresh = self._state.with_name(self._state.name + ".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(_dumped(applied))
            fresh.replace(self._state)
        except OSError as e:
            return [_failure(str(self._state), "STATE_NOT_WRITTEN", e.strerror or str(e))]
        return []


def _overlaid(sources: Iterable[Resource], applied: Layer) -> Iterable[Resource]:
    rest = dict(applied)
    for resource in sources:
        if resource.key not in applied:
            yield resource
        elif resource.key in rest:
            yield rest.pop(resource.key)
    yield from rest.values()


def _dumped(layer: Layer) -> str:
    return str(yaml.safe_dump_all([resource.document for resource in layer.values()], sort_keys=False))


def _keys(resources: Iterable[Resource]) -> list[str]:
    """In their order, which a snapshot depends on; files and lines do not matter."""
    return [resource.key for resource in resources]


def _difference(old: Iterable[Resource], new: Iterable[Resource]) -> Steps[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Keys that are not as they were, and those among them that are new."""
    before = {resource.key: resource.origin for resource in old}
    yield
    after = {resource.key: resource.origin for resource in new}
    created = tuple(key for key in after if key not in before)
    replaced = []
    for key, origin in after.items():
        yield
        if key in before and before[key] is not origin and not origin.same_as(before[key]):
            replaced.append(key)
    removed = [key for key in before if key not in after]
    return (*created, *replaced, *removed), created


def _errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def _anywhere(problem: Problem) -> Problem:
    """The same problem wherever it stands: lines move, and a body becomes a document in force."""
    return attrs.evolve(problem, file="", line=0, column=0)


def _failure(file: str, code: str, message: str) -> Problem:
    """A file that cannot be used at all."""
    return Problem("error", file, 1, 1, "", "", "", code, message)
