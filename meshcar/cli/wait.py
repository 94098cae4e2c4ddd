"""`meshcar wait`: until a sidecar is ready."""

import argparse
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from meshcar.cli.admin import Admin, add_admin_options, admin_of
from meshcar.errors import SettingsError

READY = "/ready"
PAUSE = 0.1
"""Seconds between two questions."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    parser = subparsers.add_parser("wait", help="wait until the sidecar is ready")
    # the other names are those of Istio's pilot-agent wait
    parser.add_argument(
        "--timeout", "--timeoutSeconds", type=_seconds, default=60.0, metavar="SECONDS", help="give up after that (%(default)s)")
    parser.add_argument("--periodMillis", type=_milliseconds, default=PAUSE, metavar="N", dest="period", help="between two questions (100)")
    parser.add_argument("--requestTimeoutMillis", type=_milliseconds, metavar="N", dest="patience", help="for one answer")
    parser.add_argument("--url", type=_url, help="ask this, such as http://localhost:15021/healthz/ready, instead of the admin port")
    add_admin_options(parser)


def run(args: argparse.Namespace) -> int:
    """0 once it is ready; raises SettingsError with the last reason when the time is over."""
    admin, path = args.url or (admin_of(args), READY)
    wait(admin, args.timeout, time.monotonic, time.sleep, path, args.period, args.patience)
    print("ready")
    return 0


def wait(
    admin: Admin, timeout: float, now: Callable[[], float], sleep: Callable[[float], None],
    path: str = READY, period: float = PAUSE, patience: float | None = None,
) -> None:  # fmt: skip
    """Asks for `path` each `period` until it is 200, for `timeout` seconds; one answer may take `patience`.

    `now` and `sleep` are those of the time module.
    """
    end = now() + timeout
    while True:
        try:
            left = max(PAUSE, end - now())
            status, body = admin.call("GET", path, timeout=left if patience is None else min(left, patience))
            reason = " ".join(body.decode("utf-8", "replace").split())
        except SettingsError as e:
            status, reason = 0, str(e)
        if status == 200:
            return
        if now() >= end:
            raise SettingsError(f"not ready within {timeout:g} s: {reason}")
        sleep(period)


def _milliseconds(text: str) -> float:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 3_600_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds")
    return int(text) / 1000


def _url(text: str) -> tuple[Admin, str]:
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if parts.scheme != "http" or host is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// URL")
    return Admin(host, port), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
