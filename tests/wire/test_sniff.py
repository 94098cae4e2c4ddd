"""Tests of meshcar.wire.sniff."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcar.wire.sniff import ENOUGH, PREFACE, Guess, sniff, sniff_tls


@pytest.mark.parametrize(
    "first, guess",
    [
        (b"GET / HTTP/1.1\r\n", Guess.HTTP1),
        (b"PURGE /cache HTTP/1.1\r\n", Guess.HTTP1),
        (b"VERSION-CONTROL /a HTTP/1.1\r\n", Guess.HTTP1),
        (b"OPTIONS * HTTP/1.1\r\n", Guess.HTTP1),
        (b"CONNECT reviews:9080 HTTP/1.1\r\n", Guess.HTTP1),
        (b"GET http://reviews/ HTTP/1.1\r\n", Guess.HTTP1),
        (b"GET  / HTTP/1.1\r\n", Guess.HTTP1),
        (b"POST foo HTTP/1.1\r\n", Guess.HTTP1),
        (PREFACE, Guess.HTTP2),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", Guess.TLS),
        (b"\x16\x03\x03\x00\x01\x01", Guess.TLS),
        (b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", Guess.OPAQUE),
        (b"\x16\x01", Guess.OPAQUE),
        (b"\x00\x01\x02\x03", Guess.OPAQUE),
        (b"*1\r\n$4\r\nPING\r\n", Guess.OPAQUE),
        (b"PING\r\n", Guess.OPAQUE),
        (b"GET \r\n", Guess.OPAQUE),
        (b"PRI * HTTP/1.1\r\n\r\n", Guess.HTTP1),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Guess.OPAQUE),
        (b"\r\nGET / HTTP/1.1\r\n", Guess.OPAQUE),
        (b"A" * 24 + b" /", Guess.HTTP1),
        (b"A" * 25 + b" /", Guess.OPAQUE),
        (b"", Guess.MORE),
        (b"\x16\x03\x01\x02\x00", Guess.MORE),
        (b"GET", Guess.MORE),
        (b"GET ", Guess.MORE),
        (PREFACE[:23], Guess.MORE),
    ],
)
def test_protocols(first: bytes, guess: Guess) -> None:
    """Each protocol is known by what its client sends first."""
    assert sniff(first) is guess


@pytest.mark.parametrize("line", [b"get / HTTP/1.1\r\n", b"FOOBAR / HTTP/1.1\r\n"])
def test_bad_methods_are_http(line: bytes) -> None:
    """A wrong method before a path is refused by HTTP, not passed on."""
    assert sniff(line) is Guess.HTTP1


@pytest.mark.parametrize("line", [b"get key\r\n", b"set key 0 0 5\r\n", b"USER anonymous\r\n", b"HELO example.com\r\n"])
def test_other_text_protocols_are_opaque(line: bytes) -> None:
    """Text that has no target after its first word is not HTTP."""
    assert sniff(line) is Guess.OPAQUE


@given(st.binary(min_size=ENOUGH, max_size=64) | st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PREFACE + b"\0\0", b"A" * 40]))
def test_a_guess_stays(data: bytes) -> None:
    """Bytes that come one at a time give the same answer as all at once, and ENOUGH bytes always give one."""
    guesses = [sniff(data[:count]) for count in range(ENOUGH + 1)]
    decided = [guess for guess in guesses if guess is not Guess.MORE]
    assert set(decided) == {sniff(data)}
    assert guesses[-1] is not Guess.MORE


@pytest.mark.parametrize(("first", "guess"), [(b"", Guess.MORE), (b"G", Guess.OPAQUE), (b"PRI", Guess.OPAQUE), (b"\x16", Guess.MORE),
                                              (b"\x16\x03\x01\0\0\1", Guess.TLS), (b"\x16\x04", Guess.OPAQUE)])  # fmt: skip
def test_only_tls(first: bytes, guess: Guess) -> None:
    """Where HTTP does not count nobody waits for its bytes."""
    assert sniff_tls(first) is guess
