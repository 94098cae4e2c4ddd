"""What each option's text becomes, and what is said of a wrong one."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from meshcar.app.settings import OPTIONS, Settings, read_settings
from meshcar.errors import SettingsError
from meshcar.manifests.probes import TcpProbe
from meshcar.net.address import Address, PathAddress


def settings(**texts: str) -> Settings:
    return read_settings(["rules.yaml"], texts)


def problems(*rules: str, **texts: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_settings(rules, texts)
    return str(caught.value).splitlines()


def test_defaults() -> None:
    """Only --rules must be given."""
    found = settings()
    assert found.rules == ("rules.yaml",)
    assert (found.outbound, found.inbound) == (Address("", 15001), Address("", 15006))
    assert (found.admin, found.health, found.metrics) == (Address("127.0.0.1", 15000), Address("", 15021), Address("", 15090))
    assert (found.agent, found.certs, found.app_address, found.app_port, found.admin_token) == (None,) * 5
    assert found.client_cert_details == {"subject", "uri", "dns"}
    assert found.shadow_suffix
    assert (found.mirror_limit, found.mirror_window, found.drain, found.trace_sampling) == (128, 1 << 20, 5.0, 1.0)


@pytest.mark.parametrize(("name", "text", "value"), [
    ("outbound", "15101", Address("", 15101)),
    ("outbound", "off", None),
    ("inbound", "[::1]:7", Address("::1", 7)),
    ("admin", "15100", Address("127.0.0.1", 15100)),
    ("admin", "unix:/run/admin", PathAddress("/run/admin")),
    ("certs", "/etc/certs", Path("/etc/certs")),
    ("labels", "app=httpbin,istio.io/rev=a.b", {"app": "httpbin", "istio.io/rev": "a.b"}),
    ("client_cert_details", "", frozenset()),
    ("client_cert_details", "cert,chain", frozenset({"cert", "chain"})),
    ("shadow_suffix", "off", False),
    ("internal_addresses", "10.0.0.0/8, fd00::/8", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
    ("trace_sampling", "0.5", 0.5),
    ("access_log", "off", None),
    ("access_log", "/var/log/access", "/var/log/access"),
    ("access_log_format", "%PROTOCOL% %%", "%PROTOCOL% %%"),
    ("app_address", "127.0.0.1", "127.0.0.1"),
    ("drain", "0", 0.0),
    ("app_probes", '{"/app-health/a/livez": {"tcpSocket": {"port": 80}}}', {"/app-health/a/livez": TcpProbe(80)}),
])
def test_value(name: str, text: str, value: object) -> None:
    """The text of an option becomes a value."""
    assert getattr(settings(**{name: text}), name) == value


@pytest.mark.parametrize(("name", "text"), [
    ("app_probes", "{"),
    ("outbound", "x"),
    ("outbound", "unix:/run/x"),
    ("admin", "127.0.0.1:99999"),
    ("intercept", "ebpf"),
    ("trust_domain", "Cluster.Local"),
    ("namespace", "a b"),
    ("service_account", ""),
    ("labels", "app"),
    ("labels", "a=1,a=2"),
    ("labels", "a=sp ace"),
    ("app_address", "localhost"),
    ("mtls", "STRICT"),
    ("client_cert_details", "subject,hash"),
    ("internal_addresses", "10.0.0.1/8"),
    ("trace_sampling", "101"),
    ("trace_sampling", "nan"),
    ("mirror_limit", "0"),
    ("mirror_window", "-1"),
    ("drain", "1e9"),
    ("access_log_format", "%NO_SUCH_OPERATOR%"),
])
def test_wrong(name: str, text: str) -> None:
    """One line names the option."""
    (line,) = problems("rules.yaml", **{name: text})
    assert line.startswith(f"--{name.replace('_', '-')}: ")


def test_all_at_once() -> None:
    """Every wrong option has a line."""
    assert [line.partition(" ")[0] for line in problems(mtls="x", tracing="y")] == ["--rules", "--mtls:", "--tracing:"]


@pytest.mark.parametrize("source", ["", "-", "kube:", "xds:unix:/run/xds"])
def test_sources_not_built(source: str) -> None:
    """A source that is not a file or folder is refused by name."""
    (line,) = problems(source)
    assert repr(source) in line


def test_none_stays_local() -> None:
    """Without capture, both listeners and the application are on loopback unless told otherwise."""
    found = settings(intercept="none", inbound="0.0.0.0:15006", app_port="80")
    assert (found.outbound, found.inbound) == (Address("127.0.0.1", 15001), Address("0.0.0.0", 15006))
    assert (found.app_address, found.app_port) == ("127.0.0.1", 80)


def test_app_port_needs_none() -> None:
    """With capture the kernel tells the port; another one is not silently ignored."""
    (line,) = problems("rules.yaml", app_port="80")
    assert line.startswith("--app-port: ")


@pytest.mark.parametrize("address", ["0.0.0.0:15000", "*:15000", "10.0.0.1:1", "[::]:15000"])
def test_open_admin_needs_token(address: str, tmp_path: Path) -> None:
    """Others can reach it: a token, or no start."""
    (line,) = problems("rules.yaml", admin=address)
    assert "--admin-token" in line
    (tmp_path / "token").write_text("s3cret\n")
    found = settings(admin=address, admin_token=str(tmp_path / "token"))
    assert found.admin_token == b"s3cret"
    assert "s3cret" not in repr(found)


def test_bad_token_file(tmp_path: Path) -> None:
    """A token that cannot be read, or is empty, is no token."""
    (tmp_path / "empty").write_text("\n")
    for path in (tmp_path / "empty", tmp_path / "missing"):
        (line,) = problems("rules.yaml", admin_token=str(path))
        assert str(path) in line


def test_helped() -> None:
    """Every option says what it is."""
    assert all(option.help for option in OPTIONS.values())
