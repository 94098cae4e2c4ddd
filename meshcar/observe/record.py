"""What is known of one exchange, or of one opaque connection, when it is over."""

from collections.abc import Mapping, Sequence

from meshcar.identity.peer import PeerIdentity
from meshcar.wire.head import Header
from meshcar.wire.trace import TraceContext


class Record:
    """One line of the access log. The data path sets what it knows; the rest keeps the default, `-` as Envoy prints it.

    Defaults live on the class, so making one costs next to nothing. Text that is not quoted in Istio's format (`details`,
    `termination`, `route`) holds no blanks: `_` stands for one, as with Envoy.
    """

    start: float = 0.0
    """Seconds since 1970."""
    duration_ms: int = 0
    service_ms: int | None = None
    """Milliseconds that the upstream host took; None: no answer came from one."""

    method: bytes = b"-"
    target: bytes = b"-"
    """As it went upstream; what the client asked for is in x-envoy-original-path after a rewrite."""
    protocol: str = "-"
    """`HTTP/1.1`."""
    authority: bytes = b"-"
    headers: Sequence[Header] = ()
    """Of the request, as they went upstream."""
    noted: Mapping[bytes, bytes] = {}
    """Those of the request's headers that the usual format wants, so that nobody searches for them."""
    response_headers: Sequence[Header] = ()
    request_id: bytes = b"-"
    status: int = 0
    received: int = 0
    """Bytes of the request's body."""
    sent: int = 0
    """Bytes of the response's body."""

    flags: str = "-"
    """Envoy's response flags, joined by commas: `URX,UF`."""
    details: str = "-"
    """Envoy's %RESPONSE_CODE_DETAILS%."""
    termination: str = "-"
    """Envoy's %CONNECTION_TERMINATION_DETAILS%."""
    failure: str = "-"
    """Envoy's %UPSTREAM_TRANSPORT_FAILURE_REASON%."""

    route: str = "-"
    cluster: str = "-"
    upstream_host: str = "-"
    """Addresses are `10.0.0.1:80` or `[fd00::1]:80`."""
    upstream_local: str = "-"
    downstream_local: str = "-"
    downstream_remote: str = "-"
    """The client, by x-forwarded-for where that is believed (then the port is 0)."""
    downstream_direct_remote: str = "-"
    """The peer of the connection."""
    hostname: str = "-"
    """This machine's."""
    trace: TraceContext | None = None
    attempts: int = 0
    """How often the request was sent, or is about to be."""
    sni: str = "-"
    """What the client asked for, through `observe.operators.word`."""
    peer: PeerIdentity | None = None
    """Who the downstream peer proved to be."""

    @property
    def trace_id(self) -> str:
        """Of the trace that the exchange belongs to."""
        return self.trace.trace_id.decode() if self.trace is not None else "-"


def connection_record(start: float, local: str, remote: str, sni: str = "") -> Record:
    """The record of a connection that has not become a request, or never will: when it began, and between whom."""
    record = Record()
    record.start = start
    record.downstream_local = local
    record.downstream_remote = record.downstream_direct_remote = remote
    record.sni = sni or "-"
    return record
