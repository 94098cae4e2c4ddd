"""VirtualServices with tcp and tls rules, as they change what becomes of connections."""

from typing import Any

import pytest

from meshcar.rules.workload import Workload
from tests.rules.conftest import Compile
from tests.rules.opaque import document, entry, goes, service, to, virtual_service

DB = service("db", "10.0.0.1", ("tcp", 9)), service("other", "10.0.0.2", ("tcp", 9), ("tcp", 10))


class TestTcpRules:
    """VirtualServices with tcp rules."""

    def test_shares(self, compiled: Compile) -> None:
        """By weight; a weight of 0 gets nothing; without a port the destination's only one, else the one that was asked for."""
        rule = {"route": [to("db", 1, "v1"), to("other", 3), to("db", 0), to("other", 1, port=10)]}
        snapshot = compiled(*DB, virtual_service(["db"], tcp=[rule])).snapshot
        chain = snapshot.listeners.at["10.0.0.1", 9].default
        assert chain is not None and chain.route is not None
        wanted = [f"outbound|{rest}.default.svc.cluster.local" for rest in ("9|v1|db", "9||other", "10||other")]
        assert [chain.route.pick(roll) for roll in (0.0, 0.19, 0.2, 0.79, 0.8, 0.999)] == [
            wanted[0],
            wanted[0],
            wanted[1],
            wanted[1],
            *2 * wanted[2:],
        ]
        assert chain.route.virtual_service == "default/vs"

    @pytest.mark.parametrize("weight", [None, 0, 7])
    def test_only_one(self, compiled: Compile, weight: int | None) -> None:
        """A single destination gets everything, whatever its weight."""
        assert goes(compiled(*DB, virtual_service(["db"], tcp=[{"route": [to("other", weight)]}])).snapshot, "10.0.0.1", 9) == "9||other"

    @pytest.mark.parametrize(
        ("match", "applies"),
        [
            ({"port": 9}, True), ({"port": 10}, False), ({"port": 0}, True), ({"gateways": ["x"]}, False),
            ({"gateways": ["x", "mesh"]}, True),
            ({"sourceLabels": {"app": "me"}}, True), ({"sourceLabels": {"app": "you"}}, False), ({"sourceNamespace": "default"}, True),
            ({"sourceNamespace": "other"}, False), ({"gateways": ["mesh"], "sourceLabels": {"app": "you"}}, False), ({}, True),
        ],
    )  # fmt: skip
    def test_who_and_where(self, compiled: Compile, match: dict[str, Any], applies: bool) -> None:
        """A match on port, gateways, labels and namespace of the client is decided beforehand; all of them hold together."""
        rules = virtual_service(["db"], tcp=[{"match": [match], "route": [to("other")]}])
        snapshot = compiled(*DB, rules, workload=Workload(labels={"app": "me"})).snapshot
        assert goes(snapshot, "10.0.0.1", 9) == ("9||other" if applies else "9||db")

    def test_subnets(self, compiled: Compile) -> None:
        """By the address that was meant; the narrowest counts, then the first rule without any, then the service."""
        everywhere = entry("db", "db.example", [], ("tcp", 9))
        rules = [
            {"match": [{"destinationSubnets": ["10.0.0.0/8"]}], "route": [to("other", subset="v1")]},
            {
                "match": [{"destinationSubnets": ["10.1.0.0/16", "10.9.9.9"]}, {"destinationSubnets": ["10.1.0.0/24"]}],
                "route": [to("other", subset="v2")],
            },
            {"match": [{"destinationSubnets": ["fd00::/8"], "port": 1}], "route": [to("other", subset="v3")]},
        ]
        snapshot = compiled(everywhere, *DB, virtual_service(["db.example"], tcp=rules)).snapshot
        wanted = {"10.2.0.1": "9|v1|other", "10.1.7.1": "9|v2|other", "10.1.0.1": "9|v2|other", "10.9.9.9": "9|v2|other"}
        wanted |= {"11.0.0.1": "9||db.example", "fd00::1": "9||db.example"}
        assert {address: goes(snapshot, address, 9) for address in wanted} == wanted
        last = [*rules, {"route": [to("other")]}, {"route": [to("db")]}]
        assert goes(compiled(everywhere, *DB, virtual_service(["db.example"], tcp=last)).snapshot, "11.0.0.1", 9) == "9||other"

    def test_any_subnet(self, compiled: Compile) -> None:
        """0.0.0.0/0 is every address, IPv6 too, as with istiod; a match without subnets makes its rule take every address."""
        everywhere = entry("db", "db.example", [], ("tcp", 9))
        for match in ([{"destinationSubnets": ["0.0.0.0/0"]}], [{"destinationSubnets": ["10.0.0.0/8"]}, {"port": 9}]):
            snapshot = compiled(everywhere, *DB, virtual_service(["db.example"], tcp=[{"match": match, "route": [to("other")]}])).snapshot
            assert [goes(snapshot, address, 9) for address in ("1.1.1.1", "fd00::1")] == ["9||other", "9||other"]

    def test_precedence(self, compiled: Compile) -> None:
        """The first rule that applies counts, over all VirtualServices of the host, the oldest first, wildcards no later than others."""
        wide = virtual_service(["*.default.svc.cluster.local"], name="a", created="2026-01-01", tcp=[{"route": [to("other")]}])
        exact = virtual_service(["db"], name="b", created="2026-01-02", tcp=[{"route": [to("db", subset="v1")]}])
        assert goes(compiled(*DB, exact, wide).snapshot, "10.0.0.1", 9) == "9||other"
        labelled = virtual_service(
            ["db"], name="c", created="2020-01-01", tcp=[{"match": [{"sourceLabels": {"app": "you"}}], "route": [to("db", subset="v2")]}]
        )
        found = compiled(*DB, exact, labelled)
        assert goes(found.snapshot, "10.0.0.1", 9) == "9|v1|db" and "DUPLICATE_HOST" not in {one.code for one in found.problems}

    def test_wildcard_service(self, compiled: Compile) -> None:
        """A rule for a host within a wildcard service applies to that service, as with istiod."""
        wide = entry("w", "*.w.example", ["10.0.0.7"], ("tcp", 9))
        assert goes(compiled(wide, *DB, virtual_service(["a.w.example"], tcp=[{"route": [to("db")]}])).snapshot, "10.0.0.7", 9) == "9||db"
        assert (
            goes(compiled(wide, *DB, virtual_service(["w.example"], tcp=[{"route": [to("db")]}])).snapshot, "10.0.0.7", 9)
            == "9||*.w.example"
        )

    def test_partial_wildcard(self, compiled: Compile) -> None:
        """A rule for a part of a label applies to the services that it covers, and to no others."""
        service = entry("s", "x-db.w.example", ["10.0.0.7"], ("tcp", 9))
        for host, wanted in (("*-db.w.example", "9||db"), ("*-web.w.example", "9||x-db.w.example")):
            rule = virtual_service([host], tcp=[{"route": [to("db")]}])
            assert goes(compiled(service, *DB, rule).snapshot, "10.0.0.7", 9) == wanted

    @pytest.mark.parametrize(
        ("kind", "wanted"), [("http", ("http", "passthrough")), ("auto", ("http", "9||other")), ("tls", ("9||a", "9||a"))]
    )
    def test_other_protocols(self, compiled: Compile, kind: str, wanted: tuple[str, str]) -> None:
        """A tcp rule counts for ports that declare TCP or nothing, not for HTTP and TLS."""
        rules = virtual_service(["a"], tcp=[{"route": [to("other")]}])
        snapshot = compiled(*DB, service("a", "10.0.0.3", (kind, 9)), rules).snapshot
        assert (goes(snapshot, "10.0.0.3", 9, http=True), goes(snapshot, "10.0.0.3", 9)) == wanted

    def test_http_rules_for_tcp(self, compiled: Compile) -> None:
        """Rules for requests do not touch a port that declares TCP; both kinds together share a port that declares nothing."""
        http = [{"route": [to("other")]}]
        assert goes(compiled(*DB, virtual_service(["db"], http=http)).snapshot, "10.0.0.1", 9, http=True) == "9||db"
        both = compiled(*DB, service("a", "10.0.0.3", ("auto", 9)), virtual_service(["a"], http=http, tcp=[{"route": [to("db")]}])).snapshot
        assert (goes(both, "10.0.0.3", 9), goes(both, "10.0.0.3", 9, http=True)) == ("9||db", "http")

    def test_requests_are_routed_by_others(self, compiled: Compile) -> None:
        """A VirtualService with tcp rules alone takes no host from one that routes requests."""
        texts = (
            virtual_service(["db"], name="a", tcp=[{"route": [to("other")]}]),
            virtual_service(["db"], name="b", http=[{"route": [to("other")]}]),
        )
        found = compiled(*DB, service("web", "10.0.0.4", ("http", 80)), *(text.replace('"db"]', '"web"]') for text in texts))
        host = found.snapshot.virtual_host(b"web", 80)
        assert host is not None and host.routes[0].virtual_service == "default/b"
        assert {one.code for one in found.problems} == {"NO_EFFECT", "UNKNOWN_HOST"}

    def test_of_pods(self, compiled: Compile) -> None:
        """A headless Service's rule holds at each of its pods; a pod's own address goes to the pod, even of another service."""
        ports = [{"name": "tcp", "port": 9}]
        endpoints = document("Endpoints", "a", {"subsets": [{"addresses": [{"ip": "10.1.0.1"}], "ports": ports}]})
        headless = document("Service", "a", {"spec": {"clusterIP": "None", "ports": ports}})
        snapshot = compiled(*DB, headless, endpoints, virtual_service(["a"], tcp=[{"route": [to("db")]}])).snapshot
        assert goes(snapshot, "10.1.0.1", 9) == "9||db"

    @pytest.mark.parametrize("gone", [{"exportTo": ["."], "namespace": "elsewhere"}, {"gateways": ["x"]}])
    def test_not_ours(self, compiled: Compile, gone: dict[str, Any]) -> None:
        """What is exported to others, or meant for gateways, is not for us."""
        rules = virtual_service(["db.default.svc.cluster.local"], tcp=[{"route": [to("other.default.svc.cluster.local")]}], **gone)
        assert goes(compiled(*DB, rules).snapshot, "10.0.0.1", 9) == "9||db"


