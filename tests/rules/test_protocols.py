"""Which protocol a port speaks."""

import pytest

from meshcar.rules.protocols import entry_protocol, is_known, service_protocol, service_word


@pytest.mark.parametrize(
    ("declared", "name", "number", "wanted"),
    [
        (None, "http", 80, "http"), (None, "http-web", 80, "http"), (None, "httpx", 80, "auto"), ("HTTP", "tcp", 80, "http"),
        (None, "tcp-x", 80, "tcp"), (None, "https", 443, "tcp"), ("tls", "http", 443, "tcp"), (None, "", 80, "auto"),
        (None, "", 3306, "tcp"), (None, "web", 80, "auto"), (None, "grpc-web-x", 80, "tcp"), (None, "GRPC-Web", 80, "tcp"),
        (None, "http2", 80, "tcp"), ("kubernetes.io/h2c", "", 80, "tcp"), ("kubernetes.io/ws", "", 80, "http"),
        ("kubernetes.io/wss", "http", 80, "tcp"), (None, "mysql", 80, "tcp"), (None, "http", 3306, "http"), ("http-x", "", 80, "http"),
        ("my.org/own", "http", 80, "auto"), ("", "http", 80, "auto"),
    ],
)  # fmt: skip
def test_service_port(declared: str | None, name: str, number: int, wanted: str) -> None:
    """What the port declares, even if nobody knows it, else its name's prefix, else sniffed; HTTP/2 is opaque, with a remark."""
    protocol, remark = service_protocol(service_word(declared, name), number)
    assert protocol == wanted
    assert bool(remark) is any(word in f"{declared}{name}".lower() for word in ("h2c", "http2", "grpc"))


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ("", "auto"), ("HTTP", "http"), ("http_proxy", "http"), ("HTTPS", "tcp"), ("TLS", "tcp"), ("Mongo", "tcp"), ("GRPC", "tcp"),
    ],
)  # fmt: skip
def test_entry_port(declared: str, wanted: str) -> None:
    """Of a ServiceEntry's port only the protocol counts."""
    assert entry_protocol(declared.lower(), 3306)[0] == wanted


def test_known_protocols() -> None:
    """Any case; nothing said is allowed."""
    assert all(map(is_known, ("", "tcp", "Grpc-Web", "UDP", "http_proxy")))
    assert not any(map(is_known, ("quic", "http-web", "h2c")))
