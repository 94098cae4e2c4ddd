"""The two small interfaces between whoever wants an answer and the connection that brings it."""

from typing import Any, Protocol

from meshcar.errors import TryFailed
from meshcar.wire.head import ResponseHead


class Sink(Protocol):
    """Who wants an answer: an exchange, or treq through an Answer. `ended` comes True once, with the last bytes."""

    def on_interim(self, head: ResponseHead) -> None:
        """A 1xx head but 101; any number, before `on_head`."""

    def on_head(self, head: ResponseHead, data: bytes, ended: bool) -> None:
        """The response begins, with what of its body came in the same read."""

    def on_data(self, data: bytes, ended: bool) -> None:
        """More of the body; `data` may be empty when `ended`."""

    def on_failed(self, error: TryFailed) -> None:
        """Instead of a head, or after one; always the last call."""


class Waiter(Protocol):
    """Who waits for a connection that is not open yet. Exactly one of the two is called, once, unless it is withdrawn."""

    def on_connection(self, connection: "Stream") -> None:
        """A connection of its own, until the answer ends."""

    def on_connect_failed(self, error: TryFailed) -> None:
        """There will be none."""


class Stream(Protocol):
    """One request on one connection. It is a push producer of the response."""

    def send(self, head: bytes, sink: Sink, method: bytes, chunked: bool, source: Any, upgrade: bool = False) -> None:
        """Writes `head`: the request's head and what is there of its body, framed.

        `source` is the push producer of the rest, held back while the endpoint is slow; None: that is all of it. `chunked` says
        how `write` frames the rest; `upgrade` that a 101 is welcome.
        """

    def write(self, data: bytes, ended: bool) -> None:
        """More of the request's body, not framed."""

    def abort(self) -> None:
        """Nobody wants the answer any more."""

    def overdue(self) -> None:
        """The answer did not come in time, which counts against the endpoint; `abort` follows."""

    def pauseProducing(self) -> None:
        """The sink is slow."""

    def resumeProducing(self) -> None:
        """The sink goes on."""
