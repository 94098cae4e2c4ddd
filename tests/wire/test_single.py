"""Headers of which there is one line."""

from hypothesis import given
from hypothesis import strategies as st

from meshcar.wire.http1_read import RequestReader, ResponseReader
from meshcar.wire.single import REQUEST_SINGLE, RESPONSE_SINGLE, add, joined

names = st.sampled_from([b"user-agent", b"accept", b"cookie", b"x-a", b"server", b"set-cookie", b"via"])
headers = st.lists(st.tuples(names, st.sampled_from([b"1", b"2", b""])), max_size=8)


@given(headers)
def test_joined(given_headers: list[tuple[bytes, bytes]]) -> None:
    """Single ones come once, in the place of their first line, with every value; all others stay as they are."""
    made = joined(given_headers, REQUEST_SINGLE)
    assert [header for header in made if header[0] not in REQUEST_SINGLE] == [one for one in given_headers if one[0] not in REQUEST_SINGLE]
    for name in {name for name, _ in given_headers} & REQUEST_SINGLE:
        assert [value for key, value in made if key == name] == [b",".join(value for key, value in given_headers if key == name)]
    assert [name for name, _ in made] == [
        name for place, (name, _) in enumerate(given_headers)
        if name not in REQUEST_SINGLE or name not in [earlier for earlier, _ in given_headers[:place]]
    ]


@given(headers)
def test_added_one_by_one(given_headers: list[tuple[bytes, bytes]]) -> None:
    """To add lines one by one comes to the same."""
    made: list[tuple[bytes, bytes]] = []
    for name, value in given_headers:
        add(made, name, value, RESPONSE_SINGLE)
    assert made == joined(given_headers, RESPONSE_SINGLE)


def test_read() -> None:
    """Heads that are read have them joined: Accept of a request, Vary of a response, neither the other way round."""
    request = RequestReader().feed(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\nVary: b\r\nX-A: 1\r\nAccept: c\r\nVary: c\r\nX-A: 1\r\n\r\n")
    assert request is not None
    assert request.headers == [(b"accept", b"b,c"), (b"vary", b"b"), (b"x-a", b"1"), (b"vary", b"c"), (b"x-a", b"1")]
    response = ResponseReader().feed(b"HTTP/1.1 200 OK\r\nAccept: b\r\nVary: b\r\nAccept: c\r\nVary: c\r\nContent-Length: 0\r\n\r\n")
    assert response is not None
    assert response.headers == [(b"accept", b"b"), (b"vary", b"b,c"), (b"accept", b"c"), (b"content-length", b"0")]
