"""A certificate authority for development: roots, intermediates and workload certificates of the form Istio gives them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshcar.errors import SettingsError
from meshcar.identity.spiffe import SpiffeId

_SKEW = timedelta(minutes=5)


@attrs.frozen(eq=False)
class Issued:
    """A workload certificate with its key, both PEM; `chain` is leaf first and ends below the root."""

    chain: bytes
    key: bytes = attrs.field(repr=False)


@attrs.frozen(eq=False)
class Authority:
    """Somebody who signs. `above` are the intermediates from this authority's own certificate upwards, empty for a root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    above: tuple[x509.Certificate, ...] = ()

    @classmethod
    def new(cls, organization: str, now: datetime, lifetime: timedelta) -> Self:
        """A root of its own, with a new P-256 key. Source: Istio's self-signed CA, whose organization is the trust domain."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
        builder = _authority(_builder(name, name, key, now, now + lifetime), key)
        return cls(builder.sign(key, SHA256()), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Self:
        """From two PEM texts. Raises SettingsError, in one line."""
        try:
            signer, loaded = load_pem_private_key(key, password=None), x509.load_pem_x509_certificate(certificate)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError("the authority's certificate or key cannot be read") from error
        if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != loaded.public_key():
            raise SettingsError("the authority's key is not that of its certificate")
        return cls(loaded, signer)

    @property
    def pem(self) -> bytes:
        """The certificate, for a root-cert.pem."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8, not encrypted."""
        return _key_pem(self.key)

    def subordinate(self, common_name: str, now: datetime, lifetime: timedelta) -> "Authority":
        """An intermediate authority under this one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([*self.certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _authority(_builder(name, self.certificate.subject, key, now, now + lifetime), key)
        certificate = builder.add_extension(self._key_identifier, critical=False).sign(self.key, SHA256())
        return Authority(certificate, key, (certificate, *self.above))

    def issue(self, spiffe_id: SpiffeId, now: datetime, lifetime: timedelta) -> Issued:
        """A certificate as Istio gives a workload: empty subject, the id as one critical URI, P-256, for both ends of TLS."""
        return self.sign([x509.UniformResourceIdentifier(str(spiffe_id))], now, now + lifetime)

    def sign(self, names: Sequence[x509.GeneralName], start: datetime, end: datetime, subject: x509.Name | None = None) -> Issued:
        """A certificate with any alternative names (none at all leaves the extension out) and subject, valid to `end`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = subject or x509.Name([])
        builder = (
            _builder(subject, self.certificate.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(self._key_identifier, critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject.rdns)
        chain = (builder.sign(self.key, SHA256()), *self.above)
        return Issued(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain), _key_pem(key))

    @property
    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    """Valid from a little before `start`, as clocks differ."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _SKEW)
        .not_valid_after(end)
    )


def _authority(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(
    *, digital_signature: bool, key_encipherment: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
