"""`meshcar wait`: until a sidecar is ready."""

import argparse
import time
from collections.abc import Callable

from meshcar.cli.admin import Admin, add_admin_options, admin_of
from meshcar.errors import SettingsError

PAUSE = 0.1
"""Seconds between two questions."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("wait", help="wait until the sidecar is ready")
    parser.add_argument("--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="give up after that (%(default)s)")
    add_admin_options(parser)


def run(args: argparse.Namespace) -> int:
    """0 once it is ready; raises SettingsError with the last reason when the time is over."""
    wait(admin_of(args), args.timeout, time.monotonic, time.sleep)
    print("ready")
    return 0


def wait(admin: Admin, timeout: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Asks `GET /ready` until it is 200, for `timeout` seconds. `now` and `sleep` are those of the time module."""
    end = now() + timeout
    while True:
        try:
            status, body = admin.call("GET", "/ready", timeout=max(PAUSE, end - now()))
            reason = " ".join(body.decode("utf-8", "replace").split())
        except SettingsError as e:
            status, reason = 0, str(e)
        if status == 200:
            return
        if now() >= end:
            raise SettingsError(f"not ready within {timeout:g} s: {reason}")
        sleep(PAUSE)


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
