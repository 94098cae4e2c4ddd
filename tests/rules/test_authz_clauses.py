"""What each field of an AuthorizationPolicy asks of a caller."""

import attrs
import pytest

from meshcar.wire.head import RequestHead
from tests.rules.authz_policies import CALLER, CART, PLAIN, WORKLOAD, allows, compiled, head, operation, policy, source, when


@pytest.mark.parametrize(
    ("field", "value", "matches"),
    [
        ("principals", "cluster.local/ns/shop/sa/cart", True), ("principals", "cluster.local/ns/shop/sa/car", False),
        ("principals", "cluster.local/ns/shop/*", True), ("principals", "*/sa/cart", True), ("principals", "*cart", True),
        ("principals", "*", True), ("principals", "*/cluster.local/ns/shop/sa/cart", False), ("principals", CART, False),
        ("principals", "clusterXlocal/ns/shop/sa/cart", False), ("principals", "ns/shop/sa/cart", False),
        ("namespaces", "shop", True), ("namespaces", "sho", False), ("namespaces", "sh*", True), ("namespaces", "*op", True),
        ("namespaces", "s*p", True), ("namespaces", "*", True), ("namespaces", "sh.p", False), ("namespaces", "shop/sa", True),
        ("serviceAccounts", "cart", True), ("serviceAccounts", "shop/cart", True), ("serviceAccounts", "other/cart", False),
        ("serviceAccounts", "car", False), ("serviceAccounts", "cart2", False),
        ("serviceAccounts", "c.rt", False),
        ("trustDomains", "cluster.local", True), ("trustDomains", "clusterXlocal", False), ("trustDomains", "*", True),
        ("trustDomains", "cluster*", True), ("trustDomains", "*local", True), ("trustDomains", "*shop", False),
        ("trustDomains", "c", False),
    ],
)  # fmt: skip
def test_identity(field: str, value: str, matches: bool) -> None:
    """Identities are compared as text. Nobody in plaintext has one, so that what excludes one holds for them."""
    excluded = "not" + field[0].upper() + field[1:]
    assert (allows(source(**{field: [value]})), allows(source(**{excluded: [value]}))) == (matches, not matches)
    assert (allows(source(**{field: [value]}), PLAIN), allows(source(**{excluded: [value]}), PLAIN)) == (False, True)


def test_other_names_of_a_certificate() -> None:
    """Every URI and DNS name and the subject of a certificate may match, as with Envoy; an empty subject is no name."""
    caller = attrs.evolve(CALLER, names=("spiffe://a/ns/x/sa/y", CART, "dns.example", "CN=z"))
    assert allows(source(principals=["cluster.local/ns/shop/sa/cart"]), caller)
    assert allows(source(principals=["*"]), attrs.evolve(CALLER, names=("CN=z",)))
    assert not allows(source(principals=["*"]), attrs.evolve(CALLER, names=("",)))


def test_service_account_further_down() -> None:
    """Parts of a name that others add do not matter; a longer account does."""
    def names(*texts: str) -> list[bool]:
        return [allows(source(serviceAccounts=["shop/cart"]), attrs.evolve(CALLER, names=(text,))) for text in texts]
    td = "spiffe://td"
    assert names(td + "/x/1/ns/shop/y/2/sa/cart/z/3", td + "/ns/shop/sa/cart") == [True, True]
    assert names(td + "/ns/shop/sa/cart-2", td + "/ns/shop/xsa/cart", "/ns/shop/sa/cart", "spiffe:///ns/shop/sa/cart") == [False] * 4


@pytest.mark.parametrize(
    ("given_principal", "matches"),
    [("cluster.local/ns/shop/sa/cart", True), ("td.example/ns/shop/sa/cart", True), ("old.example/ns/shop/sa/cart", False),
     ("td*/ns/shop/sa/cart", True), ("*example/ns/shop/sa/cart", True), ("cluster.local/ns/shop/*", False), ("*/ns/shop/sa/cart", True)],
)
def test_own_trust_domain(given_principal: str, matches: bool) -> None:
    """`cluster.local` means the mesh's own trust domain, whatever that is called; so do patterns that fit it."""
    made = compiled(policy({"rules": [source(principals=[given_principal])]}), workload=attrs.evolve(WORKLOAD, trust_domain="td.example"))
    assert made is not None
    assert made.decide(attrs.evolve(CALLER, names=("spiffe://td.example/ns/shop/sa/cart",))).allowed is matches


