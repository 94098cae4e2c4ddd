"""Values of an AuthorizationPolicy: what may be written, and what each matches.

A function that takes what the YAML holds is one of those of `units`: it gives the value or raises WrongType or ValueError. The others
make tests of it. Identities are compared as text: none becomes part of a regex (CVE-2026-39350).
"""

import re
from collections.abc import Callable
from typing import AnyStr

from meshcar.rules.host_names import Network, network_of
from meshcar.rules.units import text

Name = Callable[[str], bool]
"""A test of one name in a peer's certificate, such as `spiffe://cluster.local/ns/shop/sa/cart`."""

_SPIFFE = "spiffe://"
_CHARACTERS = r"a-zA-Z0-9\-._~%!$&'()*+,;:@="
_LITERAL = re.compile(f"[{_CHARACTERS.replace('*', '')}]+")
_ONE, _ANY = "{*}", "{**}"
MAX_ACCOUNTS = 16
"""So many service accounts may stand in one list. Source: istiod's validation."""


# -- what may be written


def some_text(value: object) -> str:
    """Any text but the empty one."""
    given = text(value)
    if not given:
        raise ValueError("must not be empty")
    return given


def block(value: object) -> Network:
    """An address, or an address and the length of a prefix, `10.1.0.0/16`; bits behind it do not count."""
    return network_of(some_text(value))


def port(value: object) -> int:
    """A port's number, as text."""
    given = some_text(value)
    if not (given.isascii() and given.isdigit() and int(given[-6:]) <= 65535 and not given[:-6].strip("0")):
        raise ValueError("must be a port from 0 to 65535, in quotes")
    return int(given)


def account(value: object) -> str:
    """A service account: `NAME` in the policy's namespace, or `NAMESPACE/NAME`."""
    given = some_text(value)
    if "*" in given:
        raise ValueError("knows no wildcards")
    if given.count("/") > 1 or given.startswith("/") or given.endswith("/"):
        raise ValueError("must be NAME or NAMESPACE/NAME")
    if len(given) > 320:
        raise ValueError("must not be longer than 320 characters")
    return given


def starred(value: object) -> str:
    """Text with at most one `*`, at its beginning or its end."""
    given = some_text(value)
    if given.count("*") > 1 or "*" in given[1:-1]:
        raise ValueError("may have one *, at its beginning or its end")
    return given


def trust_domain(value: object) -> str:
    """A trust domain, or part of one and a `*`."""
    given = starred(value)
    if "/" in given:
        raise ValueError("must be a trust domain, without a slash")
    return given


def path(value: object) -> str:
    """A path, with a `*` at its beginning or end, or with `{*}` for one segment and `{**}` for any number in the place of segments."""
    given = some_text(value)
    is_template = _ONE in given or _ANY in given
    segments = given.strip("/").split("/")
    operators = [segment for segment in segments if segment in (_ONE, _ANY)]
    if _ANY in operators[:-1]:
        raise ValueError("no {*} or {**} may follow {**}")
    for segment in segments:
        if segment in operators:
            continue
        if "{" in segment or "}" in segment:
            raise ValueError("braces may only stand as {*} and {**}, each a whole segment")
        if is_template and not _LITERAL.fullmatch(segment):
            raise ValueError("beside {*} and {**} a segment is made of letters, digits and -._~%!$&'()+,;:@=")
    if is_template and (given[:1] != "/" or given[:2] == "//" or given[-2:] == "//"):
        raise ValueError("a path with {*} or {**} begins with one slash, and has no empty segments")
    return given


# -- what it matches


def pattern(given: AnyStr, star: AnyStr) -> Callable[[AnyStr], bool]:
    """`exact`, `prefix*`, `*suffix`; `*` alone is any text but the empty one."""
    if given == star:
        return bool
    if given.startswith(star):
        suffix = given[1:]
        return lambda found: found.endswith(suffix)
    if given.endswith(star):
        prefix = given[:-1]
        return lambda found: found.startswith(prefix)
    return given.__eq__


def principal(given: str) -> Name:
    """`cluster.local/ns/shop/sa/cart`, `prefix*`, `*suffix`; without the scheme."""
    if given == "*":
        return bool
    if given.startswith("*"):
        suffix = given[1:]
        return lambda name: name.startswith(_SPIFFE) and name.endswith(suffix, len(_SPIFFE))
    return pattern(_SPIFFE + given, "*")


def namespace(given: str) -> Name:
    """`shop` is anywhere in a name as `/ns/shop/`; a `*` stands for any text."""
    pieces = f"/ns/{given}/".split("*")

    def holds(name: str) -> bool:
        end = 0
        for piece in pieces:
            start = name.find(piece, end)
            if start < 0:
                return False
            end = start + len(piece)
        return True

    return holds


def service_account(given: str, own_namespace: str) -> Name:
    """A name with `/ns/NAMESPACE/` behind its trust domain and, further on, a whole `/sa/NAME`."""
    place, slash, who = given.partition("/")
    if not slash:
        place, who = own_namespace, given
    before, whole = f"/ns/{place}/", f"/sa/{who}"

    def holds(name: str) -> bool:
        start = name.find(before, len(_SPIFFE) + 1)
        if start < 0 or not name.startswith(_SPIFFE):
            return False
        rest = name[start + len(before) - 1 :]
        return rest.endswith(whole) or whole + "/" in rest

    return holds


def of_trust_domain(given: str) -> Name:
    """Names of a trust domain; of any with `*`."""
    if given == "*":
        return pattern(_SPIFFE + "*", "*")
    if "*" not in given:
        return pattern(f"{_SPIFFE}{given}/*", "*")
    fits = pattern(given, "*")

    def holds(name: str) -> bool:
        domain, slash, _ = name[len(_SPIFFE) :].partition("/")
        return slash == "/" and name.startswith(_SPIFFE) and fits(domain)

    return holds


def on_path(given: str) -> Callable[[bytes], bool]:
    """A test of a path without its query. Source: Envoy's StringMatcher and uri_template."""
    if _ONE not in given and _ANY not in given:
        return pattern(given.encode(), b"*")
    one, several = f"[{_CHARACTERS}]+", f"[{_CHARACTERS}/]*"
    parts = [{_ONE: one, _ANY: several}.get(segment) or re.escape(segment) for segment in given.split("/")]
    fullmatch = re.compile("/".join(parts).encode()).fullmatch
    return lambda found: fullmatch(found) is not None


def current_principal(given: str, own_domain: str) -> str:
    """A principal with `cluster.local`, which stands for the mesh's own trust domain, replaced by that; so are patterns that mean it.

    Source: istiod, trust domain migration.
    """
    parts = given.split("/")
    domain = parts[0]
    if len(parts) != 5 or domain == "*" or (domain.startswith("*") and own_domain.endswith(domain[1:])):
        return given
    means_own = domain == "cluster.local" or _fits(own_domain, domain) or _fits(domain, own_domain)
    return "/".join((own_domain, *parts[1:])) if means_own else given


def _fits(found: str, given: str) -> bool:
    return found == given or (given[-1:] == "*" and found.startswith(given[:-1])) or (given[:1] == "*" and found.endswith(given[1:]))
