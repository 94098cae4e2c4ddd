"""The command line of `twistd meshcar`, and the environment behind it."""

import os
import re
import sys
from collections.abc import Mapping
from typing import NoReturn

from twisted.python import usage

from meshcar import __version__
from meshcar.app.log_levels import LogLevels
from meshcar.app.settings import OPTIONS, Settings, read_settings
from meshcar.errors import SettingsError

COMMAND_LINE, ENVIRONMENT = "command line", "environment"
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")


class Options(usage.Options):
    """The options of the sidecar; `settings` is there once they are parsed. What is wrong goes to stderr, and the process exits 1."""

    synopsis = "[options] --rules SOURCE [--rules SOURCE ...]"
    longdesc = "Each option also reads the environment: MESHCAR_RULES (comma-separated), MESHCAR_TRUST_DOMAIN, and so on."
    optParameters = [
        [name.replace("_", "-"), None, None, option.help + (f" [{option.default}]" if option.default else "")]
        for name, option in OPTIONS.items()
    ]
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self._rules: list[str] = []
        self.log_levels: LogLevels | None = None

    def opt_rules(self, source: str) -> None:
        """A YAML file or a folder of them with Istio's and Kubernetes' documents; may be given more than once."""
        self._rules.append(source)

    def opt_version(self) -> NoReturn:
        """Show the version and exit."""
        print(f"meshcar {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *words: str) -> None:
        """There are only options."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is not an option")

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Reads the command line. twistd's own way would print the whole usage, on stdout."""
        try:
            super().parseOptions(options)
        except (usage.UsageError, SettingsError) as e:
            refuse(e)

    def postOptions(self) -> None:
        """Makes `settings`, and `log_levels` where the log is ours: on stderr, as stdout belongs to the access log."""
        given = {name: text for name in OPTIONS if (text := self[name.replace("_", "-")]) is not None}
        for variable in (variable_of(name) for name in service_links(os.environ) - given.keys()):
            print(f"meshcar: {variable}: ignored, it is Kubernetes' link to a Service, {os.environ[variable]}", file=sys.stderr)
        self.settings = from_environment(self._rules, given, os.environ)
        if self.parent is not None and self.parent.get("nodaemon"):
            self._quiet(self.parent)

    def _quiet(self, twistd: usage.Options) -> None:
        if not (twistd.get("logger") or twistd.get("logfile") or twistd.get("syslog")):
            self.log_levels = LogLevels()
        if twistd.get("pidfile") == "twistd.pid":
            # its default: two sidecars of one folder would collide, and a container's folder may be read-only
            twistd["pidfile"] = ""


def from_environment(rules: list[str], texts: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The settings of a command line over those of the environment. An empty variable counts as none, and so does one of
    `service_links`. Raises SettingsError."""
    found = {name: text for name in OPTIONS if (text := environ.get(variable_of(name)))}
    for name in service_links(environ):
        del found[name]
    inherited = [source for source in environ.get("MESHCAR_RULES", "").split(",") if source]
    origins = dict.fromkeys(found, ENVIRONMENT) | dict.fromkeys(texts, COMMAND_LINE)
    origins["rules"] = COMMAND_LINE if rules else ENVIRONMENT
    return read_settings(rules or inherited, found | dict(texts), origins)


def service_links(environ: Mapping[str, str]) -> set[str]:
    """The options whose variable somebody else set: for a Service called meshcar-app, a container gets MESHCAR_APP_PORT=tcp://10.0.0.1:80.
    Source: Kubernetes, Service, "Discovering services"."""
    return {name for name in OPTIONS if name.endswith("_port") and _SERVICE_LINK.match(environ.get(variable_of(name), ""))}


def variable_of(name: str) -> str:
    """The environment variable of an option, by the name of its field."""
    return f"MESHCAR_{name.upper()}"


def refuse(error: Exception) -> NoReturn:
    """Says what keeps the process from starting, a line each on stderr, and exits 1."""
    for line in str(error).splitlines():
        print(f"meshcar: {line}", file=sys.stderr)
    raise SystemExit(1)
