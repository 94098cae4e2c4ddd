"""`explain` and the data path agree: what is told of a request is what becomes of it, by any rules."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshcar.rules.compile import compile_rules
from meshcar.rules.explain import Sidecar, explain
from meshcar.rules.host_patterns import covers
from meshcar.rules.question import question
from meshcar.rules.read import read
from meshcar.rules.workload import Workload
from meshcar.upstream import opening
from tests.fakes import Wire
from tests.proxy.conftest import Mesh
from tests.rules.conftest import MESH

WORKLOAD = Workload(labels={"app": "me"})
OTHERS = """
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {ports: [{name: http, port: 80}, {name: other, port: 8000, appProtocol: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [out.example, "*.wild.example", "*-p.wild.example"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.44.0.13}]
"""
HOSTS = (
    "httpbin", "httpbin.default", "b", "out.example", "x.wild.example", "x.example", "*.example", "*.wild.example", "nobody.org",
    "*-p.wild.example", "*p.wild.example", "*x.example",
)  # fmt: skip
PATHS = ("/", "/a", "/a/b", "/a/../b", "/A", "//a", "/%61?q=1&q=2", "/b?q=2")
TEXTS = [{"exact": "/a"}, {"prefix": "/a"}, {"prefix": "/"}, {"regex": "/[ab].*"}, {"exact": "/b"}]

texts = st.sampled_from(TEXTS)
values = st.sampled_from([{"exact": "1"}, {"prefix": "1"}, {"regex": "1+"}, {}])
headers = st.dictionaries(st.sampled_from(["x-one", "x-two", "x-forwarded-proto", ":authority"]), values, min_size=1, max_size=2)
match = st.fixed_dictionaries({}, optional={
    "uri": texts, "ignoreUriCase": st.booleans(), "method": st.sampled_from([{"exact": "GET"}, {"exact": "POST"}]),
    "authority": st.sampled_from([{"prefix": "x"}, {"exact": "httpbin:8000"}]), "scheme": st.just({"exact": "http"}), "headers": headers,
    "withoutHeaders": headers, "queryParams": st.just({"q": {"exact": "1"}}), "port": st.sampled_from([80, 8000]),
    "sourceLabels": st.sampled_from([{"app": "me"}, {"app": "you"}]), "gateways": st.sampled_from([["mesh"], ["gate"]]),
    "sourceNamespace": st.sampled_from(["default", "other"]), "name": st.just("m"),
})  # fmt: skip
operations = st.fixed_dictionaries({}, optional={
    "set": st.dictionaries(st.sampled_from(["x-set", "x-mark"]), st.sampled_from(["1", "%REQ(x-one)%", "%REQ(:path)%"]), min_size=1),
    "add": st.dictionaries(st.sampled_from(["x-add"]), st.sampled_from(["3", "4"]), min_size=1), "remove": st.just(["x-two"]),
})  # fmt: skip
responding = operations.map(lambda one: {**one, "set": {"x-mark": "5"}})
changed = st.fixed_dictionaries({}, optional={"request": operations, "response": responding})
target = st.sampled_from([
    {"host": "httpbin", "subset": "v1"}, {"host": "httpbin", "subset": "v2"}, {"host": "httpbin", "subset": "none"},
    {"host": "b", "port": {"number": 80}}, {"host": "out.example"}, {"host": "nobody.example", "port": {"number": 80}},
])  # fmt: skip
destination = st.fixed_dictionaries({"destination": target, "weight": st.integers(1, 5)}, optional={"headers": changed})
rewriting = st.sampled_from([{"uri": "/new"}, {"authority": "other:1"}, {"uri": "/", "authority": "o"},
                             {"uriRegexRewrite": {"match": "/(.)", "rewrite": "/\\1\\1"}}])  # fmt: skip
forward = st.fixed_dictionaries({"route": st.lists(destination, min_size=1, max_size=3)}, optional={
    "rewrite": rewriting, "headers": changed, "name": st.just("n"),
    "mirrors": st.lists(target.map(lambda to: {"destination": to}), max_size=2),
    "fault": st.just({"abort": {"httpStatus": 418, "percentage": {"value": 100}}}),
    "corsPolicy": st.just({"allowOrigins": [{"exact": "http://a"}], "allowMethods": ["GET"]}),
})  # fmt: skip
answering = st.fixed_dictionaries({}, optional={"headers": changed}).flatmap(lambda more: st.sampled_from([
    {"redirect": {"uri": "/else"}}, {"redirect": {"scheme": "https", "port": 8443, "redirectCode": 307}},
    {"redirect": {"authority": "x"}}, {"directResponse": {"status": 418, "body": {"string": "tea"}}},
    {"directResponse": {"status": 303}}, {"redirect": {"derivePort": "FROM_REQUEST_PORT", "scheme": "https"}},
]).map(lambda one: {**one, **more}))  # fmt: skip
rule = st.tuples(st.one_of(forward, forward, answering), st.lists(match, max_size=2)).map(lambda two: {**two[0], "match": two[1]})
hosts = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True).filter(
    lambda names: not any(covers(one, other) for one in names for other in names if one != other)
)
virtual_service = st.fixed_dictionaries(
    {"hosts": hosts, "http": st.lists(rule, min_size=1, max_size=4)},
    optional={"gateways": st.sampled_from([["mesh"], ["gate"]]), "exportTo": st.sampled_from([["."], ["*"], ["other"]])},
)
request = st.tuples(
    st.sampled_from([
        "httpbin:8000", "httpbin.default:8000", "HTTPBIN.default.svc:8000", "x.example", "y.example:80", "out.example", "x.wild.example",
        "y.wild.example", "Q-P.wild.example", "p.wild.example", "xx.example:80", "b:8000", "b", "nobody.org", "nobody.org:8000", "httpbin",
    ]),
    st.sampled_from(PATHS),
    st.sampled_from(["GET", "OPTIONS", "POST"]),
    st.lists(st.sampled_from([("x-one", "1"), ("x-one", "2"), ("x-two", "11"), ("origin", "http://a"), ("origin", "http://b"),
                              ("access-control-request-method", "GET"), ("x-envoy-internal", "true")]), max_size=3, unique=True),
)  # fmt: skip


def documents(specs: Sequence[dict[str, Any]]) -> str:
    """The mesh, without TLS, and VirtualServices with these specs."""
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    made = [json.dumps({**kind, "metadata": {"name": f"v{number}"}, "spec": spec}) for number, spec in enumerate(specs)]
    return "\n---\n".join([MESH.replace(", security.istio.io/tlsMode: istio", ""), OTHERS, *made])


def parsed(message: bytes) -> tuple[str, list[tuple[str, str]]]:
    """First line and headers of a message."""
    first, *lines = message.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return first, [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def joined(headers: Sequence[tuple[str, str]], name: str) -> str:
    return ",".join(value for one, value in headers if one == name)


class Trial:
    """One request through the real outbound side, and what was told of it."""

    def __init__(self, specs: Sequence[dict[str, Any]], roll: float) -> None:
        found = read(documents(specs), "f.yaml")
        assume(not any(problem.severity == "error" for problem in found.problems))
        self.snapshot = compile_rules(found.resources, WORKLOAD, 1).snapshot
        self.sidecar = Sidecar(snapshot=self.snapshot, resources=found.resources, workload=WORKLOAD, allow_any=False)
        self.mesh = Mesh(outbound_allow_any=False)
        self.mesh._roll = lambda: roll  # type: ignore[method-assign]
        self.mesh.outbound.roll = lambda: roll
        self.mesh.clusters.reconcile(self.snapshot.clusters)
        self.mesh.snapshot.swap(self.snapshot)

    def run(self, host: str, path: str, method: str, headers: list[tuple[str, str]]) -> tuple[int, int]:
        """The status that is due and the one that came; everything else is checked on the way."""
        told = explain(self.sidecar, question(f"http://{host}{path}", method, headers))
        lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", host), *headers])
        client = self.mesh.client(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
        arrived = []
        while self.mesh.loop.dials:
            dial = self.mesh.loop.dials[0]
            arrived.append((dial.address.host, dial.accept()))
            self.mesh.loop.turn()
        messages = [(address, wire, *parsed(wire.heard())) for address, wire in arrived]
        copies = [one for one in messages if ("x-envoy-internal", "true") in one[3]]
        sent = [one for one in messages if one not in copies]
        if told["status"] is not None:
            assert sent == []
            statuses = told["status"], self._answered(told, client.heard())
        elif not sent:
            statuses = 503, int(parsed(client.heard())[0].split()[1])
            assert [one for one in told["destinations"] if not self._addresses(one["cluster"])]
        else:
            ((address, wire, first, at_app),) = sent
            self._sent(told, method, address, first, at_app)
            assert sorted(joined(one[3], "host") for one in copies) == sorted(self._copies(told))
            statuses = 200, self._returned(told, client, wire)
        for _, wire in arrived:
            wire.hang_up()
        return statuses

    def _answered(self, told: dict[str, Any], message: bytes) -> int:
        first, headers = parsed(message)
        assert (told["redirect"] or {"location": joined(headers, "location")})["location"] == joined(headers, "location")
        if told["direct_response"] and told["direct_response"]["body"]:
            assert message.endswith(told["direct_response"]["body"].encode())
        for name, value in told["response"]["headers_set"].items():
            assert joined(headers, name) == value
        return int(first.split()[1])

    def _sent(self, told: dict[str, Any], method: str, address: str, first: str, headers: list[tuple[str, str]]) -> None:
        assert told["action"] == "route"
        asked = told["request"]
        assert (first, joined(headers, "host")) == (f"{method} {asked['path']} HTTP/1.1", asked["authority"])
        chosen = [one for one in told["destinations"] if address in self._addresses(one["cluster"])]
        assert any(self._changed_by(asked, one.get("request"), headers) for one in chosen)

    def _changed_by(self, common: dict[str, Any], own: dict[str, Any] | None, headers: list[tuple[str, str]]) -> bool:
        """Whether headers are as the changes of all destinations and of one destination make them."""
        own = own or {"headers_set": {}, "headers_added": {}, "headers_removed": []}
        written, added = {**own["headers_set"], **common["headers_set"]}, {**common["headers_added"], **own["headers_added"]}
        removed = {*own["headers_removed"], *common["headers_removed"]}
        return (
            all(joined(headers, name) == value for name, value in {**added, **written}.items())
            and all(joined(headers, name) == "" for name in {"x-set", "x-mark", "x-add"} - {*written, *added})
            and not any(joined(headers, name) for name in removed)
        )

    def _copies(self, told: dict[str, Any]) -> list[str]:
        return [one["authority"] for one in told["mirrors"] if self._addresses(one["cluster"])]

    def _addresses(self, cluster: str) -> list[str]:
        config = self.snapshot.clusters.get(cluster)
        return [endpoint.address for endpoint in config.endpoints] if config else []

    def _returned(self, told: dict[str, Any], client: Wire, wire: Wire) -> int:
        self.mesh.say(wire, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-two: gone\r\n\r\n")
        first, headers = parsed(client.heard())
        assert first == "HTTP/1.1 200 OK"
        for name, value in told["response"]["headers_set"].items():
            assert joined(headers, name) == value
        if "x-two" in told["response"]["headers_removed"]:
            assert joined(headers, "x-two") == ""
        if told["cors"]:
            assert [joined(headers, name) for name in told["cors"]["headers"]] == [*told["cors"]["headers"].values()]
        return int(first.split()[1])


@settings(max_examples=150, deadline=None)
@given(st.lists(virtual_service, max_size=3), request, st.floats(0, 1, exclude_max=True))
def test_explained(specs: list[dict[str, Any]], asked: tuple[str, str, str, list[tuple[str, str]]], roll: float) -> None:
    """Cluster, path, authority, headers, copies, status and Location are as told."""
    trial = Trial(specs, roll)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "connect", trial.mesh.loop.connect)
        due, came = trial.run(*asked)
    assert came == due
