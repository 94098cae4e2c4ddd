"""The whole data path under any order of events: nothing is left behind, and no answer is another request's."""

import gc
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from meshcar.rules.balancing import Balancing, Cookie, HashOn
from meshcar.rules.policies import OutlierPolicy, RetryPolicy
from meshcar.upstream import opening
from tests.proxy.conftest import Mesh

REQUESTS = [
    b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HEAD /%d HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n" + bytes(90_000),
    b"GET /%d HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    b"GET /%d HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nframe",
    b"OPTIONS * HTTP/1.1\r\nhost: a\r\nx: %d\r\n\r\n",
    b"GET /%d HTTP/1.1\r\nhost: nobody\r\n\r\n",
    b"nonsense %d\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-n: %b\r\n\r\nokay",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-n: %b\r\n\r\n4\r\nokay\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 90000\r\nx-n: %b\r\n\r\n" + bytes(90_000),
    b"HTTP/1.1 503 Oh\r\ncontent-length: 0\r\nx-n: %b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx-n: %b\r\n\r\nuntil close",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nx-n: %b\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-n: %b\r\n\r\nframe",
    b"garbage %b\r\n\r\n",
]
CHANGES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((80,), {}), ((80, 82), {}), ((82,), {}), ((), {}), ((80, 82), {"max_connections": 1}), ((80,), {"outliers": OutlierPolicy(errors=2)}),
]  # fmt: skip
"""What a reload makes of the cluster: its endpoints, and what is new in it, so that it is another."""
LIMITS: list[dict[str, Any]] = [
    {}, {"max_connections": 1}, {"max_connections": 1, "max_pending_requests": 1}, {"max_requests_per_connection": 1}, {"max_retries": 1},
    {"max_requests": 1}, {"idle_timeout": 2.0, "max_connection_duration": 3.0}, {"proxy_protocol": "V2"},
    {"outliers": OutlierPolicy(errors=1, max_percent=100, interval=1.0, ejection=2.0), "balance": Balancing("RING_HASH", slots=9)},
]  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 1), st.integers(0, len(REQUESTS) - 1)),
        st.tuples(st.just("ask part"), st.integers(0, 1), st.integers(1, 120)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.integers(0, len(ANSWERS) - 1)),
        st.tuples(st.just("answer part"), st.integers(0, 9), st.integers(1, 120)),
        st.tuples(st.sampled_from(["hang up", "reset"]), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("room"), st.integers(0, 9), st.sampled_from([0, 10, 70_000, 1 << 30])),
        st.tuples(st.just("dial"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("time"), st.just(0), st.sampled_from([0, 1, 3, 40])),
        st.tuples(st.sampled_from(["renew", "drain"]), st.just(0), st.just(0)),
        st.tuples(st.just("rules"), st.just(0), st.integers(0, len(CHANGES) - 1)),
    ),
    max_size=40,
)


