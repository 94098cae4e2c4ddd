"""Clusters that lead where their connections were going: captured ones, and those that say it by their Host."""

from typing import Any

import pytest

from meshcar.net.address import Address
from meshcar.proxy import arrival as arrival_module
from meshcar.rules.snapshot import EndpointConfig

WHERE = Address("10.9.9.1", 80)


def get(host: bytes) -> bytes:
    """A request for a host."""
    return b"GET / HTTP/1.1\r\nhost: %b\r\n\r\n" % host


def original(mesh: Any, port: int = 0) -> None:
    """Routes the host a to a cluster without endpoints."""
    mesh.cluster("a", elsewhere=EndpointConfig("", port))
    mesh.route()


def test_captured(make_mesh: Any, monkeypatch: Any) -> None:
    """To the address that the connection was made to, whatever the Host says; two requests share a connection."""
    monkeypatch.setattr(arrival_module, "original_destination", lambda sock: WHERE)
    mesh = make_mesh(intercept="redirect")
    original(mesh)
    mesh.listener("10.9.9.1", 80, "http")
    client = mesh.client(get(b"a"))
    assert mesh.loop.dials[0].address == WHERE
    endpoint = mesh.accept()
    mesh.say(endpoint, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert client.heard().startswith(b"HTTP/1.1 200 ")
    mesh.say(client, get(b"a"))
    assert endpoint.heard().count(b"GET / ") == 2 and mesh.log.records[0].cluster == "a"


def test_target_port(make_mesh: Any, monkeypatch: Any) -> None:
    """On the targetPort, where one is given."""
    monkeypatch.setattr(arrival_module, "original_destination", lambda sock: WHERE)
    mesh = make_mesh(intercept="redirect")
    original(mesh, 8080)
    mesh.listener("10.9.9.1", 80, "http")
    mesh.client(get(b"a"))
    assert mesh.loop.dials[0].address == Address("10.9.9.1", 8080)


def test_by_the_host(mesh: Any) -> None:
    """Where nobody captures, the Host is looked up, once routes are decided; the body waits with its head."""
    original(mesh)
    mesh.loop.nameResolver.known["a"] = ["10.9.9.1"]
    client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf")
    client.say(b"more")
    mesh.loop.nameResolver.answer()
    mesh.loop.turn()
    assert mesh.loop.dials[0].address == WHERE
    assert mesh.accept().heard().endswith(b"\r\n\r\nhalfmore")


def test_copies_of_what_waited(mesh: Any) -> None:
    """A copy has what came of the body meanwhile."""
    mesh.cluster("b", 81)
    mesh.cluster("a", elsewhere=EndpointConfig("", 0))
    mesh.route(mirrors=("b",))
    mesh.loop.nameResolver.known["a"] = ["10.9.9.1"]
    mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nhalf")
    mesh.loop.nameResolver.answer()
    mesh.loop.turn()
    wires = [mesh.accept(), mesh.accept()]
    assert [wire.heard().endswith(b"\r\n\r\nhalf") for wire in wires] == [True, True]


def test_by_an_address(mesh: Any) -> None:
    """A Host that is an address needs no look-up."""
    mesh.cluster("a", elsewhere=EndpointConfig("", 0))
    mesh.route(host=b"10.9.9.1")
    mesh.client(get(b"10.9.9.1"))
    assert mesh.loop.dials[0].address == WHERE


def test_known_pods(mesh: Any) -> None:
    """Who does not say which pod of a headless Service is meant gets one of them."""
    mesh.cluster("a", 80, elsewhere=EndpointConfig("", 0))
    mesh.route()
    mesh.client(get(b"a"))
    assert mesh.loop.dials[0].address == Address(EndpointConfig("10.0.0.9", 80).address, 80)


def test_no_address(mesh: Any) -> None:
    """A name without an address is a 503."""
    original(mesh)
    client = mesh.client(get(b"a"))
    mesh.loop.nameResolver.answer()
    mesh.loop.turn()
    assert client.heard().startswith(b"HTTP/1.1 503 ")
    mesh.at_rest()


@pytest.mark.parametrize(("told", "option", "status"), [(False, True, b"502"), (True, False, b"200"), (None, False, b"502")])
def test_unknown_hosts(make_mesh: Any, told: bool | None, option: bool, status: bytes) -> None:
    """A Sidecar's outboundTrafficPolicy goes before the option."""
    mesh = make_mesh(outbound_allow_any=option)
    mesh._swap(allow_any=told)
    client = mesh.client(get(b"10.9.9.1"))
    if status == b"200":
        mesh.say(mesh.accept(), b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert client.heard()[9:12] == status


def test_each_request_resolved(make_mesh: Any, monkeypatch: Any) -> None:
    """With DYNAMIC_DNS the Host of a captured request is looked up, too; its port is the Host's."""
    monkeypatch.setattr(arrival_module, "original_destination", lambda sock: WHERE)
    mesh = make_mesh(intercept="redirect")
    mesh.cluster("a", elsewhere=EndpointConfig("", 0), discovery="DYNAMIC_DNS")
    mesh.route(host=b"x.y")
    mesh.listener("10.9.9.1", 80, "http")
    mesh.loop.nameResolver.known["x.y"] = ["10.7.7.7"]
    mesh.client(get(b"x.y:81"))
    mesh.loop.nameResolver.answer()
    mesh.loop.turn()
    assert mesh.loop.dials[0].address == Address("10.7.7.7", 81)
