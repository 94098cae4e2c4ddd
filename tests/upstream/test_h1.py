"""One upstream connection: framing of answers, reuse, and what breaks it."""

from typing import Any

import pytest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Source:
    """A request's body on its way: counts what the connection asks of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def begun(upstream: Any, room: int = 1 << 30, cluster: Any = None, **options: Any) -> tuple[Any, Any]:
    """A request on a new connection, and its wire."""
    waiting = upstream.acquire(cluster or upstream.cluster())
    wire = upstream.loop.dials[0].accept(room)
    upstream.get(waiting, **options)
    return waiting, wire


@pytest.mark.parametrize(
    ("method", "answer", "events", "reused"),
    [
        (b"GET", OK, [("head", 200, b"ok", True)], True),
        (b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", [("head", 200, b"ok", True)], True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", [("head", 200, b"", True)], True),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", [("head", 204, b"", True)], True),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", [("head", 304, b"", True)], True),
        (b"GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", [("head", 200, b"ok", True)], False),
        (b"GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", [("head", 200, b"ok", True)], False),
        (b"GET", OK + b"more", [("head", 200, b"ok", True)], False),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, [("interim", 100), ("head", 200, b"ok", True)], True),
        (
            b"GET", b"HTTP/1.1 103 Hints\r\nlink: a\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + OK,
            [("interim", 103), ("interim", 100), ("head", 200, b"ok", True)], True,
        ),
        (b"GET", b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes", [("head", 101, b"", True)], False),
        (b"GET", b"HTTP/1.1 101 Switching\r\nx-a: 1\r\n\r\nbytes", [("head", 101, b"", True)], False),
        (b"GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nno", [("failed", "UPE", "reset")], False),
        (b"GET", b"nonsense\r\n\r\n", [("failed", "UPE", "reset")], False),
        (
            b"GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            [("head", 200, b"", False), ("failed", "UPE", "reset")], False,
        ),
    ],
)  # fmt: skip
def test_answers(upstream: Any, method: bytes, answer: bytes, events: list[Any], reused: bool) -> None:
    """What an answer in one piece tells the sink, and whether its connection takes another request (RFC 9112, sections 6 and 9)."""
    waiting, wire = begun(upstream, method=method)
    upstream.answer(waiting, answer)
    endpoint = waiting.connection.owner
    assert waiting.events == events
    assert (endpoint.take() is not None) is reused
    assert wire.closed is not reused or wire.ended is not reused


def test_any_cut(upstream: Any) -> None:
    """Heads and bodies may come in any pieces."""
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    cluster = upstream.cluster()
    waiting, _ = begun(upstream, cluster=cluster)
    for cut in range(1, len(whole)):
        upstream.answer(waiting, whole[:cut])
        upstream.answer(waiting, whole[cut:])
        heads = [event for event in waiting.events if event[0] == "head"]
        payload = b"".join(event[-2] for event in waiting.events if event[0] in ("head", "data"))
        assert waiting.events[0] == ("interim", 100) and len(heads) == 1 and payload == b"ok"
        assert waiting.events[-1][-1] is True
        waiting.connection, waiting.events = cluster.endpoints[0].take(), []
        assert waiting.connection is not None, cut
        upstream.get(waiting)
    assert len(upstream.loop.wires) == 1 and waiting.connection.served == len(whole)


def test_until_close(upstream: Any) -> None:
    """A body without a length ends with its connection, if that ends in peace (RFC 9112, section 8)."""
    waiting, wire = begun(upstream)
    upstream.answer(waiting, b"HTTP/1.1 200 OK\r\n\r\none")
    upstream.answer(waiting, b"two")
    wire.hang_up()
    upstream.loop.turn()
    assert waiting.events == [("head", 200, b"one", False), ("data", b"two", False), ("data", b"", True)]
    assert waiting.connection.owner.connections == 0


def test_until_reset(upstream: Any) -> None:
    """The same body cut by a reset is not whole."""
    waiting, wire = begun(upstream)
    upstream.answer(waiting, b"HTTP/1.1 200 OK\r\n\r\none")
    wire.reset()
    upstream.loop.turn()
    assert waiting.events == [("head", 200, b"one", False), ("failed", "UPE", "none")]


@pytest.mark.parametrize("how", ["hang_up", "reset"])
@pytest.mark.parametrize(
    ("before", "failed"),
    [
        (b"", ("failed", "UC", "reset")),
        (b"HTTP/1.1 2", ("failed", "UC", "reset")),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ("failed", "UC", "reset")),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", ("failed", "UPE", "none")),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", ("failed", "UPE", "none")),
    ],
)
def test_lost(upstream: Any, how: str, before: bytes, failed: Any) -> None:
    """A connection that goes before the answer is whole fails it once, and leaves no account behind."""
    waiting, wire = begun(upstream)
    upstream.answer(waiting, before)
    getattr(wire, how)()
    upstream.loop.turn()
    upstream.loop.turn(100)
    endpoint = waiting.connection.owner
    assert [event for event in waiting.events if event[0] == "failed"] == [failed] == waiting.events[-1:]
    assert (endpoint.active, endpoint.connections) == (0, 0)


def test_broken_body(upstream: Any) -> None:
    """A chunk that is none, behind a good beginning, ends the connection."""
    waiting, wire = begun(upstream)
    upstream.answer(waiting, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
    upstream.answer(waiting, b"zz\r\n")
    assert waiting.events == [("head", 200, b"ok", False), ("failed", "UPE", "reset")]
    assert wire.was_reset and waiting.connection.owner.active == 0


def test_idle_speaks(upstream: Any) -> None:
    """Bytes nobody asked for end an idle connection: they could be taken for the next answer."""
    waiting, wire = begun(upstream)
    upstream.answer(waiting, OK)
    wire.say(b"HTTP/1.1 200 OK\r\n\r\n")
    upstream.loop.turn()
    endpoint = waiting.connection.owner
    assert wire.was_reset and endpoint.take() is None and endpoint.connections == 0


@pytest.mark.parametrize(("chunked", "sent"), [(False, b"onetwo"), (True, b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")])
def test_request_body(upstream: Any, chunked: bool, sent: bytes) -> None:
    """A body is framed as its head says; its end is not told twice."""
    source = Source()
    waiting, wire = begun(upstream, source=source, method=b"POST", chunked=chunked)
    waiting.connection.write(b"one", False)
    assert not waiting.connection.requested
    waiting.connection.write(b"two", not chunked)
    if chunked:
        waiting.connection.write(b"", True)
    assert waiting.connection.requested
    assert wire.heard().partition(b"\r\n\r\n")[2] == sent
    upstream.answer(waiting, OK)
    assert waiting.connection.owner.take() is waiting.connection and source.calls == []


def test_slow_endpoint(upstream: Any) -> None:
    """An endpoint that does not read pauses the source once, and resumes it when all is sent."""
    source = Source()
    waiting, wire = begun(upstream, room=100, source=source, method=b"POST")
    waiting.connection.write(b"x" * 100_000, False)
    waiting.connection.write(b"x", False)
    assert source.calls == ["pause"]
    wire.room = 1 << 30
    upstream.loop.turn()
    assert source.calls == ["pause", "resume"]


def test_lost_in_pause(upstream: Any) -> None:
    """A connection that dies while it holds its source back stops it, once, and fails its request."""
    source = Source()
    waiting, wire = begun(upstream, room=0, source=source, method=b"POST")
    waiting.connection.write(b"x" * 100_000, False)
    wire.reset()
    upstream.loop.turn()
    assert source.calls == ["pause", "stop"] and waiting.events == [("failed", "UC", "reset")]
    waiting.connection.write(b"late", True)
    waiting.connection.abort()


def test_early_answer(upstream: Any) -> None:
    """An answer before the request's end is whole, and spoils the connection (RFC 9112, section 9.6)."""
    source = Source()
    waiting, wire = begun(upstream, source=source, method=b"POST")
    upstream.answer(waiting, OK)
    upstream.loop.turn()
    assert waiting.events == [("head", 200, b"ok", True)] and wire.ended
    assert waiting.connection.owner.active == 0 and source.calls == []


