"""What every connection needs: our own listeners known, handshakes counted."""

import socket
from typing import Any

import pytest
from OpenSSL import SSL

from meshcar.current import Current
from meshcar.errors import IdentityMismatch
from meshcar.net.tls import HTTP_ALPN, TCP_ALPN
from meshcar.observe.counters import Counters
from meshcar.observe.names import HANDSHAKES
from meshcar.rules.policies import UpstreamTls
from meshcar.upstream.opener import Opener, OwnListeners, is_local

MUTUAL = UpstreamTls("ISTIO_MUTUAL")


class Contexts:
    """Stands for TlsContexts: keeps what it is asked, and refuses when told to."""

    def __init__(self) -> None:
        self.refuses: Exception | None = None
        self.asked: list[Any] = []

    def client_connection(self, sock: Any, tls: UpstreamTls, alpn: Any, peer: str) -> str:
        self.asked.append((alpn, peer))
        return "connection"

    def check_server(self, connection: Any, tls: UpstreamTls) -> str:
        if self.refuses is not None:
            raise self.refuses
        return "peer"


@pytest.fixture
def contexts() -> Contexts:
    return Contexts()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def opener(contexts: Contexts, counters: Counters) -> Opener:
    return Opener(None, None, lambda: 0.0, Current(contexts), counters, OwnListeners())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("127.8.9.10", True), ("0.0.0.0", True), ("192.0.2.1", False), ("2001:db8::1", False)]
)
def test_is_local(host: str, local: bool) -> None:
    """An address is this machine's if a socket can be bound to it."""
    assert is_local(host) is local


def test_ipv6_loopback() -> None:
    """The IPv6 loopback is local where there is IPv6."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    assert is_local("::1")


def test_own_listeners() -> None:
    """Our ports on our addresses; the same number elsewhere, and other ports here, are not ours."""
    own = OwnListeners()
    own.ports.add(15000)
    assert own("127.0.0.1", 15000) and not own("127.0.0.1", 15001) and not own("192.0.2.1", 15000)


def test_alpn(opener: Opener, contexts: Contexts) -> None:
    """HTTP and opaque bytes offer Istio's protocols for each; sessions are those of the endpoint."""
    opener.client_tls(None, MUTUAL, False, "10.0.0.1:80")  # type: ignore[arg-type]
    opener.client_tls(None, MUTUAL, True, "10.0.0.1:81")  # type: ignore[arg-type]
    assert contexts.asked == [(HTTP_ALPN, "10.0.0.1:80"), (TCP_ALPN, "10.0.0.1:81")] and opener.generation() is contexts


def test_counted(opener: Opener, contexts: Contexts, counters: Counters) -> None:
    """Every handshake is counted by its result, also the one whose peer is somebody else."""
    assert opener.check_server(None, MUTUAL) == "peer"  # type: ignore[comparison-overlap, arg-type]
    contexts.refuses = IdentityMismatch("somebody else", "bad_identity")
    with pytest.raises(IdentityMismatch):
        opener.check_server(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None), MUTUAL)
    opener.handshake_failed(ConnectionResetError(), SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))
    counted = {labels: slot.value for labels, slot in counters.slots(HANDSHAKES)}  # type: ignore[union-attr]
    assert counted == {("outbound", "ok"): 1, ("outbound", "bad_identity"): 1, ("outbound", "tls_error"): 1}
