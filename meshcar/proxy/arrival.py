"""A captured connection before anybody knows what it speaks."""

from collections.abc import Callable

from twisted.python.failure import Failure

from meshcar.net.address import Address
from meshcar.net.origdst import original_destination
from meshcar.net.timeouts import Timeout, Timeouts
from meshcar.net.transport import Transport
from meshcar.observe.names import REFUSED
from meshcar.observe.record import connection_record
from meshcar.proxy.parts import Parts
from meshcar.wire.clienthello import ClientHello, parse
from meshcar.wire.sniff import Guess, sniff, sniff_tls

SNIFF_SECONDS = 0.5
"""How long a client may be silent before its server is let to speak first, where HTTP is not declared."""
PATIENT_SECONDS = 3600.0
"""How long a client may be silent where HTTP is declared; then the connection is closed."""

Silence = tuple[float, Callable[[], None]]
"""How many seconds a client may be silent, and what follows then."""


def destination_of(transport: Transport, parts: Parts, listener: str) -> Address | None:
    """Where a captured connection was meant to go; None: it was not captured, or leads to a listener of this sidecar."""
    destination = original_destination(transport.socket)
    if destination is None and listener == "inbound" and parts.manner.intercept == "tproxy":
        # what goes out is redirected all the same, as with Istio, and so is what the sidecar sends to its own pod
        destination = transport.local
    if destination is not None and not parts.is_own(destination.host, destination.port):
        return destination
    refuse(transport, parts, listener, "not_captured" if destination is None else "loop")
    return None


def refuse(transport: Transport, parts: Parts, listener: str, reason: str) -> None:
    """Counts a connection that has nowhere to go, and logs it, as Envoy one that came to its port straight; the caller closes it."""
    parts.counters.counter(REFUSED, listener, reason).value += 1
    record = connection_record(parts.reactor.seconds(), str(transport.local), str(transport.peer))
    record.flags, record.cluster = "UH", "BlackHoleCluster"
    parts.log.add(record)


def client_hello(data: bytes) -> ClientHello | int:
    """What the first bytes of TLS ask for, or how many more are needed at least. What is no ClientHello asks for nothing."""
    try:
        return parse(data)
    except ValueError:
        return ClientHello()


class Arrival:
    """The first protocol of a connection: calls `begin` when it is made, and `late` if `done` is not called in time."""

    __slots__ = ("_begin", "_silence", "_timeout", "_timeouts", "_transport")

    def __init__(
        self, begin: Callable[["Arrival"], object], timeouts: Timeouts | None = None, silence: Silence | None = None
    ) -> None:
        self._begin = begin
        self._timeouts = timeouts
        self._silence = silence
        self._timeout: Timeout | None = None

    @classmethod
    def sniffing(
        cls, transport: Transport, timeouts: Timeouts, known: Callable[[Guess], None], silence: Silence
    ) -> "Arrival":
        """Calls `known` with what the first bytes are, or the other when none come in time."""
        return cls.looking(transport, timeouts, lambda guess, _: known(guess), silence, hello=False)

    @classmethod
    def looking(
        cls, transport: Transport, timeouts: Timeouts, known: Callable[[Guess, ClientHello], None], silence: Silence, *,
        hello: bool, http: bool = True,
    ) -> "Arrival":  # fmt: skip
        """The same, and if `hello` the whole ClientHello of TLS, in however many pieces it comes; an empty one where there is none.

        Without `http` nobody waits for bytes that may become HTTP.
        """
        judge = sniff if http else sniff_tls

        def begin(arrival: Arrival) -> None:
            def look(data: bytes, last: bool) -> int:
                guess = judge(data)
                asked = client_hello(data) if hello and guess is Guess.TLS else ClientHello()
                if isinstance(asked, int):
                    return len(data) + asked  # of a ClientHello that ends too early nobody knows what it asks for: it goes nowhere
                if guess is Guess.MORE and not last:
                    return len(data) + 1
                arrival.done()
                transport.watch(None)
                known(Guess.OPAQUE if guess is Guess.MORE else guess, asked)
                return 0

            transport.sniff(look)

        def late() -> None:
            transport.watch(None)
            silent()

        seconds, silent = silence
        return cls(begin, timeouts, (seconds, late))

    def makeConnection(self, transport: Transport) -> None:
        """The connection is made."""
        self._transport = transport
        if self._silence is not None and self._timeouts is not None:
            self._timeout = self._timeouts.after(*self._silence)
        self._begin(self)

    def done(self) -> None:
        """It is known what the connection speaks."""
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def close_if_silent(self) -> None:
        """For draining: ends a connection whose client has said nothing, and whose server may not speak first."""
        if self._timeout is not None and self._silence is not None and self._silence[0] > SNIFF_SECONDS and not self._transport.peek(1):
            self._transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """It left before it said anything."""
        self.done()


class Tasting:
    """Reads the first bytes of a connection whose socket does not show them, as under TLS, and hands them on with a guess.

    Without a `silence` of the caller's, a client that says nothing for SNIFF_SECONDS is OPAQUE.
    """

    __slots__ = ("_data", "_known", "_timeout")

    def __init__(self, known: Callable[[Guess, bytes], None], timeouts: Timeouts, silence: Silence | None = None) -> None:
        self._known = known
        self._data = b""
        seconds, silent = silence or (SNIFF_SECONDS, lambda: self._known(Guess.OPAQUE, self._data))
        self._timeout = timeouts.after(seconds, silent)

    def makeConnection(self, transport: Transport) -> None:
        """The connection is made."""

    def dataReceived(self, data: bytes) -> None:
        """At most some 30 bytes and what came with them."""
        self._data += data
        guess = sniff(self._data)
        if guess is not Guess.MORE:
            self._timeout.cancel()
            self._known(guess, self._data)

    def connectionLost(self, reason: Failure) -> None:
        """It left before it said anything."""
        self._timeout.cancel()
