"""Listeners: what becomes of a connection by its address, port, server name and protocol, and where services share a port."""

import pytest

from meshcar.rules.compile import compile_rules
from meshcar.rules.read import read
from meshcar.rules.snapshot import Snapshot
from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile
from tests.rules.opaque import document, entry, goes, service

PORTS = {
    "http": 80, "auto": 81, "tcp": 82, "tls": 83, "https": 84,
}  # fmt: skip


class TestPorts:
    """What a port becomes, by its protocol and by where its service answers."""

    def test_at_an_address(self, compiled: Compile) -> None:
        """HTTP answers everywhere, an opaque port at the address; without a rule nobody asks which name TLS wants there."""
        snapshot = compiled(service("a", "10.0.0.1", *PORTS.items())).snapshot
        assert [goes(snapshot, "10.0.0.1", port, "x.y") for port in PORTS.values()] == ["passthrough", "81||a", "82||a", "83||a", "84||a"]
        assert [goes(snapshot, "10.0.0.1", port, http=True) for port in (80, 81, 82)] == ["http", "http", "82||a"]
        elsewhere = [goes(snapshot, "10.0.0.2", port, http=True) for port in PORTS.values()]
        assert elsewhere == ["http", *4 * ["passthrough"]]
        looked_at = [snapshot.listeners.get("10.0.0.1", port) for port in PORTS.values()]
        assert [(one.reads_http, one.reads_names) for one in looked_at if one] == [(True, False), (True, False), *3 * [(False, False)]]

    def test_anywhere(self, compiled: Compile) -> None:
        """An entry without an address: TCP has every address of the port, TLS goes by its name, and the rest goes where it was meant to."""
        snapshot = compiled(entry("a", "a.example", [], *PORTS.items())).snapshot
        assert [goes(snapshot, "1.1.1.1", port) for port in PORTS.values()] == [
            "passthrough", "81||a.example", "82||a.example", "passthrough", "passthrough"]  # fmt: skip
        assert [goes(snapshot, "fd00::1", port, "A.example") for port in (83, 84)] == ["83||a.example", "84||a.example"]
        assert [goes(snapshot, "1.1.1.1", port, "b.example") for port in (83, 84)] == ["passthrough", "passthrough"]
        assert [goes(snapshot, "1.1.1.1", port, http=True) for port in PORTS.values()] == [
            "http", "http", "82||a.example", "passthrough", "passthrough"]  # fmt: skip

    def test_wildcard_host(self, compiled: Compile) -> None:
        """A wildcard entry has every name within it, but for those of a nearer one."""
        one, two = entry("a", "*.example", [], ("tls", 443)), entry("b", "*.b.example", [], ("https", 443))
        snapshot = compiled(one, two, entry("c", "c.b.example", [], ("tls", 443))).snapshot
        names = ["x.example", "x.y.example", "b.example", "x.b.example", "c.b.example", "example", "xexample", ""]
        found = [goes(snapshot, "1.1.1.1", 443, name) for name in names]
        assert found == [*3 * ["443||*.example"], "443||*.b.example", "443||c.b.example", *3 * ["passthrough"]]

    def test_headless(self, compiled: Compile) -> None:
        """A headless Service's opaque ports answer at its pods, each for itself, by any name; its HTTP everywhere."""
        ports = [{"name": kind, "port": number} for kind, number in PORTS.items()]
        addresses = [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}]
        endpoints = document("Endpoints", "a", {"subsets": [{"addresses": addresses, "ports": ports}]})
        text = document("Service", "a", {"spec": {"clusterIP": "None", "ports": ports}})
        snapshot = compiled(text, endpoints).snapshot
        for pod in ("10.1.0.1", "10.1.0.2"):
            assert [goes(snapshot, pod, port, "z") for port in PORTS.values()] == ["passthrough", "81||a", "82||a", "83||a", "84||a"]
            assert (goes(snapshot, pod, 80, http=True), goes(snapshot, pod, 81, http=True)) == ("http", "http")
            assert snapshot.clusters["outbound|82||a.default.svc.cluster.local"].elsewhere is not None
        assert [goes(snapshot, "10.1.0.3", port) for port in PORTS.values()] == 5 * ["passthrough"]

    def test_sniffed_service(self, compiled: Compile) -> None:
        """HTTP at the address of a service that declares nothing is that service's, whatever its Host says."""
        snapshot = compiled(service("a", "10.0.0.1", ("auto", 81)), entry("b", "b.example", [], ("auto", 82))).snapshot
        assert snapshot.listeners.at["10.0.0.1", 81].service == b"a.default.svc.cluster.local"
        assert snapshot.listeners.anywhere[82].service == b""

    def test_ranges(self, compiled: Compile) -> None:
        """The narrowest range of addresses counts, without the bits behind its prefix; /32 and /128 are one address."""
        one = entry("a", "a.example", ["10.0.0.0/8", "fd00::7/16"], ("tcp", 9))
        two = entry("b", "b.example", ["10.1.2.3/16", "10.9.9.9/32", "fd00:1::/32"], ("tcp", 9))
        snapshot = compiled(one, two).snapshot
        found = {
            "10.0.0.1": "a", "10.2.0.1": "a", "10.1.0.1": "b", "10.9.9.9": "b", "fd00::1": "a", "fd00:1::1": "b", "11.0.0.1": "",
        }  # fmt: skip
        assert {address: goes(snapshot, address, 9) for address in found} == {
            address: f"9||{name}.example" if name else "passthrough" for address, name in found.items()}  # fmt: skip
        assert ("10.9.9.9", 9) in snapshot.listeners.at

    def test_ranges_by_name(self, compiled: Compile) -> None:
        """TLS in a range must ask for the right name; nobody looks in a wider range when it does not, as with Envoy."""
        one = entry("a", "a.example", ["10.0.0.0/8"], ("tls", 9))
        two = entry("b", "b.example", ["10.1.0.0/16"], ("tls", 9))
        snapshot = compiled(one, two).snapshot
        cases = [
            ("10.1.0.1", "b.example"),
            ("10.2.0.1", "a.example"),
            ("10.1.0.1", "a.example"),
            ("10.2.0.1", "b.example"),
            ("10.2.0.1", ""),
        ]
        assert [goes(snapshot, address, 9, name) for address, name in cases] == ["9||b.example", "9||a.example", *3 * ["passthrough"]]


