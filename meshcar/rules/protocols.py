"""Which protocol a port speaks, as Istio chooses it: what the port declares, else the prefix of its name; else it is sniffed."""

_HTTP = frozenset({"http", "http_proxy"})
_HTTP2 = frozenset({"http2", "grpc", "grpc-web"})
_TLS = frozenset({"https", "tls"})
_TCP = frozenset({"tcp", "mongo", "mysql", "redis"})
_KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
"""The standard names of a Service's appProtocol."""
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})
"""A Service's ports that Istio takes for TCP where nothing is declared: SMTP, DNS, MySQL, MongoDB."""


def service_word(app_protocol: str | None, name: str) -> str:
    """The word that says a Service's port's protocol, in lower case; any word, if it says nothing.

    An appProtocol hides the name, even one that nobody knows. Source: Istio, "Protocol Selection".
    """
    word = (name if app_protocol is None else _KUBERNETES.get(app_protocol, app_protocol)).lower()
    return "grpc-web" if word.startswith("grpc-web") else word.partition("-")[0]


def service_protocol(word: str, number: int) -> tuple[str, str]:
    """http, tcp or auto (to be sniffed) for a Service's port, and a remark where that is not what was asked for, else ""."""
    if number in _SERVER_FIRST and (not word or not is_known(word)):
        return "tcp", ""
    return entry_protocol(word, number)


def entry_protocol(word: str, number: int) -> tuple[str, str]:
    """The same for a ServiceEntry's port, of which only the protocol counts, in lower case."""
    if word in _HTTP2:
        return "tcp", f"{word} is passed on as opaque TCP: HTTP/2 is not supported yet, so HTTP rules do not apply on port {number}"
    if word in _HTTP:
        return "http", ""
    return "tcp" if word in _TLS | _TCP else "auto", ""


def is_known(declared: str) -> bool:
    """Whether a protocol is one of Istio's; nothing said is allowed, too."""
    return declared.lower() in _HTTP | _HTTP2 | _TLS | _TCP | {"", "udp"}


def is_http(declared: str) -> bool:
    """Whether a protocol says which host a request is for in its headers."""
    return declared.lower() in _HTTP | _HTTP2


def is_tls(declared: str) -> bool:
    """Whether a protocol may say which host a connection is for in its ClientHello."""
    return declared.lower() in _TLS
