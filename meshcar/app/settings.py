"""Every option of the sidecar: what it is called, what it means by default, how its text is read; checked once."""

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import attrs

from meshcar.app.companion import Companion, read_companion
from meshcar.errors import SettingsError
from meshcar.identity import xfcc
from meshcar.manifests.probes import Probe, read_probes
from meshcar.net.address import Address, PathAddress, parse_address
from meshcar.rules.host_names import Network
from meshcar.wire import formats, path, trace

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
MOST_WORKERS = 256
_DETAILS = ("subject", "uri", "dns", "cert", "chain")


@attrs.frozen
class Option:
    """How the text of one option becomes a value. `default` None: not there unless given. `read` raises ValueError or SettingsError."""

    default: str | None
    read: Callable[[str], Any]
    help: str


def _option(default: str | None, read: Callable[[str], Any], text: str, *, secret: bool = False) -> Any:
    return attrs.field(metadata={"option": Option(default, read, text)}, repr=not secret)


def _listener(host: str) -> Callable[[str], Address | None]:
    def read(text: str) -> Address | None:
        address = parse_address(text, host)
        if isinstance(address, PathAddress):
            raise ValueError("a Unix socket is not possible here")
        return address
    return read


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text
    return read


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least or (most is not None and int(text) > most):
            raise ValueError(f"{text!r} is not a whole number {f'from {least} to {most}' if most else f'of at least {least}'}")
        return int(text)
    return read


def _number(most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) > most:
            raise ValueError(f"{text!r} is not a number from 0 to {most:g}")
        return float(text)
    return read


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text
    return read


def _labels(text: str) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for pair in text.split(",") if text else ():
        key, equals, value = pair.strip().partition("=")
        if not (equals and _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)) or key in labels:
            raise ValueError(f"{pair!r} is not a label k=v of its own")
        labels[key] = value
    return labels


def _details(text: str) -> frozenset[str]:
    return frozenset(map(_choice(*_DETAILS), text.split(",") if text else ()))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(part.strip()) for part in text.split(",")) if text else ()


def _app_address(text: str) -> str | None:
    return None if text == "original" else str(ip_address(text))


def _token(text: str) -> bytes:
    try:
        token = Path(text).read_bytes().strip()
    except OSError as e:
        raise ValueError(f"{text}: {e.strerror}") from None
    if not token:
        raise ValueError(f"{text}: is empty")
    return token


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        formats.parse(text)
    return text


@attrs.frozen(kw_only=True)
class Settings:
    """What the process was told, checked. Times in seconds, sizes in bytes; an address of None is `off`.

    `origins` says of each option that is not at its default where it came from; `texts` is what was said, for another process to read.
    """

    rules: tuple[str, ...]
    origins: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    texts: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    outbound: Address | None = _option("15001", _listener(""), "ADDR of the application's captured outgoing connections")
    inbound: Address | None = _option("15006", _listener(""), "ADDR of captured incoming connections")
    admin: Address | PathAddress | None = _option(
        "127.0.0.1:15000", lambda text: parse_address(text, "127.0.0.1"), "ADDR of the operator's HTTP, or unix:PATH")
    admin_token: bytes | None = _option(None, _token, "FILE with the token that mutations, /rules and /config_dump then need", secret=True)
    rules_state: Path | None = _option(None, Path, "FILE that keeps applied documents over a restart")
    health: Address | None = _option("15021", _listener(""), "ADDR of GET /healthz/ready")
    metrics: Address | None = _option("15090", _listener(""), "ADDR of GET /stats/prometheus")
    agent: Address | None = _option("off", _listener(""), "ADDR of the injected container's probes")
    app_probes: Mapping[str, Probe] | None = _option(None, read_probes, "JSON of the application's probes that the agent asks")
    intercept: str = _option("redirect", _choice("redirect", "tproxy", "none"), "redirect, tproxy or none: how connections are captured")
    certs: Path | None = _option(None, Path, "DIR with cert-chain.pem, key.pem and root-cert.pem")
    trust_domain: str = _option("cluster.local", _matching(_TRUST_DOMAIN, "a trust domain"), "the mesh's trust domain")
    namespace: str = _option("default", _matching(_NAME, "a namespace"), "this workload's namespace")
    service_account: str = _option("default", _matching(_NAME, "a service account"), "this workload's service account")
    labels: Mapping[str, str] = _option("", _labels, "this workload's labels, k=v,k=v")
    app_address: str | None = _option("original", _app_address, "where inbound requests go: original, or an IP address")
    app_port: int | None = _option(None, _whole(1, 65535), "with --intercept none: the application's PORT for all that comes in")
    mtls: str = _option("permissive", _choice("permissive", "strict", "disable"), "inbound mode where no PeerAuthentication says otherwise")
    forward_client_cert: str = _option("append_forward", _choice(*xfcc.MODES), "what becomes of x-forwarded-client-cert")
    client_cert_details: frozenset[str] = _option("subject,uri,dns", _details, f"which of {','.join(_DETAILS)} that header tells")
    outbound_traffic: str = _option("allow_any", _choice("allow_any", "registry_only"), "whether unknown hosts are reached")
    shadow_suffix: bool = _option("on", lambda text: _choice("on", "off")(text) == "on", "-shadow on a mirrored copy's Host: on or off")
    path_normalization: str = _option("base", _choice(*path.MODES), "of paths, before routing")
    internal_addresses: tuple[Network, ...] = _option("", _networks, "CIDR,... whose x-forwarded-for counts as internal")
    tracing: str = _option("b3", _choice(*trace.STYLES, "off"), "trace headers continued or begun")
    trace_sampling: float = _option("1", _number(100), "PERCENT of new traces that are sampled")
    access_log: str | None = _option("-", lambda text: None if text == "off" else text, "PATH, - (stdout) or off")
    access_log_format: str = _option("text", _log_format, "text, json, or a format with Envoy's operators")
    mirror_limit: int = _option("128", _whole(1), "copies in flight to one target cluster")
    mirror_window: int = _option("1048576", _whole(1), "BYTES that a copy may lag behind its primary")
    workers: int = _option("1", _whole(1, MOST_WORKERS), "processes that share the ports; each holds its part of every limit")
    exit_with: Companion | None = _option(
        None, read_companion, "pid:NUMBER or port:NUMBER: drain and leave when that process, or whoever listens there, has left")
    handover: Path | None = _option(None, Path, "PATH of the Unix socket where a successor takes over, or this process from the one before")
    drain: float = _option("5", _number(3600), "SECONDS that running requests get after SIGTERM")


