"""`meshcar drain`: what a pod's preStop hook says to its sidecar."""

import argparse

from meshcar.cli.admin import add_admin_options, admin_of
from meshcar.errors import SettingsError

CALL = "/drain_listeners?inboundonly&graceful&skip_exit"
"""Answers to those who come in say `connection: close`, and nobody is turned away. Source: pilot-agent, with native sidecars."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb."""
    text = "ask clients to go elsewhere: answers carry connection: close from now on, nobody is turned away"
    add_admin_options(subparsers.add_parser("drain", help=text, description=text))


def run(args: argparse.Namespace) -> int:
    """0 once the sidecar said so; raises SettingsError where it does not."""
    admin = admin_of(args)
    status, body = admin.call("POST", CALL)
    if status != 200:
        raise SettingsError(f"{admin.address} answered {status}: {' '.join(body.decode('utf-8', 'replace').split())}")
    print("draining")
    return 0