class TestConflicts:
    """Services that share a port; the one created first counts, of one age the one whose name sorts first."""

    @pytest.mark.parametrize(
        ("older", "newer", "wins"), [("", "", "a"), ("2026-01-02", "2026-01-01", "b"), ("2026-01-01", "2026-01-02", "a")]
    )
    def test_tcp_and_tcp(self, compiled: Compile, older: str, newer: str, wins: str) -> None:
        """Only one can have every address of a port."""
        texts = entry("y", "a.example", [], ("tcp", 9), created=older), entry("x", "b.example", [], ("tcp", 9), created=newer)
        assert goes(compiled(*texts).snapshot, "1.1.1.1", 9) == goes(compiled(*texts[::-1]).snapshot, "1.1.1.1", 9) == f"9||{wins}.example"

    def test_shared_address(self, compiled: Compile) -> None:
        """An address that two entries list is the older one's, the others are their own."""
        texts = entry("a", "a.example", ["1.1.1.1"], ("tcp", 9)), entry("b", "b.example", ["2.2.2.2", "1.1.1.1"], ("tcp", 9))
        snapshot = compiled(*texts).snapshot
        assert [goes(snapshot, address, 9) for address in ("1.1.1.1", "2.2.2.2")] == ["9||a.example", "9||b.example"]

    def test_same_range(self, compiled: Compile) -> None:
        """Two spellings of one range are one range."""
        texts = entry("a", "a.example", ["10.1.2.3/8"], ("tcp", 9)), entry("b", "b.example", ["10.3.2.1/8"], ("tcp", 9))
        assert goes(compiled(*texts).snapshot, "10.7.7.7", 9) == "9||a.example"

    @pytest.mark.parametrize("created", [("2026-01-01", "2026-01-02"), ("2026-01-02", "2026-01-01")])
    @pytest.mark.parametrize("kind", ["http", "auto"])
    def test_http_and_tcp(self, compiled: Compile, kind: str, created: tuple[str, str]) -> None:
        """Both have their part, whoever came first: HTTP is recognised, all else is TCP's."""
        texts = entry("a", "a.example", [], (kind, 9), created=created[0]), entry("b", "b.example", [], ("tcp", 9), created=created[1])
        snapshot = compiled(*texts).snapshot
        first = "a.example" if kind == "auto" and created[0] < created[1] else "b.example"
        assert (goes(snapshot, "1.1.1.1", 9, http=True), goes(snapshot, "1.1.1.1", 9)) == ("http", f"9||{first}")

    def test_http_beside_an_address(self, compiled: Compile) -> None:
        """TCP at an address of its own shares nothing with HTTP on the same port."""
        snapshot = compiled(service("a", "10.0.0.1", ("http", 9)), service("b", "10.0.0.2", ("tcp", 9))).snapshot
        assert [goes(snapshot, address, 9, http=True) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3")] == ["http", "9||b", "http"]

    def test_range_over_http(self, compiled: Compile) -> None:
        """A TCP range takes HTTP, too: the address counts before the protocol, as with Envoy."""
        snapshot = compiled(service("a", "10.0.0.1", ("http", 9)), entry("b", "b.example", ["10.0.0.0/8"], ("tcp", 9))).snapshot
        assert [goes(snapshot, address, 9, http=True) for address in ("10.0.0.1", "11.0.0.1")] == ["9||b.example", "http"]

    def test_http_and_tls(self, compiled: Compile) -> None:
        """HTTP by its first bytes, TLS by its name."""
        snapshot = compiled(service("a", "10.0.0.1", ("http", 9)), entry("b", "b.example", [], ("tls", 9))).snapshot
        assert [goes(snapshot, "1.1.1.1", 9, http=True), goes(snapshot, "1.1.1.1", 9, "b.example")] == ["http", "9||b.example"]
        assert goes(snapshot, "1.1.1.1", 9, "c.example") == goes(snapshot, "1.1.1.1", 9) == "passthrough"

    def test_tls_and_tcp(self, compiled: Compile) -> None:
        """Names that are known go by name, all else is TCP's; nobody speaks before the client then."""
        snapshot = compiled(entry("a", "a.example", [], ("tls", 9)), entry("b", "b.example", [], ("tcp", 9))).snapshot
        assert [goes(snapshot, "1.1.1.1", 9, name) for name in ("a.example", "x", "")] == ["9||a.example", "9||b.example", "9||b.example"]
        assert not snapshot.listeners.anywhere[9].may_speak_first("1.1.1.1")

    @pytest.mark.parametrize("kind", ["mongo", "mysql"])
    def test_alone(self, compiled: Compile, kind: str) -> None:
        """Whose servers speak first shares its port with nobody who must be recognised."""
        mongo, http = entry("a", "a.example", [], (kind, 9)), entry("b", "b.example", [], ("http", 9))
        assert goes(compiled(mongo, http).snapshot, "1.1.1.1", 9, http=True) == "9||a.example"
        first = entry("b", "b.example", [], ("http", 9), created="2020-01-01"), entry("a", "a.example", [], (kind, 9), created="2021-01-01")
        assert goes(compiled(*first).snapshot, "1.1.1.1", 9) == "passthrough"


def test_many(compiled: Compile) -> None:
    """Thousands of entries on one port cost each the same: all their names are in one table."""
    texts = [entry(f"e{n}", f"h{n}.example", [], ("tls", 443)) for n in range(2000)]
    snapshot = compiled(*texts).snapshot
    assert goes(snapshot, "1.1.1.1", 443, "h1999.example") == "443||h1999.example" and len(snapshot.listeners.anywhere) == 1


def test_alias(compiled: Compile) -> None:
    """TLS may ask for the alias of an entry, too, but for no short name of it."""
    alias = document("Service", "short", {"spec": {"type": "ExternalName", "externalName": "a.example"}})
    snapshot = compiled(entry("a", "a.example", [], ("tls", 9)), alias).snapshot
    assert [goes(snapshot, "1.1.1.1", 9, name) for name in ("a.example", "short.default.svc.cluster.local")] == 2 * ["9||a.example"]
    own = compiled(entry("b", "b.default.svc.cluster.local", [], ("tls", 9))).snapshot
    assert [goes(own, "1.1.1.1", 9, name) for name in ("b.default.svc.cluster.local", "b.default", "b")] == ["9||b", *2 * ["passthrough"]]


def test_none() -> None:
    """An entry with resolution NONE answers everywhere, or at its addresses, and its connections go where they were going."""

    def compiled(**more: object) -> Snapshot:
        ports = [{"number": 9, "name": "x", "protocol": "TCP"}]
        one = document("ServiceEntry", "a", {"spec": {"hosts": ["a.example"], "resolution": "NONE", "ports": ports} | more})
        return compile_rules(read(one, "rules.yaml").resources, Workload(), 1).snapshot

    anywhere, ranged = compiled(), compiled(addresses=["10.0.0.0/8"])
    assert [goes(one, "10.1.1.1", 9) for one in (anywhere, ranged)] == 2 * ["9||a.example"]
    assert goes(ranged, "11.0.0.1", 9) == "passthrough" and anywhere.clusters["outbound|9||a.example"].elsewhere is not None
