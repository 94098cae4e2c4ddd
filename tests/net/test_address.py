"""Addresses and the ADDR options."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.errors import SettingsError
from meshcar.net.address import Address, PathAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:15000", Address("127.0.0.1", 15000)),
        ("15001", Address("::1", 15001)),
        ("[::1]:80", Address("::1", 80)),
        ("[0:0::1]:80", Address("::1", 80)),
        ("localhost:80", Address("127.0.0.1", 80)),
        ("*:80", Address("", 80)),
        (":80", Address("", 80)),
        ("0", Address("::1", 0)),
        ("unix:/run/admin.sock", PathAddress("/run/admin.sock")),
        ("off", None),
    ],
)
def test_options(text: str, address: object) -> None:
    """Each form of ADDR; a bare port takes the default host."""
    assert parse_address(text, "::1") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:٣",
        "::1:80",
        "[1.2.3.4]:80",
        "[::1",
        "unix:",
        "OFF",
        "1.2.3.4:+80",
    ],
)
def test_bad_options(text: str) -> None:
    """What is no ADDR is refused in one line that names it."""
    with pytest.raises(SettingsError, match=r"^[^\n]+$") as error:
        parse_address(text)
    assert repr(text) in str(error.value)


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """No text raises anything but SettingsError."""
    try:
        parse_address(text)
    except SettingsError:
        pass


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65535))
def test_as_envoy_prints(ip: object, port: int) -> None:
    """An address printed and parsed is the same."""
    address = Address(str(ip), port)
    assert parse_address(str(address)) == address


def test_of_a_socket_name() -> None:
    """A mapped IPv4 address is IPv4 again; the family follows."""
    assert Address.of(("::ffff:10.0.0.1", 80, 0, 0)) == Address("10.0.0.1", 80)
    assert Address.of(("fe80::1", 80, 0, 0)).family == socket.AF_INET6
    assert Address.of(("10.0.0.1", 80)).family == socket.AF_INET
    assert str(PathAddress("/run/x")) == "unix:/run/x"
