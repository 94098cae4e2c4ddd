"""The further processes that serve, all of them: started, replaced when they end, changed together, drained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshcar.app.hand import Hand
from meshcar.net.channel import Refused, Silent
from meshcar.net.slices import Work
from meshcar.observe.counters import Counters
from meshcar.observe.summed import keep
from meshcar.rules.read import Resource

LOOK_SECONDS = 0.25
"""How often each is asked what it counted: so much may be lost of one that is killed, as of its access log."""
REST, LONGEST_REST = 20, 10.0
"""So many times longer than a look takes nobody looks again: who has a hundred thousand slots is asked less often; in seconds, at most."""
CHANGE_SECONDS = 60.0
"""For new rules to be compiled, between requests; who takes longer is killed."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0
"""Before one that ended is replaced, in seconds; twice as long each time in a row."""
WELL_SECONDS = 10.0
"""Who served so long did not fail at its start."""
GRACE_SECONDS = 3.0
"""After the time to drain; then the rest is killed."""


class Turns(Protocol):
    """Whose turn it is to change the rules; app.reload.LiveRules in a sidecar."""

    def hold(self) -> "Deferred[Any]":
        """Fires when no change is under way; none begins until `release`."""

    def release(self) -> None:
        """Changes go on."""


@attrs.frozen
class State:
    """What a process needs to begin: everything that JSON can say, and the documents in force, in JSON, one a line."""

    fields: Mapping[str, Any]
    documents: bytes


def lines_of(resources: Iterable[Resource]) -> bytes:
    """Documents for another process: in JSON, one a line."""
    return b"\n".join([resource.origin.json for resource in resources])


