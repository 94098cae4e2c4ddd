"""`meshcar check`: everything that is wrong with rules, without a sidecar."""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from meshcar.errors import SettingsError
from meshcar.rules.compile import compile_rules
from meshcar.rules.problems import Problem
from meshcar.rules.read import Resource, read
from meshcar.rules.workload import Workload
from meshcar.sources.rule_files import RuleFiles

STDIN = "-"


def add_parser(subparsers: Any) -> None:
    """Adds the verb `check`."""
    parser = subparsers.add_parser("check", help="say what is wrong with rules", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML files, folders of them, or - for standard input")
    parser.add_argument("--namespace", default="default", help="where documents without a namespace belong (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="a list of objects, as the admin port answers")


def run(args: argparse.Namespace) -> int:
    """0 without errors, 1 with some. Raises SettingsError, in one line, where a file cannot be read."""
    resources: list[Resource] = []
    skipped: list[str] = []
    problems: list[Problem] = []
    documents = 0
    for file, text in _texts(args.files):
        found = read(text, file, args.namespace)
        resources += found.resources
        skipped += found.skipped
        problems += found.problems
        documents += found.documents
    problems = _with_compiled(problems, resources, args.namespace)
    if args.json:
        json.dump([problem.entry() for problem in problems], sys.stdout, indent=2)
        print()
    else:
        for problem in problems:
            print(problem)
        sys.stdout.flush()  # else the summary comes first where both go to one file
        print(_summary(documents, problems, skipped), file=sys.stderr)
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _with_compiled(problems: list[Problem], resources: Iterable[Resource], namespace: str) -> list[Problem]:
    """What shows only when all resources are seen together, too; warnings would mislead where some could not be read."""
    compiled = compile_rules(resources, Workload(namespace=namespace), 1).problems
    together = [one for one in compiled if one.severity == "error" or not any(other.severity == "error" for other in problems)]
    return sorted([*problems, *together], key=lambda problem: (problem.file, problem.line, problem.column))


def _texts(files: list[str]) -> Iterable[tuple[str, str]]:
    try:
        if STDIN in files:
            yield STDIN, sys.stdin.buffer.read().decode("utf-8-sig")
        yield from RuleFiles([file for file in files if file != STDIN], None, lambda: None).read_all()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{STDIN}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from error


def _summary(documents: int, problems: list[Problem], skipped: list[str]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    said = ", ".join([_number(documents, "document"), _number(errors, "error"), _number(len(problems) - errors, "warning")])
    return f"{said}; skipped: {', '.join(skipped)}" if skipped else said


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
