"""The calls about rules, as users' scripts see them."""

import yaml
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from meshcar.admin.operator import Outcome
from meshcar.admin.site import admin_site
from meshcar.rules.read import read
from tests.admin.fakes import RULE, FakeRules, call, clock, operator, parsed


def site(rules: FakeRules) -> Site:
    """The admin Site over these rules."""
    return admin_site(operator(rules=rules), clock())


def test_list() -> None:
    """Generation, time, sources, and each document with where it came from."""
    value = call(site(FakeRules()), "GET", "/rules").value
    assert (value["generation"], value["loaded_at"], value["sources"]) == (3, "1970-01-12T13:46:40.000Z", ["rules"])
    assert value["skipped"] == ["Deployment/default/httpbin-v1"]
    (resource,) = value["resources"]
    assert resource.pop("spec") == {"hosts": ["httpbin"], "http": [{"route": [{"destination": {"host": "httpbin"}}]}]}
    assert resource == {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "namespace": "default", "name": "httpbin",
        "source": "rules/a.yaml:1",
    }


def test_list_applied() -> None:
    """The source of an applied document is `applied`, without a line."""
    rules = FakeRules()
    rules.found = read(RULE, "applied").resources
    assert call(site(rules), "GET", "/rules").value["resources"][0]["source"] == "applied"


def test_list_yaml() -> None:
    """As YAML: documents that can be applied again, their namespace filled in."""
    reply = call(site(FakeRules()), "GET", "/rules", accept="application/yaml")
    assert reply.headers["content-type"] == "application/yaml"
    (document,) = yaml.safe_load_all(reply.body)
    assert document["metadata"] == {"name": "httpbin", "namespace": "default"}
    assert document["spec"] == yaml.safe_load(RULE)["spec"]


def test_kind_without_spec() -> None:
    """Endpoints have no `spec`: what stands at their top is shown as one."""
    rules = FakeRules()
    text = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a, namespace: b}\nsubsets: []\n"
    rules.found = read(text, "e.yaml").resources
    assert call(site(rules), "GET", "/rules").value["resources"][0]["spec"] == {"subsets": []}
    assert list(yaml.safe_load_all(call(site(rules), "GET", "/rules", accept="application/yaml").body)) == [yaml.safe_load(text)]


def test_apply() -> None:
    """200 with what changed; dry_run is handed on."""
    rules = FakeRules()
    value = call(site(rules), "POST", "/rules/apply", b"x: \xc3\xa4").value
    assert (value["generation"], value["changed"], value["warnings"]) == (4, ["VirtualService/default/httpbin"], [])
    call(site(rules), "POST", "/rules/apply?dry_run=true", b"y")
    assert rules.asked == [("apply", "x: \xe4", False), ("apply", "y", True)]
    assert call(site(rules), "POST", "/rules/apply?dry_run=perhaps", b"y").status == 400


def test_apply_refused() -> None:
    """422 with every problem, field by field."""
    reply = call(site(FakeRules()), "POST", "/rules/apply", b"bad")
    assert reply.status == 422
    (problem,) = reply.value["errors"]
    fields = ("file", "line", "column", "kind", "name", "path", "code", "message")
    assert [problem[field] for field in fields] == ["-", 1, 2, "", "", "spec", "WRONG_TYPE", "not so"]


def test_apply_not_utf8() -> None:
    """Bytes that are no text are a problem with its place, too."""
    rules = FakeRules()
    reply = call(site(rules), "POST", "/rules/apply", b"a: \xff")
    assert (reply.status, reply.value["errors"][0]["code"], rules.asked) == (422, "NOT_UTF8", [])


def test_delete() -> None:
    """A path names the document; what was not applied is 404, and so is a path that names none."""
    rules = FakeRules()
    assert call(site(rules), "DELETE", "/rules/VirtualService/a%2Fb/httpbin").value["changed"] == ["VirtualService/a/b/httpbin"]
    assert call(site(rules), "DELETE", "/rules/VirtualService/default/other").status == 404
    assert rules.asked == [("delete", "VirtualService", "a/b", "httpbin"), ("delete", "VirtualService", "default", "other")]
    for path in ("/rules/VirtualService/default", "/rules/VirtualService//httpbin", "/rules/a/b/c/d"):
        assert call(site(rules), "DELETE", path).status == 404
    assert len(rules.asked) == 2


def test_reload() -> None:
    """200 and the generation in force."""
    assert call(site(FakeRules()), "POST", "/reload").value["generation"] == 3


def test_late_answer() -> None:
    """A change that takes a while is answered when it is made; a caller who left by then hurts nobody, and a failure is told as one."""
    for left, failed in ((False, False), (True, False), (False, True)):
        rules = FakeRules()
        rules.later = Deferred()
        transport = StringTransport()
        protocol = site(rules).buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert transport.value() == b""
        if left:
            protocol.connectionLost(Failure(ConnectionDone()))
        if failed:
            rules.later.errback(RuntimeError("oh"))
            assert parsed(transport.value()).status == 500
        else:
            rules.later.callback(Outcome(generation=9))
            assert transport.value() == b"" if left else parsed(transport.value()).value["generation"] == 9


def test_explain() -> None:
    """The body is a question; the answer is the process's, as JSON."""
    body = b'{"url": "http://a:1/x", "method": "POST", "headers": {"b": "c"}, "labels": {"d": "e"}}'
    reply = call(site(FakeRules()), "POST", "/explain", body)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.value == {"port": 1, "labels": {"d": "e"}, "message": "POST /x HTTP/1.1\r\nHost: a:1\r\nb: c\r\n\r\n"}


def test_no_question() -> None:
    """400, and what is wrong."""
    for body, words in (
        (b"", "url is missing, and no Host header says the host"), (b"[]", "a question is an object with url, method, headers, labels"),
        (b'{"url": "ftp://a"}', "ftp is neither http nor https"), (b"{", "Expecting property name"), (b"\xff", "can't decode byte"),
        (b"[" * 100_000, "nested too deep"),
    ):  # fmt: skip
        reply = call(site(FakeRules()), "POST", "/explain", body)
        assert reply.status == 400
        assert words in reply.value["error"]
