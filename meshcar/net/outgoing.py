"""Small writes wait for the end of the reactor's turn, and leave one after the other.

To send is half of what a request costs, and costs less when the last thing the processor did was to send; and who is woken by the
first finds the others when it comes to run (docs/performance.md).
"""

from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger

if TYPE_CHECKING:
    from meshcar.net.transport import Transport


class Outgoing:
    """The transports that hold something back. Made by a reactor that calls `leave` whenever it has served all that happened."""

    _log: ClassVar[Logger] = Logger(__name__)

    __slots__ = ("_transports",)

    def __init__(self) -> None:
        self._transports: list[Transport] = []

    def add(self, transport: "Transport") -> None:
        """Its `release` will be called."""
        self._transports.append(transport)

    def leave(self) -> None:
        """Sends what is held back."""
        transports, self._transports = self._transports, []
        for transport in transports:
            try:
                transport.release()
            except Exception:  # the others' bytes must leave all the same
                self._log.failure("a connection is given up")
                transport.abortConnection()
