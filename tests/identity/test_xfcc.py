"""The x-forwarded-client-cert header."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from meshcar.identity.issue import Authority
from meshcar.identity.peer import PeerIdentity, peer_identity
from meshcar.identity.xfcc import DETAILS, MODES, element, forward

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, DAY)
OWN = "spiffe://cluster.local/ns/default/sa/server"
ISTIO = frozenset({"subject", "uri", "dns"})


def peer(uris: tuple[str, ...] = (), dns: tuple[str, ...] = (), common_name: str = "") -> PeerIdentity:
    names: list[x509.GeneralName] = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    return peer_identity(x509.load_pem_x509_certificate(ROOT.sign(names, NOW, NOW + DAY, subject).chain))


def test_istio() -> None:
    """An empty subject is there, quoted."""
    one = peer(("spiffe://cluster.local/ns/default/sa/a",))
    expected = f'By={OWN};Hash={one.hash};Subject="";URI=spiffe://cluster.local/ns/default/sa/a'
    assert element(one, OWN, ISTIO) == expected.encode()


def test_several_names() -> None:
    """All URIs come before all DNS names, whatever their order in the certificate."""
    one = peer(("spiffe://td/a", "spiffe://td2/b"), ("x.svc", "y.svc"))
    assert element(one, OWN, ISTIO).decode().endswith(';Subject="";URI=spiffe://td/a;URI=spiffe://td2/b;DNS=x.svc;DNS=y.svc')


def test_no_names() -> None:
    """No URI is an empty one, no DNS name is none."""
    assert element(peer(common_name="n"), OWN, ISTIO).decode().endswith(';Subject="CN=n";URI=')


def test_details() -> None:
    """Every choice of details comes in Envoy's order; none leaves By and Hash."""
    one = peer(("spiffe://td/a",), ("x.svc",), "n")
    text = {
        "cert": f'Cert="{one.cert_pem}"',
        "chain": f'Chain="{one.chain_pem}"',
        "subject": 'Subject="CN=n"',
        "uri": "URI=spiffe://td/a",
        "dns": "DNS=x.svc",
    }
    for count in range(len(DETAILS) + 1):
        for chosen in itertools.combinations(DETAILS, count):
            expected = ";".join([f"By={OWN}", f"Hash={one.hash}", *(text[detail] for detail in chosen)])
            assert element(one, OWN, reversed(chosen)).decode() == expected


def test_quoting() -> None:
    """Delimiters in a name are inside quotes, so that no element can be forged through a certificate."""
    one = peer(('spiffe://td/a,b;c="d\\e',), ("x,By=y",), 'a"b')
    assert element(one, OWN, ISTIO).decode().endswith(';Subject="CN=a\\"b";URI="spiffe://td/a,b;c=\\"d\\\\e";DNS="x,By=y"')


SPOOF, OURS = b"By=spiffe://evil/x;Hash=00", b"By=us;Hash=11"


@pytest.mark.parametrize(
    ("mode", "over_mtls", "plain"),
    [
        ("sanitize", None, None),
        ("forward_only", SPOOF, None),
        ("append_forward", SPOOF + b"," + OURS, None),
        ("sanitize_set", OURS, None),
        ("always_forward_only", SPOOF, SPOOF),
    ],
)
def test_forward(mode: str, over_mtls: bytes | None, plain: bytes | None) -> None:
    """Envoy's five modes: what becomes of a header that is there, with and without mutual TLS."""
    assert forward(mode, [SPOOF], OURS, mtls=True) == over_mtls
    assert forward(mode, [SPOOF], None, mtls=False) == plain


@pytest.mark.parametrize(("mode", "expected"), list(zip(MODES, [None, None, OURS, OURS, None], strict=True)))
def test_forward_absent(mode: str, expected: bytes | None) -> None:
    """No header comes in: two modes add ours, and no mode makes an empty one."""
    assert forward(mode, [], OURS, mtls=True) == expected
    assert forward(mode, [], None, mtls=False) is None


def test_forward_lines() -> None:
    """Several lines are joined by commas into one, empty ones leave no trace."""
    assert forward("append_forward", [b"a", b"", b"b"], OURS, mtls=True) == b"a,b," + OURS
    assert forward("append_forward", [b""], OURS, mtls=True) == OURS
    assert forward("forward_only", [b"a", b"b"], OURS, mtls=True) == b"a,b"
    assert forward("forward_only", [b""], OURS, mtls=True) == b""
