"""The engine through treq: one prepared request, and its answer as an IResponse."""

from typing import Any

import pytest
from treq.client import HTTPClient
from twisted.internet.error import ConnectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from meshcar.errors import NoHealthyUpstream, Overflow, TryFailed
from meshcar.upstream.agent import Answer, BatchAgent
from meshcar.upstream.for_treq import NO_HEADERS

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"


class Request:
    """A prepared GET."""

    authority = b"a"

    def __init__(self) -> None:
        self.stream: Any = None

    def send(self, stream: Any, sink: Any) -> None:
        self.stream = stream
        stream.send(b"GET /prepared HTTP/1.1\r\n\r\n", sink, b"GET", False, None)


class Body:
    """An IProtocol that takes a body; `stops_at` is how many bytes are enough for it."""

    def __init__(self, stops_at: int = 1 << 30) -> None:
        self.data = b""
        self.reasons: list[BaseException] = []
        self.transport: Any = None
        self.stops_at = stops_at

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.stops_at:
            self.transport.loseConnection()

    def connectionLost(self, reason: Any) -> None:
        self.reasons.append(reason.value)


class Asked:
    """A request through a BatchAgent, and what became of it."""

    def __init__(self, upstream: Any, **limits: Any) -> None:
        self.upstream = upstream
        self.cluster = upstream.cluster(**limits)
        self.request = Request()
        self.agent = BatchAgent(upstream.loop)
        self.results: list[Any] = []
        self.errors: list[BaseException] = []

    def go(self) -> "Asked":
        self.answer = Answer(self.cluster, self.request)
        self.deferred = self.agent.request(b"PUT", b"http://ignored/", None, self.answer)
        self.deferred.addCallbacks(self.results.append, lambda failure: self.errors.append(failure.value))
        self.upstream.loop.turn()
        return self

    def accept(self) -> Any:
        self.wire = self.upstream.loop.dials[0].accept()
        return self.wire

    def say(self, data: bytes) -> None:
        self.wire.say(data)
        self.upstream.loop.turn()


def test_answered(upstream: Any) -> None:
    """The request goes out as prepared; the answer's head fires the Deferred, its body follows to an IProtocol."""
    asked = Asked(upstream).go()
    wire = asked.accept()
    assert wire.heard() == b"GET /prepared HTTP/1.1\r\n\r\n"
    asked.say(HEAD + b"one")
    response, body = asked.results[0], Body()
    assert (response.code, response.version) == (200, (b"HTTP", 1, 1))
    response.deliverBody(body)
    asked.say(b"two")
    assert body.data == b"onetwo" and [type(reason) for reason in body.reasons] == [ResponseDone]
    assert asked.cluster.endpoints[0].active == 0


def test_whole_at_once(upstream: Any) -> None:
    """An answer that came in one piece is delivered when it is asked for."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD + b"onetwo")
    asked.results[0].deliverBody(body := Body())
    assert body.data == b"onetwo" and [type(reason) for reason in body.reasons] == [ResponseDone]


def test_idle_connection(upstream: Any) -> None:
    """An idle connection is used at once."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD + b"onetwo")
    asked.results.clear()
    asked.go()
    assert asked.wire.heard().count(b"GET /prepared") == 2 and upstream.loop.dials == []


def test_nobody(upstream: Any) -> None:
    """No endpoint, no room: the Deferred fails with what the cluster says."""
    asked = Asked(upstream)
    asked.cluster.endpoints.clear()
    assert isinstance(asked.go().errors[0], NoHealthyUpstream)
    full = Asked(upstream, max_pending_requests=1)
    full.go()
    assert isinstance(full.go().errors[0], Overflow)


