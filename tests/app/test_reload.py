"""Rules in force: applied over sources, all or nothing, whole generations."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from meshcar.admin.operator import Outcome
from meshcar.app.reload import LiveRules
from meshcar.errors import SettingsError
from meshcar.rules.read import Resource
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.steps import Steps
from meshcar.rules.workload import Workload

T = TypeVar("T")

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {ports: [{name: http, port: 80}]}
"""


def route(name: str, to: str, more: str = "") -> str:
    """A VirtualService of this name for the Service `a`; `to` is the header value its route sets."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n  hosts: [a]\n  http:\n"
        f"  - name: {to}\n    route: [{{destination: {{host: a}}}}]\n{more}"
    )


def now(work: "Deferred[T]") -> T:
    """What small work has come to; it takes no turn of the reactor."""
    results: list[T] = []
    work.addCallback(results.append)
    return results[0]


class Process:
    """LiveRules over texts in memory, and the snapshots that came out."""

    def __init__(
        self, *texts: str, state: Path | None = None, namespace: str = "default", others: "FakeOthers | None" = None
    ) -> None:
        self.texts = list(texts)
        self.broken: Exception | None = None
        self.snapshots: list[Snapshot] = []
        self.clock = Clock()
        self.clock.advance(100)
        workload = Workload(namespace=namespace)
        self.rules = LiveRules(self.read, workload, self.put_in_force, self.clock, sources=["rules"], state=state, others=others)

    def put_in_force(self, snapshot: Snapshot) -> Steps[None]:
        """Keeps it."""
        yield
        self.snapshots.append(snapshot)

    def read(self) -> Steps[list[tuple[str, str]]]:
        """The files as they are now."""
        yield
        if self.broken is not None:
            raise self.broken
        return [(f"{number}.yaml", text) for number, text in enumerate(self.texts)]

    def route_name(self) -> str:
        """The route that a request to `a` takes under the last snapshot."""
        host = self.snapshots[-1].virtual_host(b"a", 80)
        assert host is not None
        return host.routes[0].name


def loaded(*texts: str, state: Path | None = None) -> Process:
    """A process whose sources are the Service `a` and these texts, all right so far."""
    process = Process(SERVICE % "a", *texts, state=state)
    assert process.rules.load().errors == ()
    return process


def test_load() -> None:
    """The first generation is 1, and it is in force."""
    process = Process(SERVICE % "a", route("a", "one"))
    outcome = process.rules.load()
    assert (outcome.generation, outcome.created) == (1, ("Service/default/a", "VirtualService/default/a"))
    assert (process.route_name(), process.rules.generation, process.rules.loaded_at) == ("one", 1, 100.0)


def test_load_nothing() -> None:
    """No documents at all are rules, too."""
    assert Process().rules.load().generation == 1


def test_load_all_errors() -> None:
    """Errors of all files come together; nothing is in force."""
    process = Process("kind: [", "apiVersion: v1\nkind: Nonsense\n")
    outcome = process.rules.load()
    assert {problem.file for problem in outcome.errors} == {"0.yaml", "1.yaml"}
    assert (process.rules.generation, process.snapshots) == (0, [])


def test_reload_unchanged() -> None:
    """A reload that changes nothing keeps generation and snapshot; a comment is no change, but lines move."""
    process = loaded(route("a", "one"))
    assert now(process.rules.reload()).changed == ()
    process.texts[1] = "# a comment\n" + process.texts[1]
    outcome = now(process.rules.reload())
    assert (outcome.generation, outcome.changed, len(process.snapshots)) == (1, (), 1)
    assert process.rules.resources()[1].source == "1.yaml:2"


def test_reload_changed() -> None:
    """What is added, replaced or gone is told, under a new generation."""
    process = loaded(route("a", "one"), SERVICE % "b")
    process.texts[1:] = [route("a", "two"), SERVICE % "c"]
    outcome = now(process.rules.reload())
    assert (outcome.generation, outcome.created) == (2, ("Service/default/c",))
    assert set(outcome.changed) == {"Service/default/c", "VirtualService/default/a", "Service/default/b"}
    assert process.route_name() == "two"


def test_reload_broken() -> None:
    """A bad file changes nothing and is counted; the good one after it counts from the old."""
    process = loaded(route("a", "one"))
    good, process.texts[1] = process.texts[1], route("a", "two", more="  bogus: 1\n")
    outcome = now(process.rules.reload())
    assert [(problem.file, problem.code) for problem in outcome.errors] == [("1.yaml", "UNKNOWN_FIELD")]
    assert (outcome.generation, process.route_name(), process.rules.failures) == (1, "one", 1)
    process.texts[1] = good
    assert now(process.rules.reload()).changed == ()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "rules/a.yaml"), SettingsError("rules/a.yaml: gone")])
def test_reload_unreadable(error: Exception) -> None:
    """Sources that cannot be read are a problem like others."""
    process = loaded()
    process.broken = error
    (problem,) = now(process.rules.reload()).errors
    assert (problem.code, process.rules.generation) == ("UNREADABLE", 1)


def test_apply_over_source() -> None:
    """An applied document lies over a source's, also after a reload, and its delete uncovers what the source holds."""
    process = loaded(route("a", "one"))
    outcome = now(process.rules.apply(route("a", "two")))
    assert (outcome.generation, outcome.changed, outcome.created) == (2, ("VirtualService/default/a",), ())
    assert process.route_name() == "two"
    process.texts[1] = route("a", "three")
    assert now(process.rules.reload()).changed == ()
    assert process.route_name() == "two"
    deleted = now(process.rules.delete("VirtualService", "default", "a"))
    assert deleted is not None and deleted.changed == ("VirtualService/default/a",)
    assert process.route_name() == "three"
    assert now(process.rules.delete("VirtualService", "default", "a")) is None


