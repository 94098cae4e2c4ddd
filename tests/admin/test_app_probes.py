"""The application's probes, asked by the agent: what the application sees, what the kubelet gets, and all bounds."""

import json
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from meshcar.admin.agent import agent_site
from meshcar.admin.app_probes import MAX_BODY, MAX_RUNNING, AppProbes
from meshcar.manifests.probes import read_probes
from tests.admin.fakes import Reply, parsed
from tests.fakes import Loop, Wire

LIVE, READY, START, STOP = "/app-health/a/livez", "/app-health/a/readyz", "/app-health/a/startupz", "/app-lifecycle/a/prestopz"
PROBES = {
    LIVE: {"httpGet": {"port": 80, "path": "/live?x=1"}, "timeoutSeconds": 3},
    READY: {"tcpSocket": {"port": 81}},
    START: {"httpGet": {"port": 80, "httpHeaders": [{"name": "Host", "value": "own.example"}, {"name": "X-A", "value": "1"}]}},
    STOP: {"httpGet": {"port": 15020}},
}
POD = IPv4Address("TCP", "10.0.0.7", 15020)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@attrs.frozen
class Kubelet:
    """One request of the kubelet's; `loop` is the network between agent and application."""

    loop: Loop
    transport: StringTransport
    protocol: Any

    @property
    def reply(self) -> Reply | None:
        """What came back, if it did."""
        data = self.transport.value()
        return parsed(data) if data else None

    @property
    def status(self) -> int | None:
        return None if self.reply is None else self.reply.status

    def leave(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def accept(self) -> Wire:
        """The application takes the connection; the wire has the request."""
        (dial,) = self.loop.dials
        wire = dial.accept()
        self.loop.turn()
        return wire

    def answered(self, data: bytes) -> int | None:
        """The kubelet's status once the application has said this."""
        wire = self.accept()
        wire.say(data)
        self.loop.turn()
        return self.status


class Agent:
    """An agent and its application's network."""

    def __init__(self, app_address: str | None = None) -> None:
        self.loop = Loop()
        probes = AppProbes(self.loop, read_probes(json.dumps(PROBES)), app_address, lambda host, port: port == 15020, self.loop.connect)
        self.site = agent_site(lambda: None, lambda: None, probes, self.loop)

    def ask(
        self, path: str, host: Any = POD, method: str = "GET", headers: str = "Host: 10.0.0.7:15020\r\n", caller: str = "10.0.0.1"
    ) -> Kubelet:
        """A request to the agent's port."""
        transport = StringTransport(hostAddress=host, peerAddress=IPv4Address("TCP", caller, 999))
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(f"{method} {path} HTTP/1.1\r\n{headers}\r\n".encode())
        return Kubelet(self.loop, transport, protocol)


def test_http() -> None:
    """At the pod's own address, from where capture lets it through, with the kubelet's words; status and body come back."""
    agent = Agent()
    kubelet = agent.ask(LIVE, headers="Host: 10.0.0.7:15020\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n")
    (dial,) = agent.loop.dials
    assert (dial.address.host, dial.address.port, dial.source, dial.timeout) == ("10.0.0.7", 80, "127.0.0.6", 3)
    wire = kubelet.accept()
    assert wire.heard() == (
        b"GET /live?x=1 HTTP/1.1\r\nhost: 10.0.0.7:80\r\nuser-agent: kube-probe/1.34\r\naccept: */*\r\nconnection: close\r\n\r\n"
    )
    wire.say(OK)
    agent.loop.turn()
    assert kubelet.reply is not None
    assert (kubelet.status, kubelet.reply.body) == (200, b"ok")
    agent.loop.turn(10)
    assert wire.closed


def test_headers() -> None:
    """The probe's own Host and headers, whether the kubelet sent them along or not."""
    wire = Agent().ask(START, headers="Host: own.example\r\nX-A: 1\r\n").accept()
    assert wire.heard() == b"GET / HTTP/1.1\r\nhost: own.example\r\nx-a: 1\r\nconnection: close\r\n\r\n"
    wire = Agent().ask(START).accept()
    assert wire.heard() == b"GET / HTTP/1.1\r\nhost: own.example\r\nx-a: 1\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(("host", "seen"), [
    ("10.0.0.7:15020", b"10.0.0.7:80"), ("[fd00::7]:15020", b"[fd00::7]:80"), ("example.com", b"example.com"),
    ("example.com:90", b"example.com:90"), ("[fd00::7]", b"[fd00::7]"),
])  # fmt: skip
def test_host(host: str, seen: bytes) -> None:
    """The application sees its own port where the kubelet named the agent's."""
    wire = Agent().ask(LIVE, headers=f"Host: {host}\r\n").accept()
    assert wire.heard().split(b"\r\n")[1] == b"host: " + seen


