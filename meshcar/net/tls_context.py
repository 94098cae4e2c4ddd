"""OpenSSL contexts: what of TLS is the same for all connections of a side, out of Credentials or of the files that a rule names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto

from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.net.tls_sessions import SESSION_SECONDS
from meshcar.rules.policies import UpstreamTls

_SERVER_ALPN = b"http/1.1"
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""Of TLS 1.3, in Envoy's order; OpenSSL's own begins with the second, which costs a request 1 % more, and one of 64 KiB 3 %."""
_MESH_GROUPS = b"X25519:P-256:P-384:P-521"
"""What a client offers in the mesh. Envoy's offers no hybrid either; its server would choose one, at the price of a second round trip.
Who insists on it refuses once (`net/tls_sessions.py`)."""
_GROUPS = b"X25519/P-256:P-384:P-521/X25519MLKEM768"
"""What all others take; a slash: what follows only if nothing before it will do."""
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)
_NO_AUTO_CHAIN = 0x8  # openssl/ssl.h: send what cert-chain.pem holds, without anchors out of the trust store


def mesh_server_context(credentials: Credentials, resumable: bool) -> SSL.Context:
    """For what comes from the mesh: asks for a certificate. Raises SettingsError, as the others."""
    context = _mesh_context(credentials, _GROUPS)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    if not resumable:
        context.set_options(SSL.OP_NO_TICKET)
    # without it OpenSSL fails the handshake of a client that resumes
    context.set_session_id(b"meshcar")
    context.set_timeout(SESSION_SECONDS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_alpn_select_callback(_select_alpn)
    # a server name that nobody accepts is gone when Envoy resumes the session, and with it from the access log
    context.set_tlsext_servername_callback(_accept_server_name)
    return context


def mesh_client_context(credentials: Credentials) -> SSL.Context:
    """For ISTIO_MUTUAL."""
    context = _mesh_context(credentials, _MESH_GROUPS)
    context.set_verify(SSL.VERIFY_PEER)
    return context


def _mesh_context(credentials: Credentials, groups: bytes) -> SSL.Context:
    context = _context(groups)
    context.set_cipher_list(_CIPHERS)
    context.set_tls13_ciphersuites(_SUITES)
    try:
        context.use_certificate(credentials.chain[0])
        for certificate in credentials.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(credentials.key)
        _trust(context, credentials.roots)
    except SSL.Error as error:
        raise SettingsError(f"OpenSSL refuses the certificate of {credentials.spiffe_id}: {openssl_text(error)}") from error
    return context


def _context(groups: bytes) -> SSL.Context:
    """TLS 1.2 and 1.3; little memory for idle connections; no cache of sessions, as tickets hold them."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _NO_AUTO_CHAIN)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _set_groups("SSL_CTX_set1_curves_list", context._context, groups)
    return context


def offer_hybrid(connection: SSL.Connection) -> None:
    """For a server that takes nothing else, as an Envoy of which ecdh_curves names only the hybrid; before the handshake."""
    _set_groups("SSL_set1_curves_list", connection._ssl, _GROUPS)


def _set_groups(function: str, handle: Any, groups: bytes) -> None:
    """X25519 before all: OpenSSL's own order, the hybrid X25519MLKEM768 first, makes a full handshake 1.2 times as dear, and a resumed
    one 1.5 times.

    pyOpenSSL has no method for it; where its binding lacks the function, or OpenSSL a group, OpenSSL's order stays.
    """
    choose = getattr(SSL._lib, function, None)  # type: ignore[attr-defined]
    if choose is not None and choose(handle, groups) != 1:
        SSL._lib.ERR_clear_error()  # type: ignore[attr-defined]


def _trust(context: SSL.Context, roots: Sequence[x509.Certificate]) -> None:
    """Every certificate of the bundle is an anchor, self-signed or not, as Envoy's trusted_ca."""
    store = context.get_cert_store()
    assert store is not None
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def files_context(tls: UpstreamTls) -> SSL.Context:
    """For SIMPLE and MUTUAL: the files of a DestinationRule; without caCertificates the machine's trust store, as Istio since 1.21."""
    context = _context(_GROUPS)
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
        raise SettingsError(f"{files}: cannot be used for TLS: {openssl_text(error)}") from error
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


def _accept_server_name(_connection: SSL.Connection) -> None:
    """Any name will do: peers are told apart by their certificates."""


def _select_alpn(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    """As Istio's inbound listeners, which know HTTP's names only; a client that offers none of them goes on without ALPN."""
    return _SERVER_ALPN if _SERVER_ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def openssl_text(error: Exception) -> str:
    """The reasons in an SSL.Error, or the error's own text."""
    reasons = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    if isinstance(reasons, list) and reasons:
        return ", ".join(": ".join(filter(None, reason)) for reason in reasons)
    return str(error)
