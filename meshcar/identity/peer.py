"""Who is at the other end: what a peer's certificate says, read once per connection."""

from collections.abc import Sequence
from urllib.parse import quote

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from meshcar.errors import IdentityMismatch
from meshcar.identity.spiffe import SpiffeId
from meshcar.identity.subject import rfc2253


@attrs.frozen(eq=False)
class PeerIdentity:
    """A peer whose chain was verified by TLS. Reading it decides nothing; that is identity/verify.py's.

    `uris`, `dns` and `ips` are its subject alternative names, in their order, printable ASCII; `subject` is RFC 2253 text;
    `hash` the SHA-256 of the certificate's DER in lower hex; `spiffe_id` the first URI, or None if that is no SPIFFE id; `is_ca`
    what its basic constraints say; `valid_from` and `valid_until` its first and last moment, in seconds since the epoch.
    `chain` is what the peer sent, leaf first, without its trust anchor unless it sent that too.
    """

    uris: tuple[str, ...]
    dns: tuple[str, ...]
    ips: tuple[str, ...]
    subject: str
    hash: str
    spiffe_id: SpiffeId | None
    is_ca: bool
    valid_from: float
    valid_until: float
    chain: tuple[x509.Certificate, ...] = attrs.field(repr=False)

    @property
    def cert_pem(self) -> str:
        """The leaf's PEM, percent-encoded as in an XFCC element's Cert. Made at each call."""
        return _quoted_pem(self.chain[:1])

    @property
    def chain_pem(self) -> str:
        """The PEM of all that the peer sent, percent-encoded as in an XFCC element's Chain. Made at each call."""
        return _quoted_pem(self.chain)


def peer_identity(leaf: x509.Certificate, chain: Sequence[x509.Certificate] = ()) -> PeerIdentity:
    """The peer that shows `leaf`; `chain` may begin with the leaf or hold only what follows it.

    Raises IdentityMismatch (malformed) when the certificate cannot be read, or a name in it holds anything but printable ASCII.
    """
    try:
        names = _alternative_names(leaf)
        uris = tuple(names.get_values_for_type(x509.UniformResourceIdentifier))
        dns = tuple(names.get_values_for_type(x509.DNSName))
        ips = tuple(map(str, names.get_values_for_type(x509.IPAddress)))
        subject = rfc2253(leaf.subject)
        is_ca = _is_ca(leaf)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise IdentityMismatch(f"the certificate cannot be read: {error}", "malformed") from error
    for name in (*uris, *dns):
        if not (name.isascii() and name.isprintable()):
            raise IdentityMismatch(f"the certificate holds a name with odd characters: {name[:200]!a}", "malformed")
    others = chain[1:] if chain and chain[0] == leaf else chain
    moments = (leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
    return PeerIdentity(uris, dns, ips, subject, leaf.fingerprint(SHA256()).hex(), _spiffe_id(uris), is_ca, *moments, (leaf, *others))


def _alternative_names(leaf: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _is_ca(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _spiffe_id(uris: tuple[str, ...]) -> SpiffeId | None:
    try:
        return SpiffeId.parse(uris[0]) if uris else None
    except ValueError:
        return None


def _quoted_pem(certificates: Sequence[x509.Certificate]) -> str:
    return quote(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates), safe="")
