"""How a request gets to an endpoint: waiting, failing, trying again."""

from typing import Any

import pytest

from meshcar.proxy import tries
from meshcar.proxy.tries import REPLAY_BYTES, gather
from meshcar.rules.policies import RetryPolicy
from meshcar.rules.snapshot import EndpointConfig

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad"
GET = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
REFUSED = b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
REFUSED_AGAIN = REFUSED.replace(b"reset reason", b"retried and the latest reset reason")


def policy(*conditions: str, attempts: int = 2, **options: Any) -> RetryPolicy:
    words = (*conditions, "retriable-status-codes") if "status_codes" in options else conditions
    return RetryPolicy(attempts=attempts, conditions=frozenset(words), **options)


def post(size: int, sent: int | None = None) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size + b"x" * (size if sent is None else sent)


def refuse(mesh: Any) -> None:
    mesh.loop.dials[0].refuse()
    mesh.loop.turn()


class TestNoRetries:
    """Without a policy the first failure is the answer."""

    def test_refused(self, mesh: Any) -> None:
        """Envoy's words for a refused connection; the client's stays."""
        mesh.route()
        client = mesh.client(GET)
        refuse(mesh)
        assert client.heard().endswith(REFUSED) and not client.ended
        details = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        assert mesh.log.lines == [(503, "UF", details)] and mesh.log.records[0].upstream_host == "10.0.0.9:80"
        mesh.at_rest()

    def test_too_slow(self, mesh: Any) -> None:
        """And for one that takes too long."""
        mesh.route()
        client = mesh.client(GET)
        mesh.loop.dials[0].time_out()
        mesh.loop.turn()
        assert client.heard().endswith(b"reset reason: connection timeout")

    def test_overflow(self, mesh: Any) -> None:
        """A circuit breaker's answer has a header that says so."""
        mesh.cluster("a", 80, max_pending_requests=1)
        mesh.route()
        mesh.client(GET)
        client = mesh.client(GET)
        answer = client.heard()
        assert b"\r\nx-envoy-overloaded: true\r\n" in answer and answer.endswith(b"reset reason: overflow")
        assert (mesh.log.records[0].flags, mesh.log.records[0].upstream_host) == ("UO", "-")

    def test_too_many(self, mesh: Any) -> None:
        """So beyond http2MaxRequests, and a copy is a request: here there is no room left for it."""
        cluster = mesh.cluster("a", 80, max_requests=1)
        mesh.route(mirrors=["a"])
        first = mesh.client(GET)
        wire = mesh.accept()
        mesh.accept()
        assert mesh.drops() == {"overflow": 1}
        assert mesh.client(GET).heard().endswith(b"reset reason: overflow") and mesh.log.records[0].flags == "UO"
        mesh.say(wire, OK)
        assert first.heard().endswith(b"ok") and cluster.counts.overflow == 2
        mesh.at_rest()

    def test_no_endpoint(self, mesh: Any) -> None:
        """Nobody there: UH."""
        mesh.cluster("a")
        mesh.route()
        assert mesh.client(GET).heard().endswith(b"\r\n\r\nno healthy upstream")
        assert mesh.log.lines == [(503, "UH", "no_healthy_upstream")]
        mesh.at_rest()

    def test_own_listener(self, mesh: Any) -> None:
        """An endpoint that is a listener of this sidecar is refused, never tried again."""
        mesh.own.add(("10.0.0.9", 80))
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        mesh.loop.turn()
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.loop.dials == []
        assert mesh.refusals() == {("upstream", "loop"): 1} and "loop" in mesh.log.records[0].details
        mesh.at_rest()


