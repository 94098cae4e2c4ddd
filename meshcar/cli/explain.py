"""`meshcar explain`: what would become of a request, by rules in files or by those of a running sidecar."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from meshcar.app.settings import OPTIONS
from meshcar.cli.admin import add_admin_options, admin_of
from meshcar.cli.explain_text import lines
from meshcar.errors import SettingsError
from meshcar.rules.compile import compile_rules
from meshcar.rules.explain import Sidecar, explain
from meshcar.rules.problems import Problem
from meshcar.rules.question import Question, header, question
from meshcar.rules.read import Resource, read
from meshcar.rules.workload import Workload
from meshcar.sources.rule_files import RuleFiles

OF_THE_SIDECAR = (
    "namespace", "service_account", "trust_domain", "outbound_traffic", "path_normalization", "shadow_suffix", "internal_addresses",
)
"""Options of the sidecar that matter to a decision; a running one has its own."""


def add_parser(subparsers: Any) -> None:
    """Adds the verb `explain`."""
    parser = subparsers.add_parser("explain", help="say what would become of a request", description=__doc__)
    parser.add_argument("url", metavar="URL", nargs="?", help="as curl takes it; the port chooses the service's port")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--rules", metavar="SOURCE", action="extend", nargs="+", help="YAML files, or folders of them")
    add_admin_options(parser, where)
    parser.add_argument("--json", action="store_true", help="one object, as the admin port answers")
    parser.add_argument("-X", "--request", metavar="METHOD", default="GET", help="the method (%(default)s)")
    parser.add_argument("-H", "--header", metavar="'NAME: VALUE'", action="append", default=[], help="a header; may be repeated")
    parser.add_argument("--labels", metavar="K=V,...", type=_reader("labels"), help="labels of the workload that sends it")
    for name in OF_THE_SIDECAR:
        flag, told = f"--{name.replace('_', '-')}", f"{OPTIONS[name].help}, with --rules ({OPTIONS[name].default or 'none'})"
        parser.add_argument(flag, type=_reader(name), help=told.replace("%", "%%"))


def run(args: argparse.Namespace) -> int:
    """0 with an answer, 1 where rules have errors or no sidecar answers, 2 for what is no request."""
    headers = []
    if args.url is None and args.rules and len(args.rules) > 1:
        args.url = args.rules.pop()  # nothing else tells where the sources end
    try:
        if args.url is None:
            raise ValueError("URL is missing")
        given = [f"--{name.replace('_', '-')}" for name in OF_THE_SIDECAR if getattr(args, name) is not None]
        if given and not args.rules:
            raise ValueError(f"{given[0]} is for --rules; a running sidecar has its own")
        headers = [header(text) for text in args.header]
        asked = question(args.url, args.request, headers, args.labels)
    except ValueError as e:
        print(f"meshcar explain: {e}", file=sys.stderr)
        return 2
    answer = _by_files(args, asked) if args.rules else _by_sidecar(args, headers)
    if answer is None:
        return 1
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        print("\n".join(lines(f"{args.request} {args.url}", answer)))
    return 0


def _by_sidecar(args: argparse.Namespace, headers: list[tuple[str, str]]) -> dict[str, Any]:
    body: dict[str, Any] = {"method": args.request, "url": args.url, "headers": [f"{name}: {value}" for name, value in headers]}
    if args.labels is not None:
        body["labels"] = args.labels
    answer: dict[str, Any] = admin_of(args).ask("POST", "/explain", json.dumps(body).encode())
    return answer


def _by_files(args: argparse.Namespace, asked: Question) -> dict[str, Any] | None:
    """None where the rules have errors; they are told."""
    option = _options(args)
    workload = Workload(option["trust_domain"], option["namespace"], option["service_account"], args.labels or {})
    resources, problems = _read(args.rules, workload.namespace)
    compiled = compile_rules(resources, workload, 1)
    errors = [problem for problem in (*problems, *compiled.problems) if problem.severity == "error"]
    if errors:
        print("\n".join(map(str, errors)), file=sys.stderr)
        return None
    sidecar = Sidecar(
        snapshot=compiled.snapshot, resources=resources, workload=workload, allow_any=option["outbound_traffic"] == "allow_any",
        path_normalization=option["path_normalization"], shadow_suffix=option["shadow_suffix"],
        internal_addresses=option["internal_addresses"],
    )  # fmt: skip
    return explain(sidecar, asked)


def _options(args: argparse.Namespace) -> Mapping[str, Any]:
    """What the options of the sidecar say, or mean by default."""
    found = {}
    for name in OF_THE_SIDECAR:
        given = getattr(args, name)
        found[name] = OPTIONS[name].read(OPTIONS[name].default or "") if given is None else given
    return found


def _read(sources: list[str], namespace: str) -> tuple[list[Resource], list[Problem]]:
    resources: list[Resource] = []
    problems: list[Problem] = []
    try:
        for file, text in RuleFiles(sources, None, lambda: None).read_all():
            found = read(text, file, namespace)
            resources += found.resources
            problems += found.problems
    except OSError as e:
        raise SettingsError(f"{e.filename}: {e.strerror}") from None
    return resources, problems


def _reader(name: str) -> Callable[[str], Any]:
    """Reads an option's text as the sidecar does."""

    def read_text(text: str) -> Any:
        try:
            return OPTIONS[name].read(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(str(e)) from None

    return read_text
