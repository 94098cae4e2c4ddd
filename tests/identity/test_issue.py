"""The development CA."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshcar.errors import SettingsError
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, 10 * DAY)
ID = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/default")


def test_leaf_as_istio() -> None:
    """Empty subject, one critical URI, no CA, good for both ends of a connection."""
    leaf = x509.load_pem_x509_certificate(ROOT.issue(ID, NOW, DAY).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert not leaf.subject.rdns
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [str(ID)]
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(ROOT.certificate)


def test_strict_verifier() -> None:
    """cryptography's verifier, the strictest at hand, takes the chain, by way of an intermediate too."""
    verifier = x509.verification.PolicyBuilder().store(x509.verification.Store([ROOT.certificate])).time(NOW).build_client_verifier()
    for authority in (ROOT, ROOT.subordinate("i", NOW, DAY)):
        leaf, *others = x509.load_pem_x509_certificates(authority.issue(ID, NOW, DAY).chain)
        assert verifier.verify(leaf, others).subjects == [x509.UniformResourceIdentifier(str(ID))]


def test_load() -> None:
    """An authority read back goes on signing as the same one."""
    again = Authority.load(ROOT.pem, ROOT.key_pem)
    x509.load_pem_x509_certificate(again.issue(ID, NOW, DAY).chain).verify_directly_issued_by(ROOT.certificate)
    assert "PRIVATE" not in repr(again) + repr(again.issue(ID, NOW, DAY))


@pytest.mark.parametrize(("certificate", "key"), [(b"", ROOT.key_pem), (ROOT.pem, b"x"), (Authority.new("x", NOW, DAY).pem, ROOT.key_pem)])
def test_unusable(certificate: bytes, key: bytes) -> None:
    """Files that are no authority, or do not belong together, are refused in one line."""
    with pytest.raises(SettingsError, match="the authority"):
        Authority.load(certificate, key)