def test_apply_new_and_deleted() -> None:
    """What no source holds is created, and gone after its delete. A source's own document cannot be deleted."""
    process = loaded()
    assert now(process.rules.apply(route("a", "one"))).created == ("VirtualService/default/a",)
    assert process.rules.resources()[-1].file == "applied"
    now(process.rules.delete("VirtualService", "default", "a"))
    assert process.route_name() != "one"
    assert now(process.rules.delete("Service", "default", "a")) is None


def test_apply_all_or_nothing() -> None:
    """One bad document among good ones: every error, and nothing changed."""
    process = loaded()
    outcome = now(process.rules.apply(route("a", "one") + "---\n" + route("b", "two", more="  bogus: 1\n") + "---\nkind: 1\n"))
    assert {problem.file for problem in outcome.errors} == {"-"}
    assert len(outcome.errors) >= 2
    assert (process.rules.generation, len(process.rules.resources()), process.rules.failures) == (1, 1, 1)


def test_apply_unchanged() -> None:
    """The same again keeps the generation; what a sidecar has no use for is told."""
    process = loaded(route("a", "one"))
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n"
    outcome = now(process.rules.apply(route("a", "one") + "---\n" + deployment))
    assert (outcome.generation, outcome.changed, outcome.unchanged) == (1, (), ("VirtualService/default/a",))
    assert outcome.skipped == ("Deployment/default/d",)


def test_warnings_once() -> None:
    """A warning is told to who causes it, not with every change after it; who applies the text again is told again."""
    process = Process(route("a", "one"))
    assert [problem.code for problem in process.rules.load().warnings] == ["UNKNOWN_HOST"]
    assert now(process.rules.apply(SERVICE % "b")).warnings == ()
    assert [problem.file for problem in now(process.rules.apply(route("a", "two"))).warnings] == ["-"]
    assert now(process.rules.reload()).warnings == ()
    assert now(process.rules.apply(SERVICE % "a")).warnings == ()
    gone = now(process.rules.delete("Service", "default", "a"))
    assert gone is not None and [problem.code for problem in gone.warnings] == ["UNKNOWN_HOST"]


def test_apply_dry_run() -> None:
    """Judged as if in earnest, and nothing done."""
    process = loaded()
    assert now(process.rules.apply(route("a", "one"), dry_run=True)).created == ("VirtualService/default/a",)
    assert now(process.rules.apply("kind: [", dry_run=True)).errors
    assert (process.rules.generation, len(process.snapshots), process.rules.failures) == (1, 1, 0)
    assert len(process.rules.resources()) == 1


def test_apply_default_namespace() -> None:
    """A document without a namespace is in the workload's."""
    process = Process(namespace="shop")
    process.rules.load()
    assert now(process.rules.apply(route("a", "one"))).created == ("VirtualService/shop/a",)


def test_snapshot_refused_late() -> None:
    """Where putting a snapshot in force fails, the old documents stay."""
    process = loaded()
    process.rules = LiveRules(process.read, Workload(), _refuse, lambda: 0.0)
    with pytest.raises(RuntimeError):
        process.rules.load()
    assert (process.rules.generation, list(process.rules.resources())) == (0, [])


def _refuse(snapshot: Snapshot) -> None:
    raise RuntimeError


def test_state(tmp_path: Path) -> None:
    """With a state file, applied documents outlive the process; only its owner may read it."""
    state = tmp_path / "applied.yaml"
    process = loaded(route("a", "one"), state=state)
    assert not state.exists()
    now(process.rules.apply(route("a", "two") + "---\n" + SERVICE % "'on'"))
    assert state.stat().st_mode & 0o777 == 0o600
    again = loaded(route("a", "one"), state=state)
    assert again.route_name() == "two"
    assert [resource.key for resource in again.rules.resources()] == [resource.key for resource in process.rules.resources()]
    again.rules.delete("VirtualService", "default", "a")
    assert [document["metadata"]["name"] for document in yaml.safe_load_all(state.read_text())] == ["on"]
    assert os.listdir(tmp_path) == ["applied.yaml"]


