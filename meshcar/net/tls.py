"""TLS for sockets: OpenSSL contexts out of one generation of Credentials, and what is asked of a peer after the handshake."""

import os
import re
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto

from meshcar.errors import IdentityMismatch, SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.peer import PeerIdentity, peer_identity
from meshcar.identity.verify import check_client, check_mesh_server, check_named_server, check_time
from meshcar.rules.policies import UpstreamTls

HTTP_ALPN = (b"istio-http/1.1", b"istio", b"http/1.1")
"""What a client offers for HTTP/1.1. Source: Istio's istio.alpn filter."""

ORIGINATED_ALPN = (b"http/1.1",)
"""What it offers to a server outside of the mesh, for HTTP; for opaque bytes nothing."""

TCP_ALPN = (b"istio",)
"""What a client offers for opaque bytes. Istio's `istio-peer-exchange` would make the peer send metadata ahead of the stream."""

_SERVER_ALPN = b"http/1.1"
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_SESSION_SECONDS = 3600
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)
_NO_AUTO_CHAIN = 0x8  # openssl/ssl.h: send what cert-chain.pem holds, without anchors out of the trust store


class TlsContexts:
    """Everything TLS that depends on one generation of Credentials; a rotation makes a new object, old connections keep the old.

    As contexts, and with them ticket keys, end with their generation, no resumed session outlives a trust bundle.
    `credentials` None still lets plain SIMPLE and MUTUAL connections be made. `resumable` is off where a server must always see
    the whole chain (XFCC's Chain): a resumed session has only the leaf. `seconds` gives wall time, a reactor's seconds().
    """

    def __init__(self, credentials: Credentials | None, trust_domain: str, seconds: Callable[[], float], *, resumable: bool = True) -> None:
        self.credentials = credentials
        self._trust_domain = trust_domain
        self._seconds = seconds
        self._server = None if credentials is None else _server_context(credentials, resumable)
        self._client = None if credentials is None else _client_context(credentials)
        self._from_files: dict[tuple[object, ...], SSL.Context] = {}

    def server_connection(self, sock: socket.socket) -> SSL.Connection:
        """The server's end on an accepted socket, before the handshake. Raises SettingsError without credentials."""
        if self._server is None:
            raise SettingsError("no certificate to serve TLS with: --certs is not given")
        connection = SSL.Connection(self._server, sock)
        connection.set_accept_state()
        return connection

    def client_connection(self, sock: socket.socket, tls: UpstreamTls, alpn: Sequence[bytes]) -> SSL.Connection:
        """The client's end on a connected socket, before the handshake. Raises SettingsError when a file cannot be used."""
        connection = SSL.Connection(self._client_context(tls), sock)
        if tls.sni:
            connection.set_tlsext_host_name(tls.sni)
        if alpn:
            connection.set_alpn_protos(list(alpn))
        connection.set_connect_state()
        return connection

    def accept_client(self, connection: SSL.Connection) -> PeerIdentity:
        """Who called, after the handshake; raises IdentityMismatch when the caller may not."""
        peer = _peer(connection, with_chain=True)
        check_time(peer, self._now())
        check_client(peer, self._trust_domain)
        return peer

    def check_server(self, connection: SSL.Connection, tls: UpstreamTls) -> PeerIdentity:
        """Who answered, after the handshake; raises IdentityMismatch when it is not whom `tls` expects.

        In the modes SIMPLE and MUTUAL that is one of `tls.identities`, and `tls.name`; without either anybody whose chain was verified.
        insecureSkipVerify, which is for these modes only, takes anybody. Only the leaf of its chain is kept.
        """
        peer = _peer(connection, with_chain=False)
        if tls.mode == "ISTIO_MUTUAL":
            check_time(peer, self._now())
            check_mesh_server(peer, tls.identities, self._trust_domain)
        elif not tls.insecure_skip_verify:
            check_time(peer, self._now())
            for names in filter(None, (tls.identities, {tls.name} if tls.name else None)):
                check_named_server(peer, names)
        return peer

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._seconds(), UTC)

    def _client_context(self, tls: UpstreamTls) -> SSL.Context:
        if tls.mode == "ISTIO_MUTUAL":
            if self._client is None:
                raise SettingsError("no certificate to speak mutual TLS with: --certs is not given")
            return self._client
        files = (tls.ca_file, tls.cert_file, tls.key_file, tls.crl_file)
        key = (tls.insecure_skip_verify, *files, *map(_stamp, files))
        context = self._from_files.get(key)
        if context is None:
            # a file that changed leaves its old context behind; one of a kind is kept
            self._from_files = {other: made for other, made in self._from_files.items() if other[:5] != key[:5]}
            context = self._from_files[key] = _files_context(tls)
        return context