def test_refused(upstream: Any) -> None:
    """A refused connection fails the Deferred."""
    asked = Asked(upstream).go()
    upstream.loop.dials[0].refuse()
    assert isinstance(asked.errors[0], TryFailed) and asked.answer.code == 0


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_lost_before_the_head(upstream: Any, before: bytes) -> None:
    """So does a connection that goes before the head."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(before)
    asked.wire.reset()
    upstream.loop.turn()
    assert [error.flag for error in asked.errors] == ["UC"]


def test_lost_in_the_body(upstream: Any) -> None:
    """One that goes in the body fails the body, once."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD + b"one")
    asked.results[0].deliverBody(body := Body())
    asked.wire.hang_up()
    upstream.loop.turn()
    assert body.data == b"one" and [reason.flag for reason in body.reasons] == ["UPE"]


def test_lost_before_delivery(upstream: Any) -> None:
    """A body asked for after its end tells how it ended."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD + b"one")
    asked.say(b"tw")
    asked.wire.hang_up()
    upstream.loop.turn()
    asked.results[0].deliverBody(body := Body())
    assert body.data == b"onetw" and [reason.flag for reason in body.reasons] == ["UPE"]


def test_cancelled_while_waiting(upstream: Any) -> None:
    """A cancelled request withdraws; the connection that comes for it idles."""
    asked = Asked(upstream).go()
    asked.deferred.cancel()
    assert [type(error) for error in asked.errors] == [ConnectionDone]
    asked.accept()
    assert asked.request.stream is None and asked.cluster.endpoints[0].active == 0


def test_cancelled_while_it_runs(upstream: Any) -> None:
    """One that runs already resets its connection."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.deferred.cancel()
    upstream.loop.turn()
    assert asked.wire.was_reset and asked.cluster.endpoints[0].active == 0 and len(asked.errors) == 1


@pytest.mark.parametrize("pieces", [[HEAD + b"one"], [HEAD, b"one"]])
def test_enough(upstream: Any, pieces: list[bytes]) -> None:
    """A protocol that has enough ends the answer, is told so once, and the connection is not used again."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(pieces[0])
    asked.results[0].deliverBody(body := Body(stops_at=3))
    for piece in pieces[1:]:
        asked.say(piece)
    upstream.loop.turn()
    assert body.data == b"one" and [type(reason) for reason in body.reasons] == [PotentialDataLoss] and asked.wire.was_reset
    body.transport.stopProducing()
    assert len(body.reasons) == 1


def test_enough_at_the_end(upstream: Any) -> None:
    """Stopping what is whole is nothing."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD + b"onetwo")
    asked.results[0].deliverBody(body := Body(stops_at=6))
    assert [type(reason) for reason in body.reasons] == [ResponseDone] and not asked.wire.was_reset


def test_slow_protocol(upstream: Any) -> None:
    """A protocol may hold the connection back; behind the end, that is nothing."""
    asked = Asked(upstream).go()
    asked.accept()
    asked.say(HEAD)
    asked.results[0].deliverBody(body := Body())
    body.transport.pauseProducing()
    assert not upstream.loop.reads(asked.wire)
    body.transport.resumeProducing()
    asked.say(b"onetwo")
    body.transport.pauseProducing()
    body.transport.resumeProducing()
    assert body.data == b"onetwo" and upstream.loop.reads(asked.wire)


