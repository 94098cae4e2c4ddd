"""What both sides do with every request: judge its head, and record it."""

from typing import Any

import pytest

from meshcar.proxy.side import Side

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("request_", "status", "flags", "details"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "-", "missing_host_header"),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 404, "-", "absolute_path_rejected"),
        (b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", 404, "NR", "route_not_found"),
        (b"GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "-", "path_normalization_failed"),
        (b"QUERY / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "-", "query_missing_content_type"),
    ],
)
def test_refused(mesh: Any, request_: bytes, status: int, flags: str, details: str) -> None:
    """Heads that no route sees, with Envoy's words."""
    mesh.route()
    client = mesh.client(request_)
    assert client.heard().startswith(b"HTTP/1.1 %d " % status) and [mesh.log.lines[0][0], mesh.log.lines[0][2]] == [status, details]
    assert mesh.log.lines[0][1] in (flags, "DPE") and len(mesh.log.records) == 1 and mesh.loop.dials == []


def test_normalised(mesh: Any) -> None:
    """Paths are made normal before they are routed."""
    mesh.route(matches=lambda head: head.path == b"/admin")
    mesh.client(b"GET /a/..%2f../../admin HTTP/1.1\r\nhost: a\r\n\r\n".replace(b"%2f", b"/"))
    assert len(mesh.loop.dials) == 1


def test_own_values_stay(mesh: Any) -> None:
    """A caller's request id and scheme stay."""
    mesh.route()
    mesh.client(GET.replace(b"host: a", b"host: a\r\nx-request-id: mine\r\nx-forwarded-proto: https"))
    sent = mesh.accept().heard()
    assert b"x-request-id: mine" in sent and b"x-forwarded-proto: https" in sent
    assert sent.count(b"x-request-id") == sent.count(b"proto") == 1


def test_date(mesh: Any) -> None:
    """The date of an answer of ours is of its second."""
    first = mesh.outbound.date()
    assert first == mesh.outbound.date() == b"Sun, 09 Sep 2001 01:46:40 GMT"
    mesh.loop.turn(1)
    assert mesh.outbound.date() == b"Sun, 09 Sep 2001 01:46:41 GMT"


def test_record(mesh: Any) -> None:
    """What the access log gets to know of a request."""
    mesh.route()
    client = mesh.client(b"POST /p?q HTTP/1.1\r\nhost: A:80\r\ncontent-length: 4\r\nx-forwarded-for: 1.2.3.4, 5.6.7.8\r\n\r\nbody")
    server = mesh.accept()
    mesh.loop.turn(0.25)
    mesh.say(server, OK[:-1])
    mesh.loop.turn(0.25)
    mesh.say(server, b"k")
    (record,) = mesh.log.records
    assert (record.method, record.target, record.authority, record.protocol) == (b"POST", b"/p?q", b"A:80", "HTTP/1.1")
    assert (record.received, record.sent, record.duration_ms, record.service_ms) == (4, 2, 500, 250)
    assert (record.upstream_host, record.upstream_local) == ("10.0.0.9:80", str(server.transport.local))
    assert (record.downstream_remote, record.downstream_direct_remote) == ("5.6.7.8:0", "10.0.0.7:40000")
    assert (record.cluster, record.route, record.start) == ("a", "default", 1_000_000_000.0) and client.heard()


@pytest.mark.parametrize(("forwarded", "client"), [
    (b"fd00::1", "[fd00::1]:0"), (b"unknown", "10.0.0.7:40000"), (b"fe80::1%1 \"- - 200", "10.0.0.7:40000"),
])  # fmt: skip
def test_client(mesh: Any, forwarded: bytes, client: str) -> None:
    """The client is who x-forwarded-for says last, if that is an address; a zone behind one could hold a whole forged log line."""
    mesh.client(b"OPTIONS * HTTP/1.1\r\nhost: a\r\nx-forwarded-for: %b\r\n\r\n" % forwarded)
    assert mesh.log.records[0].downstream_remote == client


def test_refusal_is_logged(mesh: Any) -> None:
    """Bytes that are no request have a line, too."""
    mesh.client(b"GET / HTTP/1.1\r\nbad\r\n\r\n")
    (record,) = mesh.log.records
    assert (record.status, record.flags, record.sent, record.downstream_remote) == (400, "DPE", 11, "10.0.0.7:40000")


def test_sessions(mesh: Any) -> None:
    """A side knows its connections, from their beginning to their end."""
    client = mesh.session()
    assert len(mesh.outbound.sessions) == 1
    mesh.reset(client)
    assert mesh.outbound.sessions == set()


def test_close_idle(mesh: Any) -> None:
    """Only what has been idle for so long ends."""
    mesh.route()
    idle, busy = mesh.session(), mesh.client(GET)
    mesh.loop.turn(1.0)
    late = mesh.session()
    mesh.outbound.close_idle(1.0)
    mesh.loop.turn()
    assert idle.ended and not busy.ended and not late.ended


def test_routing_is_the_subclasses(mesh: Any) -> None:
    """A side alone routes nothing."""
    with pytest.raises(TypeError):
        Side(mesh.parts)  # type: ignore[abstract]