class TestRetries:
    """With a policy."""

    def test_second_try(self, mesh: Any) -> None:
        """A refused connection is tried again after a back-off; the endpoint learns which try it is."""
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        mesh.rolls[:] = [1.0]
        refuse(mesh)
        assert mesh.loop.dials == [] and client.heard() == b""
        mesh.loop.turn(0.024)
        assert mesh.loop.dials == []
        mesh.loop.turn(0.002)
        server = mesh.accept()
        assert b"x-envoy-attempt-count: 2" in server.heard()
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok") and mesh.log.lines == [(200, "-", "via_upstream")]
        mesh.at_rest()

    def test_all_refused(self, mesh: Any) -> None:
        """When none is left, the last failure is the answer."""
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        for _ in range(3):
            refuse(mesh)
        assert client.heard().endswith(REFUSED_AGAIN) and mesh.loop.dials == []
        assert mesh.log.records[0].flags == "URX,UF"
        mesh.at_rest()

    @pytest.mark.parametrize("running", [True, False])
    def test_too_many(self, mesh: Any, running: bool) -> None:
        """While maxRetries requests are in a further try, or in the back-off before it, no other is tried again."""
        cluster = mesh.cluster("a", 80, max_retries=1)
        mesh.route(retries=policy("connect-failure"))
        first = mesh.client(GET)
        mesh.rolls[:] = [1.0]
        refuse(mesh)
        if running:
            mesh.loop.turn(0.03)
            server = mesh.accept()
        second = mesh.client(GET)
        refuse(mesh)
        assert second.heard().endswith(REFUSED) and mesh.log.records[0].flags == "UO,UF" and cluster.counts.retry_overflow == 1
        mesh.loop.turn(0.03)
        mesh.say(server if running else mesh.accept(), OK)
        assert first.heard().endswith(b"ok") and cluster.retrying == 0
        mesh.at_rest()

    def test_too_many_in_turn(self, mesh: Any) -> None:
        """A request that is tried again and again counts once, and no more when it is over."""
        cluster = mesh.cluster("a", 80, max_retries=1)
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        refuse(mesh)
        refuse(mesh)
        assert len(mesh.loop.dials) == 1 and cluster.retrying == 1
        refuse(mesh)
        assert client.heard().endswith(REFUSED_AGAIN) and cluster.retrying == 0

    def test_reset(self, mesh: Any) -> None:
        """A connection that breaks before the head, where the policy says so."""
        mesh.route(retries=policy("reset"))
        client = mesh.client(GET)
        mesh.reset(mesh.accept())
        server = mesh.accept()
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_not_this_failure(self, mesh: Any) -> None:
        """One that the policy does not name is the answer at once."""
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        mesh.reset(mesh.accept())
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.log.records[0].flags == "UC"

    def test_status(self, mesh: Any) -> None:
        """An answer whose status the policy names is thrown away; its connection serves the next try."""
        mesh.route(retries=policy(status_codes=frozenset((503,))))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.say(server, BAD)
        assert client.heard() == b"" and mesh.loop.dials == []
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", {"status_codes": frozenset((302,))}),
            (OK.replace(b"content", b"grpc-status: 14\r\ncontent", 1), {}),
            (OK.replace(b"content", b"x-again: \r\ncontent", 1), {"header_names": frozenset((b"x-again",))}),
        ],
    )
    def test_other_answers(self, mesh: Any, answer: bytes, words: dict[str, Any]) -> None:
        """A redirect by its status, a success by its gRPC status or a header."""
        mesh.route(retries=policy("unavailable", "retriable-headers", attempts=1, **words))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.say(server, answer)
        assert client.heard() == b""
        mesh.loop.turn(1)
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok") and client.heard() == b""
        mesh.at_rest()

    def test_status_of_a_long_answer(self, mesh: Any) -> None:
        """One whose body is still to come is not waited for."""
        mesh.route(retries=policy(status_codes=frozenset((503,))))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.say(server, BAD[:-1])
        assert server.was_reset
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")

    def test_status_to_the_end(self, mesh: Any) -> None:
        """The last such answer is the client's."""
        mesh.route(retries=policy("5xx", attempts=1))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.say(server, BAD)
        mesh.say(server, BAD)
        assert client.heard().endswith(b"bad") and mesh.log.records[0].flags == "URX"
        mesh.at_rest()

    def test_no_endpoint_any_more(self, mesh: Any) -> None:
        """The next try may find nobody."""
        cluster = mesh.cluster("a", 80)
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        cluster.endpoints.clear()
        refuse(mesh)
        mesh.loop.turn(1)
        assert client.heard().endswith(b"no healthy upstream")
        mesh.at_rest()

    def test_client_gone_in_between(self, mesh: Any) -> None:
        """A client that leaves during the back-off ends it."""
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(GET)
        mesh.rolls[:] = [1.0]
        refuse(mesh)
        client.transport.abortConnection()
        mesh.loop.turn(1)
        assert mesh.loop.dials == [] and mesh.log.records[0].flags == "DC"
        mesh.at_rest()