class Play:
    """Carries out steps, on two clients and whatever connections the mesh opens."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.mesh = Mesh(outbound_allow_any=False)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(opening, "connect", self.mesh.loop.connect)
        self.mesh.cluster("b", 81)
        self.mesh.cluster("a", 80, **options)
        retries = RetryPolicy(conditions=frozenset({"reset", "5xx"}), per_try_timeout=2.0)
        hashes = (HashOn("cookie", b"c", Cookie(ttl=60)), HashOn("source_ip")) if "balance" in options else ()
        self.mesh.route(mirrors=["b"], timeout=3.0, retries=retries, hashes=hashes)
        self.options = options
        self.clients = [self.mesh.session(), self.mesh.session()]
        self.asked = [0, 0]
        self.part: dict[Any, bytes] = {}
        self.given: dict[Any, int] = {}

    def step(self, what: str, who: int, how: int) -> None:
        loop = self.mesh.loop
        if what == "ask":
            self._say(self.clients[who], self._request(who, how))
        elif what == "ask part":
            self._cut(self.clients[who], self._request(who, how % len(REQUESTS)), how)
        elif what == "dial" and loop.dials:
            dial = loop.dials[who % len(loop.dials)]
            dial.refuse() if how > 6 else dial.accept(0 if how == 6 else 1 << 30)
        elif what == "time":
            loop.turn(how)
        elif what == "rules":
            ports, new = CHANGES[how]
            self.mesh.cluster("a", *ports, **self.options | new)
        elif what == "renew":
            self.mesh.clusters.renew()
        elif what == "drain":
            self.mesh.outbound.draining = True
            self.mesh.outbound.close_idle(0.0)
        elif what in ("answer", "answer part") and len(loop.wires) > 2:
            wire = loop.wires[2 + who % (len(loop.wires) - 2)]
            whole = self._answer(wire, how)
            self._say(wire, whole) if what == "answer" else self._cut(wire, whole, how)
        elif what in ("hang up", "reset", "room"):
            wire = loop.wires[who % len(loop.wires)]
            if what == "room":
                wire.room = how
            else:
                wire.hang_up() if what == "hang up" else wire.reset()
        loop.turn()

    def _request(self, who: int, which: int) -> bytes:
        """The rest of what was begun, or a request that says whose it is and which."""
        rest = self._rest(self.clients[who])
        if not rest:
            self.asked[who] += 1
            rest = REQUESTS[which].replace(b"%d", b"%c%d" % (b"xy"[who], self.asked[who]), 1)
        return rest

    def _answer(self, wire: Any, which: int) -> bytes:
        """The rest of what was begun, or an answer to the first request that has none."""
        rest = self._rest(wire)
        waiting = re.findall(rb"(?:GET|HEAD|POST) /([xy]\d+)", wire.sent)[self.given.get(wire, 0) :]
        if not rest and waiting:
            self.given[wire] = self.given.get(wire, 0) + 1
            rest = ANSWERS[which % len(ANSWERS)].replace(b"%b", waiting[0], 1)
        return rest

    def _rest(self, wire: Any) -> bytes:
        return self.part.pop(wire, b"")

    def _cut(self, wire: Any, whole: bytes, at: int) -> None:
        self._say(wire, whole[:at])
        if whole[at:]:
            self.part[wire] = whole[at:]

    @staticmethod
    def _say(wire: Any, data: bytes) -> None:
        if not wire.closed:
            wire.say(data)

    def end(self) -> None:
        """Everybody leaves; nothing may be left."""
        loop = self.mesh.loop
        for client, name in zip(self.clients, (b"x", b"y"), strict=True):
            answers = [(whose, int(which)) for whose, which in re.findall(rb"x-n: ([xy])(\d+)", client.sent)]
            assert answers == sorted(answers) and {whose for whose, _ in answers} <= {name}, "out of order, or another's"
        for client in self.clients:
            client.reset()
            client.transport.abortConnection()
        for _ in range(4):
            for wire in loop.wires:
                wire.room = 1 << 30
            loop.turn(70)
            for dial in list(loop.dials):
                dial.refuse()
        self.mesh.clusters.reconcile({})
        loop.turn(70)
        self.mesh.clusters.reconcile({})
        loop.turn(5)  # sockets linger
        assert self.mesh.clusters._leaving == [], "requests that are still counted"
        assert all(wire.closed for wire in loop.wires), "connections that nobody closed"
        self.mesh.at_rest()
        assert self.mesh.outbound.sessions == set()
        self.patch.undo()


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(LIMITS))
def test_any_order(steps: list[tuple[str, int, int]], options: dict[str, Any]) -> None:
    """Answers keep the order of their client's requests; in the end no account, timer or Deferred is open, and nothing was raised."""
    seen: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event or event.get("isError"):
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    play = Play(options)
    try:
        for step in steps:
            play.step(*step)
        play.end()
        del play
        gc.collect(0)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert seen == []
