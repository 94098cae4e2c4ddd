"""The `meshcar` command: finds the verb's file, and turns what may fail into one line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from meshcar import __version__
from meshcar.errors import MeshError

VERBS = {
    "check": "check",
    "explain": "explain",
    "apply": "rules",
    "get": "rules",
    "delete": "rules",
    "reload": "rules",
    "config": "config",
    "wait": "wait",
    "drain": "drain",
    "certs": "certs",
    "iptables": "iptables",
    "inject": "inject",
    "kube-inject": "inject",
    "uninject": "inject",
    "demo": "demo",
}
"""Verb to module in this package. A module has `add_parser(subparsers)`, which adds its verbs, and `run(args) -> exit code`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. 0 is success, 1 an error said in one line (or the verb's own report), 2 wrong usage, 130 an interrupt."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(words).parse_args(words)
        code: int = import_module(f"meshcar.cli.{VERBS[args.verb]}").run(args)
        sys.stdout.flush()
        return code
    except MeshError as e:
        print(f"meshcar {words[0]}: {e}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader left; what Python still flushes at exit must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """A parser with the verb that is asked for; with all of them where it takes all of them to answer (`--help`, a misspelling)."""
    parser = _Parser(prog="meshcar", description="Talks to, and works for, a meshcar sidecar (twistd meshcar).")
    parser.add_argument("--version", action="version", version=f"meshcar {__version__}")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    wanted = [VERBS[words[0]]] if words and words[0] in VERBS else dict.fromkeys(VERBS.values())
    for module in wanted:
        import_module(f"meshcar.cli.{module}").add_parser(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without all its flags before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists what there is)\n")


if __name__ == "__main__":
    sys.exit(main())
