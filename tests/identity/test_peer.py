"""Reading a peer's certificate."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import IdentityMismatch
from meshcar.identity.issue import Authority
from meshcar.identity.peer import peer_identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, DAY)
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName


def certificates(*names: x509.GeneralName, by: Authority = ROOT, subject: x509.Name | None = None) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(by.sign(names, NOW, NOW + DAY, subject).chain)


def with_raw_names(der: bytes, times: int = 1) -> x509.Certificate:
    """A certificate whose alternative names are these bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1, NOW, NOW + DAY)
    builder = builder.add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der), critical=True)
    return builder.sign(key, SHA256())


def test_names() -> None:
    """Each kind of name is kept in its order; the first URI is the id."""
    (leaf,) = certificates(
        DNS("a.example"), URI("spiffe://td/x"), x509.IPAddress(ip_address("::1")), URI("spiffe://td/y"), DNS("b.example")
    )
    peer = peer_identity(leaf)
    assert (peer.uris, peer.dns, peer.ips) == (("spiffe://td/x", "spiffe://td/y"), ("a.example", "b.example"), ("::1",))
    assert str(peer.spiffe_id) == "spiffe://td/x"
    assert peer.hash == leaf.fingerprint(SHA256()).hex()
    assert peer.subject == ""


def test_nameless() -> None:
    """Without alternative names there is no id, and the subject is still there."""
    (leaf,) = certificates(subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
    peer = peer_identity(leaf)
    assert (peer.uris, peer.dns, peer.spiffe_id, peer.subject) == ((), (), None, "CN=x")


def test_odd_uri() -> None:
    """A URI that is no SPIFFE id is kept, but is not the id; nor is a later one."""
    (leaf,) = certificates(URI("https://a.example/"), URI("spiffe://td/x"))
    peer = peer_identity(leaf)
    assert peer.spiffe_id is None
    assert peer.uris == ("https://a.example/", "spiffe://td/x")


@pytest.mark.parametrize("sent", ["all", "above"])
def test_chain(sent: str) -> None:
    """The leaf stands first and once, whether or not the list of what was sent holds it (OpenSSL's servers leave it out)."""
    leaf, above = certificates(URI("spiffe://td/x"), by=ROOT.subordinate("i", NOW, DAY))
    peer = peer_identity(leaf, [leaf, above] if sent == "all" else [above])
    assert peer.chain == (leaf, above)
    assert x509.load_pem_x509_certificates(unquote(peer.chain_pem).encode()) == [leaf, above]
    assert x509.load_pem_x509_certificates(unquote(peer.cert_pem).encode()) == [leaf]


def test_pem_as_envoy() -> None:
    """In the quoted PEM no character is left that a header or an XFCC parser trips over, and letters and digits stay."""
    quoted = peer_identity(certificates(URI("spiffe://td/x"))[0]).cert_pem
    assert quoted.startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert quoted.endswith("%0A-----END%20CERTIFICATE-----%0A")
    assert not set(quoted) & set(' +/="\n;,')


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30\x05\x86\x7f",
        b"\x30\x04\x86\x02\xff\xfe",
        b"\x30\x06\x86\x04a\x00b:",
        b"\x30\x06\x82\x04a\x00.b",
        b"\x30\x05\x82\x03a\r\n",
        b"\x30\x06\x87\x04\x01\x02\x03",
        b"\x30\x05\x87\x03\x01\x02\x03",
        b"\x30\x03\x85\x01x",
    ],
)
def test_malformed(der: bytes) -> None:
    """Names that cannot be read, or hold NUL or line ends, are counted as malformed and raise nothing else."""
    with pytest.raises(IdentityMismatch) as caught:
        peer_identity(with_raw_names(der))
    assert caught.value.reason == "malformed"


@given(st.binary(max_size=80) | st.binary(max_size=70).map(lambda body: bytes([0x30, len(body)]) + body))
def test_any_bytes(der: bytes) -> None:
    """Whatever a peer puts where its names belong: it is read, with names fit for a header, or refused."""
    try:
        peer = peer_identity(with_raw_names(der))
    except IdentityMismatch as error:
        assert error.reason == "malformed"
    else:
        assert all(name.isascii() and name.isprintable() for name in (*peer.uris, *peer.dns, *peer.ips))
