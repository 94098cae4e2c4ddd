"""The header that says between whom a connection is."""

from meshcar.wire.proxy_protocol import proxy_header


def test_version_1() -> None:
    """A line of text."""
    assert proxy_header("V1", ("10.0.0.1", 4711), ("10.0.0.2", 80)) == b"PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n"
    assert proxy_header("V1", ("fd00::1", 4711), ("fd00::2", 80)) == b"PROXY TCP6 fd00::1 fd00::2 4711 80\r\n"


def test_version_2() -> None:
    """Signature, version and command, family, length, ends."""
    signature = bytes.fromhex("0d0a0d0a000d0a515549540a")
    short = signature + bytes.fromhex("21 11 000c 0a000001 0a000002 1267 0050")
    assert proxy_header("V2", ("10.0.0.1", 4711), ("10.0.0.2", 80)) == short
    long = signature + bytes.fromhex("21 21 0024") + b"\xfd" + bytes(14) + b"\x01" + b"\xfd" + bytes(14) + b"\x02" + b"\x12\x67\x00\x50"
    assert proxy_header("V2", ("fd00::1", 4711), ("fd00::2", 80)) == long
