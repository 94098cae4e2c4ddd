"""Where a redirect leads: Istio's HTTPRedirect compiled, and the Location of an answer."""

import re
from collections.abc import Callable

from meshcar.rules.policies import Answer, Redirect
from meshcar.rules.rewrites import path_rewrite
from meshcar.rules.schema_actions import RedirectRule, RewriteRule
from meshcar.rules.schema_routes import HttpMatch
from meshcar.wire.head import Header, RequestHead

_PORT = re.compile(rb":[^\]:]*\Z")
_DEFAULT_PORTS = {(b"http", b":80"), (b"https", b":443")}


def redirect(rule: RedirectRule, match: HttpMatch | None, port: int) -> Redirect:
    """A rule for requests to a port. A port that its scheme implies is not written, as istiod does it."""
    new_port = port if rule.derive_port == "FROM_REQUEST_PORT" else rule.port
    if (rule.scheme or "http", new_port) in (("http", 80), ("https", 443)):
        new_port = None
    return Redirect(
        scheme=rule.scheme.encode() if rule.scheme else None,
        authority=rule.authority.encode() if rule.authority else None,
        port=new_port,
        target=_target(rule, match),
    )


def own_headers(answer: Answer, head: RequestHead) -> list[Header]:
    """What an answer says by itself. A 201 or 3xx says where, even one without a redirect: then it is where the client was."""
    where = answer.status == 201 or 300 <= answer.status < 400
    return [(b"location", location(answer.redirect or Redirect(), head))] if where else []


def location(rule: Redirect, head: RequestHead) -> bytes:
    """The absolute URI for the Location header (RFC 9110, section 10.2.2). Source: Envoy's newUri."""
    scheme = rule.scheme or head.scheme
    port = b":%d" % rule.port if rule.port is not None else b""
    authority = rule.authority or _asked(head, scheme, bool(port))
    target = rule.target(head.target) if rule.target is not None else head.target
    return b"%b://%b%b%b" % (scheme, authority, port, target)


def _target(rule: RedirectRule, match: HttpMatch | None) -> Callable[[bytes], bytes] | None:
    """A new path keeps the request's query unless it brings one of its own."""
    if rule.uri:
        new = rule.uri.encode()
        return (lambda target: new) if b"?" in new else (lambda target: new + b"".join(target.partition(b"?")[1:]))
    change = path_rewrite(RewriteRule(uri=rule.prefix_rewrite or None), match)
    if change is None:
        return None

    def rewritten(target: bytes) -> bytes:
        path, mark, query = target.partition(b"?")
        return change(path) + mark + query

    return rewritten


def _asked(head: RequestHead, scheme: bytes, new_port: bool) -> bytes:
    """The Host of the request; without its port if there is a new one, or if it is the default of a scheme that is left."""
    authority = head.authority
    port = _PORT.search(authority)
    if port is None:
        return authority
    forwarded = (head.get(b"x-forwarded-proto") or b"").lower()
    left = scheme != forwarded and (forwarded, port[0]) in _DEFAULT_PORTS
    return authority[: port.start()] if new_port or left else authority
