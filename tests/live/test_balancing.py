"""Which of three servers answers: by turns, by hash, by cookie; and where a client meant to go."""

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.documents import SERVICE, workload
from tests.live.processes import App, Sidecar, app, call, sidecar, until

NAMES = ("v1", "v2", "v3")


def balanced(text: str) -> str:
    """A DestinationRule with this loadBalancer, and nothing else."""
    return f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin, namespace: default}}
spec: {{host: httpbin, trafficPolicy: {{loadBalancer: {{{text}}}}}}}
"""


@pytest.fixture
def apps() -> Iterator[dict[str, App]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(app(name)) for name in NAMES}


def entries(apps: dict[str, App], *names: str) -> str:
    return "".join(workload(name, "127.0.0.1", apps[name].port, mesh=False) for name in names)


@pytest.fixture
def client(tmp_path: Path, apps: dict[str, App]) -> Iterator[Sidecar]:
    with sidecar(tmp_path / "client", SERVICE + entries(apps, *NAMES), "--intercept", "none", "--access-log", "off") as one:
        yield one


def ask(client: Sidecar, path: str = "/", host: str = "httpbin:8000", **headers: str) -> tuple[str, list[str]]:
    """Who answered, and which cookies it brought."""
    connection = http.client.HTTPConnection("127.0.0.1", client.outbound, timeout=10)
    connection.request("GET", path, headers={"host": host, **{key.replace("_", "-"): value for key, value in headers.items()}})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    connection.close()
    return json.loads(body)["app"], answer.headers.get_all("set-cookie") or []


def test_round_robin(client: Sidecar) -> None:
    """Each in turn."""
    client.apply(balanced("simple: ROUND_ROBIN"))
    answers = [ask(client)[0] for _ in range(30)]
    assert Counter(answers) == dict.fromkeys(NAMES, 10) and answers[:3] == answers[3:6]


def test_header(client: Sidecar, apps: dict[str, App]) -> None:
    """A user stays; when a server leaves only its users move, and they return with it."""
    client.apply(balanced("consistentHash: {httpHeaderName: x-user}"))
    users = [f"user-{number}" for number in range(120)]
    before = {user: ask(client, x_user=user)[0] for user in users}
    assert before == {user: ask(client, x_user=user)[0] for user in users}
    assert all(20 <= count <= 60 for count in Counter(before.values()).values()) and set(before.values()) == set(NAMES)
    (client.folder / "rules.yaml").write_text(SERVICE + entries(apps, "v1", "v2"))
    until(lambda: "v3" not in {ask(client, x_user=user)[0] for user in users}, what="v3's end")
    after = {user: ask(client, x_user=user)[0] for user in users}
    assert all(after[user] == before[user] for user in users if before[user] != "v3")
    (client.folder / "rules.yaml").write_text(SERVICE + entries(apps, *NAMES))
    until(lambda: call(client.admin, "GET", "/clusters")[1].count(f":{apps['v3'].port}::"), what="v3's return")
    assert before == {user: ask(client, x_user=user)[0] for user in users}


def test_maglev_of_a_query(client: Sidecar) -> None:
    """The same by a query parameter and another table."""
    client.apply(balanced("consistentHash: {httpQueryParameterName: id, maglev: {tableSize: 101}}"))
    owners = {key: {ask(client, f"/?id={key}")[0] for _ in range(3)} for key in "abcdefghijklmnop"}
    assert all(len(one) == 1 for one in owners.values()) and set().union(*owners.values()) == set(NAMES)


def test_cookie(client: Sidecar) -> None:
    """A client without the cookie gets one, and with it comes to the same server."""
    client.apply(balanced("consistentHash: {httpCookie: {name: session, path: /, ttl: 60s, attributes: [{name: Secure}]}}"))
    for _ in range(5):
        server, (cookie,) = ask(client)
        pair, _, rest = cookie.partition("; ")
        assert rest == "Max-Age=60; Path=/; Secure; HttpOnly"
        assert [ask(client, cookie=f"other=1; {pair}") for _ in range(5)] == [(server, [])] * 5
    client.apply(balanced("consistentHash: {httpCookie: {name: session}}"))
    assert ask(client)[1] == [] and len({ask(client)[0] for _ in range(30)}) > 1


def test_source(client: Sidecar) -> None:
    """One client, one server; who a proxy before us names counts as the client."""
    client.apply(balanced("consistentHash: {useSourceIp: true}"))
    assert len({ask(client)[0] for _ in range(10)}) == 1
    named = {number: {ask(client, x_forwarded_for=f"10.0.0.{number}")[0] for _ in range(2)} for number in range(12)}
    assert all(len(one) == 1 for one in named.values()) and len(set().union(*named.values())) > 1


def test_passthrough(client: Sidecar, apps: dict[str, App]) -> None:
    """Requests go where their Host says, whoever else answers for the service; other limits of the rule hold."""
    port = apps["v2"].port
    client.apply(f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.example]
  addresses: [127.0.0.1]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {apps["v1"].port}}}}}]
""")
    assert ask(client, host=f"127.0.0.1:{port}")[0] == "v1"
    client.apply(balanced("simple: PASSTHROUGH").replace("host: httpbin", "host: shop.example"))
    assert ask(client, host=f"127.0.0.1:{port}")[0] == "v2"
    assert f"outbound|{port}||shop.example::127.0.0.1:{port}::cx_active::" in call(client.admin, "GET", "/clusters")[1]


