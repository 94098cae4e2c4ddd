"""Two processes of one sidecar that ask each other, over a pair of Unix sockets."""

import os
import socket
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import attrs
from twisted.internet import interfaces
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshcar.wire.frames import Frame, Frames, frame

READ_SIZE = 262144
PATIENCE = 5
"""In so many parts an answer is waited for: after a pause of the whole machine, or a step of its clock, only one of them is over."""


class Refused(Exception):
    """The other side answered that it can not, and why. A call may raise it to answer so; anything else it raises is logged, too."""


class Silent(Exception):
    """The other side did not answer in time, or is gone."""


@attrs.define
class Ask:
    """A question that waits for its answer: `left` times more `part` seconds."""

    answer: "Deferred[Frame]"
    call: str
    part: float
    left: int = PATIENCE
    timer: Any = None


@implementer(interfaces.IReadWriteDescriptor)
class Channel:
    """One end. `calls` answer what the other end asks: each takes a Frame and gives a Frame, None, or a Deferred of one of them, and
    may raise; `lost` is called once, when the other end is gone. Ends with `close`.

    What cannot be sent at once is kept: who asks much must wait for answers.
    """

    _log = Logger()

    def __init__(self, reactor: Any, sock: socket.socket, calls: Mapping[str, Callable[[Frame], Any]], lost: Callable[[], object]) -> None:
        sock.setblocking(False)
        self._reactor, self._socket, self._calls, self._lost = reactor, sock, calls, lost
        self._frames = Frames()
        self._unsent = bytearray()
        self._asks: dict[int, Ask] = {}
        self._numbers = count(1)
        self.open = True
        reactor.addReader(self)

    def tell(self, call: str, body: bytes = b"", **fields: Any) -> None:
        """Says something that needs no answer; nothing to nobody."""
        if self.open:
            self._send(frame({"call": call, **fields}, body))

    def ask(self, call: str, seconds: float, body: bytes = b"", **fields: Any) -> "Deferred[Frame]":
        """The answer; fails with Refused, or with Silent after so long, or when the other end is gone."""
        if not self.open:
            return fail(Silent("the other end is gone"))
        number = next(self._numbers)
        ask = self._asks[number] = Ask(Deferred(), call, seconds / PATIENCE)
        ask.timer = self._reactor.callLater(ask.part, self._wait_on, number)
        self._send(frame({"call": call, "ask": number, **fields}, body))
        return ask.answer

    def close(self) -> None:
        """Hangs up; what was asked has failed."""
        if not self.open:
            return
        self.open = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        for number in list(self._asks):
            self._unanswered(number, "the other end is gone")

    # -- the descriptor

    def fileno(self) -> int:
        """The socket's."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Names this in Twisted's log."""
        return "meshcar.net"

    def doRead(self) -> None:
        """Takes what is there."""
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        try:
            frames = self._frames.feed(data)
        except ValueError as e:
            self._log.error("the other end does not keep to the format: {why}", why=str(e))
            self._end()
            return
        for one in frames:
            self._take(one)

    def doWrite(self) -> None:
        """Sends what is left."""
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        if not self._unsent:
            self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or found the socket broken."""
        self._end()

    # -- within

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            self._reactor.addWriter(self)
        self._unsent += data
        self.doWrite()

    def _end(self) -> None:
        if self.open:
            self.close()
            self._lost()

    def _wait_on(self, number: int) -> None:
        ask = self._asks[number]
        ask.left -= 1
        if ask.left:
            ask.timer = self._reactor.callLater(ask.part, self._wait_on, number)
        else:
            self._unanswered(number, f"no answer to {ask.call} within {ask.part * PATIENCE:g} s")

    def _unanswered(self, number: int, why: str) -> None:
        ask = self._asks.pop(number)
        if ask.timer.active():
            ask.timer.cancel()
        ask.answer.errback(Silent(why))

    def _take(self, got: Frame) -> None:
        if "answer" in got.head:
            ask = self._asks.pop(got.head["answer"], None)
            if ask is not None:
                ask.timer.cancel()
                ask.answer.errback(Refused(got.head["failed"])) if "failed" in got.head else ask.answer.callback(got)
            return
        call, number = self._calls.get(got.head.get("call", "")), got.head.get("ask")
        if call is None:
            self._log.error("the other end calls {call!r}, which there is not", call=got.head.get("call"))
            return
        done = maybeDeferred(call, got)
        if number is None:
            done.addErrback(lambda failure: self._log.failure("a call of the other end failed", failure))
        else:
            done.addCallbacks(lambda answer: self._answer(number, answer), lambda failure: self._fail(number, failure))

    def _answer(self, number: int, answer: Frame | None) -> None:
        if self.open:
            answer = answer or Frame({})
            self._send(frame({"answer": number, **answer.head}, answer.body))

    def _fail(self, number: int, failure: Failure) -> None:
        if not failure.check(Refused):
            self._log.failure("a call of the other end failed", failure)
        if self.open:
            self._send(frame({"answer": number, "failed": failure.getErrorMessage()}))


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends: ours, and another process's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def taken(descriptor: int) -> socket.socket:
    """The end that this process was given."""
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