@pytest.mark.parametrize(("host", "app_address", "asked", "source"), [
    (IPv6Address("TCP", "fd00::7", 15020), None, "fd00::7", "::6"),
    (IPv6Address("TCP", "::ffff:10.0.0.7", 15020), None, "10.0.0.7", "127.0.0.6"),
    (POD, "127.0.0.1", "127.0.0.1", "127.0.0.6"),
    (POD, "::1", "::1", "::6"),
])  # fmt: skip
def test_address(host: Any, app_address: str | None, asked: str, source: str) -> None:
    """Either family; --app-address wins."""
    agent = Agent(app_address)
    for path in (LIVE, READY):
        agent.ask(path, host)
        dial = agent.loop.dials.pop()
        assert (dial.address.host, dial.source) == (asked, source)


@pytest.mark.parametrize(("answer", "status"), [
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 404),
    (b"HTTP/1.0 503 Oh\r\n\r\n", None),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    (b"HTTP/1.1 304 Not Modified\r\n\r\n", 200),
    (b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", 200),
    (b"HTTP/1.1 302 Found\r\nlocation: http://other.example/\r\ncontent-length: 0\r\n\r\n", 200),
    (b"HTTP/1.1 302 Found\r\nlocation: //other.example/\r\ncontent-length: 0\r\n\r\n", 200),
    (b"HTTP/1.1 302 Found\r\nlocation: ftp://10.0.0.7/\r\ncontent-length: 0\r\n\r\n", 500),
    (b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.7:x/\r\ncontent-length: 0\r\n\r\n", 500),
    (b"HTTP/1.1 302 Found\r\nlocation: http://[::\r\ncontent-length: 0\r\n\r\n", 500),
    (b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.7:15020/\r\ncontent-length: 0\r\n\r\n", 500),
    (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 500),
    (b"SSH-2.0-x\r\n\r\n", 500),
    (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000, 500),
])  # fmt: skip
def test_answers(answer: bytes, status: int | None) -> None:
    """The application's status as it is; a redirect that leads elsewhere is well; what is no answer is 500."""
    assert Agent().ask(LIVE).answered(answer) == status


def test_close_ends_the_body() -> None:
    """A body without a length ends with the connection; one that breaks off is taken as it is."""
    for head in (b"HTTP/1.0 503 Oh\r\n\r\n", b"HTTP/1.1 503 Oh\r\ncontent-length: 9\r\n\r\n"):
        agent = Agent()
        kubelet = agent.ask(LIVE)
        wire = kubelet.accept()
        wire.say(head + b"down")
        wire.hang_up()
        agent.loop.turn()
        assert kubelet.reply is not None
        assert (kubelet.status, kubelet.reply.body) == (503, b"down")


def test_redirect() -> None:
    """A redirect on the same host is followed, with the same words; Host is the new URL's where it is absolute."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    wire = kubelet.accept()
    for location, port, line, host in (
        (b"/a b?c#d", 80, b"GET /a%20b?c HTTP/1.1", b"10.0.0.7:80"), (b"http://10.0.0.7:8080", 8080, b"GET / HTTP/1.1", b"10.0.0.7:8080"),
    ):  # fmt: skip
        wire.say(b"HTTP/1.1 307 T\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % location)
        agent.loop.turn()
        assert agent.loop.dials[0].address.port == port
        wire = kubelet.accept()
        assert wire.heard().split(b"\r\n")[:2] == [line, b"host: " + host]
    wire.say(OK)
    agent.loop.turn()
    assert kubelet.status == 200


def test_redirects_end() -> None:
    """Ten requests are enough."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    for count in range(1, 11):
        status = kubelet.answered(b"HTTP/1.1 301 M\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")
        assert status == (None if count < 10 else 500)
    assert agent.loop.dials == []


def test_body_bound() -> None:
    """Of an endless body ten KiB are passed on, and the connection is closed."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    wire = kubelet.accept()
    wire.say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20_000)
    agent.loop.turn()
    assert kubelet.reply is not None
    assert len(kubelet.reply.body) == MAX_BODY
    agent.loop.turn(30)
    assert wire.closed


def test_tcp() -> None:
    """A connection that comes about is enough; it is closed again."""
    agent = Agent()
    kubelet = agent.ask(READY)
    assert agent.loop.dials[0].address.port == 81
    wire = kubelet.accept()
    agent.loop.turn(30)
    assert (kubelet.status, wire.heard(), wire.closed, wire.was_reset) == (200, b"", True, False)


@pytest.mark.parametrize("path", [LIVE, READY])
def test_refused(path: str) -> None:
    """Nobody there: 500, with the reason."""
    agent = Agent()
    kubelet = agent.ask(path)
    agent.loop.dials[0].refuse()
    assert kubelet.reply is not None
    assert (kubelet.status, kubelet.reply.body) == (500, b"delayed_connect_error:_Connection_refused\n")


@pytest.mark.parametrize(("path", "seconds"), [(LIVE, 3), (READY, 1)])
def test_time(path: str, seconds: float) -> None:
    """The probe's own timeout is the end, of connecting and of answering; nothing is left over."""
    agent = Agent()
    kubelet = agent.ask(path)
    agent.loop.turn(seconds - 0.1)
    assert kubelet.status is None
    agent.loop.turn(0.2)
    assert kubelet.reply is not None
    assert (kubelet.status, kubelet.reply.body) == (500, b"no answer within %d s\n" % seconds)
    assert agent.loop.dials == []


def test_slow_answer() -> None:
    """Bytes that trickle in do not prolong it."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    wire = kubelet.accept()
    for _ in range(29):
        wire.say(b"H"[:1] if wire.heard() else b"")
        agent.loop.turn(0.1)
    assert kubelet.status is None
    agent.loop.turn(0.2)
    assert kubelet.status == 500
    agent.loop.turn(30)
    assert wire.closed


def test_caller_leaves() -> None:
    """Whoever asked and left is not waited for."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    wire = kubelet.accept()
    kubelet.leave()
    agent.loop.turn(30)
    assert wire.closed


def test_silent_close() -> None:
    """A connection that is closed without an answer."""
    agent = Agent()
    kubelet = agent.ask(LIVE)
    wire = kubelet.accept()
    wire.hang_up()
    agent.loop.turn()
    assert kubelet.status == 500


def test_own_port() -> None:
    """The sidecar's own listeners are not the application."""
    agent = Agent()
    kubelet = agent.ask(STOP)
    assert kubelet.reply is not None
    assert (kubelet.status, kubelet.reply.body, agent.loop.dials) == (500, b"port 15020 is the sidecar's own\n", [])


def test_bounded() -> None:
    """No more than so many of one caller at a time; one that has ended makes room, and others have their own."""
    agent = Agent()
    kubelets = [agent.ask(LIVE) for _ in range(MAX_RUNNING)]
    assert agent.ask(LIVE).status == 503
    assert agent.ask(LIVE, caller="10.0.0.2").status is None
    agent.loop.dials[0].refuse()
    assert kubelets[0].status == 500
    assert agent.ask(LIVE).status is None


def test_unknown() -> None:
    """400 for a probe that nobody told of, as pilot-agent; only GET asks."""
    assert Agent().ask("/app-health/b/livez").status == 400
    assert Agent().ask("/app-lifecycle/a/poststartz").status == 400
    assert Agent().ask(LIVE, method="POST", headers="Host: a\r\ncontent-length: 0\r\n").status == 405
    assert Agent().ask("/healthz/ready").status == 200
    assert Agent().ask("/rules").status == 404