def located(apps: dict[str, App], **places: str) -> str:
    """A ServiceEntry whose endpoints stand at localities."""
    endpoints = "".join(
        f"  - {{address: 127.0.0.1, ports: {{http: {apps[name].port}}}, locality: {place}, labels: {{name: {name}}}}}\n"
        for name, place in places.items()
    )
    return f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.example]
  ports: [{{number: 8000, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
{endpoints}"""


def shop(policy: str) -> str:
    """A DestinationRule for those."""
    return f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec: {{host: shop.example, trafficPolicy: {{{policy}}}}}
"""


@pytest.fixture
def western(tmp_path: Path, apps: dict[str, App]) -> Iterator[Sidecar]:
    """A sidecar that stands at eu-west/a, beside v1; v2 is in the next zone, v3 in another region."""
    rules = located(apps, v1="eu-west/a", v2="eu-west/b", v3="eu-north/a")
    words = ("--intercept", "none", "--access-log", "off", "--labels", "istio-locality=eu-west.a")
    with sidecar(tmp_path / "western", rules, *words) as one:
        yield one


def answers(client: Sidecar, count: int) -> Counter[str]:
    return Counter(ask(client, host="shop.example:8000")[0] for _ in range(count))


def test_distribute(western: Sidecar) -> None:
    """Localities have the shares that the rule gives them; who has none gets nothing."""
    western.apply(shop("loadBalancer: {localityLbSetting: {distribute: [{from: eu-west/*, to: {eu-west/a: 70, eu-north/*: 30}}]}}"))
    assert answers(western, 100) == {"v1": 70, "v3": 30}


def test_failover(western: Sidecar, apps: dict[str, App]) -> None:
    """The nearest answers while it is well; then the next zone, then the other region; then nobody."""
    detection = "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}"
    assert set(answers(western, 30)) == set(NAMES)
    western.apply(shop(detection))
    for name in NAMES:
        assert set(answers(western, 10)) == {name}
        apps[name].status = 500
        assert call(western.outbound, "GET", "/", headers={"host": "shop.example:8000"})[0] == 500
    assert call(western.outbound, "GET", "/", headers={"host": "shop.example:8000"}) == (503, "no healthy upstream")
    assert call(western.admin, "GET", "/clusters")[1].count("health_flags::/failed_outlier_check") == 3


def test_failover_priority(western: Sidecar) -> None:
    """Labels may say who stands first."""
    detection = "outlierDetection: {consecutive5xxErrors: 1}"
    western.apply(shop(f"loadBalancer: {{localityLbSetting: {{failoverPriority: [name=v3]}}}}, {detection}"))
    assert answers(western, 10) == {"v3": 10}

