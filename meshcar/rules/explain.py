"""What would become of a request: the data path's own decisions, taken without sending it, and told."""

from collections.abc import Sequence
from typing import Any

import attrs

from meshcar.errors import BadMessage
from meshcar.rules.compile import compile_steps
from meshcar.rules.cors import grants, preflight
from meshcar.rules.delegates import MergedRule
from meshcar.rules.host_names import Network
from meshcar.rules.passed_over import Candidates, label, rejections
from meshcar.rules.passed_over_gateway import gateway_rejections
from meshcar.rules.policies import Answer, Fault, Mirror, RetryPolicy
from meshcar.rules.question import Question
from meshcar.rules.read import Resource
from meshcar.rules.redirects import own_headers
from meshcar.rules.rewrites import rewrite
from meshcar.rules.snapshot import Route, Snapshot, VirtualHost, WeightedCluster, without_port
from meshcar.rules.steps import Steps, discarded, finish
from meshcar.rules.told import Changes, changes, text
from meshcar.rules.workload import Workload
from meshcar.wire.grpc import grpc_status, speaks_grpc
from meshcar.wire.head import RequestHead
from meshcar.wire.hops import FROM_APPLICATION, admit, connection_tokens, is_internal, shadow_authority, websocket
from meshcar.wire.path import normalise

_SOME_ID = b"00000000-0000-4000-8000-000000000000"


@attrs.frozen(kw_only=True)
class Sidecar:
    """What a sidecar knows, and how it was told to behave: its rules, compiled and as they were read, and options that matter here."""

    snapshot: Snapshot
    resources: Sequence[Resource]
    workload: Workload
    allow_any: bool = True
    path_normalization: str = "base"
    shadow_suffix: bool = True
    internal_addresses: tuple[Network, ...] = ()


def explain(sidecar: Sidecar, question: Question) -> dict[str, Any]:
    """The answer of `meshcar explain --json`: a JSON object with every field, null where there is nothing to say."""
    return finish(explain_steps(sidecar, question))


def explain_steps(sidecar: Sidecar, question: Question) -> Steps[dict[str, Any]]:
    """The same, with pauses: for another workload's labels the rules are compiled anew."""
    labels = question.labels
    if labels is None or labels == sidecar.workload.labels:
        return _Explanation(sidecar, question).answer()
    workload = attrs.evolve(sidecar.workload, labels=labels)
    compiled = yield from compile_steps(sidecar.resources, workload, sidecar.snapshot.generation)
    answer = _Explanation(attrs.evolve(sidecar, snapshot=compiled.snapshot, workload=workload), question).answer()
    parts = compiled.snapshot.parts()
    del compiled
    yield from discarded(parts)
    return answer


