"""Who may not use the operator's port: other sites' pages, rebound names, callers without the token."""

import hmac
from collections.abc import Sequence

from meshcar.admin.http import Answer, refusal
from meshcar.rules.host_names import is_address

FETCH_SITE = "sec-fetch-site"
"""The header by which a browser says whose page made the call. Source: W3C Fetch Metadata."""


def wrong_host(hosts: Sequence[str], own_name: str = "") -> Answer | None:
    """403 for a Host that is neither an address, localhost nor this machine's name: DNS rebinding makes a browser send one."""
    if len(hosts) != 1:
        return refusal(400, "one Host header is needed")
    name = _name(hosts[0])
    if name is None:
        return refusal(400, "Host cannot be read")
    local = name == "localhost" or name.endswith(".localhost") or bool(own_name) and name == own_name.lower()
    return None if local or is_address(name) else refusal(403, "Host is neither an address nor a local name")


def wrong_origin(origins: Sequence[str], fetch_sites: Sequence[str]) -> Answer | None:
    """403 for a mutation that a web page sends: any Origin, any cross-site call."""
    if origins:
        return refusal(403, "a call with an Origin header may change nothing")
    if any(site not in ("same-origin", "none") for site in fetch_sites):
        return refusal(403, "a cross-site call may change nothing")
    return None


def wrong_token(authorizations: Sequence[str], token: bytes) -> Answer | None:
    """401 where `Authorization: Bearer` does not carry the token. Compared in constant time."""
    scheme, _, given = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
    if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token):
        return None
    return refusal(401, "this call needs Authorization: Bearer and the admin token", ("www-authenticate", "Bearer"))


def _name(host: str) -> str | None:
    """The host part in lower case, without brackets and port; None if that is not what it is."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") else port
        if not bracket or ":" not in name:
            return None
    else:
        name, _, port = host.partition(":")
    return name if name and (not port or port.isascii() and port.isdigit()) else None
