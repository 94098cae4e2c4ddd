"""`meshcar iptables`: puts capture rules into the kernel, prints them, or takes them back."""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from meshcar.errors import SettingsError
from meshcar.manifests.iptables import (
    IPV4,
    IPV6,
    Capture,
    Family,
    address_commands,
    parse_interfaces,
    parse_owners,
    parse_ports,
    parse_ranges,
    restore_text,
    route_commands,
    undo_address_commands,
    undo_route_commands,
    undo_text,
)

T = TypeVar("T")
_PREFIX = {4: "iptables", 6: "ip6tables"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb, with istio-iptables' flags."""
    parser = subparsers.add_parser("iptables", help="redirect this network namespace's TCP connections to the sidecar")
    parser.add_argument("--print", action="store_true", dest="show", help="only print the rules, as iptables-restore reads them")
    parser.add_argument("--clean", action="store_true", help="take the rules back")
    parser.add_argument("-6", "--ipv6", action="store_true", help="with --print: the rules for IPv6, for ip6tables-restore")
    flag = parser.add_argument
    flag("-p", "--envoy-port", metavar="PORT", type=_one_port, default=15001, help="port that outgoing connections go to")
    flag("-z", "--inbound-capture-port", metavar="PORT", type=_one_port, default=15006, help="port that incoming connections go to")
    flag("-e", "--inbound-tunnel-port", metavar="PORT", type=_one_port, default=15008, help="port that is never captured")
    flag("-u", "--proxy-uid", metavar="UIDS", type=_said(parse_owners), default=(1337,), help="users left alone: the sidecar's")
    flag("-g", "--proxy-gid", metavar="GIDS", type=_said(parse_owners), help="groups, likewise; those of -u if not given")
    flag("-m", "--istio-inbound-interception-mode", metavar="MODE", choices=("REDIRECT", "TPROXY"), default="REDIRECT", help="%(choices)s")
    flag("-b", "--istio-inbound-ports", metavar="PORTS", type=_said(_all_or(parse_ports)), help="incoming ports to capture; * is all")
    flag("-d", "--istio-local-exclude-ports", metavar="PORTS", type=_said(parse_ports), default=(15090, 15021, 15020),
         help="incoming ports left alone")
    flag("-i", "--istio-service-cidr", metavar="CIDRS", type=_said(_all_or(parse_ranges)), help="destinations to capture; * is all")
    flag("-x", "--istio-service-exclude-cidr", metavar="CIDRS", type=_said(parse_ranges), default=(), help="destinations left alone")
    flag("-q", "--istio-outbound-ports", metavar="PORTS", type=_said(parse_ports), default=(), help="outgoing ports captured anyway")
    flag("-o", "--istio-local-outbound-ports-exclude", metavar="PORTS", type=_said(parse_ports), default=(),
         help="outgoing ports left alone")
    flag("-c", "--istio-exclude-interfaces", metavar="NAMES", type=_said(parse_interfaces), default=(), help="interfaces left alone")


def run(args: argparse.Namespace) -> int:
    """Prints, applies or removes. Raises SettingsError where the kernel or its tools refuse."""
    capture = _capture(args)
    root = os.geteuid() == 0
    if args.show:
        family = IPV6 if args.ipv6 else IPV4
        if args.clean:  # what is in force, only root can see
            sys.stdout.write(undo_text(_saved(family) if root else restore_text(capture, family)))
        else:
            sys.stdout.write(restore_text(capture, family))
        return 0
    if not root:
        raise SettingsError("changing the kernel's rules needs root; --print shows them")
    families = [IPV4, IPV6] if has_ipv6() else [IPV4]
    for family in families:
        (_clean if args.clean else _apply)(capture, family)
    print(f"capture {'removed' if args.clean else 'in force'} ({' and '.join(f'IPv{family.version}' for family in families)})")
    return 0


def has_ipv6(proc: Path = Path("/proc")) -> bool:
    """Whether this network namespace speaks IPv6."""
    disabled = proc / "sys/net/ipv6/conf/all/disable_ipv6"
    return (proc / "net/if_inet6").exists() and not (disabled.exists() and disabled.read_text().strip() == "1")


def _capture(args: argparse.Namespace) -> Capture:
    return Capture(
        outbound_port=args.envoy_port,
        inbound_port=args.inbound_capture_port,
        tunnel_port=args.inbound_tunnel_port,
        uids=args.proxy_uid,
        gids=args.proxy_gid or args.proxy_uid,
        tproxy=args.istio_inbound_interception_mode == "TPROXY",
        inbound_ports=args.istio_inbound_ports,
        excluded_inbound_ports=args.istio_local_exclude_ports,
        outbound_ranges=args.istio_service_cidr,
        excluded_outbound_ranges=args.istio_service_exclude_cidr,
        outbound_ports=args.istio_outbound_ports,
        excluded_outbound_ports=args.istio_local_outbound_ports_exclude,
        excluded_interfaces=args.istio_exclude_interfaces,
    )


def _apply(capture: Capture, family: Family) -> None:
    _undo(family, undo_route_commands(capture))
    for command in address_commands(family) + route_commands(capture):
        _tool(["ip", f"-{family.version}", *command])
    _restore(family, restore_text(capture, family, _saved(family)))


def _clean(capture: Capture, family: Family) -> None:
    if text := undo_text(_saved(family)):
        _restore(family, text)
    _undo(family, undo_route_commands(capture) + undo_address_commands(family))


def _undo(family: Family, commands: list[list[str]]) -> None:
    """Runs `ip` without minding its refusals: mostly there is nothing to undo, and where `ip` is missing there cannot be."""
    for command in commands:
        with contextlib.suppress(OSError):
            subprocess.run(["ip", f"-{family.version}", *command], capture_output=True, check=False)


def _saved(family: Family) -> str:
    return _tool([f"{_PREFIX[family.version]}-save"])


def _restore(family: Family, text: str) -> None:
    _tool([f"{_PREFIX[family.version]}-restore", "--noflush"], text)


def _tool(command: list[str], text: str = "") -> str:
    """Runs a tool and gives its output; its refusal becomes one line."""
    try:
        # su leaves root without sbin in its PATH
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    except OSError as e:
        raise SettingsError(f"{command[0]}: {e.strerror} (package iptables or iproute2)") from None
    if done.returncode:
        raise SettingsError(f"{' '.join(command)}: {' '.join(done.stderr.split()) or f'exit {done.returncode}'}")
    return done.stdout


def _said(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The same parser, with its ValueError as argparse says it to people."""
    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(str(e)) from None
    return parse_argument


def _all_or(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: None if text == "*" else parse(text)


def _one_port(text: str) -> int:
    try:
        (port,) = parse_ports(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port") from None
    return port
