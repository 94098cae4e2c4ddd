"""Any policies and callers: the verdicts of a slow evaluator with istiod's regexes, written from the documentation."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meshcar.rules.authz_clauses import Caller
from meshcar.wire.head import RequestHead
from tests.rules.authz_policies import CART, compiled, policy


def _text(value: str, found: str, prefix: str = "", fold: bool = False) -> bool:
    if fold:
        value, found = value.lower(), found.lower()
    if value == "*":
        return found != ""
    parts = [re.escape(part) for part in value.split("*")]
    if value.startswith("*"):
        return re.fullmatch(re.escape(prefix) + ".*" + re.escape(value[1:]), found) is not None
    if value.endswith("*"):
        return re.fullmatch(re.escape(prefix + value[:-1]) + ".*", found) is not None
    return re.fullmatch(re.escape(prefix) + re.escape("*").join(parts), found) is not None


def _account(value: str, name: str) -> bool:
    namespace, account = value.split("/") if "/" in value else ("shop", value)
    return re.fullmatch(f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?", name) is not None


def _domain(value: str, name: str) -> bool:
    return re.match("spiffe://" + "[^/]*".join(map(re.escape, value.split("*"))) + "/", name) is not None


def _one(key: str, value: str, caller: Caller) -> bool:
    asked = caller.head
    match key:
        case "source.principal":
            return any(_text(value, name, "spiffe://") for name in caller.names)
        case "source.namespace":
            pattern = ".*".join(map(re.escape, value.split("*")))
            return any(re.fullmatch(f".*/ns/{pattern}/.*", name) for name in caller.names)
        case "source.serviceAccount":
            return any(_account(value, name) for name in caller.names)
        case "source.trustDomain":
            return any(_domain(value, name) for name in caller.names)
        case "source.ip":
            return ip_address(caller.source) in ip_network(value, strict=False)
        case "remote.ip":
            return ip_address(caller.remote) in ip_network(value, strict=False)
        case "destination.ip":
            return ip_address(caller.destination) in ip_network(value, strict=False)
        case "destination.port":
            return caller.port == int(value)
        case "connection.sni":
            return _text(value, caller.sni)
    assert asked is not None
    match key:
        case "method":
            return _text(value, asked.method.decode())
        case "host":
            return _text(value, asked.authority.decode(), fold=True)
        case "path":
            return _text(value, asked.target.decode().split("?")[0])
    lines = [found.decode() for name, found in asked.headers if f"request.headers[{name.decode()}]" == key]
    return bool(lines) if value == "*" else any(_text(value, line) for line in lines)


FIELDS = {
    "principals": "source.principal", "namespaces": "source.namespace", "serviceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain", "ipBlocks": "source.ip", "remoteIpBlocks": "remote.ip", "ports": "destination.port",
    "methods": "method", "hosts": "host", "paths": "path",
}  # fmt: skip


def _asks(fields: dict[str, list[str]]) -> list[tuple[str, list[str], bool]]:
    """Key, values, and whether one of them must hold rather than none."""
    found = []
    for field, values in fields.items():
        positive = field in FIELDS
        found.append((FIELDS[field if positive else field[3].lower() + field[4:]], values, positive))
    return found


def _holds(rule: dict[str, Any], caller: Caller, action: str) -> bool:
    fields = ("values", "notValues")
    conditions = [(one["key"], one[field], field == "values") for one in rule.get("when", ()) for field in fields if field in one]
    groups = [_asks(one["source"]) for one in rule.get("from", ())] or [[]], [_asks(one["operation"]) for one in rule.get("to", ())] or [[]]
    asks = [ask for group in (*groups[0], *groups[1], conditions) for ask in group]

    def is_http(key: str) -> bool:
        return key in ("method", "host", "path") or key.startswith("request.headers")

    def true(ask: tuple[str, list[str], bool]) -> bool:
        key, values, positive = ask
        if caller.head is None and is_http(key):
            return True
        return any(_one(key, value, caller) for value in values) is positive

    if caller.head is None and action == "ALLOW" and any(is_http(key) for key, _, _ in asks):
        return False
    return all(map(true, conditions)) and all(any(all(map(true, group)) for group in side) for side in groups)


def expected(policies: list[dict[str, Any]], caller: Caller) -> bool:
    """What Istio's documentation says: refused if a DENY matches; allowed if there is no ALLOW; else allowed if one matches."""
    def matches(action: str) -> list[bool]:
        specs = [one["spec"] for one in policies if one["spec"].get("action", "ALLOW") == action]
        return [any(_holds(rule, caller, action) for rule in spec.get("rules", ())) for spec in specs]
    if any(matches("DENY")):
        return False
    return any(matches("ALLOW")) if matches("ALLOW") else True


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


