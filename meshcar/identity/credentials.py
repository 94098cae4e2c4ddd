"""What this workload proves itself with: certificate chain, private key and trust bundle, as one value."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Self

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from meshcar.errors import IdentityMismatch, SettingsError
from meshcar.identity.peer import peer_identity
from meshcar.identity.spiffe import SpiffeId

Key = EllipticCurvePrivateKey | RSAPrivateKey


@attrs.frozen(eq=False)
class Credentials:
    """Certificates and key that fit each other. Never changed: a rotation makes a new one.

    `chain` is leaf first; `roots` are the trust anchors; `spiffe_id` is the leaf's first URI. The key never shows in a repr.
    """

    chain: tuple[x509.Certificate, ...] = attrs.field(repr=False)
    key: Key = attrs.field(repr=False)
    roots: tuple[x509.Certificate, ...] = attrs.field(repr=False)
    spiffe_id: SpiffeId

    @classmethod
    def load(cls, chain: bytes, key: bytes, roots: bytes) -> Self:
        """From three PEM texts, Istio's cert-chain.pem, key.pem and root-cert.pem.

        Raises SettingsError, in one line, for text that cannot be read, a key that is not the leaf's, a leaf without a SPIFFE
        id, and an empty trust bundle. Times and trust are not judged here: see `trouble`.
        """
        certificates = _certificates(chain, "cert-chain.pem")
        private = _private_key(key)
        if private.public_key() != certificates[0].public_key():
            raise SettingsError("key.pem: not the key of the first certificate in cert-chain.pem")
        return cls(certificates, private, _certificates(roots, "root-cert.pem"), _own_id(certificates[0]))

    def texts(self) -> tuple[str, str, str]:
        """The three PEM texts again, the private key among them."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain, roots = (b"".join(one.public_bytes(Encoding.PEM) for one in some) for some in (self.chain, self.roots))
        return chain.decode(), key.decode(), roots.decode()

    @property
    def not_before(self) -> datetime:
        """When the whole chain is valid from, in UTC."""
        return max(certificate.not_valid_before_utc for certificate in self.chain)

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the chain expires, in UTC."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def serial(self) -> str:
        """The leaf's serial number in lower hex, as Envoy's /certs shows it."""
        return f"{self.chain[0].serial_number:x}"

    def trouble(self, now: datetime) -> str | None:
        """Why peers would refuse us at `now` (aware), in words for /ready and the log; None when they should not."""
        if now > self.not_after:
            return f"the certificate of {self.spiffe_id} expired at {self.not_after:%Y-%m-%dT%H:%M:%SZ}"
        if now < self.not_before:
            return f"the certificate of {self.spiffe_id} is not valid before {self.not_before:%Y-%m-%dT%H:%M:%SZ}"
        if not _leads_to(self.chain, self.roots, now):
            return f"the certificate of {self.spiffe_id} was not issued by the trust bundle in root-cert.pem"
        return None

    def facts(self, now: datetime) -> dict[str, list[dict[str, Any]]]:
        """Everything but the key, for people. Source: the shape of Envoy's /certs."""
        return {"ca_cert": [facts(root, now) for root in self.roots], "cert_chain": [facts(one, now) for one in self.chain]}


def facts(certificate: x509.Certificate, now: datetime) -> dict[str, Any]:
    """A certificate in the words of Envoy's /certs: serial_number, subject_alt_names, valid_from and so on."""
    try:
        peer = peer_identity(certificate)
        names = [{"uri": uri} for uri in peer.uris] + [{"dns": name} for name in peer.dns] + [{"ip_address": ip} for ip in peer.ips]
        subject = peer.subject
    except IdentityMismatch:
        names, subject = [], ""
    return {
        "serial_number": f"{certificate.serial_number:x}",
        "subject": subject,
        "subject_alt_names": names,
        "days_until_expiration": str(max(0, (certificate.not_valid_after_utc - now).days)),
        "valid_from": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "expiration_time": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }


def _certificates(pem: bytes, name: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise SettingsError(f"{name}: holds no certificate, or one that cannot be read") from error


def _private_key(pem: bytes) -> Key:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise SettingsError("key.pem: the key is encrypted, and there is no password for it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError("key.pem: holds no private key, or one that cannot be read") from error
    if not isinstance(key, Key):
        raise SettingsError("key.pem: neither an RSA nor an elliptic curve key")
    return key


def _own_id(leaf: x509.Certificate) -> SpiffeId:
    try:
        uris = peer_identity(leaf).uris
        return SpiffeId.parse(uris[0] if uris else "")
    except (IdentityMismatch, ValueError) as error:
        raise SettingsError(f"cert-chain.pem: no SPIFFE id in the first certificate: {error}") from error


def _leads_to(chain: Sequence[x509.Certificate], roots: Iterable[x509.Certificate], now: datetime) -> bool:
    """Whether some trust anchor that is valid at `now` stands above the leaf, perhaps by way of the rest of the chain."""
    anchors = [root for root in roots if root.not_valid_before_utc <= now <= root.not_valid_after_utc]
    certificate, others = chain[0], list(chain[1:])
    while certificate not in anchors and not any(_issued(anchor, certificate) for anchor in anchors):
        above = next((other for other in others if _issued(other, certificate)), None)
        if above is None:
            return False
        others.remove(above)
        certificate = above
    return True


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