class TestTlsRules:
    """VirtualServices with tls rules."""

    WEB = service("web", "10.0.0.1", ("https", 443)), service("other", "10.0.0.2", ("tls", 443))
    HOSTS = ["web", "web.example", "*.web.example"]

    def rules(self, *rules: Any) -> str:
        return virtual_service(self.HOSTS, tls=list(rules))

    def test_by_name(self, compiled: Compile) -> None:
        """Exact before wildcard, whatever the order; what no rule names goes where it was meant to go."""
        rules = self.rules(
            {"match": [{"sniHosts": ["*.web.example"]}], "route": [to("other", subset="v1")]},
            {"match": [{"sniHosts": ["web.example", "a.web.example"]}], "route": [to("other", 1), to("web", 1)]},
        )
        snapshot = compiled(*self.WEB, rules).snapshot
        wanted = {"b.web.example": "443|v1|other", "WEB.example": "443||other+443||web", "a.web.example": "443||other+443||web"}
        wanted |= {"web": "passthrough", "": "passthrough"}
        assert {name: goes(snapshot, "10.0.0.1", 443, name) for name in wanted} == wanted
        listener = snapshot.listeners.at["10.0.0.1", 443]
        assert (listener.reads_names, listener.reads_http, listener.may_speak_first("10.0.0.1")) == (True, False, False)

    def test_same_match(self, compiled: Compile) -> None:
        """Of matches that differ only in who they are for, the first one that applies counts."""
        name = {"sniHosts": ["web.example"]}
        rules = [{"match": [name | more], "route": [to("other", subset=subset)]} for subset, more in (
            ("v1", {"sourceLabels": {"app": "you"}}), ("v2", {"port": 443}), ("v3", {}))]  # fmt: skip
        assert goes(compiled(*self.WEB, self.rules(*rules)).snapshot, "10.0.0.1", 443, "web.example") == "443|v2|other"

    def test_no_match_applies(self, compiled: Compile) -> None:
        """Then the service is as if there were no rule."""
        rule = {"match": [{"sniHosts": ["web.example"], "gateways": ["x"]}], "route": [to("other")]}
        snapshot = compiled(*self.WEB, self.rules(rule)).snapshot
        assert goes(snapshot, "10.0.0.1", 443, "web.example") == goes(snapshot, "10.0.0.1", 443) == "443||web"

    def test_subnets(self, compiled: Compile) -> None:
        """Address and name hold together, the address first; each match has its own addresses."""
        everywhere = entry("e", "web.example", [], ("tls", 443))
        match = [{"sniHosts": ["web.example"], "destinationSubnets": ["10.0.0.0/8"]}, {"sniHosts": ["*.web.example"]}]
        snapshot = compiled(everywhere, *self.WEB, self.rules({"match": match, "route": [to("other", port=443)]})).snapshot
        cases = [("10.0.0.7", "web.example"), ("11.0.0.1", "web.example"), ("11.0.0.1", "a.web.example"), ("10.0.0.7", "a.web.example")]
        assert [goes(snapshot, *case[:1], 443, case[1]) for case in cases] == ["443||other", "passthrough", "443||other", "passthrough"]

    @pytest.mark.parametrize("kind", ["tcp", "auto", "http"])
    def test_other_protocols(self, compiled: Compile, kind: str) -> None:
        """A tls rule counts for ports that declare TLS or HTTPS only."""
        rule = {"match": [{"sniHosts": ["web.example"]}], "route": [to("other")]}
        snapshot = compiled(self.WEB[1], service("web", "10.0.0.1", (kind, 443)), self.rules(rule)).snapshot
        assert goes(snapshot, "10.0.0.1", 443, "web.example") == ("passthrough" if kind == "http" else "443||web")


def test_egress_gateway(compiled: Compile) -> None:
    """Istio's egress example: the mesh's clients go to the gateway, the gateway's own rule is not for us."""
    gateway = service("egress", "10.0.0.9", ("https", 443))
    tls = [
        {"match": [{"gateways": ["mesh"], "port": 443, "sniHosts": ["edition.example"]}], "route": [to("egress", port=443)]},
        {
            "match": [{"gateways": ["egress"], "port": 443, "sniHosts": ["edition.example"]}],
            "route": [to("edition.example", 100, port=443)],
        },
    ]
    rules = virtual_service(["edition.example"], gateways=["egress", "mesh"], tls=tls)
    snapshot = compiled(gateway, entry("e", "edition.example", [], ("tls", 443)), rules).snapshot
    assert [goes(snapshot, "1.1.1.1", 443, name) for name in ("edition.example", "x.example")] == ["443||egress", "passthrough"]
