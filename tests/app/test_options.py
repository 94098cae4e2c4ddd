"""The command line and the environment."""


import pytest
from twisted.python import usage

from meshcar.app.options import Options, from_environment, refuse
from meshcar.app.settings import OPTIONS, read_settings
from meshcar.errors import SettingsError
from meshcar.net.address import Address


class Twistd(usage.Options):
    """As much of twistd's own options as matters."""

    optFlags = [["nodaemon", "n", ""]]
    optParameters = [["logfile", "l", None, ""], ["logger", None, None, ""], ["pidfile", None, "twistd.pid", ""]]
    subCommands = [["meshcar", None, Options, ""]]


def parsed(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        parsed(*words)
    said = capsys.readouterr()
    assert (caught.value.code, said.out) == (1, "")
    return said.err.splitlines()


def test_rules_repeat() -> None:
    """Sources are kept in their order."""
    assert parsed("--rules", "a", "--rules=b", "--drain", "1").settings.rules == ("a", "b")


@pytest.mark.parametrize("words", [
    ["--rules"],
    ["--rules", "a", "--nonsense"],
    ["--rules", "a", "--drain"],
    ["--rules", "a", "b"],
    ["--rules", "a", "--workers", "0"],
    ["--rules", "a", "--workers", "two"],
    ["--rules", "a", "--intercept", "ebpf"],
    [],
])
def test_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, nothing on stdout, exit 1."""
    (line,) = refused(capsys, *words)
    assert line.startswith("meshcar: ")


def test_refused_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each wrong option."""
    assert len(refused(capsys, "--mtls", "x", "--drain", "y")) == 3


def test_workers() -> None:
    """One, unless more are asked for."""
    assert [parsed("--rules", "a", *words).settings.workers for words in ((), ("--workers", "4"))] == [1, 4]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, not Twisted's."""
    with pytest.raises(SystemExit) as caught:
        parsed("--version")
    assert (caught.value.code, capsys.readouterr().out.split()[0]) == (0, "meshcar")


def test_environment() -> None:
    """A variable stands in for an option that is not given; an empty one for none."""
    environ = {"MESHCAR_RULES": "a,b", "MESHCAR_OUTBOUND": "127.0.0.1:1", "MESHCAR_DRAIN": "7", "MESHCAR_CERTS": "", "MESHCAR_X": "y"}
    found = from_environment([], {"drain": "9"}, environ)
    assert (found.rules, found.outbound, found.drain, found.certs) == (("a", "b"), Address("127.0.0.1", 1), 9.0, None)
    assert from_environment(["c"], {}, environ).rules == ("c",)


def test_service_link(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A Service called meshcar-app gives every container of its namespace this variable; nobody meant the option."""
    monkeypatch.setenv("MESHCAR_APP_PORT", "tcp://10.96.0.7:80")
    assert parsed("--rules", "a").settings.app_port is None
    assert capsys.readouterr().err == "meshcar: MESHCAR_APP_PORT: ignored, it is Kubernetes' link to a Service, tcp://10.96.0.7:80\n"
    assert parsed("--rules", "a", "--intercept", "none", "--app-port", "81").settings.app_port == 81
    assert capsys.readouterr().err == ""


def test_for_another_process() -> None:
    """What was said, wherever, says the same again."""
    found = from_environment(["a"], {"drain": "9"}, {"MESHCAR_INTERCEPT": "none", "MESHCAR_DRAIN": "7"})
    assert read_settings(found.rules, found.texts) == found


def test_log_to_stderr() -> None:
    """twistd in the foreground logs to stderr and writes no pid file."""
    twistd = Twistd()
    twistd.parseOptions(["-n", "meshcar", "--rules", "a"])
    assert (twistd["logger"], twistd["pidfile"]) == (None, "")
    assert twistd.subOptions.log_levels is not None


def test_log_as_told() -> None:
    """What the user told twistd stands, and there are no levels to change."""
    twistd = Twistd()
    twistd.parseOptions(["-n", "--logfile", "x", "--pidfile", "y", "meshcar", "--rules", "a"])
    assert (twistd["logger"], twistd["pidfile"], twistd.subOptions.log_levels) == (None, "y", None)
    daemon = Twistd()
    daemon.parseOptions(["meshcar", "--rules", "a"])
    assert (daemon["logger"], daemon["pidfile"]) == (None, "twistd.pid")


def test_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    """For what fails after the options."""
    with pytest.raises(SystemExit):
        refuse(SettingsError("port taken"))
    assert capsys.readouterr().err == "meshcar: port taken\n"


SAMPLES = {
    "outbound": "127.0.0.1:1", "inbound": "127.0.0.1:2", "admin": "127.0.0.1:3", "health": "4", "metrics": "5", "agent": "6",
    "rules_state": "state", "intercept": "none", "certs": "dir", "trust_domain": "td", "namespace": "front", "service_account": "web",
    "labels": "a=b,c=d", "app_address": "127.0.0.2", "app_port": "80", "mtls": "strict", "forward_client_cert": "sanitize",
    "client_cert_details": "uri", "outbound_traffic": "registry_only", "shadow_suffix": "off", "path_normalization": "none",
    "internal_addresses": "10.0.0.0/8,fd00::/8", "tracing": "w3c", "trace_sampling": "50", "access_log": "off",
    "access_log_format": "json", "mirror_limit": "1", "mirror_window": "2", "drain": "3", "handover": "sock", "exit_with": "port:80",
    "workers": "2",
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_variable(name: str) -> None:
    """What an option means on the command line it means in the environment, and both are told apart."""
    both = {"intercept": "none", name: SAMPLES[name]}
    by_line = from_environment(["a"], both, {})
    by_environment = from_environment(["a"], {}, {f"MESHCAR_{key.upper()}": text for key, text in both.items()})
    assert by_line == by_environment != from_environment(["a"], {}, {})
    assert (by_line.origins[name], by_environment.origins[name]) == ("command line", "environment")


def test_every_option_is_tried() -> None:
    """But for those that read files or a text of many lines."""
    assert set(OPTIONS) - set(SAMPLES) <= {"admin_token", "app_probes"}
