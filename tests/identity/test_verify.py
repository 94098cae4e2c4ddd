"""Whom we talk to."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509

from meshcar.errors import IdentityMismatch
from meshcar.identity.issue import Authority
from meshcar.identity.peer import PeerIdentity, peer_identity
from meshcar.identity.verify import check_client, check_mesh_server, check_named_server, check_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Authority.new("cluster.local", NOW, DAY)
MINE = "spiffe://cluster.local/ns/default/sa/default"
OTHERS = "spiffe://td2/ns/x/sa/y"


def peer(*uris: str, dns: tuple[str, ...] = (), ips: tuple[str, ...] = ()) -> PeerIdentity:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(name) for name in dns]
    names += [x509.IPAddress(ip_address(ip)) for ip in ips]
    return peer_identity(x509.load_pem_x509_certificate(ROOT.sign(names, NOW, NOW + DAY).chain))


@pytest.mark.parametrize("uris", [(MINE,), (MINE, OTHERS), ()])
def test_client(uris: tuple[str, ...]) -> None:
    """Ids of our trust domain may call; more names do no harm; a certificate of our CA without any is let in, as nobody."""
    check_client(peer(*uris), "cluster.local")


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        ((OTHERS,), "bad_identity"),
        ((OTHERS, MINE), "bad_identity"),
        (("spiffe://cluster.local.evil/x",), "bad_identity"),
        (('spiffe://cluster.local/ns/a;b/sa/c,d"e=f',), "malformed"),
        ((MINE, 'spiffe://cluster.local/ns/a;b/sa/c,d"e=f'), "malformed"),
        (("https://cluster.local/x",), "malformed"),
        (("spiffe://cluster.local",), "malformed"),
        (("spiffe://cluster.local/ns/default/sa/default/",), "malformed"),
    ],
)
def test_client_refused(uris: tuple[str, ...], reason: str) -> None:
    """Another trust domain, and whatever SPIFFE does not allow a workload to show, is refused."""
    with pytest.raises(IdentityMismatch) as caught:
        check_client(peer(*uris), "cluster.local")
    assert caught.value.reason == reason


def test_ca_as_client() -> None:
    """The certificate of a CA is no workload's."""
    with pytest.raises(IdentityMismatch) as caught:
        check_client(peer_identity(ROOT.certificate), "cluster.local")
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("uris", "identities"),
    [
        ((MINE,), {MINE}),
        ((MINE,), set()),
        ((MINE,), {MINE, "spiffe://cluster.local/ns/default/sa/other"}),
        ((OTHERS,), {OTHERS}),
        ((MINE, OTHERS), {OTHERS}),
    ],
)
def test_mesh_server(uris: tuple[str, ...], identities: set[str]) -> None:
    """One of the expected ids is enough, of any trust domain; without any, ours is."""
    check_mesh_server(peer(*uris), identities, "cluster.local")


@pytest.mark.parametrize(
    ("uris", "identities"),
    [
        ((MINE,), {"spiffe://cluster.local/ns/default/sa/other"}),
        ((MINE,), {"spiffe://cluster.local/ns/default/sa/defaul."}),
        ((MINE,), {MINE + "/"}),
        ((MINE,), {"spiffe://cluster.local/ns/default/sa/.*"}),
        ((OTHERS,), set()),
        ((), set()),
        ((), {MINE}),
    ],
)
def test_mesh_server_refused(uris: tuple[str, ...], identities: set[str]) -> None:
    """Ids are compared as whole strings, never as patterns; nobody is not somebody."""
    with pytest.raises(IdentityMismatch) as caught:
        check_mesh_server(peer(*uris), identities, "cluster.local")
    assert caught.value.reason == "bad_identity"


@pytest.mark.parametrize(
    "name", ["api.example", "API.example", "x.wild.example", "10.0.0.1", "::1", "0:0:0:0:0:0:0:1", "https://a/:b:", "*.wild.example"]
)
def test_named_server(name: str) -> None:
    """A DNS name in any case, one label for a wildcard, an address however it is spelled, a URI by equality."""
    check_named_server(peer("https://a/:b:", dns=("api.example", "*.wild.example"), ips=("10.0.0.1", "::1")), {"no.example", name})


@pytest.mark.parametrize(
    "name", ["example", "x.y.wild.example", "wild.example", "10.0.0.2", "a b", "", "bücher.example", "https://a/", "*.api.example"]
)
def test_named_server_refused(name: str) -> None:
    """A wildcard stands for one label only; a name that is none matches nothing."""
    with pytest.raises(IdentityMismatch):
        check_named_server(peer("https://a/:b:", dns=("api.example", "*.wild.example"), ips=("10.0.0.1", "::1")), {name})


def test_bad_pattern_in_certificate() -> None:
    """A DNS name in the certificate that is no pattern does not help, and does not raise anything else."""
    with pytest.raises(IdentityMismatch):
        check_named_server(peer(dns=("*.*.example", "a*b.example")), {"x.y.example"})


def test_bad_pattern_beside_good() -> None:
    """One unusable name in a certificate does not spoil the others."""
    check_named_server(peer(dns=("*", "api.example")), {"api.example"})


@pytest.mark.parametrize(("moment", "reason"), [(NOW - DAY, "not_yet_valid"), (NOW + 2 * DAY, "expired")])
def test_time(moment: datetime, reason: str) -> None:
    """Outside its time a certificate is refused, by the right word."""
    check_time(peer(MINE), NOW.timestamp())
    with pytest.raises(IdentityMismatch) as caught:
        check_time(peer(MINE), moment.timestamp())
    assert caught.value.reason == reason
