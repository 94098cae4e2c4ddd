"""What is asked of `explain`: a request that nobody sends, out of a URL as people write it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from meshcar.errors import BadMessage
from meshcar.wire.head import RequestHead
from meshcar.wire.http1_read import RequestReader

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_PORTS = {"": 80, "http": 80, "https": 443}
_UNSENT = re.compile(r"[\x00-\x20\x7f]")
_NAMES = frozenset({"method", "url", "headers", "labels"})


@attrs.frozen
class Question:
    """A request to a port, as its bytes, and who asks: `labels` of another workload, or None for the sidecar's own."""

    message: bytes
    port: int
    scheme: bytes
    labels: Mapping[str, str] | None = None

    def head(self) -> RequestHead:
        """The request as the data path's own reader sees it. Raises BadMessage, as it does."""
        head = RequestReader().feed(self.message)
        if head is None:
            raise BadMessage("no request")
        if self.scheme == b"https":
            head.given_scheme = self.scheme
        return head


def question(
    url: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), labels: Mapping[str, str] | None = None
) -> Question:
    """A question out of its parts. The scheme may be left out; a Host among the headers counts instead of the URL's.

    The port is the URL's, else that of its scheme. Raises ValueError, in words, for what is no URL, method or header.
    """
    lines = list(headers)
    _judge(url, method, lines)
    scheme, authority, target = _taken_apart(url)
    hosts = [value for name, value in lines if name.lower() == "host"]
    if not authority and not hosts:
        raise ValueError(f"{url!r} names no host" if url else "url is missing, and no Host header says the host")
    port = _port(authority or hosts[0], scheme)
    if not hosts:
        lines.insert(0, ("Host", authority))
    if method == "CONNECT":
        target = f"{_without_port(authority or hosts[0])}:{port}"
    elif not target.startswith("/"):
        target = f"/{target}"
    text = "".join([f"{method} {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines), "\r\n"])
    return Question(text.encode("utf-8", "surrogateescape"), port, scheme.encode(), labels)


def from_json(value: Any) -> Question:
    """A question as `POST /explain` takes it: `url`, and where they matter `method`, `headers`, `labels`.

    `headers` is an object (a value may be a list), or a list of "name: value" or of pairs. Without `url` a Host header tells the host.
    Raises ValueError.
    """
    if not isinstance(value, dict):
        raise ValueError("a question is an object with url, method, headers, labels")
    given = {name: one for name, one in value.items() if one is not None}
    unknown = [name for name in given if name not in _NAMES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(_NAMES))}")
    url, method, labels = given.get("url", ""), given.get("method", "GET"), given.get("labels")
    if not isinstance(url, str) or not isinstance(method, str):
        raise ValueError("url and method are texts")
    if labels is not None and not (isinstance(labels, dict) and all(isinstance(one, str) for one in labels.values())):
        raise ValueError("labels is an object of texts")
    return question(url, method or "GET", list(_headers(given.get("headers", {}))), labels)


def header(text: str) -> tuple[str, str]:
    """Name and value of `name: value`. Raises ValueError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"{text!r} is no 'name: value'")
    return name.strip(), value.strip()


def _headers(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, given in value.items():
            for one in given if isinstance(given, list) else [given]:
                if not isinstance(one, str):
                    raise ValueError(f"the value of header {name} is a text")
                yield name, one
    elif isinstance(value, list):
        for line in value:
            pair = header(line) if isinstance(line, str) else tuple(line) if isinstance(line, list) else ()
            if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
                raise ValueError("a header in a list is 'name: value', or a list of the two")
            yield pair
    else:
        raise ValueError("headers is an object, or a list of 'name: value'")


def _judge(url: str, method: str, headers: Iterable[tuple[str, str]]) -> None:
    if _UNSENT.search(url):
        raise ValueError("a URL has no blanks and control characters; write %20")
    if not method or _UNSENT.search(method):
        raise ValueError(f"{method!r} is no method")
    for name, value in headers:
        if not name or _UNSENT.search(name) or ":" in name or re.search(r"[\r\n\0]", value):
            raise ValueError(f"{name!r} is no header that can be sent")


def _taken_apart(url: str) -> tuple[str, str, str]:
    """Scheme in lower case, authority without userinfo, and the rest but for the fragment, which no client sends."""
    parts = _URL.fullmatch(url)
    assert parts is not None
    scheme, authority, rest = (parts[1] or "").lower(), parts[2], parts[3]
    if scheme not in _PORTS:
        raise ValueError(f"{scheme} is neither http nor https")
    return scheme, authority.rpartition("@")[2], rest.partition("#")[0]


def _without_port(authority: str) -> str:
    parts = _AUTHORITY.fullmatch(authority)
    assert parts is not None
    return parts[1]


def _port(authority: str, scheme: str) -> int:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        hint = "; an IPv6 address stands in brackets" if authority.count(":") > 1 else ""
        raise ValueError(f"{authority!r} is no host, or host:port{hint}")
    if not parts[2]:
        return _PORTS[scheme]
    if len(parts[2]) > 5 or not 0 < int(parts[2]) < 65536:
        raise ValueError(f"port {parts[2]} is not one from 1 to 65535")
    return int(parts[2])
