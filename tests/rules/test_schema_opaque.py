"""The fields of tls and tcp rules."""

from typing import Any

import pytest

from meshcar.rules.read import read
from tests.rules.opaque import to, virtual_service

ROUTE = [to("b")]
NAME = {"sniHosts": ["a.example"]}


def faults(**spec: Any) -> list[tuple[str, str]]:
    """What is wrong with a VirtualService."""
    hosts = spec.pop("hosts", ["a.example", "*.w.example"])
    return [(one.code, one.path.removeprefix("spec.")) for one in read(virtual_service(hosts, **spec), "rules.yaml").problems]


@pytest.mark.parametrize(
    "spec",
    [
        {"tcp": [{"route": ROUTE}]},
        {"tcp": [{"match": [], "route": ROUTE}], "tls": [{"match": [NAME], "route": ROUTE}]},
        {"tcp": [{"match": [{"port": 0, "destinationSubnets": ["10.0.0.0/8", "10.1.2.3/8", "::/0", "fd00::1"]}], "route": ROUTE}]},
        {"tcp": [{"match": [{"sourceLabels": {"a": "b"}, "sourceNamespace": "x", "gateways": ["mesh", "x/y"]}], "route": ROUTE}]},
        {"tcp": [{"route": [to("b", 0), to("c", 100), to("d")]}]},
        {"tls": [{"match": [{"sniHosts": ["x.w.example", "*.w.example", "*.x.w.example"], "port": 443}], "route": ROUTE}]},
        {"hosts": ["*"], "gateways": ["x"], "tls": [{"match": [{"sniHosts": ["*", "*.a", "a"]}], "route": ROUTE}]},
        {"hosts": ["A.example"], "tls": [{"match": [{"sniHosts": ["a.EXAMPLE"]}], "route": ROUTE}]},
    ],
)
def test_good(spec: Any) -> None:
    """What Istio takes is taken, with nothing to remark."""
    assert faults(**spec) == []


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({"match": [NAME]}, [("REQUIRED", "route")]),
        ({"route": ROUTE}, [("REQUIRED", "match")]),
        ({"match": [], "route": ROUTE}, [("REQUIRED", "match")]),
        ({"match": [{}], "route": ROUTE}, [("REQUIRED", "match[0].sniHosts")]),
        ({"match": [{"sniHosts": []}], "route": ROUTE}, [("REQUIRED", "match[0].sniHosts")]),
        ({"match": [None], "route": ROUTE}, [("WRONG_TYPE", "match[0]")]),
        (
            {"match": [NAME | {"destinationSubnets": ["10.0.0.0/33"]}], "route": ROUTE},
            [("INVALID_VALUE", "match[0].destinationSubnets[0]")],
        ),
        ({"match": [NAME | {"port": 65536}], "route": ROUTE}, [("INVALID_VALUE", "match[0].port")]),
        ({"match": [NAME | {"sourceSubnet": "10.0.0.1"}], "route": ROUTE}, [("UNKNOWN_FIELD", "match[0].sourceSubnet")]),
        ({"match": [NAME], "route": ROUTE, "mirror": {"host": "b"}}, [("UNKNOWN_FIELD", "mirror")]),
    ],
)
def test_bad_tls(rule: Any, wanted: list[tuple[str, str]]) -> None:
    """What Istio refuses of a tls rule."""
    assert faults(tls=[rule]) == [(code, f"tls[0].{path}") for code, path in wanted]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("b.example", "INVALID_VALUE"), ("w.example", "INVALID_VALUE"), ("*.example", "INVALID_VALUE"), ("*", "INVALID_VALUE"),
        ("*.a.example", "INVALID_VALUE"), ("foo.*.com", "INVALID_VALUE"), ("a b", "INVALID_VALUE"), ("", "INVALID_VALUE"),
        ("1.1.1.1", "NO_EFFECT"), ("fd00::1", "NO_EFFECT"), ("outbound_.80_._.a.example", "INVALID_VALUE"),
    ],
)  # fmt: skip
def test_bad_names(name: str, code: str) -> None:
    """A server name is one of the hosts or within a wildcard of them; an address is unwise."""
    assert faults(tls=[{"match": [{"sniHosts": ["a.example", name]}], "route": ROUTE}]) == [(code, "tls[0].match[0].sniHosts[1]")]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({}, [("REQUIRED", "route")]),
        ({"match": [{"port": 999}]}, [("REQUIRED", "route")]),
        ({"route": []}, [("REQUIRED", "route")]),
        ({"route": [{}]}, [("REQUIRED", "route[0].destination")]),
        ({"route": [{"destination": {}}]}, [("REQUIRED", "route[0].destination.host")]),
        ({"route": [{"destination": {"host": "b"}, "headers": {}}]}, [("UNKNOWN_FIELD", "route[0].headers")]),
        ({"route": [to("b", -1)]}, [("INVALID_VALUE", "route[0].weight")]),
        ({"route": [to("b"), to("c", 0)]}, [("INVALID_VALUE", "route")]),
        ({"route": [to("b", port=65536)]}, [("INVALID_VALUE", "route[0].destination.port.number")]),
        (
            {"match": [{"destinationSubnets": ["10.0.0.0/255.0.0.0"]}], "route": ROUTE},
            [("INVALID_VALUE", "match[0].destinationSubnets[0]")],
        ),
        ({"match": [{"destinationSubnets": ["a.example"]}], "route": ROUTE}, [("INVALID_VALUE", "match[0].destinationSubnets[0]")]),
        ({"match": [{"sniHosts": ["a"]}], "route": ROUTE}, [("UNKNOWN_FIELD", "match[0].sniHosts")]),
        ({"match": [{"sourceSubnet": "10.0.0.0/8"}], "route": ROUTE}, [("IGNORED", "match[0].sourceSubnet")]),
    ],
)
def test_bad_tcp(rule: Any, wanted: list[tuple[str, str]]) -> None:
    """What Istio refuses of a tcp rule, and what it does not obey."""
    assert faults(tcp=[rule]) == [(code, f"tcp[0].{path}") for code, path in wanted]


