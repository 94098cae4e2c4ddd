"""How verbs reach a sidecar's admin port: one HTTP call over TCP or a Unix socket."""

import argparse
import json
import os
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from meshcar.errors import SettingsError

TIMEOUT = 60.0
"""Seconds: a sidecar with ten thousand rules compiles for some time."""


@attrs.frozen
class Admin:
    """A sidecar's admin port. `socket_path` is set for a Unix socket; else `host` and `port` count."""

    host: str
    port: int
    socket_path: str | None = None
    token: str | None = attrs.field(default=None, repr=False)

    @property
    def address(self) -> str:
        """As --admin names it."""
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def call(
        self, method: str, path: str, body: bytes | None = None, *, accept: str = "application/json", timeout: float = TIMEOUT
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises SettingsError where there is none."""
        unix = self.socket_path
        connection = HTTPConnection(self.host, self.port, timeout) if unix is None else _UnixConnection(unix, timeout)
        headers = {"Accept": accept, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException) as e:
            raise SettingsError(f"no answer from {self.address}: {getattr(e, 'strerror', None) or e or type(e).__name__}") from None
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The JSON of an answer of 200 or 422. Raises SettingsError with the sidecar's own words for any other."""
        status, answer = self.call(method, path, body)
        try:
            value = json.loads(answer)
        except ValueError:
            raise SettingsError(f"{self.address} answered {status} without JSON: is it a meshcar?") from None
        if status in (200, 422) and isinstance(value, dict):
            return value
        raise SettingsError(f"{value.get('error', status)}" if isinstance(value, dict) else f"{self.address} answered {status}")


def add_admin_options(parser: argparse.ArgumentParser, one_of: Any = None) -> None:
    """Adds --admin and --admin-token, which also read MESHCAR_ADMIN and MESHCAR_ADMIN_TOKEN. `one_of`: a group that excludes others."""
    default = os.environ.get("MESHCAR_ADMIN", "http://127.0.0.1:15000")
    (one_of or parser).add_argument("--admin", metavar="URL", type=parse_admin, default=default,
                                    help="the sidecar's admin port: http://host:port, host:port, port, or unix:PATH (%(default)s)")
    parser.add_argument("--admin-token", metavar="FILE", type=Path, default=os.environ.get("MESHCAR_ADMIN_TOKEN"),
                        help="file with the token that the sidecar wants")


def admin_of(args: argparse.Namespace) -> Admin:
    """The admin port that the options name. Raises SettingsError for a token file that cannot be read."""
    admin: Admin = args.admin
    if args.admin_token is None:
        return admin
    try:
        return attrs.evolve(admin, token=Path(args.admin_token).read_text().strip())
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{args.admin_token}: {getattr(e, 'strerror', None) or e}") from None


def parse_admin(text: str) -> Admin:
    """An Admin from what --admin takes. Raises argparse's error for anything else."""
    scheme, _, path = text.partition("unix:")
    if path and not scheme:
        return Admin("localhost", 0, socket_path=path)
    url = text if "://" in text else f"http://127.0.0.1:{text}" if text.isascii() and text.isdigit() else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 15000
    except ValueError:
        host, port = None, 0
    if host is None or text == "unix:" or parts.scheme != "http" or parts.path not in ("", "/") or parts.query or parts.username:
        raise argparse.ArgumentTypeError(f"{text!r} is neither http://host:port, host:port, port nor unix:PATH")
    return Admin(host, port)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
