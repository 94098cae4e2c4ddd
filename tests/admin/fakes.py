"""A process with little in it, and HTTP to a Site without a port."""

import json
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.server import Site

from meshcar.admin.operator import ClusterStatus, EndpointStatus, ListenerStatus, Operator, Outcome
from meshcar.rules.listeners import Chain, OpaqueRoute, OutboundListener
from meshcar.rules.problems import Problem
from meshcar.rules.read import Resource, read

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
  - route:
    - destination: {host: httpbin}
"""

SHARES = Chain(OpaqueRoute.weighted([("x", 1), ("y", 3)], "d/v"))


class FakeRules:
    """Takes every text but `bad`, and remembers what it was asked."""

    generation, loaded_at, sources, skipped = 3, 1_000_000.0, ("rules",), ("Deployment/default/httpbin-v1",)

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.later: Deferred[Outcome] | None = None
        self.found: Sequence[Resource] = read(RULE, "rules/a.yaml").resources

    def resources(self) -> Sequence[Resource]:
        return self.found

    def apply(self, text: str, dry_run: bool = False) -> Deferred[Outcome]:
        self.asked.append(("apply", text, dry_run))
        if text == "bad":
            return succeed(Outcome(generation=3, errors=(Problem("error", "-", 1, 2, "", "", "spec", "WRONG_TYPE", "not so"),)))
        return succeed(Outcome(generation=4, changed=("VirtualService/default/httpbin",), created=("VirtualService/default/httpbin",)))

    def delete(self, kind: str, namespace: str, name: str) -> Deferred[Outcome | None]:
        self.asked.append(("delete", kind, namespace, name))
        return succeed(Outcome(generation=5, changed=(f"{kind}/{namespace}/{name}",)) if name == "httpbin" else None)

    def reload(self) -> Deferred[Outcome]:
        self.asked.append(("reload",))
        return self.later if self.later is not None else succeed(Outcome(generation=3))


@attrs.define
class FakeLife:
    """Remembers what it was told."""

    leaving: str | None = None
    told: list[Any] = attrs.Factory(list)

    def fail_health(self) -> None:
        self.told.append("fail")

    def pass_health(self) -> None:
        self.told.append("ok")

    def drain_listeners(self, **how: bool) -> None:
        self.told.append({name for name, on in how.items() if on})

    def quit(self) -> None:
        self.told.append("quit")


@attrs.frozen
class Reply:
    """A parsed response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


def operator(**changes: Any) -> Operator:
    """An Operator; `changes` replace what it has."""
    first = EndpointStatus("10.0.0.1", 80, counts={"cx_active": 2}, weight=2, locality=("r", "z", ""), priority=1)
    endpoints = (first, EndpointStatus("fd00::1", 80, healthy=False))
    return attrs.evolve(Operator(
        rules=FakeRules(),
        life=FakeLife(),
        explain=lambda question: succeed({"port": question.port, "labels": question.labels, "message": question.message.decode()}),
        ready=lambda: None,
        clusters=lambda: [ClusterStatus("outbound|80||a", endpoints, {"max_connections": None})],
        listeners=lambda: [ListenerStatus("outbound", "0.0.0.0", 15001), ListenerStatus("admin", "/run/admin", None)],
        outbound=lambda: [OutboundListener("0.0.0.0_443", (Chain(names=("a",)),), SHARES)],
        credentials=lambda: None,
        metrics=lambda: ["# HELP\n"],
        stats=list,
        config=lambda: {"namespace": "default"},
        clock=lambda: 1_000_060.0,
        started_at=1_000_000.0,
    ), **changes)


def exchange(site: Site, data: bytes) -> bytes:
    """What a connection answers to these bytes."""
    transport = StringTransport()
    protocol = site.buildProtocol(None)
    protocol.makeConnection(transport)
    protocol.dataReceived(data)
    return transport.value()


def call(site: Site, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
    """One request with a Host of 127.0.0.1 unless `host` says otherwise; `_` in a header's name is `-`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"host": "127.0.0.1:15000", "content-length": str(len(body)), **given}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return parsed(exchange(site, head.encode("latin-1") + body))


def parsed(data: bytes) -> Reply:
    """A response with a Content-Length."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return Reply(int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body)


def clock() -> Clock:
    """Time that stands still."""
    return Clock()
