"""TLS that a rule asks for, where the cluster's tests do not look."""

from meshcar.rules.compile_client_tls import originated
from meshcar.rules.policies import UpstreamTls
from meshcar.rules.schema_client_tls import TlsRule


def test_simple_shows_nothing() -> None:
    """SIMPLE has no certificate of its own, whatever the rule names."""
    assert originated(TlsRule("SIMPLE", "/c", "/k", sni="a"), "h") == UpstreamTls("SIMPLE", b"a")


def test_wildcard_host() -> None:
    """A wildcard is no server name; each request's Host is."""
    assert originated(TlsRule("SIMPLE"), "*.example.com") == UpstreamTls("SIMPLE", by_host=True, named=True)


def test_no_tls() -> None:
    """DISABLE is none."""
    assert originated(TlsRule(), "h") is None