class _Explanation:
    """One answer in the making. `_said` is the answer, `_notes` what people should know besides."""

    def __init__(self, sidecar: Sidecar, question: Question) -> None:
        self._sidecar, self._port = sidecar, question.port
        self._notes: list[str] = []
        self._clusters: dict[str, int | None] = {}
        self._said = _nothing()
        self._said["notes"], self._said["clusters"] = self._notes, self._clusters
        if question.scheme == b"https":
            self._notes.append("https: a sidecar sees this request only where the client leaves TLS to others; TLS itself passes unread")
        self._head = self._received(question)

    def answer(self) -> dict[str, Any]:
        if self._head is not None:
            self._route(self._head)
            if speaks_grpc(self._head):
                self._as_grpc()
        return self._said

    # -- before routing

    def _received(self, question: Question) -> RequestHead | None:
        """The request as rules see it; None if the sidecar answers it at once, which is told."""
        try:
            head = question.head()
            if head.target[:1] == b"/":
                head.target = normalise(head.target, self._sidecar.path_normalization)
            self._admit(head)
        except BadMessage as e:
            self._local(e.status, f"the sidecar refuses the request: {e}")
            self._said.update(action="direct_response", direct_response={"status": e.status, "body": text(e.body)})
            return None
        self._said["request"].update(authority=text(head.authority), path=text(head.target))
        if head.target[:1] != b"/":
            self._not_found("no rule takes a request without a path")
            return None
        return head

    def _admit(self, head: RequestHead) -> None:
        noted, networks = head.noted, self._sidecar.internal_addresses
        tokens = connection_tokens(noted)
        upgrade = b"upgrade" in noted and websocket(head, tokens)
        internal = b"x-forwarded-for" in noted and is_internal(noted[b"x-forwarded-for"], networks)
        admit(head, FROM_APPLICATION, tokens, upgrade, False, internal)
        if b"x-request-id" not in noted:
            head.headers.append((b"x-request-id", _SOME_ID))

    # -- routing

    def _route(self, head: RequestHead) -> None:
        sidecar, port = self._sidecar, self._port
        host = sidecar.snapshot.virtual_host(head.authority, port)
        route = host.route(head) if host is not None else None
        candidates = Candidates.find(sidecar.resources, sidecar.workload, head.authority, host)
        found = rejections(candidates, sidecar.workload, host, head, port, route)
        more = gateway_rejections(candidates.scope, sidecar.workload.namespace, host, head, port, route)
        self._said["rejected"] = [attrs.asdict(one) for one in (*found, *more)]
        if host is None:
            self._unknown(head, candidates)
            return
        self._said["host"] = host.name
        self._named(candidates, host, route)
        if route is None:
            self._not_found(f"no rule of {' and '.join(dict.fromkeys(each.virtual_service or '' for each in host.routes))} takes it")
        else:
            self._taken(head, route)

    def _named(self, candidates: Candidates, host: VirtualHost, route: Route | None) -> None:
        """Which rule it is, and where it stands."""
        first = route or host.routes[0]
        self._said["virtual_service"] = first.virtual_service
        self._said["kind"] = first.kind if first.virtual_service else None
        if route is not None:
            self._said["route"] = route.name if route.name != "-" else f"http[{route.place[0]}]"
        if first.kind == "HTTPRoute":
            key = f"HTTPRoute/{first.virtual_service}"
            resource = next((one for one in self._sidecar.resources if one.key == key), None)
            if resource is not None:
                self._said["source"] = resource.source if route is None else resource.at("spec", "rules", route.place[0])
            return
        resource = candidates.named(first.virtual_service)
        if resource is None:
            return
        self._said["source"] = resource.source
        if route is not None:
            rule = resource.spec.http[route.place[0]]
            merged = rule if isinstance(rule, MergedRule) else None
            self._said["source"] = resource.at("spec", "http", route.place[0] if merged is None else merged.number)
            if merged is not None and merged.leaf is not None:
                where = merged.leaf.at("spec", "http", merged.leaf_number)
                self._said["delegate"] = {"virtual_service": merged.leaf.namespaced_name, "source": where}
            if not rule.name:
                self._said["route"] = label(resource, route.place[0])

    def _unknown(self, head: RequestHead, candidates: Candidates) -> None:
        name = text(without_port(head.authority)) or "an empty host"
        where = f"no rule and no service knows {name} on port {self._port}"
        sidecar = candidates.scope.sidecar
        opaque = [one for one in candidates.names if self._sidecar.snapshot.listeners.lead_to(f"outbound|{self._port}||{one}")]
        if opaque:
            self._notes.append(f"port {self._port} of {opaque[0]} is opaque: a captured connection is passed on unread")
        elif sidecar is not None:
            where += f", as far as {sidecar.called} lets see"
        told = self._sidecar.snapshot.allow_any
        if self._sidecar.allow_any if told is None else told:
            self._said.update(action="passthrough", route="allow_any")
            self._notes.append(f"{where}: it goes where the client sends it")
        else:
            self._said.update(action="blackhole", route="block_all")
            self._local(502, where)

    # -- what a route does

    def _taken(self, head: RequestHead, route: Route) -> None:
        said, answer = self._said, route.answer
        said["fault"] = _fault(route.fault)
        if answer is not None:
            self._answered(head, answer)
        else:
            self._sent(head, route)
        self._interrupted(head, route)

    def _answered(self, head: RequestHead, answer: Answer) -> None:
        told = {name.decode(): text(value) for name, value in own_headers(answer, head)}
        self._said["response"].update(changes([answer.response], head).entry())
        self._said["status"] = answer.status
        if answer.redirect is not None:
            self._said.update(action="redirect", redirect={"code": answer.status, "location": told.get("location")})
            return
        self._said.update(action="direct_response", direct_response={"status": answer.status, "body": text(answer.body)})
        if told:
            self._notes.append(f"the answer's location is {told['location']}")

    def _sent(self, head: RequestHead, route: Route) -> None:
        said = self._said
        request = changes([one.request for one in route.clusters], head)
        response = changes([one.response for one in route.clusters], head)
        said.update(
            action="route", timeout=route.timeout, retries=_retries(route.retries),
            destinations=[self._destination(one, head, request, response) for one in route.clusters],
        )  # fmt: skip
        said["request"].update(request.entry())
        said["response"].update(response.entry())
        if request.authority is not None:
            head.authority = request.authority
        if route.rewrite is not None:
            rewrite(head, route.rewrite)
        said["request"].update(authority=text(head.authority), path=text(head.target))
        said["mirrors"] = [self._mirror(one, head) for one in route.mirrors]
        self._judge_clusters(route)

    def _destination(self, one: WeightedCluster, head: RequestHead, request: Changes, response: Changes) -> dict[str, Any]:
        where = one.destination
        told: dict[str, Any] = {
            "host": where.host, "subset": where.subset or None, "port": where.port, "weight": one.weight, "cluster": one.cluster,
        }  # fmt: skip
        own = {"request": changes([one.request], head).without(request), "response": changes([one.response], head).without(response)}
        told |= {name: changed.entry() for name, changed in own.items() if changed}
        if own["request"].authority is not None:
            told["request"]["authority"] = text(own["request"].authority)
        return told

    def _mirror(self, mirror: Mirror, head: RequestHead) -> dict[str, Any]:
        where = mirror.destination
        authority = shadow_authority(head.authority) if self._sidecar.shadow_suffix else head.authority
        if not self._endpoints(mirror.cluster):
            self._notes.append(f"{self._trouble(mirror.cluster)}: no copy is sent there")
        return {"host": where.host, "subset": where.subset or None, "port": where.port, "cluster": mirror.cluster,
                "percent": mirror.percent, "authority": text(authority)}  # fmt: skip

    def _judge_clusters(self, route: Route) -> None:
        """Whether anybody is there to answer."""
        names = dict.fromkeys(one.cluster for one in route.clusters)
        down = {name: 503 if self._clusters[name] == 0 else route.no_cluster_status for name in names if not self._endpoints(name)}
        if len(down) == len(names) and len(set(down.values())) == 1:
            self._said["status"] = next(iter(down.values()))
        for name, status in down.items():
            self._notes.append(f"{self._trouble(name)}: requests for it get {status}")

    def _endpoints(self, cluster: str) -> int | None:
        """How many endpoints a cluster has, the address that a client asks for being one; None where it does not exist."""
        config = self._sidecar.snapshot.clusters.get(cluster)
        self._clusters[cluster] = None if config is None else 1 if config.elsewhere is not None else len(config.endpoints)
        return self._clusters[cluster]

    def _trouble(self, cluster: str) -> str:
        return f"{cluster} {'does not exist (NC)' if self._clusters[cluster] is None else 'has no endpoints (UH)'}"

    def _interrupted(self, head: RequestHead, route: Route) -> None:
        """What comes between: the sidecar's own answer to a preflight, or an abort."""
        if route.cors is not None:
            own = preflight(route.cors, head)
            told = grants(route.cors, head) if own is None else own
            self._said["cors"] = {"preflight": own is not None, "headers": {name.decode(): text(value) for name, value in told}}
            if own is not None:
                self._local(200, "the sidecar answers this preflight itself")
                return
        fault = route.fault
        if fault is not None and fault.abort_percent >= 100:
            self._local(fault.abort_status, "every request is aborted")

    # -- the sidecar's own answers

    def _as_grpc(self) -> None:
        """A client that speaks gRPC gets 200, and the status in a header."""
        status = self._said["status"]
        if status not in (None, 200):
            self._notes.append(f"a client that speaks gRPC is told so by 200 and grpc-status {grpc_status(status)}")
            self._said["status"] = 200

    def _not_found(self, why: str) -> None:
        self._said["action"] = "not_found"
        self._local(404, why)

    def _local(self, status: int, why: str) -> None:
        self._said["status"] = status
        self._notes.append(f"{why}: {status}")


