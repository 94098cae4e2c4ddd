"""`meshcar check`: everything that is wrong with rules, without a sidecar."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
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
    """0 without errors, 1 with some; a file that cannot be read is one."""
    resources: list[Resource] = []
    skipped: list[str] = []
    problems: list[Problem] = []
    documents = 0
    for file, text in _texts(args.files, problems):
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


def _texts(files: list[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """Each file's name and text; what cannot be read is told, and does not hide the rest."""
    for file in dict.fromkeys(files):
        try:
            if file == STDIN:
                yield STDIN, sys.stdin.buffer.read().decode("utf-8-sig")
            else:
                yield from RuleFiles([file], None, lambda: None).read_all()
        except UnicodeDecodeError as error:
            problems.append(_unreadable(STDIN, f"not UTF-8 at byte {error.start}"))
        except SettingsError as error:
            name, _, message = str(error).partition(": ")
            problems.append(_unreadable(name, message))
        except OSError as error:
            problems.append(_unreadable(str(error.filename or file), error.strerror or str(error)))


def _unreadable(file: str, message: str) -> Problem:
    return Problem("error", file, 1, 1, "", "", "", "UNREADABLE", message)


def _summary(documents: int, problems: list[Problem], skipped: list[str]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    said = ", ".join([_number(documents, "document"), _number(errors, "error"), _number(len(problems) - errors, "warning")])
    return f"{said}; skipped: {', '.join(skipped)}" if skipped else said


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
