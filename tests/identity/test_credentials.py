"""What a workload proves itself with."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 10 * DAY)
ID = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/default")
ISSUED = ROOT.issue(ID, NOW, DAY)


def load(chain: bytes = ISSUED.chain, key: bytes = ISSUED.key, roots: bytes = ROOT.pem) -> Credentials:
    return Credentials.load(chain, key, roots)


def test_load() -> None:
    """Id, times and serial number are the leaf's; the key does not show."""
    loaded = load()
    assert loaded.spiffe_id == ID
    assert (loaded.not_before, loaded.not_after) == (NOW - timedelta(minutes=5), NOW + DAY)
    assert int(loaded.serial, 16) == loaded.chain[0].serial_number
    assert repr(loaded) == f"Credentials(spiffe_id={ID!r})"


def test_several_uris() -> None:
    """The first URI is our id."""
    names = [x509.UniformResourceIdentifier(uri) for uri in (str(ID), "spiffe://td2/ns/x/sa/y")]
    issued = ROOT.sign(names, NOW, NOW + DAY)
    assert load(issued.chain, issued.key).spiffe_id == ID


ENCRYPTED = load_pem_private_key(ISSUED.key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
OTHER_KIND = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
RSA = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
NAMELESS = ROOT.sign([], NOW, NOW + DAY)
WEB = ROOT.sign([x509.UniformResourceIdentifier("https://x/"), x509.DNSName("x")], NOW, NOW + DAY)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"chain": b""}, "cert-chain.pem: holds no certificate"),
        ({"chain": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "cert-chain.pem: holds no certificate, or"),
        ({"chain": b"\x00\xff" * 100}, "cert-chain.pem: "),
        ({"key": b""}, "key.pem: holds no private key"),
        ({"key": ISSUED.chain}, "key.pem: "),
        ({"key": ENCRYPTED}, "key.pem: the key is encrypted"),
        ({"key": OTHER_KIND}, "key.pem: neither an RSA"),
        ({"key": RSA}, "key.pem: not the key of"),
        ({"key": ROOT.issue(ID, NOW, DAY).key}, "key.pem: not the key of"),
        ({"roots": b""}, "root-cert.pem: holds no certificate"),
        ({"roots": b"garbage"}, "root-cert.pem: holds no certificate"),
        ({"chain": NAMELESS.chain, "key": NAMELESS.key}, "cert-chain.pem: no SPIFFE id"),
        ({"chain": WEB.chain, "key": WEB.key}, "cert-chain.pem: no SPIFFE id"),
    ],
)
def test_unusable(files: dict[str, bytes], says: str) -> None:
    """Each thing that can be wrong with the files is told in one line that begins with the file's name."""
    with pytest.raises(SettingsError) as caught:
        load(**files)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("moment", "says"),
    [(NOW, None), (NOW + DAY, None), (NOW + 2 * DAY, "expired at 2026-01-02T00:00:00Z"), (NOW - DAY, "not valid before 2025-12-31")],
)
def test_trouble_with_time(moment: datetime, says: str | None) -> None:
    """A certificate outside its time is loaded, and in trouble."""
    trouble = load().trouble(moment)
    assert trouble is None if says is None else trouble is not None and says in trouble


def test_trouble_with_trust() -> None:
    """A bundle that holds only another CA, of whatever name, is trouble; one that also holds it is not."""
    stranger = Authority.new("cluster.local", NOW, 10 * DAY)
    trouble = load(roots=stranger.pem).trouble(NOW)
    assert trouble is not None
    assert "trust bundle" in trouble
    assert load(roots=stranger.pem + ROOT.pem).trouble(NOW) is None


def test_trouble_with_expired_root() -> None:
    """A trust anchor that has expired supports nobody."""
    old = Authority.new("cluster.local", NOW - 5 * DAY, 3 * DAY)
    issued = old.issue(ID, NOW, DAY)
    assert load(issued.chain, issued.key, old.pem).trouble(NOW) is not None


def test_intermediates() -> None:
    """Intermediates lead to the root in any order; without them, or with the wrong ones, the chain leads nowhere."""
    lower = ROOT.subordinate("upper", NOW, DAY).subordinate("lower", NOW, DAY)
    issued = lower.issue(ID, NOW, DAY)
    leaf, below, above = x509.load_pem_x509_certificates(issued.chain)
    unrelated = ROOT.subordinate("unrelated", NOW, DAY).certificate

    def trouble(*chain: x509.Certificate) -> str | None:
        return load(b"".join(one.public_bytes(Encoding.PEM) for one in chain), issued.key).trouble(NOW)

    assert trouble(leaf, below, above) is None
    assert trouble(leaf, above, below) is None
    assert trouble(leaf, unrelated, below, above) is None
    assert trouble(leaf) is not None
    assert trouble(leaf, below) is not None
    assert trouble(leaf, unrelated) is not None


def test_intermediate_as_anchor() -> None:
    """A bundle may hold an intermediate alone, as Envoy's trusted_ca may."""
    lower = ROOT.subordinate("lower", NOW, DAY)
    issued = lower.issue(ID, NOW, DAY)
    assert load(issued.chain, issued.key, lower.pem).trouble(NOW) is None


def test_texts() -> None:
    """The three texts again, for another process; the key is only there."""
    again = load(*(text.encode() for text in load().texts()))
    assert again.chain == load().chain and again.roots == load().roots and again.spiffe_id == ID
    assert again.key.private_numbers() == load().key.private_numbers()


def test_shortest_life() -> None:
    """The chain is good for as long as all of it is."""
    issued = ROOT.subordinate("short", NOW, DAY).issue(ID, NOW, 5 * DAY)
    assert load(issued.chain, issued.key).not_after == NOW + DAY


def test_facts() -> None:
    """People see names, times and numbers of everything, and no key."""
    facts = load().facts(NOW)
    assert facts["cert_chain"][0]["subject_alt_names"] == [{"uri": str(ID)}]
    assert facts["cert_chain"][0]["days_until_expiration"] == "1"
    assert facts["ca_cert"][0]["subject"] == "O=cluster.local"
    assert load().facts(NOW + 3 * DAY)["cert_chain"][0]["days_until_expiration"] == "0"
    assert "PRIVATE" not in str(facts)
