"""Which protocol a port speaks, as Istio chooses it: what the port declares, else the prefix of its name, else its number."""

_HTTP = frozenset({"http", "kubernetes.io/ws"})
_OPAQUE_FOR_NOW = frozenset({"http2", "grpc", "grpc-web", "kubernetes.io/h2c"})
_TCP = frozenset({"tcp", "tls", "https", "mongo", "mysql", "redis", "kubernetes.io/wss"})
_SERVER_FIRST = frozenset({25, 53, 3306, 27017})
"""Istio takes these for TCP where nothing is declared: SMTP, DNS, MySQL, MongoDB."""


def port_protocol(declared: str, name: str, number: int) -> tuple[str, str]:
    """http, tcp or auto (to be sniffed), and a remark where that is not what was asked for, else "".

    `declared` is a Service's appProtocol or a ServiceEntry's protocol. Source: Istio, "Protocol Selection".
    """
    word = application_protocol(declared, name)
    if word in _HTTP:
        return "http", ""
    if word in _OPAQUE_FOR_NOW:
        return "tcp", f"{word} is passed on as opaque TCP: HTTP/2 is not supported yet, so HTTP rules do not apply on port {number}"
    if word in _TCP or number in _SERVER_FIRST:
        return "tcp", ""
    return "auto", ""


def application_protocol(declared: str, name: str) -> str:
    """The word that says it, in lower case: what is declared, else the beginning of the port's name; any word, if it says nothing."""
    word = declared.lower()
    if _known(word):
        return word
    word = name.lower()
    return "grpc-web" if word.startswith("grpc-web") else word.partition("-")[0]


def _known(word: str) -> bool:
    return word in _HTTP or word in _OPAQUE_FOR_NOW or word in _TCP
