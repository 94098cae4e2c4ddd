"""Tests of meshcar.wire.clienthello."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.wire.clienthello import MAX_HELLO, ClientHello, parse


def hello(name: str | None, protocols: list[str]) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


def records(message: bytes, size: int) -> bytes:
    """A handshake message cut into records of so many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


HELLO = hello("outbound_.8000_.v1_.httpbin.default.svc.cluster.local", ["istio-http/1.1", "istio", "http/1.1"])
ASKED = ClientHello(b"outbound_.8000_.v1_.httpbin.default.svc.cluster.local", (b"istio-http/1.1", b"istio", b"http/1.1"))


def test_openssl() -> None:
    """Name and protocols of a real client are found; what is not sent is empty."""
    assert parse(HELLO) == ASKED
    assert parse(hello(None, [])) == ClientHello()


def test_one_byte_at_a_time() -> None:
    """More is asked for until the message is whole, never too much, and not longer."""
    missing = [parse(HELLO[:count]) for count in range(len(HELLO))]
    assert all(isinstance(one, int) and 0 < one <= len(HELLO) - count for count, one in enumerate(missing))
    assert parse(HELLO + b"early data") == ASKED


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100])
def test_fragmented(size: int) -> None:
    """A message may come in records of any size."""
    cut = records(HELLO[5:], size)
    assert parse(cut) == ASKED
    assert {type(parse(cut[:count])) for count in range(0, len(cut), 7)} == {int}


def test_few_looks() -> None:
    """Of a long one in records of a byte each, whoever waits for what is missing looks some ten times, not ten thousand."""
    message = b"\x03\x03" + bytes(32) + b"\x00\x00\x00\x00\x23\x2c\x00\x15\x23\x28" + bytes(9000)
    cut, count, looks = records(b"\x01" + len(message).to_bytes(3, "big") + message, 1), 0, 0
    while isinstance(missing := parse(cut[:count]), int):
        count, looks = count + missing, looks + 1
    assert missing == ClientHello() and count == len(cut) and looks < 80


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x04",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO + 1).to_bytes(3, "big"),
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        HELLO[:5] + HELLO[5:6] + b"\x00\x00\x30" + HELLO[9:60],
    ],
)
def test_refused(data: bytes) -> None:
    """What can not become a ClientHello is refused at once."""
    with pytest.raises(ValueError):
        parse(data)


def test_odd_names() -> None:
    """Only a host name is a name; other kinds, and a list of none, say nothing."""
    for names in (b"", b"\x01\x00\x01a"):
        body = len(names).to_bytes(2, "big") + names
        extension = b"\x00\x00" + len(body).to_bytes(2, "big") + body
        message = b"\x03\x03" + bytes(32) + b"\x00\x00\x00\x00" + len(extension).to_bytes(2, "big") + extension
        assert parse(records(b"\x01" + len(message).to_bytes(3, "big") + message, 100)) == ClientHello()


def bounded(data: bytes) -> bool:
    """Whether what is read was there, and what is wanted besides is no more than a ClientHello may have; or there is a ValueError."""
    try:
        found = parse(data)
    except ValueError:
        return True
    return 0 < found <= 2 * MAX_HELLO if isinstance(found, int) else len(found.sni) <= len(data)


@given(st.integers(5, len(HELLO) - 1), st.binary(min_size=1, max_size=4))
def test_damaged(at: int, damage: bytes) -> None:
    """Damage never does more than a ValueError."""
    assert bounded(HELLO[:at] + damage + HELLO[at + len(damage) :])


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """Nor do bytes of any kind."""
    assert bounded(b"\x16\x03\x01" + data)