def test_state_broken(tmp_path: Path) -> None:
    """A state file that is not right is named, with its line; nothing starts."""
    state = tmp_path / "applied.yaml"
    state.write_text("\nkind: [")
    (problem, *_) = Process(state=state).rules.load().errors
    assert problem.file == str(state)
    state.write_bytes(b"\xff")
    assert [problem.code for problem in Process(state=state).rules.load().errors] == ["UNREADABLE"]


def test_state_not_written(tmp_path: Path) -> None:
    """What cannot be kept is not put in force."""
    process = loaded(state=tmp_path / "missing" / "applied.yaml")
    outcome = now(process.rules.apply(route("a", "one")))
    assert [problem.code for problem in outcome.errors] == ["STATE_NOT_WRITTEN"]
    assert (process.rules.generation, len(process.rules.resources())) == (1, 1)


documents = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["one", "two"]), max_size=3)
applying = st.tuples(st.just("apply"), documents.filter(bool))
reloading = st.tuples(st.just("source"), documents)
deleting = st.tuples(st.just("delete"), st.sampled_from("abc"))


@given(st.lists(applying | reloading | deleting, max_size=6))
def test_layers(changes: list[tuple[str, dict[str, str]]]) -> None:
    """After any changes: the applied documents over the sources' last ones, one generation for each real change."""
    process = Process("")
    process.rules.load()
    sources: dict[str, str] = {}
    applied: dict[str, str] = {}
    seen: list[dict[str, str]] = [{}]
    for verb, what in changes:
        if verb == "apply":
            now(process.rules.apply("---\n".join(route(name, to) for name, to in what.items())))
            applied.update(what)
        elif verb == "source":
            process.texts[:] = [route(name, to) for name, to in what.items()]
            now(process.rules.reload())
            sources = what
        elif now(process.rules.delete("VirtualService", "default", str(what))) is not None:
            del applied[str(what)]
        found = {resource.name: resource.document["spec"]["http"][0]["name"] for resource in process.rules.resources()}
        assert found == {**sources, **applied}
        if found != seen[-1]:
            seen.append(found)
    assert process.rules.generation >= len(seen)
    assert process.rules.generation == len(process.snapshots)


class FakeOthers:
    """Further processes, as far as rules go."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.why: str | None = None
        self.done: Deferred[object] | None = None

    def prepare(self, generation: int, resources: Sequence[Resource], refusals: list[str]) -> "Deferred[object] | None":
        self.asked.append((generation, [resource.key for resource in resources]))
        refusals += [] if self.why is None else [self.why]
        return self.done

    def abandon(self) -> None:
        self.asked.append("abandon")


def in_company(*texts: str) -> tuple[FakeOthers, Process]:
    """Others that prepare at once, beside a process with rules in force; what they were asked until then is forgotten."""
    others = FakeOthers()
    process = Process(*texts, others=others)
    process.rules.load()
    others.asked.clear()
    others.done = succeed(None)
    return others, process


def test_others_prepare() -> None:
    """Before a change is in force, all are asked; not for one that is only judged, changes nothing, or is wrong."""
    others, process = in_company(SERVICE % "a")
    now(process.rules.apply(route("one", "x"), dry_run=True))
    now(process.rules.apply("apiVersion: v1\nkind: Nonsense"))
    now(process.rules.reload())
    assert others.asked == []
    assert now(process.rules.apply(route("one", "x"))).generation == 2
    assert others.asked == [(2, ["Service/default/a", "VirtualService/default/one"])]


def test_others_take_their_time() -> None:
    """They are waited for, whether the rules turn out right or wrong: nobody prepares two changes at a time."""
    others, process = in_company(SERVICE % "a")
    for text in (route("one", "x"), route("one", "y")):  # the second stands there twice then
        process.texts.append(text)
        others.done, outcomes = Deferred(), list[Outcome]()
        process.rules.reload().addCallback(outcomes.append)
        assert others.asked and not outcomes
        others.done.callback(None)
        assert len(outcomes) == 1
    assert outcomes[0].errors and others.asked[-1] == "abandon" and len(process.snapshots) == 2


def test_others_cannot() -> None:
    """If one of them cannot, nothing changes, here neither."""
    others, process = in_company(SERVICE % "a", route("one", "x"))
    others.why = "worker 1: broken"
    outcome = now(process.rules.apply(route("one", "y")))
    assert [(error.code, error.message) for error in outcome.errors] == [("WORKER_REFUSED", "worker 1: broken")]
    assert others.asked[1:] == ["abandon"] and process.route_name() == "x" and len(process.snapshots) == 1


def test_state_not_written_with_others(tmp_path: Path) -> None:
    """What they prepared is taken back."""
    others = FakeOthers()
    process = Process(SERVICE % "a", others=others, state=tmp_path / "no" / "state")
    process.rules.load()
    others.done = succeed(None)
    assert now(process.rules.apply(route("one", "x"))).errors[0].code == "STATE_NOT_WRITTEN"
    assert others.asked[-1] == "abandon" and len(process.snapshots) == 1
