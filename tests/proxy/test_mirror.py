"""Copies: what a mirror does, and that the primary never knows."""

import base64
from typing import Any

import pytest

from meshcar.proxy import mirror as mirror_module
from meshcar.proxy.mirror import SECONDS, Copy
from meshcar.rules.policies import RetryPolicy
from meshcar.upstream.for_treq import NoCookies
from tests.proxy.mirrors import GET, OK, POST, both


class TestCopy:
    """What is sent."""

    def test_head(self, mirrored: Any) -> None:
        """The routed request but for Host, x-envoy-internal and x-forwarded-for; no answer reaches anybody."""
        client, primary, mirror = both(mirrored)
        sent = primary.heard()
        assert mirror.heard() == sent.replace(b"host: a:80", b"host: a-shadow:80").replace(
            b"\r\n\r\n", b"\r\nx-envoy-internal: true\r\nx-forwarded-for: 10.0.0.7\r\n\r\n"
        )
        mirrored.say(mirror, OK.replace(b"ok", b"no"))
        assert client.heard() == b""
        mirrored.say(primary, OK)
        assert client.heard().endswith(b"ok") and mirrored.outcomes() == {"2xx": 1}
        mirrored.at_rest()

    def test_forwarded_for(self, mirrored: Any) -> None:
        """A client's x-forwarded-for is continued, in its place."""
        _, _, mirror = both(mirrored, GET.replace(b"cookie: c=1", b"x-forwarded-for: 1.2.3.4\r\nx-a: 1"))
        assert b"x-forwarded-for: 1.2.3.4,10.0.0.7\r\nx-a: 1\r\n" in mirror.heard()

    def test_no_suffix(self, make_mesh: Any) -> None:
        """Host stays where --shadow-suffix is off; a trace's copy is a span of its own."""
        mesh = make_mesh(shadow_suffix=False, tracing="b3")
        mesh.cluster("b", 81)
        mesh.route(mirrors=["b"])
        _, primary, mirror = both(mesh)
        assert b"host: a:80\r\n" in mirror.heard() and b"x-b3-traceid" in primary.heard()

    @pytest.mark.parametrize("framing", [b"content-length: 300000", b"transfer-encoding: chunked"])
    def test_body(self, mirrored: Any, framing: bytes) -> None:
        """Bodies arrive whole at both, streamed."""
        client, primary, mirror = both(mirrored, b"POST / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n" % framing)
        body, at = base64.b64encode(bytes(range(256)) * 880)[:300_000], 0
        while at < len(body):
            piece = body[at : at + 7000]
            at += len(piece)
            mirrored.say(client, piece if b"length" in framing else b"%x\r\n%b\r\n" % (len(piece), piece))
        if b"chunked" in framing:
            mirrored.say(client, b"0\r\n\r\n")
        bodies = [wire.heard().partition(b"\r\n\r\n")[2] for wire in (primary, mirror)]
        assert bodies[0] == bodies[1] and len(bodies[0]) >= 300_000
        for wire in (mirror, primary):
            mirrored.say(wire, OK)
        assert mirrored.outcomes() == {"2xx": 1}
        mirrored.at_rest()

    def test_several(self, mesh: Any) -> None:
        """Each mirror gets its copy; percentages are drawn for each."""
        for name, port in (("b", 81), ("c", 82), ("d", 83)):
            mesh.cluster(name, port)
        mesh.route(mirrors=["b", mesh.mirror_to("c", 50.0), mesh.mirror_to("d", 50.0)])
        mesh.rolls[:] = [0.0, 0.5, 0.49]
        mesh.client(GET)
        assert [dial.address.port for dial in mesh.loop.dials] == [80, 81, 83]

    def test_one_for_all_tries(self, mesh: Any) -> None:
        """Tries of the primary make one copy."""
        mesh.cluster("b", 81)
        mesh.route(mirrors=["b"], retries=RetryPolicy(conditions=frozenset({"connect-failure"})))
        mesh.client(GET)
        for _ in range(3):
            next(dial for dial in mesh.loop.dials if dial.address.port == 80).refuse()
            mesh.loop.turn(1)
        assert [dial.address.port for dial in mesh.loop.dials] == [81]

    def test_no_cookies(self, mirrored: Any) -> None:
        """What one copy's answer sets goes out with no other."""
        _, _, mirror = both(mirrored)
        mirrored.say(mirror, OK.replace(b"\r\n", b"\r\nset-cookie: stolen=1\r\n", 1))
        mirror.heard()
        mirrored.client(GET.replace(b"cookie: c=1\r\n", b""))
        assert b"cookie" not in mirror.heard()
        jar = NoCookies()
        jar.extract_cookies(None, None)
        jar.add_cookie_header(None)
        assert len(jar) == 0 and list(jar) == []

    def test_no_redirect(self, mirrored: Any) -> None:
        """A redirect is an answer, and followed by nobody."""
        _, _, mirror = both(mirrored)
        mirrored.say(mirror, b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n")
        assert mirrored.outcomes() == {"3xx": 1} and mirrored.loop.dials == []

    def test_not_counted_as_a_request(self, mirrored: Any) -> None:
        """Copies have metrics and no line of their own."""
        _, primary, mirror = both(mirrored)
        for wire in (mirror, primary):
            mirrored.say(wire, OK)
        assert mirrored.requests() == {("200", "-"): 1} and len(mirrored.log.records) == 1


ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
ANSWERS: dict[str, tuple[list[bytes | str], str]] = {
    "good": ([OK], "2xx"),
    "slow": ([b"HTTP/1.1 200 ", b"OK\r\ncontent-length: 2\r\n\r\n", b"o", b"k"], "2xx"),
    "error": ([b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"], "5xx"),
    "interim": ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], "2xx"),
    "unasked switch": ([b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"], "1xx"),
    "until close": ([ENDLESS + b"x", "hang_up"], "2xx"),
    "hangs up at once": (["hang_up"], "connection_termination"),
    "resets at once": (["reset"], "connection_termination"),
    "resets in the head": ([b"HTTP/1.1 2", "reset"], "connection_termination"),
    "resets in the body": ([OK[:-1], "reset"], "protocol_error"),
    "resets until close": ([ENDLESS + b"x", "reset"], "protocol_error"),
    "hangs up in the body": ([OK[:-1], "hang_up"], "protocol_error"),
    "garbage": ([b"garbage\r\n\r\n"], "protocol_error"),
    "broken chunks": ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], "protocol_error"),
    "broken chunks later": ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n"], "protocol_error"),
    "compressed, it says": ([OK.replace(b"\r\n", b"\r\ncontent-encoding: gzip\r\n", 1)], "2xx"),
}  # fmt: skip


class TestPrimaryIsTheSame:
    """Whatever the mirror does, the client gets the same bytes in the same turn."""

    @pytest.mark.parametrize("name", ANSWERS)
    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("request_", [GET, POST % 4 + b"body"], ids=["GET", "POST"])
    def test_answers(self, mirrored: Any, name: str, when: str, request_: bytes) -> None:
        """Before the primary's answer, or after."""
        says, outcome = ANSWERS[name]
        client, primary, mirror = both(mirrored, request_)

        def play() -> None:
            for each in says:
                getattr(mirrored, each)(mirror) if isinstance(each, str) else mirrored.say(mirror, each)

        if when == "before":
            play()
            assert client.heard() == b"" and not client.ended
        mirrored.say(primary, OK)
        answer = client.heard()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nok") and not client.ended
        if when == "after":
            play()
        assert mirrored.outcomes() == {outcome: 1} and mirrored.drops() == {} and client.heard() == b""
        mirrored.at_rest()

    def test_refused(self, mirrored: Any) -> None:
        """A mirror that refuses."""
        client = mirrored.client(GET)
        mirrored.loop.dials[1].refuse()
        mirrored.say(mirrored.accept(), OK)
        assert client.heard().endswith(b"ok") and mirrored.outcomes() == {"remote_connection_failure": 1}
        mirrored.at_rest()

    @pytest.mark.parametrize(("ports", "reason"), [((), "no_endpoint"), (None, "no_cluster")])
    def test_nobody(self, mesh: Any, ports: Any, reason: str) -> None:
        """A mirror with no endpoint, or of no cluster."""
        if ports is not None:
            mesh.cluster("b", *ports)
        mesh.route(mirrors=["b"])
        client = mesh.client(GET)
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok") and mesh.drops() == {reason: 1} and mesh.outcomes() == {}
        mesh.at_rest()

    @pytest.mark.parametrize("together", [True, False])
    def test_overflow(self, mesh: Any, together: bool) -> None:
        """A mirror whose circuit breaker is open: known before the copy is made, unless those it is full of were made in the same turn."""
        cluster = mesh.cluster("b", 81, max_pending_requests=1)
        mesh.route(mirrors=["b"])
        for _ in range(2):
            client = mesh.session()
            client.say(GET)
            client.transport.doRead()
            if not together:
                mesh.loop.turn()
        mesh.loop.turn()
        assert mesh.drops() == {"overflow": 1} and cluster.counts.pending_overflow == 1 and mesh.outbound.copies == 1

    def test_own_listener(self, mirrored: Any) -> None:
        """A mirror that is a listener of this sidecar is never connected to."""
        mirrored.own.add(("10.0.0.9", 81))
        mirrored.client(GET)
        assert [dial.address.port for dial in mirrored.loop.dials] == [80] and mirrored.refusals() == {("upstream", "loop"): 1}

    def test_silent(self, mirrored: Any) -> None:
        """A mirror that never answers is given up after a time."""
        client, primary, mirror = both(mirrored)
        mirrored.say(primary, OK)
        mirrored.loop.turn(SECONDS - 1)
        assert not mirror.was_reset and client.heard().endswith(b"ok")
        mirrored.loop.turn(1)
        assert mirror.was_reset and mirrored.outcomes() == {"timeout": 1}
        mirrored.at_rest()

    def test_never_connects(self, mirrored: Any) -> None:
        """So is one that never connects; what comes of it later is nothing."""
        mirrored.client(GET)
        mirrored.loop.turn(SECONDS)
        assert mirrored.outcomes() == {"timeout": 1}
        late = mirrored.accept(number=1)
        assert late.heard() == b""

    def test_route_timeout(self, mesh: Any) -> None:
        """The route's timeout is the copy's too, each from the end of its request."""
        mesh.cluster("b", 81)
        mesh.route(mirrors=["b"], timeout=2.0)
        client, primary, mirror = both(mesh, POST % 4)
        mesh.loop.turn(100)
        mesh.say(client, b"body")
        mesh.say(primary, OK)
        mesh.loop.turn(1.9)
        assert not mirror.was_reset and mirror.heard().endswith(b"body")
        mesh.loop.turn(0.2)
        assert mirror.was_reset and mesh.outcomes() == {"timeout": 1}
        mesh.at_rest()

    def test_endless(self, mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer without end is cut off at a limit, wherever it stands."""
        monkeypatch.setattr(mirror_module, "ANSWER_BYTES", 100_000)
        client, primary, mirror = both(mirrored)
        mirrored.say(mirror, ENDLESS)
        for _ in range(5):
            mirrored.say(mirror, bytes(30_000))
        assert mirror.was_reset and mirrored.outcomes() == {"answer_too_large": 1}
        mirrored.say(primary, OK)
        assert client.heard().endswith(b"ok")
        mirrored.at_rest()

    def test_endless_at_once(self, mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also in the piece that comes with the head."""
        monkeypatch.setattr(mirror_module, "ANSWER_BYTES", 10)
        _, _, mirror = both(mirrored)
        mirrored.say(mirror, ENDLESS + bytes(100))
        assert mirror.was_reset and mirrored.outcomes() == {"answer_too_large": 1}

    def test_upgrade(self, mirrored: Any) -> None:
        """An upgrade is not copied; it works."""
        client = mirrored.client(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        primary = mirrored.accept()
        mirrored.say(primary, b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi")
        assert client.heard().endswith(b"hi") and mirrored.drops() == {"upgrade": 1} and mirrored.loop.dials == []

    def test_down(self, mirrored: Any) -> None:
        """A mirror that refused is left alone for a second, and then tried again."""
        client = mirrored.client(GET)
        primary = mirrored.accept()
        mirrored.loop.dials[-1].refuse()
        mirrored.say(primary, OK)
        mirrored.say(client, GET)
        assert mirrored.drops() == {"unreachable": 1}
        mirrored.say(primary, OK)
        dialled = len(mirrored.loop.dials)
        mirrored.loop.turn(1)
        mirrored.say(client, GET)
        assert len(mirrored.loop.dials) == dialled + 1 and mirrored.drops() == {"unreachable": 1}

    def test_cannot_be_sent(self, mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error of our own is logged and counted, and stays with the copy."""
        logged: list[str] = []
        monkeypatch.setattr(mirrored.outbound.mirrors, "_client", None)
        monkeypatch.setattr(Copy, "_log", type("Log", (), {"failure": staticmethod(logged.append)}))
        client = mirrored.client(GET)
        mirrored.say(mirrored.accept(), OK)
        assert client.heard().endswith(b"ok") and mirrored.drops() == {"error": 1} and len(logged) == 1
        mirrored.at_rest()

    def test_fault_on_its_way(self, mirrored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """So does one that shows later; the rest of the answer is not waited for."""
        logged: list[str] = []
        monkeypatch.setattr(Copy, "_answered", lambda *_: 1 // 0)
        monkeypatch.setattr(Copy, "_log", type("Log", (), {"failure": staticmethod(lambda text, _: logged.append(text))}))
        client, primary, mirror = both(mirrored)
        mirrored.say(mirror, OK[:-1])
        mirrored.say(primary, OK)
        assert client.heard().endswith(b"ok") and mirrored.outcomes() == {"error": 1} and len(logged) == 1 and mirror.was_reset
        mirrored.at_rest()

    def test_behind_the_primaries(self, mirrored: Any) -> None:
        """Copies go at the end of the turn, behind all requests that came in it; one that is cut before is never sent."""
        clients = [mirrored.session(), mirrored.session()]
        for client in clients:
            client.say(POST % 9 + b"half")
            client.transport.doRead()
        assert [dial.address.port for dial in mirrored.loop.dials] == [80, 80]
        clients[0].transport.protocol.exchange.client_gone()
        mirrored.loop.turn()
        assert [dial.address.port for dial in mirrored.loop.dials] == [80, 80, 81] and mirrored.outcomes() == {"client": 1}


class TestPrimaryFails:
    """What becomes of the copy when the primary does not go well."""

    def test_refused(self, mirrored: Any) -> None:
        """A primary that refuses has a copy all the same."""
        client = mirrored.client(GET)
        mirrored.loop.dials[0].refuse()
        mirror = mirrored.accept()
        mirrored.say(mirror, OK)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mirrored.outcomes() == {"2xx": 1}

    def test_nobody(self, mesh: Any) -> None:
        """One without an endpoint has none."""
        mesh.cluster("a")
        mesh.cluster("b", 81)
        mesh.route(mirrors=["b"])
        mesh.client(GET)
        assert mesh.loop.dials == [] and mesh.outcomes() == mesh.drops() == {}

    def test_client_gone_after_its_request(self, mirrored: Any) -> None:
        """A client that leaves behind its request leaves the copy alone."""
        client, primary, mirror = both(mirrored)
        mirrored.reset(client)
        assert primary.was_reset and not mirror.was_reset
        mirrored.say(mirror, OK)
        assert mirrored.outcomes() == {"2xx": 1}
        mirrored.at_rest()

    @pytest.mark.parametrize("connected", [True, False])
    def test_client_gone_in_its_request(self, mirrored: Any, connected: bool) -> None:
        """One that leaves in its request ends the copy: the rest will not come."""
        client = mirrored.client(POST % 9 + b"half")
        mirrored.accept()
        mirror = mirrored.accept() if connected else None
        mirrored.reset(client)
        assert mirrored.outcomes() == {"client": 1} and (mirror is None or mirror.was_reset)
        mirrored.at_rest()

    def test_breaks_http_in_its_request(self, mirrored: Any) -> None:
        """So does one whose body is badly framed."""
        client = mirrored.client(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        mirrored.accept(), mirrored.accept()
        mirrored.say(client, b"no size\r\n")
        assert client.heard().startswith(b"HTTP/1.1 400 ") and mirrored.outcomes() == {"client": 1}
        mirrored.at_rest()

    @pytest.mark.parametrize("how", ["answer", "reset", "refuse"])
    def test_ends_before_the_request(self, mirrored: Any, how: str) -> None:
        """So does a primary that is done before the request is whole."""
        client = mirrored.client(POST % 9 + b"half")
        if how == "refuse":
            mirrored.loop.dials[0].refuse()
            mirrored.loop.turn()
        else:
            primary = mirrored.accept()
            mirrored.say(primary, OK) if how == "answer" else mirrored.reset(primary)
        mirrored.loop.turn()
        assert client.heard().startswith(b"HTTP/1.1 ") and client.ended and mirrored.outcomes() == {"primary_ended": 1}
        mirrored.at_rest()