def test_through_treq(upstream: Any) -> None:
    """treq gets an answer it can work with, whatever the answer's headers claim."""
    asked = Asked(upstream)
    done: list[bytes] = []
    answer = Answer(asked.cluster, asked.request)
    client = HTTPClient(asked.agent, None, lambda answer: answer)
    answered = client.request("GET", "http://ignored/", data=answer, allow_redirects=False, unbuffered=True)
    answered.addCallback(lambda response: response.content()).addCallback(done.append)
    upstream.loop.turn()
    asked.accept()
    asked.say(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-encoding: gzip\r\ncontent-length: 6\r\n\r\nonetwo")
    assert done == [b"onetwo"]
    answer.setPreviousResponse(None)


class TestBatch:
    """What comes in one turn of the reactor is done at its end, step by step."""

    def test_steps(self, upstream: Any) -> None:
        """Answers are told first, then all requests are asked for, then sent."""
        asked = Asked(upstream).go()
        asked.accept()
        order: list[str] = []
        asked.deferred.addCallback(lambda _: order.append("told"))

        def ask() -> None:
            order.append("asked")
            answer = Answer(asked.cluster, asked.request)
            asked.request.send = lambda stream, sink: order.append("sent")  # type: ignore[method-assign]
            asked.agent.request(b"GET", b"http://ignored/", None, answer)

        asked.agent.soon(ask)
        asked.agent.soon(ask)
        asked.wire.say(HEAD + b"onetwo")
        asked.wire.transport.doRead()
        assert order == [] and asked.results == []
        upstream.loop.turn()
        upstream.loop.dials[0].accept()
        assert order == ["told", "asked", "asked", "sent", "sent"]

    def test_asked_by_an_answer(self, upstream: Any) -> None:
        """Who hears of a failure may ask again; that waits for the next turn."""
        asked = Asked(upstream)
        asked.cluster.endpoints.clear()
        again: list[BaseException] = []

        def ask_again(_: Any) -> None:
            second = asked.agent.request(b"GET", b"http://ignored/", None, Answer(asked.cluster, asked.request))
            second.addErrback(lambda failure: again.append(failure.value))

        asked.agent.request(b"GET", b"http://ignored/", None, Answer(asked.cluster, asked.request)).addErrback(ask_again)
        upstream.loop.turn()
        assert [type(error) for error in again] == [NoHealthyUpstream]

    def test_fault_while_sending(self, upstream: Any) -> None:
        """An error of our own fails its request, gives its connection up, and leaves the others of the turn alone."""
        asked = Asked(upstream).go()
        asked.accept()
        asked.say(HEAD + b"onetwo")
        bad = Request()
        bad.send = lambda stream, sink: 1 // 0  # type: ignore[method-assign,assignment,return-value]
        asked.agent.request(b"GET", b"http://ignored/", None, Answer(asked.cluster, bad)).addErrback(
            lambda failure: asked.errors.append(failure.value)
        )
        asked.go()
        assert [type(error) for error in asked.errors] == [ZeroDivisionError] and len(upstream.loop.dials) == 1
        upstream.loop.turn()
        assert asked.wire.was_reset and asked.cluster.endpoints[0].active == 1

    def test_given_up_in_its_turn(self, upstream: Any) -> None:
        """A request that is cancelled in the turn it was made in is never sent; one whose answer came in that turn never told."""
        asked = Asked(upstream)
        answer = Answer(asked.cluster, asked.request)
        asked.agent.request(b"GET", b"http://ignored/", None, answer).addErrback(lambda failure: asked.errors.append(failure.value))
        answer.abort()
        upstream.loop.turn()
        assert upstream.loop.dials == [] and [type(error) for error in asked.errors] == [ConnectionDone]
        asked.go().accept()
        asked.wire.say(HEAD + b"one")
        asked.wire.transport.doRead()
        asked.answer.abort()
        upstream.loop.turn()
        assert asked.results == [] and len(asked.errors) == 2 and asked.wire.was_reset

    def test_all_of_an_answer_in_one_turn(self, upstream: Any) -> None:
        """The rest of an answer, or its end in disorder, may come before it is told that it has begun."""
        asked = Asked(upstream).go()
        asked.accept()
        for piece in (HEAD + b"one", b"tw"):
            asked.wire.say(piece)
            asked.wire.transport.doRead()
        asked.wire.reset()
        asked.say(b"")
        asked.results[0].deliverBody(body := Body())
        assert body.data == b"onetw" and [reason.flag for reason in body.reasons] == ["UPE"]


def test_no_headers() -> None:
    """treq writes and reads without effect."""
    NO_HEADERS.addRawHeader(b"a", b"b")
    NO_HEADERS.setRawHeaders(b"a", [b"b"])
    NO_HEADERS.removeHeader(b"a")
    assert NO_HEADERS.copy() is NO_HEADERS and NO_HEADERS.hasHeader(b"cookie")
    assert NO_HEADERS.getRawHeaders(b"a") is None and list(NO_HEADERS.getAllRawHeaders()) == []
