"""The accounts of endpoints under any order of events."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshcar.errors import Overflow
from meshcar.upstream import opening
from tests.upstream.conftest import Upstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


def accounts(endpoints: Any) -> list[tuple[int, int, int]]:
    return [(each.active, each.connections, each.waiting) for each in endpoints]


class Accounts(RuleBasedStateMachine):
    """Any order of events: nothing goes below zero, nobody waits without hope, and in the end nothing is left."""

    @initialize(limit=st.sampled_from([None, 1, 2]), pending=st.sampled_from([None, 3]), served=st.sampled_from([None, 1, 2]))
    def begin(self, limit: int | None, pending: int | None, served: int | None) -> None:
        self.patch = pytest.MonkeyPatch()
        self.upstream = Upstream()
        self.patch.setattr(opening, "connect", self.upstream.loop.connect)
        self.cluster = self.upstream.cluster(
            80, 81, max_connections=limit, max_pending_requests=pending, max_requests_per_connection=served
        )
        self.endpoints = list(self.cluster.endpoints)
        self.waiting: list[tuple[Any, int]] = []
        self.running: list[Any] = []

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        self.cluster.retire()
        self.upstream.loop.turn()
        while self.upstream.loop.dials or self.running or self.waiting:
            for dial in list(self.upstream.loop.dials):
                dial.refuse()
            self.sort()
            for each in self.running:
                each.connection.abort()
            self.running.clear()
            self.upstream.loop.turn()
            self.sort()
        assert accounts(self.endpoints) == [(0, 0, 0)] * 2 and self.cluster.connections == 0
        assert all(wire.ended or wire.closed for wire in self.upstream.loop.wires)
        self.patch.undo()

    def sort(self) -> None:
        """Who has a connection sends; who was told there is none goes."""
        for waiting, _ in list(self.waiting):
            if waiting.connection is not None and waiting not in self.running:
                self.upstream.get(waiting)
                self.running.append(waiting)
        self.waiting = [(each, number) for each, number in self.waiting if each.connection is None and each.error is None]

    @precondition(lambda self: self.cluster.endpoints)  # one that has ended has none left to be asked
    @rule(number=st.sampled_from([0, 1]))
    def ask(self, number: int) -> None:
        try:
            self.waiting.append((self.upstream.acquire(self.cluster, number), number))
        except Overflow:
            pass
        self.sort()

    @precondition(lambda self: self.waiting)
    @rule(index=st.integers(0, 9))
    def withdraw(self, index: int) -> None:
        waiting, number = self.waiting.pop(index % len(self.waiting))
        self.endpoints[number].withdraw(waiting)

    @precondition(lambda self: self.upstream.loop.dials)
    @rule(index=st.integers(0, 9), how=st.sampled_from(["accept", "accept", "refuse", "time_out"]))
    def decide(self, index: int, how: str) -> None:
        dials = self.upstream.loop.dials
        getattr(dials[index % len(dials)], how)()
        self.sort()

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 9), how=st.sampled_from(["answer", "answer", "close", "reset", "abort", "garbage"]))
    def end(self, index: int, how: str) -> None:
        each = self.running.pop(index % len(self.running))
        wire = each.connection.transport.socket
        if how == "abort":
            each.connection.abort()
        elif how == "reset":
            wire.reset()
        else:
            wire.say({"answer": OK, "close": OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), "garbage": b"?\r\n\r\n"}[how])
        self.upstream.loop.turn()
        self.sort()

    @rule(index=st.integers(0, 9))
    def idle_closed(self, index: int) -> None:
        idle = [connection for endpoint in self.endpoints for connection in endpoint._idle]
        if idle:
            idle[index % len(idle)].transport.socket.hang_up()
            self.upstream.loop.turn()
            self.sort()

    @rule()
    def retire(self) -> None:
        self.cluster.retire()

    @invariant()
    def accounts_are_right(self) -> None:
        if not hasattr(self, "cluster"):
            return
        assert self.cluster.connections == sum(endpoint.connections for endpoint in self.endpoints)
        for number, endpoint in enumerate(self.endpoints):
            waiting = sum(1 for _, at in self.waiting if at == number)
            running = sum(1 for each in self.running if each.connection.owner is endpoint)
            assert endpoint.waiting == waiting and endpoint.connections >= running
            assert endpoint.active == waiting + running
            assert not waiting or endpoint.connections, "somebody waits for nothing"


Accounts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAccounts = Accounts.TestCase