BLOCKS = some("10.0.0.7", "10.0.0.0/24", "10.0.1.0/24", "0.0.0.0/0", "fd00::/8")
NAMES = {
    "principals": some("*", "cluster.local/ns/shop/sa/cart", "cluster.local/ns/*", "*/sa/cart", "*art", "x*"),
    "namespaces": some("*", "shop", "sh*", "*op", "s*p", "other", "."),
}
SOURCES = {**NAMES, "ipBlocks": BLOCKS, "remoteIpBlocks": BLOCKS, "trustDomains": some("*", "cluster.local", "c*", "*l", "x")}
OPERATIONS = {
    "ports": some("80", "8080"), "methods": some("*", "GET", "P*", "*T"), "hosts": some("*", "store", "STORE:*", "*:8000", "a"),
    "paths": some("*", "/", "/a", "/a*", "*b", "/a/b"),
}  # fmt: skip
CONDITIONS = {
    "request.headers[x-a]": some("*", "1", "1*", "*2"), "source.ip": BLOCKS, "remote.ip": BLOCKS, "destination.ip": BLOCKS,
    "destination.port": OPERATIONS["ports"], "source.principal": NAMES["principals"], "source.namespace": NAMES["namespaces"],
    "source.serviceAccount": some("cart", "shop/cart", "other/cart", "car"), "connection.sni": some("*", "a.b", "*b", "a*"),
}  # fmt: skip


def fields(table: dict[str, st.SearchStrategy[list[str]]]) -> st.SearchStrategy[dict[str, list[str]]]:
    both = table | {"not" + name[0].upper() + name[1:]: values for name, values in table.items()}
    return st.lists(st.sampled_from(sorted(both)), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: both[name] for name in names}))


conditions = st.sampled_from(sorted(CONDITIONS)).flatmap(lambda key: st.one_of(
    st.fixed_dictionaries({"key": st.just(key), "values": CONDITIONS[key]}),
    st.fixed_dictionaries({"key": st.just(key), "notValues": CONDITIONS[key]}),
    st.fixed_dictionaries({"key": st.just(key), "values": CONDITIONS[key], "notValues": CONDITIONS[key]})))
sources = st.one_of(fields(SOURCES), fields({"serviceAccounts": CONDITIONS["source.serviceAccount"]}))
rules = st.fixed_dictionaries({}, optional={
    "from": st.lists(st.fixed_dictionaries({"source": sources}), min_size=1, max_size=2),
    "to": st.lists(st.fixed_dictionaries({"operation": fields(OPERATIONS)}), min_size=1, max_size=2),
    "when": st.lists(conditions, min_size=1, max_size=2),
})
specs = st.one_of(
    st.fixed_dictionaries({"action": st.just("ALLOW"), "rules": st.lists(rules, max_size=2)}),
    st.fixed_dictionaries({"action": st.sampled_from(["DENY", "AUDIT"]), "rules": st.lists(rules, min_size=1, max_size=2)}))
addresses = st.sampled_from(["10.0.0.7", "10.0.1.9", "192.0.2.1", "fd00::1"])
names = st.sampled_from(["", CART, "spiffe://cluster.local/ns/other/sa/cart", "spiffe://x/ns/shop/sa/art"])
heads = st.builds(
    RequestHead, st.sampled_from([b"GET", b"POST", b"PUT"]), st.sampled_from([b"/", b"/a", b"/a/b?c", b"/b?/a"]),
    st.sampled_from([b"store", b"Store:8000", b"a"]),
    st.lists(st.tuples(st.just(b"x-a"), st.sampled_from([b"", b"1", b"12", b"2"])), max_size=2))
callers = st.builds(
    Caller, st.lists(names, max_size=2).map(tuple), addresses, addresses, addresses, st.sampled_from([80, 8080]),
    st.sampled_from(["", "a.b", "c"]), st.one_of(st.none(), heads))


@settings(max_examples=300, deadline=None)
@given(st.lists(specs, min_size=1, max_size=3), st.lists(callers, min_size=1, max_size=4))
def test_as_documented(given_specs: list[dict[str, Any]], asking: list[Caller]) -> None:
    """Any policies and callers: the same verdict as the slow evaluator's."""
    policies = [policy(spec, f"p{index}") for index, spec in enumerate(given_specs)]
    made = compiled(*policies)
    assert made is not None
    for caller in asking:
        assert made.decide(caller).allowed is expected(policies, caller), (policies, caller)
