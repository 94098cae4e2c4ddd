"""A captured outgoing connection, until it is known what it speaks and which chain of its listener takes it."""

from typing import TYPE_CHECKING

import attrs

from meshcar.net.address import Address
from meshcar.net.transport import Transport
from meshcar.observe.operators import word
from meshcar.proxy.arrival import PATIENT_SECONDS, SNIFF_SECONDS, Arrival, Silence
from meshcar.proxy.passthrough import relay
from meshcar.proxy.session import Session
from meshcar.rules.listeners import Chain, OutboundListener
from meshcar.upstream.cluster import Cluster
from meshcar.wire.clienthello import ClientHello
from meshcar.wire.sniff import Guess

if TYPE_CHECKING:
    from meshcar.proxy.outbound import Outbound


def depart(side: "Outbound", transport: Transport, local: Address) -> Arrival:
    """The first protocol of a connection that was meant for `local`.

    Where neither HTTP nor a name has to be recognised nobody waits for the client's first bytes, so that its server may speak first.
    """
    listener = side.parts.snapshot.get().listeners.get(local.host, local.port)
    if listener is None:
        return Arrival(lambda _: Departure(side, transport, local).take(None))
    departure = Departure(side, transport, local, listener)
    if not listener.reads_http and not listener.reads_names:
        return Arrival(lambda _: departure.take(listener.choose(local.host)))
    return Arrival.looking(
        transport, side.timeouts, departure.known, departure.silence(), hello=listener.reads_names, http=listener.reads_http
    )


@attrs.define
class Departure:
    """One connection on its way out; `sni` is the name its ClientHello asked for, if that was read."""

    side: "Outbound"
    transport: Transport
    local: Address
    listener: OutboundListener | None = None
    sni: str = ""

    def silence(self) -> Silence:
        """What follows when the client says nothing: its server may speak first where no rule could have another say."""
        assert self.listener is not None
        if self.listener.may_speak_first(self.local.host):
            return SNIFF_SECONDS, lambda: self.known(Guess.OPAQUE, ClientHello())
        return PATIENT_SECONDS, self.transport.loseConnection  # opened in advance, perhaps; that must not get past the rules

    def known(self, guess: Guess, hello: ClientHello) -> None:
        """The first bytes have come."""
        assert self.listener is not None
        name = hello.sni.lower()
        self.sni = word(name) if name else ""
        self.take(self.listener.choose(self.local.host, name.decode("latin-1"), guess is Guess.HTTP1))

    def take(self, chain: Chain | None) -> None:
        """Goes the way of a chain; without one, to the address that was meant, if that is allowed."""
        side, local = self.side, self.local
        if chain is None:
            clusters = side.parts.clusters
            allowed = side.allows_any()
            self._relay(clusters.original("PassthroughCluster", local.host, local.port, opaque=True) if allowed else clusters.black_hole)
        elif chain.route is None:
            assert self.listener is not None
            self.transport.attach(Session(side, local, self.transport.peer, service=self.listener.service))
        else:
            self._relay(side.parts.clusters.opaque(chain.route.pick(side.roll())))

    def _relay(self, cluster: Cluster | None) -> None:
        relay(self.side, self.transport, cluster, self.local, sni=self.sni)