def test_abort(upstream: Any) -> None:
    """A request that is given up resets its connection; nothing is told any more."""
    waiting, wire = begun(upstream, source=Source(), method=b"POST")
    waiting.connection.abort()
    waiting.connection.abort()
    wire.say(OK)
    upstream.loop.turn()
    assert waiting.events == [] and wire.was_reset and wire.closed and waiting.connection.owner.active == 0


def test_dropped_at_an_interim_head(upstream: Any) -> None:
    """A sink may give the request up while it is told of a 1xx."""
    waiting, wire = begun(upstream)
    waiting.on_interim = lambda head: waiting.connection.abort()
    upstream.answer(waiting, b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert waiting.events == [] and wire.was_reset


def test_upgrade(upstream: Any) -> None:
    """Behind a 101 that was asked for, bytes are opaque, both ways, until the endpoint closes."""
    source = Source()
    waiting, wire = begun(upstream, source=source, upgrade=True)
    upstream.answer(waiting, b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst")
    upstream.answer(waiting, b"HTTP/1.1 200 OK\r\n\r\n")
    waiting.connection.end_writing()
    upstream.loop.turn()
    assert wire.ended and not wire.closed
    wire.hang_up()
    upstream.loop.turn()
    assert waiting.events == [("head", 101, b"first", False), ("data", b"HTTP/1.1 200 OK\r\n\r\n", False), ("data", b"", True)]
    assert waiting.connection.owner.active == 0


def test_slow_sink(upstream: Any) -> None:
    """A sink holds its connection back, and lets it go on."""
    waiting, wire = begun(upstream)
    waiting.connection.pauseProducing()
    assert not upstream.loop.reads(wire)
    waiting.connection.resumeProducing()
    assert upstream.loop.reads(wire)
    waiting.connection.stopProducing()
    upstream.answer(waiting, OK)
    assert waiting.events == [("head", 200, b"ok", True)]


def test_our_address(upstream: Any) -> None:
    """Our end is named as the kernel names it."""
    waiting, wire = begun(upstream)
    assert waiting.connection.local_name == waiting.connection.local_name == str(wire.transport.local)