@pytest.mark.parametrize(
    ("block", "matches"),
    [("10.0.0.7", True), ("10.0.0.6", False), ("10.0.0.0/29", True), ("10.0.0.9/8", True), ("0.0.0.0/0", True), ("::/0", False),
     ("::ffff:10.0.0.7", False)],
)
def test_addresses(block: str, matches: bool) -> None:
    """Source is the other end of the connection, remote the client by X-Forwarded-For, destination our own."""
    other = attrs.evolve(CALLER, source="1.1.1.1", remote="2.2.2.2", destination="3.3.3.3")
    assert allows(source(ipBlocks=[block]), attrs.evolve(other, source="10.0.0.7")) is matches
    assert allows(source(notIpBlocks=[block]), attrs.evolve(other, source="10.0.0.7")) is not matches
    assert allows(source(remoteIpBlocks=[block]), attrs.evolve(other, remote="10.0.0.7")) is matches
    assert allows(source(notRemoteIpBlocks=[block]), attrs.evolve(other, remote="10.0.0.7")) is not matches
    assert allows(when("source.ip", values=[block]), attrs.evolve(other, source="10.0.0.7")) is matches
    assert allows(when("remote.ip", values=[block]), attrs.evolve(other, remote="10.0.0.7")) is matches
    assert allows(when("destination.ip", values=[block]), attrs.evolve(other, destination="10.0.0.7")) is matches


def test_ipv6() -> None:
    """Ranges of IPv6 hold addresses of IPv6."""
    caller = attrs.evolve(CALLER, source="fd00::7")
    blocks = {"fd00::/16": True, "fd00::7": True, "fd01::/16": False, "0.0.0.0/0": False}
    assert {one: allows(source(ipBlocks=[one]), caller) for one in blocks} == blocks


@pytest.mark.parametrize(
    ("asked", "field", "value", "matches"),
    [
        (head("GET"), "methods", "GET", True),
        (head("get"), "methods", "GET", False),
        (head("POST"), "methods", "P*", True),
        (head("POST"), "methods", "*ST", True),
        (head("ANY"), "methods", "*", True),
        (head(target="/a"), "paths", "/a", True),
        (head(target="/a?b=/c"), "paths", "/a", True),
        (head(target="/ab"), "paths", "/a*", True),
        (head(target="/x/a?q"), "paths", "*/a", True),
        (head(target="/x?q=/a"), "paths", "*/a", False),
        (head(target="/"), "paths", "*", True),
        (head(target="/A"), "paths", "/a", False),
        (head(target="/a/b/c"), "paths", "/a/{*}/c", True),
        (head(target="/a//c"), "paths", "/a/{*}/c", False),
        (head(target="/a/b/b/c"), "paths", "/a/{*}/c", False),
        (head(target="/a/b/b/c?d"), "paths", "/a/{**}/c", True),
        (head(target="/a//c"), "paths", "/a/{**}/c", True),
        (head(target="/a/c"), "paths", "/a/{**}/c", False),
        (head(target="/a/"), "paths", "/a/{**}", True),
        (head(target="/a"), "paths", "/a/{**}", False),
        (head(target="/a/x=y*z"), "paths", "/a/{*}", True),
        (head(target="/a/x[y"), "paths", "/a/{*}", False),
        (head(target="/a/x/"), "paths", "/a/{*}", False),
        (head(target="/a.b/x"), "paths", "/a.b/{*}", True),
        (head(target="/a+b/x"), "paths", "/a.b/{*}", False),
        (head(target="/x/"), "paths", "/{*}/", True),
        (head(host="Shop.Example"), "hosts", "shop.example", True),
        (head(host="shop.example:80"), "hosts", "shop.example", False),
        (head(host="shop.example:80"), "hosts", "shop.example:*", True),
        (head(host="A.SHOP.example"), "hosts", "*.Shop.Example", True),
        (head(host="other"), "hosts", "*", True),
    ],
)  # fmt: skip
def test_operation(asked: RequestHead, field: str, value: str, matches: bool) -> None:
    """Methods with their case, hosts without it and with the port that is named, paths without the query; templates segment by segment."""
    excluded = "not" + field[0].upper() + field[1:]
    caller = attrs.evolve(CALLER, head=asked)
    assert (allows(operation(**{field: [value]}), caller), allows(operation(**{excluded: [value]}), caller)) == (matches, not matches)