class Crew:
    """Owned by the World: `count` processes besides its own, none with --workers 1.

    `state` tells what one needs to begin, `listeners` the descriptors it inherits, `log` that of the access log. Rules change in two
    steps, `prepare` and `commit`, so that all swap or none; who fails is killed, and replaced by one that begins with the rules in force.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, count: int, turns: Callable[[], Turns], state: Callable[[], State], listeners: Callable[[], Mapping[str, int]],
        log: int | None,
    ) -> None:
        self._reactor, self._count, self._turns, self._state, self._listeners, self._log_to = reactor, count, turns, state, listeners, log
        self._hands: dict[int, Hand] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._failures = dict.fromkeys(range(1, count + 1), 0)
        self._gone: Deferred[None] | None = None
        self._when_whole: Callable[[], object] | None = None
        self.departed = Counters()
        self.restarts = 0

    def start(self) -> None:
        """Starts them. The reactor runs, and rules are in force."""
        for number in self._failures:
            self._start(number)
        if self._count:
            self._reactor.callLater(LOOK_SECONDS, self._look_on)

    @property
    def serving(self) -> list[Hand]:
        """Those that accept connections."""
        return [hand for hand in self._hands.values() if hand.serves]

    @property
    def missing(self) -> str | None:
        """Why not all are there, or None."""
        serving = len(self.serving)
        return None if serving == self._count else f"{1 + serving} of {1 + self._count} processes serve"

    def tables(self) -> list[Counters]:
        """What they have counted, and those before them."""
        return [self.departed, *(hand.heard for hand in self._hands.values())]

    def clusters(self) -> list[list[Any]]:
        """Endpoints about which they have something to say, as of the last look: see app.worker."""
        return [one for hand in self._hands.values() if hand.begun for one in hand.clusters]

    def whole(self, call: Callable[[], object]) -> None:
        """Calls once all serve; at once, if there is nobody but this process."""
        if self.missing is None:
            call()
        else:
            self._when_whole = call

    # -- changes

    def prepare(self, generation: int, resources: Sequence[Resource], refusals: list[str]) -> "Deferred[Any] | None":
        """They compile new rules, and keep them; why one cannot is noted in `refusals`. Fires when all are done: then `commit` or `abandon`
        follows. None: there is nobody."""
        return self._all("prepare", refusals, lines_of(resources), generation=generation) if self.serving else None

    def commit(self, generation: int) -> "Deferred[Any] | None":
        """They swap. Fires when all have; None: there is nobody."""
        return self._all("commit", None, generation=generation) if self.serving else None

    def abandon(self) -> None:
        """What was prepared is not wanted."""
        self.tell("abandon")

    def tell(self, call: str, *, kept: str = "", **fields: Any) -> None:
        """Says something to all; to those that serve only later, too, if it is `kept` under a name, until something else is."""
        if kept:
            self._said[kept] = {"call": call, **fields}
        for hand in self._hands.values():
            if hand.serves or (hand.begun and not kept):
                hand.channel.tell(call, **fields)

    def look(self, clusters: bool = False) -> "Deferred[Any]":
        """Fires when all have said what they counted, and of their clusters, if asked; or are killed, as they hang."""
        return DeferredList([hand.look(clusters) for hand in self._hands.values() if hand.begun])

    def _look_on(self) -> None:
        begun = self._reactor.seconds()

        def rest(_: object) -> None:
            took = self._reactor.seconds() - begun
            self._reactor.callLater(min(LONGEST_REST, max(LOOK_SECONDS, REST * took)), self._look_on)

        self.look().addCallback(rest)

    def news(self, clusters: bool) -> Work[None]:
        """The same, for work that has to wait for it."""
        if self._hands:
            yield self.look(clusters)

    # -- the end

    def stop(self, seconds: float, shared: Sequence[str]) -> "Deferred[None]":
        """They drain, within so many seconds; `shared` sockets live on elsewhere, and what waits there is left. Fires when all are gone."""
        if not self._hands:
            self._failures.clear()
            return succeed(None)
        self._gone = Deferred()
        for hand in list(self._hands.values()):
            if hand.begun:
                hand.channel.tell("drain", shared=list(shared))
            else:
                hand.kill()
        late = self._reactor.callLater(seconds + GRACE_SECONDS, self._kill_all)
        return self._gone.addCallback(lambda _: late.active() and late.cancel())

    def cut(self) -> None:
        """Those that drain wait no longer."""
        self.tell("cut")

    def _kill_all(self) -> None:
        for hand in self._hands.values():
            hand.kill()

    # -- one of them

    def _start(self, number: int) -> None:
        if self._gone is not None or number not in self._failures:
            return
        hand = Hand(self._reactor, number, self)
        try:
            hand.start(self._listeners(), self._log_to)
        except OSError as e:
            self._again(number, f"cannot be started: {e.strerror}")
            return
        self._hands[number] = hand

    def greeted(self, hand: Hand) -> None:
        """See Boss."""
        Deferred.fromCoroutine(self._begin(hand)).addErrback(lambda failure: self._log.failure("a worker cannot begin", failure))

    async def _begin(self, hand: Hand) -> None:
        """Rules and certificates first, connections second; meanwhile nobody changes the rules."""
        await self._turns().hold()
        try:
            state = self._state()
            hand.begun = hand.channel.open
            await hand.channel.ask("begin", CHANGE_SECONDS, state.documents, **state.fields)
            hand.serves = hand.begun
            for said in self._said.values():
                hand.channel.tell(**said)
            self._log.info("worker {number} serves", number=hand.number)
            if self._when_whole is not None and self.missing is None:
                call, self._when_whole = self._when_whole, None
                call()
        except (Refused, Silent) as e:
            self._log.error("worker {number} cannot begin: {why}", number=hand.number, why=str(e))
            hand.kill()
        finally:
            self._turns().release()

    def ended(self, hand: Hand, how: str) -> None:
        """See Boss."""
        keep(self.departed, hand.heard)
        del self._hands[hand.number]
        if self._gone is not None:
            if not self._hands:
                self._gone.callback(None)
            return
        self.restarts += 1
        if self._reactor.seconds() - hand.since >= WELL_SECONDS:
            self._failures[hand.number] = 0
        self._again(hand.number, f"ended {how}")

    def _again(self, number: int, why: str) -> None:
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** self._failures[number])
        self._failures[number] += 1
        self._log.error("worker {number} {why}; another is started in {delay:g} s", number=number, why=why, delay=delay)
        self._reactor.callLater(delay, self._start, number)

    def _all(self, call: str, refusals: list[str] | None, body: bytes = b"", **fields: Any) -> "Deferred[Any]":
        """Asks all that serve; never fails: who refuses is noted, or, as who does not answer, killed."""
        return DeferredList([
            hand.channel.ask(call, CHANGE_SECONDS, body, **fields).addErrback(self._refused, hand, refusals) for hand in self.serving
        ])

    def _refused(self, failure: Failure, hand: Hand, refusals: list[str] | None) -> None:
        if refusals is not None and failure.check(Refused):
            refusals.append(f"worker {hand.number}: {failure.getErrorMessage()}")
        else:
            hand.failed(failure)
