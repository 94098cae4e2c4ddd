"""The rules in force: sources below, applied documents above, compiled first and swapped second."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import yaml
from twisted.logger import Logger

from meshcar.admin.operator import APPLIED, Outcome
from meshcar.errors import SettingsError
from meshcar.rules.compile import compile_rules
from meshcar.rules.problems import Problem
from meshcar.rules.read import Resource, read
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload

BODY = "-"
"""The file name of what came over the admin port, while it is judged."""

Layer = dict[str, Resource]
"""Documents by `Kind/namespace/name`."""


class LiveRules:
    """Owns the documents that are in force, and their generation.

    `texts` reads every source now, [(file, text)], and raises SettingsError or OSError where it cannot. `on_snapshot` gets each
    new snapshot and puts it in force; `seconds` tells the time since the epoch; `state` is a file that keeps the applied documents
    over a restart. Called by the wiring (`load`, once, before traffic), the admin port, the watched sources and SIGHUP (`reload`).
    Lives as long as the process. `failures` counts the changes that were refused.
    """

    _log = Logger()

    def __init__(
        self, texts: Callable[[], Sequence[tuple[str, str]]], workload: Workload, on_snapshot: Callable[[Snapshot], None],
        seconds: Callable[[], float], *, sources: Sequence[str] = (), state: Path | None = None,
    ) -> None:
        self._texts, self._workload, self._on_snapshot, self._seconds, self._state = texts, workload, on_snapshot, seconds, state
        self.sources, self.skipped = tuple(sources), tuple[str, ...]()
        self.generation, self.loaded_at, self.failures = 0, 0.0, 0
        self._from_sources: tuple[Resource, ...] = ()
        self._applied: Layer = {}
        self._in_force: tuple[Resource, ...] = ()
        self._warned: frozenset[Problem] = frozenset()

    def load(self) -> Outcome:
        """Reads the state file, if there is one, and the sources; with errors in the outcome there are no rules yet."""
        applied, wrong = self._read_state()
        if wrong:
            return self._refused(wrong)
        self._applied = applied
        return self.reload()

    def reload(self) -> Outcome:
        """Reads the sources again. Applied documents stay. What changes nothing keeps the generation."""
        try:
            texts = self._texts()
        except (SettingsError, OSError) as e:
            return self._refused([_failure(getattr(e, "filename", None) or "-", "UNREADABLE", getattr(e, "strerror", None) or str(e))])
        resources, skipped, problems = self._read(texts)
        outcome = self._replace(tuple(resources), self._applied, problems)
        if not outcome.errors:
            self.skipped = skipped
            outcome = attrs.evolve(outcome, skipped=skipped)
        return outcome

    def apply(self, text: str, dry_run: bool = False) -> Outcome:
        """As kubectl apply: the documents are added, or replace those of the same kind, namespace and name. All or none."""
        resources, skipped, problems = self._read([(BODY, text)])
        body = {resource.key: resource for resource in resources}
        outcome = self._replace(self._from_sources, {**self._applied, **body}, problems, dry_run)
        if outcome.errors:
            return outcome
        unchanged = tuple(key for key in body if key not in outcome.changed)
        return attrs.evolve(outcome, unchanged=unchanged, skipped=skipped)

    def delete(self, kind: str, namespace: str, name: str) -> Outcome | None:
        """Takes an applied document back and uncovers what a source holds. None if nothing of that name was applied."""
        key = f"{kind}/{namespace}/{name}"
        if key not in self._applied:
            return None
        rest = {kept: resource for kept, resource in self._applied.items() if kept != key}
        return self._replace(self._from_sources, rest, ())

    def resources(self) -> Sequence[Resource]:
        """The documents in force, in order of their files, applied ones in the place of what they cover, or last."""
        return self._in_force

    def _read(self, texts: Iterable[tuple[str, str]]) -> tuple[list[Resource], tuple[str, ...], list[Problem]]:
        resources: list[Resource] = []
        skipped: list[str] = []
        problems: list[Problem] = []
        for file, text in texts:
            found = read(text, file, self._workload.namespace)
            resources += found.resources
            skipped += found.skipped
            problems += found.problems
        return resources, tuple(skipped), problems

    def _replace(self, sources: tuple[Resource, ...], applied: Layer, problems: Iterable[Problem], dry_run: bool = False) -> Outcome:
        """Compiles these two layers and, if nothing is wrong, puts them in force."""
        found = list(problems)
        resources = tuple(_overlaid(sources, applied))
        changed, created = _difference(self._in_force, resources)
        snapshot = None
        if _errors(found) or not self.generation or _documents(resources) != _documents(self._in_force):
            compiled = compile_rules(resources, self._workload, self.generation + 1)
            found += compiled.problems
            snapshot = compiled.snapshot
        if errors := _errors(found):
            return self._refused(errors, dry_run)
        news = tuple(problem for problem in found if problem.file == BODY or _anywhere(problem) not in self._warned)
        if not dry_run:
            if wrong := self._write_state(applied):
                return self._refused(wrong)
            self._commit(sources, applied, snapshot)
            self._warned = frozenset(map(_anywhere, found)) if snapshot is not None else self._warned
        return Outcome(generation=self.generation, changed=changed, created=created, warnings=news)

    def _commit(self, sources: tuple[Resource, ...], applied: Layer, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self._on_snapshot(snapshot)
            self.generation, self.loaded_at = snapshot.generation, self._seconds()
        self._from_sources = sources
        self._applied = {key: attrs.evolve(resource, file=APPLIED) for key, resource in applied.items()}
        self._in_force = tuple(_overlaid(sources, self._applied))
        if snapshot is not None:
            self._log.info("rules: generation {generation}, documents: {count}", generation=self.generation, count=len(self._in_force))

    def _refused(self, errors: Sequence[Problem], dry_run: bool = False) -> Outcome:
        if not dry_run:
            self.failures += 1
            self._log.error("rules: refused, generation {generation} stays: {errors}", generation=self.generation,
                            errors="; ".join(map(str, errors[:20])))
        return Outcome(generation=self.generation, errors=tuple(errors))

    def _read_state(self) -> tuple[Layer, list[Problem]]:
        if self._state is None:
            return {}, []
        try:
            text = self._state.read_text()
        except FileNotFoundError:
            return {}, []
        except (OSError, UnicodeDecodeError) as e:
            return {}, [_failure(str(self._state), "UNREADABLE", str(e))]
        resources, _, problems = self._read([(str(self._state), text)])
        return {resource.key: resource for resource in resources}, _errors(problems)

    def _write_state(self, applied: Layer) -> list[Problem]:
        """Replaces the state file, whole, before the rules are put in force: what was answered with 200 is kept."""
        if self._state is None or applied == self._applied:
            return []
        fresh = self._state.with_name(self._state.name + ".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                yaml.safe_dump_all([resource.document for resource in applied.values()], file, sort_keys=False)
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


def _documents(resources: Iterable[Resource]) -> list[tuple[str, object]]:
    """What a snapshot depends on; files and lines do not matter, order does."""
    return [(resource.key, resource.document) for resource in resources]


def _difference(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys that are not as they were, and those among them that are new."""
    before = {resource.key: resource.document for resource in old}
    after = {resource.key: resource.document for resource in new}
    created = tuple(key for key in after if key not in before)
    replaced = [key for key in after if key in before and before[key] != after[key]]
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