def refusal(error: Exception, connection: SSL.Connection) -> str:
    """The word by which a failed handshake or check is counted.

    no_certificate, expired, not_yet_valid, revoked, unknown_ca, malformed: what was wrong with the peer's certificate; bad_identity: it
    is somebody else's; tls_error: everything else, such as a peer that refused ours, or bytes that are no TLS.
    """
    if isinstance(error, IdentityMismatch):
        return error.reason
    text = _openssl_text(error)
    if "did not return a certificate" in text:
        return "no_certificate"
    if "certificate verify failed" in text:
        # pyOpenSSL tells the verdict only to a verify callback, and with one the verdict would be Python's
        return _VERDICTS.get(SSL._lib.SSL_get_verify_result(connection._ssl), "malformed")  # type: ignore[attr-defined]
    return "malformed" if "asn1" in text.lower() else "tls_error"


def failure_text(error: Exception) -> str:
    """A failed handshake or check in one line without blanks, for %UPSTREAM_TRANSPORT_FAILURE_REASON%. Source: Envoy's shape."""
    return f"TLS_error:|{(_openssl_text(error) or 'connection closed').replace(' ', '_')}:TLS_error_end"


def _server_context(credentials: Credentials, resumable: bool) -> SSL.Context:
    context = _mesh_context(credentials)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    if not resumable:
        context.set_options(SSL.OP_NO_TICKET)
    # without it OpenSSL fails the handshake of a client that resumes
    context.set_session_id(b"meshcar")
    context.set_timeout(_SESSION_SECONDS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_alpn_select_callback(_select_alpn)
    # a server name that nobody accepts is gone when Envoy resumes the session, and with it from the access log
    context.set_tlsext_servername_callback(_accept_server_name)
    return context


def _client_context(credentials: Credentials) -> SSL.Context:
    context = _mesh_context(credentials)
    context.set_verify(SSL.VERIFY_PEER)
    return context


def _mesh_context(credentials: Credentials) -> SSL.Context:
    context = _context()
    context.set_cipher_list(_CIPHERS)
    try:
        context.use_certificate(credentials.chain[0])
        for certificate in credentials.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credentials.key)
        _trust(context, credentials.roots)
    except SSL.Error as error:
        raise SettingsError(f"OpenSSL refuses the certificate of {credentials.spiffe_id}: {_openssl_text(error)}") from error
    return context


def _context() -> SSL.Context:
    """TLS 1.2 and 1.3; little memory for idle connections; no cache of sessions, as tickets hold them."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _trust(context: SSL.Context, roots: Sequence[x509.Certificate]) -> None:
    """Every certificate of the bundle is an anchor, self-signed or not, as Envoy's trusted_ca."""
    store = context.get_cert_store()
    assert store is not None
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def _files_context(tls: UpstreamTls) -> SSL.Context:
    """For SIMPLE and MUTUAL: the files of a DestinationRule; without caCertificates the machine's trust store, as Istio since 1.21."""
    context = _context()
    try:
        if tls.ca_file is None:
            context.set_default_verify_paths()
        else:
            context.load_verify_locations(tls.ca_file)
        if tls.cert_file is not None and tls.key_file is not None:
            context.use_certificate_chain_file(tls.cert_file)
            context.use_privatekey_file(tls.key_file)
            context.check_privatekey()
        if tls.crl_file is not None:
            _revoke(context, tls.crl_file)
    except (SSL.Error, crypto.Error, OSError, ValueError) as error:
        files = ", ".join(file for file in (tls.ca_file, tls.cert_file, tls.key_file, tls.crl_file) if file is not None)
        raise SettingsError(f"{files}: cannot be used for TLS: {_openssl_text(error)}") from error
    context.set_verify(SSL.VERIFY_NONE if tls.insecure_skip_verify else SSL.VERIFY_PEER)
    return context


def _revoke(context: SSL.Context, file: str) -> None:
    """Refuses what a list of revoked certificates names; every CA of a chain must have one in the file, as with Envoy's crl."""
    store = context.get_cert_store()
    assert store is not None
    lists = _CRL.findall(Path(file).read_bytes())
    if not lists:
        raise ValueError("holds no list of revoked certificates")
    for text in lists:
        store.add_crl(x509.load_pem_x509_crl(text))
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _stamp(file: str | None) -> tuple[int, int] | None:
    try:
        status = os.stat(file) if file is not None else None
    except OSError:
        return None
    return status and (status.st_ino, status.st_mtime_ns)


def _accept_server_name(_connection: SSL.Connection) -> None:
    """Any name will do: peers are told apart by their certificates."""


def _select_alpn(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    """As Istio's inbound listeners, which know HTTP's names only; a client that offers none of them goes on without ALPN."""
    return _SERVER_ALPN if _SERVER_ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _peer(connection: SSL.Connection, *, with_chain: bool) -> PeerIdentity:
    try:
        leaf = connection.get_peer_certificate(as_cryptography=True)
        chain = connection.get_peer_cert_chain(as_cryptography=True) if with_chain else None
    except ValueError as error:
        raise IdentityMismatch(f"the peer's certificate cannot be read: {error}", "malformed") from error
    if leaf is None:
        raise IdentityMismatch("the peer showed no certificate", "no_certificate")
    return peer_identity(leaf, chain or ())


def _openssl_text(error: Exception) -> str:
    """The reasons in an SSL.Error, or the error's own text."""
    reasons = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    if isinstance(reasons, list) and reasons:
        return ", ".join(": ".join(filter(None, reason)) for reason in reasons)
    return str(error)


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