OPTIONS: Mapping[str, Option] = {
    field.name: field.metadata["option"] for field in attrs.fields(Settings) if "option" in field.metadata
}
"""By the name of the field; the option on the command line has `-` for `_`."""

OWNERS = ("admin", "admin_token", "rules_state", "health", "metrics", "agent", "app_probes", "certs", "access_log", "exit_with", "handover")
"""What only the process needs that owns admin, rules and certificates: others do not read the files that these name."""


def read_settings(rules: Sequence[str], texts: Mapping[str, str], origins: Mapping[str, str] | None = None) -> Settings:
    """The settings that `rules` (sources) and `texts` (by field name; a missing one has its default) mean.

    Raises SettingsError with a line for each thing that is wrong.
    """
    values: dict[str, Any] = {}
    problems = _source_problems(rules)
    uncaptured = texts.get("intercept") == "none"
    for name, option in OPTIONS.items():
        text = texts.get(name, option.default)
        if text is not None and uncaptured:
            text = _uncaptured(name, text)
        try:
            values[name] = None if text is None else option.read(text)
        except (ValueError, SettingsError) as e:
            problems.append(f"--{name.replace('_', '-')}: {e}")
    if not problems:
        problems = _conflicts(settings := Settings(rules=tuple(rules), origins=origins or {}, texts=texts, **values))
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _uncaptured(name: str, text: str) -> str:
    """What an option means with --intercept none: an open proxy would lend this workload's identity to the whole network."""
    if name in ("outbound", "inbound") and text.isdigit():
        return f"127.0.0.1:{text}"
    return "127.0.0.1" if name == "app_address" and text == "original" else text


def _source_problems(rules: Sequence[str]) -> list[str]:
    if not rules:
        return ["--rules SOURCE is required: a YAML file or a folder of them"]
    return [f"--rules: {source!r} is not a file or a folder; {why}" for source in rules if (why := _refused_source(source))]


def _refused_source(source: str) -> str | None:
    if source in ("", "-"):
        return "rules are read again while the sidecar runs"
    if source.startswith(("kube:", "xds:")):
        return f"{source.partition(':')[0]}: sources are not built yet"
    return None


def _conflicts(settings: Settings) -> list[str]:
    problems = []
    admin = settings.admin
    if isinstance(admin, Address) and settings.admin_token is None and not _is_loopback(admin.host):
        problems.append(f"--admin {admin}: an address that others can reach needs --admin-token")
    if settings.app_port is not None and settings.intercept != "none":
        problems.append("--app-port: only with --intercept none; otherwise the kernel tells the port")
    return problems


def _is_loopback(host: str) -> bool:
    return bool(host) and ip_address(host).is_loopback
