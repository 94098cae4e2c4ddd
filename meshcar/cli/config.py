"""`meshcar config`: which options are in force, and where each came from."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from meshcar.app.options import Options, variable_of
from meshcar.app.settings import OPTIONS
from meshcar.app.status import configuration
from meshcar.cli.admin import add_admin_options, admin_of
from meshcar.compiled import PURE

SECRET = "(not shown)"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "config", help="show the options in force, and where each came from",
        description="Shows the options of the running sidecar; with --here, or options behind --, those of one that would be started here.")
    parser.add_argument("--here", action="store_true", help="by this environment, and the options behind --, if any")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_admin_options(parser)
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="options of twistd meshcar, and this environment")


def run(args: argparse.Namespace) -> int:
    """0; raises SettingsError where no sidecar answers, and exits 1 as twistd meshcar would where options are wrong."""
    values, origins = _would_be(args.options) if args.here or args.options else _running(args)
    rows = [*_rows(values, origins)]
    if args.json:
        print(json.dumps({name: {"value": value, "from": origin, "variable": variable_of(name)} for name, value, origin in rows}, indent=1))
        return 0
    lines = [("OPTION", "VALUE", "FROM"), *((_option(name), _text(name, value), _from(name, origin)) for name, value, origin in rows)]
    widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
    for option, value, origin in lines:
        print(f"{option:{widths[0]}}  {value:{widths[1]}}  {origin}")
    return 0


def _would_be(words: list[str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    options = Options()
    options.parseOptions(words)
    known = {PURE, *(variable_of(name) for name in ("rules", *OPTIONS))}
    for name in sorted(os.environ.keys() - known):
        if name.startswith("MESHCAR_"):
            print(f"meshcar config: {name} is no option's variable", file=sys.stderr)
    return configuration(options.settings), options.settings.origins


def _running(args: argparse.Namespace) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    told = admin_of(args).ask("GET", "/server_info")
    return told["command_line_options"], told["option_origins"]


def _rows(values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[tuple[str, Any, str]]:
    for name in ("rules", *OPTIONS):
        origin = origins.get(name, "default")
        hidden = name not in values and origin != "default"
        yield name, SECRET if hidden else values.get(name), origin


def _text(name: str, value: Any) -> str:
    if value is None:
        default = OPTIONS[name].default
        return "none" if default is None else default if OPTIONS[name].read(default) is None else "off"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        return ",".join(f"{key}={one}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _from(name: str, origin: str) -> str:
    return f"environment, {variable_of(name)}" if origin == "environment" else origin


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
