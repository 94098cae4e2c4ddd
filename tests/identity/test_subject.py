"""Distinguished names in OpenSSL's RFC 2253 spelling."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from meshcar.identity.issue import Authority
from meshcar.identity.subject import rfc2253

CN, ORG, OU, C = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COUNTRY_NAME


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


MIXED = x509.Name(
    [
        x509.RelativeDistinguishedName([x509.NameAttribute(CN, "a"), x509.NameAttribute(OU, "b")]),
        x509.RelativeDistinguishedName([x509.NameAttribute(ORG, "c")]),
    ]
)
CASES = [
    (x509.Name([]), ""),
    (name((C, "US"), (ORG, "Lyft"), (CN, "Test Client")), "CN=Test Client,O=Lyft,C=US"),
    (
        name((C, "US"), (ORG, 'Acme, "Mesh"; Inc=1'), (OU, "a\\b+c<d>"), (CN, "slash/p lé")),
        'CN=slash/p l\\C3\\A9,OU=a\\\\b\\+c\\<d\\>,O=Acme\\, \\"Mesh\\"\\; Inc=1,C=US',
    ),
    (name((CN, " #x ")), "CN=\\ #x\\ "),
    (name((CN, "#x#")), "CN=\\#x#"),
    (name((CN, " ")), "CN=\\ "),
    (name((CN, "a\r\nb\x7f\x00")), "CN=a\\0D\\0Ab\\7F\\00"),
    (name((NameOID.EMAIL_ADDRESS, "a@b.c"), (NameOID.DOMAIN_COMPONENT, "x"), (NameOID.USER_ID, "u")), "UID=u,DC=x,emailAddress=a@b.c"),
    (name((x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), "hé")), "1.3.6.1.4.1.99999.1=#0C0368C3A9"),
    (
        x509.Name([x509.NameAttribute(x509.ObjectIdentifier("1.3.6.1.4.1.99999.2"), "x" * 300)]),
        "1.3.6.1.4.1.99999.2=#0C82012C" + "78" * 300,
    ),
    (
        x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00\xff", _ASN1Type.BitString)]),
        "x500UniqueIdentifier=#030200FF",
    ),
]


@pytest.mark.parametrize(("subject", "text"), CASES)
def test_text(subject: x509.Name, text: str) -> None:
    """Last part first; specials with a backslash, control and non-ASCII bytes as two hex digits."""
    assert rfc2253(subject) == text


def test_printable() -> None:
    """Whatever a name holds, its text may stand in a header."""
    text = rfc2253(name((CN, "".join(map(chr, range(0x180)))[:64]), (ORG, "\u2028\U0001f600")))
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("subject", [case[0] for case in CASES if case[0].rdns] + [MIXED])
def test_as_openssl(subject: x509.Name) -> None:
    """The openssl command spells the same name the same way."""
    now = datetime.now(UTC)
    chain = Authority.new("td", now, timedelta(days=1)).sign([], now, now + timedelta(days=1), subject).chain
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253"]
    said = subprocess.run(command, input=chain, capture_output=True, check=True).stdout.decode().removesuffix("\n")
    assert said.removeprefix("subject=") == rfc2253(subject)