def _nothing() -> dict[str, Any]:
    """The answer before anything is known: every field, in the order in which people read them."""
    return {
        "virtual_service": None, "kind": None,
        "route": None, "action": "not_found", "source": None, "delegate": None, "host": None, "destinations": [],
        "request": {"authority": None, "path": None, **Changes().entry()}, "response": Changes().entry(), "redirect": None,
        "direct_response": None, "mirrors": [], "timeout": None, "retries": None, "fault": None, "cors": None, "rejected": [],
        "status": None,
    }  # fmt: skip


def _retries(policy: RetryPolicy | None) -> dict[str, Any] | None:
    if policy is None:
        return None
    words = [*sorted(policy.conditions), *map(str, sorted(policy.status_codes))]
    return {"attempts": policy.attempts, "per_try_timeout": policy.per_try_timeout, "retry_on": words}


def _fault(fault: Fault | None) -> dict[str, Any] | None:
    if fault is None:
        return None
    delay = {"percent": fault.delay_percent, "seconds": fault.delay_seconds} if fault.delay_percent else None
    abort: dict[str, Any] | None = {"percent": fault.abort_percent, "status": fault.abort_status} if fault.abort_percent else None
    if abort is not None and fault.grpc_status is not None:
        abort["grpc_status"] = fault.grpc_status
    return {"delay": delay, "abort": abort}