def test_ports() -> None:
    """The port is the workload's own, for requests and other connections alike."""
    for caller in (CALLER, attrs.evolve(CALLER, head=None)):
        assert [allows(operation(ports=[one]), caller) for one in ("8080", "80", "08080")] == [True, False, True]
        assert [allows(operation(notPorts=[one]), caller) for one in ("8080", "80")] == [False, True]
        assert allows(when("destination.port", values=["80", "8080"]), caller)


@pytest.mark.parametrize(
    ("header", "value", "matches"),
    [
        ("x-user", "ann", True), ("X-User", "ann", True), ("x-user", "an", False), ("x-user", "a*", True),
        ("x-user", "*n", True),
        ("x-user", "*", True), ("x-user", "bob", True), ("x-user", "ann,bob", False), ("x-none", "*", False), ("x-empty", "*", True),
        (":method", "GET", True), (":path", "/a?b", True), (":path", "/a", False), (":authority", "store:8000", True),
        ("host", "store:*", True),
        ("host", "STORE:8000", False), (":scheme", "http", True), ("host", "*", True), (":none", "*", False),
    ],
)  # fmt: skip
def test_header(header: str, value: str, matches: bool) -> None:
    """Any line of a header may match; its presence does for `*`. Host and the pseudo-headers are headers too."""
    asked = head(target="/a?b", x_user="ann", x_empty="")
    asked.headers.append((b"x-user", b"bob"))
    caller = attrs.evolve(CALLER, head=asked)
    key = f"request.headers[{header}]"
    assert (allows(when(key, values=[value]), caller), allows(when(key, notValues=[value]), caller)) == (matches, not matches)


def test_server_name() -> None:
    """The name that TLS asked for; `*` wants one."""
    asked = attrs.evolve(CALLER, sni="a.example")
    values = ("a.example", "*.example", "a*", "*", "example")
    assert [allows(when("connection.sni", values=[one]), asked) for one in values] == [True, True, True, True, False]
    assert [allows(when("connection.sni", values=[one])) for one in values] == [False] * 5
    assert allows(when("connection.sni", notValues=["*"]))


def test_and_or() -> None:
    """Within a list one suffices; fields, source with operation, and conditions must all hold; of sources and operations one."""
    rule = {
        "from": [{"source": {"namespaces": ["x", "shop"], "notPrincipals": ["*/sa/bad"]}}, {"source": {"ipBlocks": ["9.9.9.9"]}}],
        "to": [{"operation": {"methods": ["GET"], "notPaths": ["/no"]}}, {"operation": {"methods": ["PUT"]}}],
        "when": [{"key": "request.headers[a]", "values": ["1"]}, {"key": "request.headers[b]", "notValues": ["2"]}],
    }
    good = attrs.evolve(CALLER, head=head(a="1"))
    assert allows(rule, good)
    assert allows(rule, attrs.evolve(good, head=head("PUT", "/no", a="1")))
    assert allows(rule, attrs.evolve(good, names=(), source="9.9.9.9"))
    for bad in (
        attrs.evolve(good, names=()), attrs.evolve(good, names=("spiffe://cluster.local/ns/shop/sa/bad",)), CALLER,
        attrs.evolve(good, head=head(target="/no", a="1")), attrs.evolve(good, head=head("POST", a="1")),
        attrs.evolve(good, head=head(a="1", b="2")),
    ):  # fmt: skip
        assert not allows(rule, bad)
