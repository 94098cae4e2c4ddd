"""TLS for sockets: OpenSSL contexts out of one generation of Credentials, and what is asked of a peer after the handshake."""

import os
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from meshcar.errors import IdentityMismatch, SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.peer import PeerIdentity, peer_identity
from meshcar.identity.verify import check_client, check_mesh_server, check_named_server, check_time
from meshcar.net.tls_context import files_context, mesh_client_context, mesh_server_context, offer_hybrid, openssl_text
from meshcar.net.tls_sessions import Sessions
from meshcar.rules.policies import UpstreamTls

HTTP_ALPN = (b"istio-http/1.1", b"istio", b"http/1.1")
"""What a client offers for HTTP/1.1. Source: Istio's istio.alpn filter."""

ORIGINATED_ALPN = (b"http/1.1",)
"""What it offers to a server outside of the mesh, for HTTP; for opaque bytes nothing."""

TCP_ALPN = (b"istio",)
"""What a client offers for opaque bytes. Istio's `istio-peer-exchange` would make the peer send metadata ahead of the stream."""

_KNOWN = 1024  # peers whose certificates need not be parsed again


class TlsContexts:
    """Everything TLS that depends on one generation of Credentials; a rotation makes a new object, old connections keep the old.

    As contexts, and with them ticket keys and the client's sessions, end with their generation, no resumed session outlives a trust
    bundle. `credentials` None still lets plain SIMPLE and MUTUAL connections be made. `resumable` is off where a server must always
    see the whole chain (XFCC's Chain): a resumed session has only the leaf. `seconds` gives wall time, a reactor's seconds().
    """

    def __init__(self, credentials: Credentials | None, trust_domain: str, seconds: Callable[[], float], *, resumable: bool = True) -> None:
        self.credentials = credentials
        self._trust_domain = trust_domain
        self._seconds = seconds
        self._resumable = resumable
        self._server = None if credentials is None else mesh_server_context(credentials, resumable)
        self._client = None if credentials is None else _Client(mesh_client_context(credentials), Sessions())
        self._from_files: dict[tuple[object, ...], _Client] = {}
        self._identity = lru_cache(_KNOWN)(_identity)  # reading a certificate costs 40 us

    def server_connection(self, sock: socket.socket) -> SSL.Connection:
        """The server's end on an accepted socket, before the handshake. Raises SettingsError without credentials."""
        if self._server is None:
            raise SettingsError("no certificate to serve TLS with: --certs is not given")
        connection = SSL.Connection(self._server, sock)
        connection.set_accept_state()
        return connection

    def client_connection(self, sock: socket.socket, tls: UpstreamTls, alpn: Sequence[bytes], peer: str = "") -> SSL.Connection:
        """The client's end on a connected socket, before the handshake. Raises SettingsError when a file cannot be used.

        With `peer`, which names the endpoint, it resumes a session that an earlier connection laid aside, if there is one.
        """
        client = self._client_of(tls)
        connection = SSL.Connection(client.context, sock)
        if tls.sni:
            connection.set_tlsext_host_name(tls.sni)
        if alpn:
            connection.set_alpn_protos(list(alpn))
        connection.set_connect_state()
        if peer and client.sessions is not None and client.sessions.offer(connection, (peer, tls.sni, alpn), self._seconds()):
            offer_hybrid(connection)
        return connection

    def accept_client(self, connection: SSL.Connection) -> PeerIdentity:
        """Who called, after the handshake; raises IdentityMismatch when the caller may not. Only what is not `resumable` has its chain."""
        peer = self._peer(connection, with_chain=not self._resumable)
        check_time(peer, self._seconds())
        check_client(peer, self._trust_domain)
        return peer

    def check_server(self, connection: SSL.Connection, tls: UpstreamTls) -> PeerIdentity:
        """Who answered, after the handshake; raises IdentityMismatch when it is not whom `tls` expects.

        In the modes SIMPLE and MUTUAL that is one of `tls.identities`, and `tls.name`; without either anybody whose chain was verified.
        insecureSkipVerify, which is for these modes only, takes anybody. Only the leaf of its chain is kept.
        """
        peer = self._peer(connection, with_chain=False)
        if tls.mode == "ISTIO_MUTUAL":
            check_time(peer, self._seconds())
            check_mesh_server(peer, tls.identities, self._trust_domain)
        elif not tls.insecure_skip_verify:
            check_time(peer, self._seconds())
            for names in filter(None, (tls.identities, {tls.name} if tls.name else None)):
                check_named_server(peer, names)
        return peer

    def _client_of(self, tls: UpstreamTls) -> "_Client":
        if tls.mode == "ISTIO_MUTUAL":
            if self._client is None:
                raise SettingsError("no certificate to speak mutual TLS with: --certs is not given")
            return self._client
        files = (tls.ca_file, tls.cert_file, tls.key_file, tls.crl_file)
        key = (tls.insecure_skip_verify, *files, *map(_stamp, files))
        client = self._from_files.get(key)
        if client is None:
            # a file that changed leaves its old context behind; one of a kind is kept
            self._from_files = {other: made for other, made in self._from_files.items() if other[:5] != key[:5]}
            # a list of revoked certificates runs out, and is only asked in a full handshake
            sessions = None if tls.crl_file is not None else Sessions()
            client = self._from_files[key] = _Client(files_context(tls), sessions)
        return client

    def _peer(self, connection: SSL.Connection, *, with_chain: bool) -> PeerIdentity:
        leaf = connection.get_peer_certificate()
        if leaf is None:
            raise IdentityMismatch("the peer showed no certificate", "no_certificate")
        try:
            if not with_chain:
                return self._identity(dump_certificate(FILETYPE_ASN1, leaf))
            chain = connection.get_peer_cert_chain(as_cryptography=True)
            return peer_identity(leaf.to_cryptography(), chain or ())
        except ValueError as error:
            raise IdentityMismatch(f"the peer's certificate cannot be read: {error}", "malformed") from error


