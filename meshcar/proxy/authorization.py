"""The AuthorizationPolicies in force, asked about requests and connections, and counted."""

from typing import TYPE_CHECKING

from meshcar.identity.peer import PeerIdentity
from meshcar.net.transport import Transport
from meshcar.observe.counters import Counters
from meshcar.observe.names import AUDITED, HTTP_RBAC, TCP_RBAC, Metric
from meshcar.rules.authz import Authorization, Decision
from meshcar.rules.authz_clauses import Caller
from meshcar.rules.snapshot import InboundListener

if TYPE_CHECKING:
    from meshcar.proxy.exchange import Exchange


class Authorizer:
    """Made by the inbound side, for its own life."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def refuses_request(self, policies: Authorization, exchange: "Exchange", port: int, listener: InboundListener) -> str:
        """The details of a refusal, `rbac_access_denied_matched_policy[...]`, or nothing. `port` is the workload's own."""
        head, session = exchange.head, exchange.session
        source, remote = session.remote.host, exchange.side.client_address(exchange)
        decision = policies.decide(
            Caller(_names(session.peer), source, remote, session.local.host, port, session.sni.lower(), head)
        )
        self._count(HTTP_RBAC, decision, f"inbound_0.0.0.0_{port}" if listener.service else "InboundPassthroughCluster")
        return "" if decision.allowed else decision.details

    def refuses_connection(
        self, policies: Authorization, transport: Transport, destination: str, port: int, peer: PeerIdentity | None, sni: str
    ) -> str:
        """The same for a connection that is not HTTP's; it is judged when it comes, not when its first byte does."""
        source = transport.peer.host
        decision = policies.decide(Caller(_names(peer), source, source, destination, port, sni.lower()))
        self._count(TCP_RBAC, decision)
        return "" if decision.allowed else decision.details

    def _count(self, metric: Metric, decision: Decision, *prefix: str) -> None:
        for outcome in decision.outcomes:
            result = "allowed" if outcome.allowed else "denied"
            labels = ("", outcome.action.lower(), result) if outcome.dry else (result, "", "")
            self._counters.counter(metric, *prefix, *labels).value += 1
        for rule in decision.audited:
            self._counters.counter(AUDITED, rule).value += 1


def _names(peer: PeerIdentity | None) -> tuple[str, ...]:
    """What a certificate calls its owner. Source: Envoy's RBAC, Principal.Authenticated."""
    return () if peer is None else (*peer.uris, *peer.dns, peer.subject)
