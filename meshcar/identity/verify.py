"""Which peers we talk to: the checks on an identity that come after TLS has verified the chain."""

from collections.abc import Collection
from ipaddress import ip_address

from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity

from meshcar.errors import IdentityMismatch
from meshcar.identity.peer import PeerIdentity
from meshcar.identity.spiffe import SpiffeId

_SHOWN = 200


def check_client(peer: PeerIdentity, trust_domain: str) -> None:
    """Passes a caller of this workload's inbound port, or raises IdentityMismatch.

    A caller's URIs must all be SPIFFE ids of workloads, and the first, by which it is known, of our trust domain. A certificate
    of the mesh's CA without any URI is let in as Envoy does, and is nobody: its `spiffe_id` is None.
    """
    _check_workload(peer)
    if peer.uris:
        _check_trust_domain(peer, trust_domain)


def check_mesh_server(peer: PeerIdentity, identities: Collection[str], trust_domain: str) -> None:
    """Passes a workload that shows one of `identities` or, if there are none, any id of our trust domain.

    Identities are compared as whole strings with URIs; those that are no URI are DNS names or addresses. Raises
    IdentityMismatch. Source: Istio ClientTLSSettings.subjectAltNames, Envoy match_typed_subject_alt_names.
    """
    _check_workload(peer)
    if identities:
        check_named_server(peer, identities)
    else:
        _check_trust_domain(peer, trust_domain)


def check_named_server(peer: PeerIdentity, names: Collection[str]) -> None:
    """Passes a server that shows one of `names`: a URI by equality, a DNS name or address by RFC 6125. Raises IdentityMismatch.

    A name with a wildcard is taken for the certificate's own, letter by letter, as Envoy does.
    """
    if not any(_shows(peer, name) for name in names):
        shown = ", ".join((*peer.uris, *peer.dns, *peer.ips)) or "no name"
        raise IdentityMismatch(f"the peer shows {shown[:_SHOWN]}, not {' or '.join(sorted(names))}", "bad_identity")


def check_time(peer: PeerIdentity, now: float) -> None:
    """Passes a certificate that is valid at `now` (seconds since the epoch), or raises IdentityMismatch: a resumed TLS session does
    not look again."""
    if now > peer.valid_until:
        raise IdentityMismatch("the peer's certificate has expired", "expired")
    if now < peer.valid_from:
        raise IdentityMismatch("the peer's certificate is not yet valid", "not_yet_valid")


def _check_workload(peer: PeerIdentity) -> None:
    """A leaf is no CA and its URIs are ids of workloads (X509-SVID standard, sections 2 to 4; several are Envoy's latitude)."""
    if peer.is_ca:
        raise IdentityMismatch("the peer shows the certificate of a CA", "malformed")
    for uri in peer.uris:
        try:
            rooted = SpiffeId.parse(uri).path == ""
        except ValueError as error:
            raise IdentityMismatch(f"the peer shows {uri[:_SHOWN]!a}: {error}", "malformed") from error
        if rooted:
            raise IdentityMismatch(f"the peer shows {uri}, the id of a trust domain", "malformed")


def _check_trust_domain(peer: PeerIdentity, trust_domain: str) -> None:
    if peer.spiffe_id is None or peer.spiffe_id.trust_domain != trust_domain:
        shown = peer.spiffe_id or "no SPIFFE id"
        raise IdentityMismatch(f"the peer shows {shown}, not an id of {trust_domain}", "bad_identity")


def _shows(peer: PeerIdentity, name: str) -> bool:
    if name in peer.uris or (name.startswith("*.") and name in peer.dns):
        return True
    try:
        return str(ip_address(name)) in peer.ips
    except ValueError:
        return any(_names_host(pattern, name) for pattern in peer.dns)


def _names_host(pattern: str, host: str) -> bool:
    try:
        verify_service_identity([DNSPattern.from_bytes(pattern.encode())], [DNS_ID(host)], [])
    except (VerificationError, CertificateError, ValueError):
        return False
    return True
