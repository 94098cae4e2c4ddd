"""Sockets that systemd, or the process before this one, bound."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress
from meshcar.net.inherited import FIRST, Given, Inherited, first_environment, from_environment, given


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_by_name(listening: socket.socket) -> None:
    """A name that is a listener's is enough, wherever the socket listens; it can be taken once."""
    inherited = Inherited([Given("health", listening)])
    assert inherited.take("inbound", Address("", 1)) is None and inherited
    assert inherited.take("health", Address("", 15021)) is listening
    assert inherited.take("health", Address("", 15021)) is None and not inherited
    inherited.settle()


@pytest.mark.parametrize(("host", "found"), [("127.0.0.1", True), ("", False), ("::1", False)])
def test_by_address(listening: socket.socket, host: str, found: bool) -> None:
    """Else its address counts; of a unit's own name nothing is known."""
    inherited = Inherited([Given("meshcar.socket", listening)])
    assert (inherited.take("inbound", Address(host, port(listening))) is listening) is found
    assert inherited.take("inbound", Address("127.0.0.1", 0)) is None


def test_every_address() -> None:
    """An option without a host is served by a socket of all addresses."""
    with socket.create_server(("0.0.0.0", 0)) as one:
        assert Given("", one).serves(Address("", port(one))) and not Given("", one).serves(Address("127.0.0.1", port(one)))


def test_path(tmp_path: Path) -> None:
    """Unix sockets go by their paths."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "admin"))
        one.listen()
        assert Given("", one).serves(PathAddress(str(tmp_path / "admin")))
        assert not Given("", one).serves(PathAddress("/else")) and not Given("", one).serves(Address("", 1))


def test_nobodys(listening: socket.socket) -> None:
    """systemd's socket that no listener takes is an error: whoever connects would wait for ever. One of ours is closed."""
    with pytest.raises(SettingsError, match=f"LISTEN_FDS: .*127.0.0.1:{port(listening)} \\(web\\)"):
        Inherited([Given("web", listening)]).settle()
    Inherited([Given("web", listening)], ours=True).settle()
    assert listening.fileno() == -1


def test_environment() -> None:
    """Only what is meant for this process; what is no listening socket is an error."""
    assert not from_environment({}, 1)
    assert not from_environment({"LISTEN_FDS": "1", "LISTEN_PID": "2"}, 1)
    for count, why in (("x", "not a number"), ("999", "descriptor")):
        with pytest.raises(SettingsError, match=why):
            from_environment({"LISTEN_FDS": count, "LISTEN_PID": "1"}, 1)
    assert FIRST == 3


def test_not_listening() -> None:
    """A connection, or a datagram socket, is none."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        sock = socket.socket(socket.AF_INET, kind)
        with pytest.raises(SettingsError, match="not a listening stream socket"):
            given(sock.detach())


def test_first_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was when the process began."""
    monkeypatch.setenv("MESHCAR_LATE", "1")
    found = first_environment()
    assert "MESHCAR_LATE" not in found and "PATH" in found