class TestBody:
    """What of a request's body is kept for the next try."""

    def test_replayed(self, mesh: Any) -> None:
        """Up to 64 KiB are sent again, the part that came in between too."""
        mesh.route(retries=policy("reset"))
        client = mesh.client(post(6, 2))
        first = mesh.accept()
        mesh.say(client, b"yy")
        mesh.reset(first)
        mesh.loop.turn(0.3)
        second = mesh.accept()
        mesh.say(client, b"zz")
        assert second.heard().endswith(b"\r\n\r\nxxyyzz")
        mesh.say(second, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_chunked(self, mesh: Any) -> None:
        """A chunked body is chunked again."""
        mesh.route(retries=policy("reset"))
        client = mesh.client(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxx\r\n")
        first = mesh.accept()
        mesh.say(client, b"2\r\nyy\r\n0\r\n\r\n")
        mesh.reset(first)
        assert mesh.accept().heard().endswith(b"\r\n\r\n4\r\nxxyy\r\n0\r\n\r\n")

    @pytest.mark.parametrize(("size", "tries"), [(REPLAY_BYTES, 2), (REPLAY_BYTES + 1, 1)])
    def test_limit(self, mesh: Any, size: int, tries: int) -> None:
        """One byte more, and there is no further try; no URX then, as with Envoy."""
        mesh.route(retries=policy("reset"))
        client = mesh.client(post(size, 10))
        first = mesh.accept()
        mesh.say(client, b"x" * (size - 10))
        mesh.reset(first)
        assert len(mesh.loop.dials) == tries - 1
        if tries == 1:
            assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.log.records[0].flags == "UC"

    def test_limit_at_once(self, mesh: Any) -> None:
        """So with a body that came with its head."""
        mesh.route(retries=policy("connect-failure"))
        head = post(REPLAY_BYTES + 1, 0)
        client = mesh.session()
        client.transport.protocol.dataReceived(head + b"x" * (REPLAY_BYTES + 1))
        refuse(mesh)
        assert client.heard().startswith(b"HTTP/1.1 503 ") and mesh.loop.dials == []

    def test_limit_of_all(self, mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """When bodies that are kept use up what there is for all of them, who comes next is sent on and not tried again."""
        monkeypatch.setattr(tries, "REPLAY_TOTAL", 150)
        mesh.route(retries=policy("reset"))
        clients = [mesh.client(post(100)) for _ in range(2)]
        assert mesh.outbound.kept == 100
        for server in [mesh.accept() for _ in range(2)]:
            mesh.reset(server)
        mesh.say(mesh.accept(), OK)
        answers = [client.heard() for client in clients]
        assert answers[0].endswith(b"ok") and answers[1].startswith(b"HTTP/1.1 503 ")
        assert mesh.outbound.kept == 0 and mesh.loop.dials == []

    def test_held_in_between(self, mesh: Any) -> None:
        """During the back-off an upload stays with its client, and it goes on after."""
        mesh.route(retries=policy("connect-failure"))
        client = mesh.client(post(10_000_000, 10))
        mesh.rolls[:] = [1.0]
        refuse(mesh)
        mesh.say(client, bytes(50_000))
        assert not mesh.loop.reads(client)
        mesh.loop.turn(1)
        server = mesh.accept()
        assert mesh.loop.reads(client) and len(server.heard()) > 50_000

    def test_first_was_slow(self, mesh: Any) -> None:
        """A client that was held back by the endpoint that broke goes on with the next."""
        mesh.route(retries=policy("reset"))
        client = mesh.client(post(REPLAY_BYTES, REPLAY_BYTES - 10))
        first = mesh.accept(room=0)
        mesh.reset(first)
        mesh.loop.turn(1)
        second = mesh.accept()
        mesh.say(client, b"x" * 10)
        assert len(second.heard()) > REPLAY_BYTES
        mesh.say(second, OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()


class TestPerTry:
    """perTryTimeout."""

    def test_one_try(self, mesh: Any) -> None:
        """504 when no try is left, with Envoy's details."""
        mesh.route(retries=policy(per_try_timeout=1.0))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.loop.turn(1)
        assert client.heard().endswith(b"\r\n\r\nupstream request timeout") and server.was_reset
        assert mesh.log.lines == [(504, "UT", "upstream_per_try_timeout")]
        mesh.at_rest()

    def test_tried_again(self, mesh: Any) -> None:
        """Each try has the time of its own."""
        mesh.route(retries=policy("gateway-error", per_try_timeout=1.0))
        client = mesh.client(GET)
        for _ in range(3):
            server = mesh.accept()
            mesh.loop.turn(1)
            assert server.was_reset
        assert client.heard().startswith(b"HTTP/1.1 504 ") and mesh.log.records[0].flags == "URX,UT"
        mesh.at_rest()

    def test_while_connecting(self, mesh: Any) -> None:
        """The time runs from when the request is on its way; to connect has a limit of its own."""
        mesh.route(retries=policy("gateway-error", attempts=1, per_try_timeout=1.0))
        client = mesh.client(GET)
        mesh.loop.turn(5)
        first = mesh.accept()
        assert b"x-envoy-attempt-count: 1" in first.heard()
        mesh.loop.turn(1)
        assert first.was_reset
        mesh.say(mesh.accept(), OK)
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_while_uploading(self, mesh: Any) -> None:
        """It runs from the end of the request's body."""
        mesh.route(retries=policy(per_try_timeout=1.0))
        client = mesh.client(post(4, 2))
        server = mesh.accept()
        mesh.loop.turn(5)
        mesh.say(client, b"xx")
        mesh.loop.turn(0.9)
        assert client.heard() == b"" and not server.was_reset
        mesh.loop.turn(0.1)
        assert client.heard().startswith(b"HTTP/1.1 504 ") and server.was_reset
        mesh.at_rest()

    def test_no_shorter_than_all(self, mesh: Any) -> None:
        """One that is as long as the route's timeout does not count."""
        mesh.route(timeout=1.0, retries=policy("5xx", per_try_timeout=1.0))
        client = mesh.client(GET)
        mesh.accept()
        mesh.loop.turn(1)
        assert client.heard().startswith(b"HTTP/1.1 504 ") and mesh.log.lines == [(504, "UT", "response_timeout")]
        mesh.at_rest()

    def test_in_the_body(self, mesh: Any) -> None:
        """Once the head is there, it does not count any more."""
        mesh.route(retries=policy(per_try_timeout=1.0))
        client = mesh.client(GET)
        server = mesh.accept()
        mesh.say(server, OK[:-1])
        mesh.loop.turn(10)
        mesh.say(server, b"k")
        assert client.heard().endswith(b"ok")
        mesh.at_rest()

    def test_route_timeout_first(self, mesh: Any) -> None:
        """The route's timeout ends all tries."""
        mesh.route(timeout=1.5, retries=policy("gateway-error", per_try_timeout=1.0))
        client = mesh.client(GET)
        mesh.accept()
        mesh.loop.turn(1)
        second = mesh.accept()
        mesh.loop.turn(0.5)
        assert client.heard().startswith(b"HTTP/1.1 504 ") and second.was_reset
        assert mesh.log.lines == [(504, "UT", "response_timeout")]
        mesh.at_rest()


def test_waiting_clients_read_on(mesh: Any) -> None:
    """A client whose request is whole is still heard while it waits: if it leaves, its place is free."""
    mesh.cluster("a", 80, max_connections=1, max_pending_requests=2)
    mesh.route()
    first, second = mesh.client(GET), mesh.client(GET)
    mesh.reset(second)
    third = mesh.client(GET)
    server = mesh.accept()
    for client in (first, third):
        mesh.say(server, OK)
        assert client.heard().endswith(b"ok")
    mesh.at_rest()


def test_remote_localities(mesh: Any) -> None:
    """With retryRemoteLocalities, after each second try the priorities that were tried are left out."""
    mesh.cluster("a", 80).update([EndpointConfig("10.0.0.9", port, priority=port // 82) for port in (80, 81, 82, 83)])
    mesh.route(retries=policy("connect-failure", attempts=3, remote=True))
    mesh.client(GET)
    tried = []
    for _ in range(4):
        tried.append(mesh.loop.dials[0].address.port)
        refuse(mesh)
        mesh.loop.turn(1)
    assert [port < 82 for port in tried] == [True, True, False, False]


def test_gather() -> None:
    """Large pieces are kept as they are, small ones joined; together they are the body."""
    pieces: list[bytes | bytearray] = []
    large, other = b"l" * 5000, b"o" * 70_000
    for data in (b"a", b"b", large, other, *[b"c"] * 10_000):
        gather(pieces, data)
    assert b"".join(pieces) == b"ab" + large + other + b"c" * 10_000
    assert pieces[1] is large and pieces[2] is other and len(pieces) < 7