@attrs.frozen(eq=False)
class _Client:
    """A context, and the sessions made with it that may be resumed (None: none may)."""

    context: SSL.Context
    sessions: Sessions | None


def refusal(error: Exception, connection: SSL.Connection) -> str:
    """The word by which a failed handshake or check is counted.

    no_certificate, expired, not_yet_valid, revoked, unknown_ca, malformed: what was wrong with the peer's certificate; bad_identity: it
    is somebody else's; tls_error: everything else, such as a peer that refused ours, or bytes that are no TLS.
    """
    if isinstance(error, IdentityMismatch):
        return error.reason
    text = openssl_text(error)
    if "did not return a certificate" in text:
        return "no_certificate"
    if "certificate verify failed" in text:
        # pyOpenSSL tells the verdict only to a verify callback, and with one the verdict would be Python's
        return _VERDICTS.get(SSL._lib.SSL_get_verify_result(connection._ssl), "malformed")  # type: ignore[attr-defined]
    return "malformed" if "asn1" in text.lower() else "tls_error"


def failure_text(error: Exception) -> str:
    """A failed handshake or check in one line without blanks, for %UPSTREAM_TRANSPORT_FAILURE_REASON%. Source: Envoy's shape."""
    return f"TLS_error:|{(openssl_text(error) or 'connection closed').replace(' ', '_')}:TLS_error_end"


def _stamp(file: str | None) -> tuple[int, int] | None:
    try:
        status = os.stat(file) if file is not None else None
    except OSError:
        return None
    return status and (status.st_ino, status.st_mtime_ns)


def _identity(der: bytes) -> PeerIdentity:
    return peer_identity(x509.load_der_x509_certificate(der))


# X509_V_ERR_*, openssl-verification-options(1)
_VERDICTS = {
    2: "unknown_ca",
    7: "unknown_ca",
    9: "not_yet_valid",
    10: "expired",
    18: "unknown_ca",
    19: "unknown_ca",
    20: "unknown_ca",
    21: "unknown_ca",
    23: "revoked",
}
