"""Distinguished names as text, in the spelling of OpenSSL's RFC 2253 form, which Envoy writes into XFCC."""

from cryptography import x509
from cryptography.x509.oid import NameOID

_SHORT_NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.INITIALS: "initials",
    NameOID.TITLE: "title",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.X500_UNIQUE_IDENTIFIER: "x500UniqueIdentifier",
    NameOID.USER_ID: "UID",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.POSTAL_ADDRESS: "postalAddress",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.UNSTRUCTURED_NAME: "unstructuredName",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionC",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionL",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionST",
}

_ESCAPED = frozenset(b',+"\\<>;')


def rfc2253(name: x509.Name) -> str:
    """A name last part first, `CN=Test Client,O=Lyft,C=US`; printable ASCII only. An empty name is the empty string.

    Special characters get a backslash, control and non-ASCII bytes of the UTF-8 form two hex digits behind one.
    """
    return ",".join("+".join(_attribute(attribute) for attribute in reversed(list(part))) for part in reversed(list(name.rdns)))


def _attribute(attribute: x509.NameAttribute[str | bytes]) -> str:
    short = _SHORT_NAMES.get(attribute.oid)
    if short is None or isinstance(attribute.value, bytes):
        return f"{short or attribute.oid.dotted_string}=#{_value_der(attribute).hex().upper()}"
    return f"{short}={_escape(attribute.value.encode())}"


def _escape(value: bytes) -> str:
    last = len(value) - 1
    return "".join(_escape_byte(byte, first=index == 0, last=index == last) for index, byte in enumerate(value))


def _escape_byte(byte: int, *, first: bool, last: bool) -> str:
    if byte < 0x20 or byte > 0x7E:
        return f"\\{byte:02X}"
    if byte in _ESCAPED or (byte == 0x20 and (first or last)) or (byte == 0x23 and first):
        return "\\" + chr(byte)
    return chr(byte)


def _value_der(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    """The encoded value alone, out of a name that holds nothing else: SEQUENCE { SET { SEQUENCE { OID, value } } }."""
    der = x509.Name([attribute]).public_bytes()
    for _ in range(3):
        der = der[_header(der) :]
    return der[_header(der) + der[1] :]


def _header(der: bytes) -> int:
    """How many bytes tag and length take (ITU-T X.690, 8.1.3)."""
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