@pytest.mark.parametrize(("host", "name"), [("*-a.b", "*-a.b"), ("*-a.b", "*-x-a.b"), ("*.b", "*-a.b"), ("*a.b", "*.x-a.b")])
def test_partial_wildcards(host: str, name: str) -> None:
    """They are server names with a warning, within the hosts as others are."""
    wanted = [("PARTIAL_WILDCARD", "tls[0].match[0].sniHosts[0]")] if not name.startswith("*.") else []
    assert faults(hosts=[host], tls=[{"match": [{"sniHosts": [name]}], "route": ROUTE}]) == wanted


@pytest.mark.parametrize(("host", "name"), [("*-a.b", "*a.b"), ("*-a.b", "*.a.b"), ("*.a.b", "*-a.b"), ("a.b", "*a.b")])
def test_partial_wildcards_beyond_hosts(host: str, name: str) -> None:
    """A server name is not wider than the hosts."""
    found = faults(hosts=[host], tls=[{"match": [{"sniHosts": [name]}], "route": ROUTE}])
    assert ("INVALID_VALUE", "tls[0].match[0].sniHosts[0]") in found


def test_delegates() -> None:
    """A VirtualService without hosts has rules for requests only."""
    assert faults(hosts=[], tcp=[{"route": ROUTE}]) == [("CONFLICT", "tcp")]
    assert faults(hosts=[], http=[{"route": ROUTE}], tls=[{"match": [NAME], "route": ROUTE}]) == [("CONFLICT", "tls")]


def test_names_of_gateways() -> None:
    """Gateways see the mesh's own server names."""
    rule = {"match": [{"sniHosts": ["outbound_.80_._.b.w.example"]}], "route": ROUTE}
    assert faults(gateways=["x/y"], tls=[rule]) == []
    own = ["outbound_.80_._.b.w.example"]
    assert faults(hosts=own, gateways=["x/y"], tls=[rule]) == []
    assert faults(hosts=own, http=[{"route": ROUTE}], gateways=["x/y"]) == [("INVALID_VALUE", "hosts[0]")]
    assert faults(hosts=own, tls=[rule]) == [("INVALID_VALUE", "tls[0].match[0].sniHosts[0]"), ("INVALID_VALUE", "hosts[0]")]
    assert faults(gateways=["x/y"], tls=[{"match": [{"sniHosts": ["outbound_80"]}], "route": ROUTE}])[0][0] == "INVALID_VALUE"
