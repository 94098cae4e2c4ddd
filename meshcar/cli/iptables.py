"""`meshcar iptables`: puts capture rules into the kernel, prints them, or takes them back. Flags and variables are istio-iptables'."""

import argparse
import ctypes
import grp
import os
import pwd
import sys
from collections.abc import Callable
from typing import TypeVar

from meshcar.cli.capture_trial import TrialFailed, try_out
from meshcar.cli.netfilter import Backend, check_rights, choose, put, saves, spoken
from meshcar.errors import SettingsError
from meshcar.manifests.iptables import (
    IPV4,
    IPV6,
    Capture,
    Family,
    parse_groups,
    parse_interfaces,
    parse_loopback,
    parse_mark,
    parse_owners,
    parse_ports,
    parse_ranges,
    parse_route_table,
    restore_text,
    undo_text,
)
from meshcar.manifests.routing import add_commands
from meshcar.rules.units import duration

T = TypeVar("T")
TRIAL_FAILED = 126
"""The exit code for that. Source: istio-iptables' ValidationErrorCode, which Istio's CNI waits for to repair a pod."""
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET. Source: setns(2)."""
_MORE_VARIABLES = {"drop-invalid": ("INVALID_DROP",), "dual-stack": ("ISTIO_DUAL_STACK",), "redirect-dns": ("ISTIO_META_DNS_CAPTURE",)}
_NOT_HERE = {
    "redirect-dns": "meshcar answers no DNS: the application's resolver stays as it is",
    "capture-all-dns": "meshcar answers no DNS: the application's resolver stays as it is",
    "native-nftables": "meshcar writes iptables' rules; --force-iptables-binary nft puts them into nftables",
    "cni-mode": "meshcar is no CNI plugin; --network-namespace names the pod's",
}
_IN_ANY_CASE = {
    "reconcile": "an earlier capture is replaced in any case",
    "dual-stack": "IPv6 is captured wherever the network namespace speaks it",
    "force-apply": "rules are written in any case",
}


class _Variable(str):
    """A default that an environment variable gave, so that a complaint about it can name the variable."""

    name = ""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb, with istio-iptables' flags."""
    parser = subparsers.add_parser(
        "iptables", help="redirect this network namespace's TCP connections to the sidecar",
        epilog="Each flag but -p also reads istio-iptables' variable: PROXY_UID for --proxy-uid, and so on.")
    parser.add_argument("--print", action="store_true", dest="show", help="only print the rules, as iptables-restore reads them")
    parser.add_argument("--clean", action="store_true", help="take the rules back")
    parser.add_argument("-6", "--ipv6", action="store_true", help="with --print: the rules for IPv6, for ip6tables-restore")

    def flag(short: str, name: str, metavar: str, parse: Callable[[str], object], default: object, says: str) -> None:
        parser.add_argument(
            *filter(None, [short, f"--{name}"]), metavar=metavar, type=_said(parse), default=_default(name, default), help=says)

    flag("-p", "envoy-port", "PORT", _one_port, 15001, "port that outgoing connections go to")
    flag("-z", "inbound-capture-port", "PORT", _one_port, 15006, "port that incoming connections go to")
    flag("-e", "inbound-tunnel-port", "PORT", _one_port, 15008, "Istio's tunnel port, left alone")
    flag("-u", "proxy-uid", "UIDS", parse_owners, None, "users left alone: the sidecar's; 1337, or the one that ENVOY_USER names")
    flag("-g", "proxy-gid", "GIDS", parse_owners, None, "groups, likewise; those of -u if not given")
    flag("-m", "istio-inbound-interception-mode", "MODE", _mode, "REDIRECT", "REDIRECT or TPROXY")
    flag("-b", "istio-inbound-ports", "PORTS", _all_or(parse_ports), "*", "incoming ports to capture; * is all")
    flag("-d", "istio-local-exclude-ports", "PORTS", parse_ports, "15090,15021,15020", "incoming ports left alone, if -b is *")
    flag("-i", "istio-service-cidr", "CIDRS", _all_or(parse_ranges), "*", "destinations to capture; * is all")
    flag("-x", "istio-service-exclude-cidr", "CIDRS", parse_ranges, "", "destinations left alone")
    flag("-q", "istio-outbound-ports", "PORTS", parse_ports, "", "outgoing ports captured whatever -i says")
    flag("-o", "istio-local-outbound-ports-exclude", "PORTS", parse_ports, "", "outgoing ports left alone")
    flag("-c", "istio-exclude-interfaces", "NAMES", parse_interfaces, "", "interfaces left alone")
    flag("-k", "kube-virt-interfaces", "NAMES", parse_interfaces, "", "virtual machines' interfaces: what comes in there counts as leaving")
    flag("-t", "istio-inbound-tproxy-mark", "MARK", parse_mark, 1337, "mark of what TPROXY captures")
    flag("-r", "istio-inbound-tproxy-route-table", "TABLE", parse_route_table, 133, "routing table for that mark")
    flag("", "istio-outbound-owner-groups", "GROUPS", _all_or(parse_groups), "*", "groups whose connections are captured; * is all")
    flag("", "istio-outbound-owner-groups-exclude", "GROUPS", parse_groups, "", "groups whose connections are left alone")
    flag("", "istio-outbound-ipv4-loopback-cidr", "CIDR", parse_loopback, "127.0.0.1/32", "what counts as loopback")
    flag("", "iptables-probe-port", "PORT", _one_port, 15002, "port that --run-validation connects to")
    flag("", "probe-timeout", "DURATION", duration, 5.0, "how long --run-validation waits, such as 5s")
    flag("", "network-namespace", "PATH", str, "", "the network namespace to work in")
    flag("", "force-iptables-binary", "BACKEND", _backend, "", "legacy or nft; else legacy where it has rules, nft otherwise")
    for short, name, says in (
        ("-n", "dry-run", "print the commands for both families, and call nothing"), ("", "cleanup-only", "as --clean"),
        ("", "skip-rule-apply", "change nothing"), ("", "drop-invalid", "drop what belongs to no connection"),
        ("", "run-validation", "try out whether connections are captured"),
        *(("", name, f"no effect: {why}") for name, why in _IN_ANY_CASE.items()),
        *(("", name, f"refused: {why}") for name, why in _NOT_HERE.items()),
    ):
        parser.add_argument(
            *filter(None, [short, f"--{name}"]), nargs="?", const=True, type=_said(_boolean), default=_default(name, False), help=says)
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Prints, applies or removes, and tries it out. Raises SettingsError where the kernel or its tools refuse."""
    if refusal := _refusal(args):
        args.refuse(refusal)
    capture, clean = _capture(args), args.clean or args.cleanup_only
    if args.network_namespace:
        _enter(args.network_namespace)
    if args.show or args.dry_run:
        _print(args, capture, clean)
        return 0
    if not args.skip_rule_apply:
        check_rights()
        put(None if clean else capture, args.force_iptables_binary)
        print(f"capture {'removed' if clean else 'in force'} ({_families()})")
    return _try_out(args, capture) if args.run_validation else 0


def _try_out(args: argparse.Namespace, capture: Capture) -> int:
    try:
        for family in spoken():
            try_out(capture, family, args.iptables_probe_port, args.probe_timeout)
    except TrialFailed as e:
        print(f"meshcar iptables: {e}", file=sys.stderr)
        return TRIAL_FAILED
    print(f"captured, as tried out ({_families()})")
    return 0


def _families() -> str:
    return " and ".join(f"IPv{family.version}" for family in spoken())


def _refusal(args: argparse.Namespace) -> str:
    """What is wrong with flags that are right one by one."""
    for name, why in _NOT_HERE.items():
        if getattr(args, name.replace("-", "_")):
            return f"--{name}: {why}"
    if args.run_validation and (args.clean or args.cleanup_only):
        return "--run-validation: nothing is captured once the rules are taken back"
    if args.istio_outbound_owner_groups is not None and args.istio_outbound_owner_groups_exclude:
        return "--istio-outbound-owner-groups-exclude: has no effect where --istio-outbound-owner-groups names the groups"
    for group in (*(args.istio_outbound_owner_groups or ()), *args.istio_outbound_owner_groups_exclude):
        if not (group.isdigit() or args.show or args.dry_run or _is_group(group)):
            return f"group {group!r} is not known here; its number will do"
    return ""


def _capture(args: argparse.Namespace) -> Capture:
    uids = args.proxy_uid or (_envoy_user(os.environ.get("ENVOY_USER", "")),)
    return Capture(
        outbound_port=args.envoy_port,
        inbound_port=args.inbound_capture_port,
        tunnel_port=args.inbound_tunnel_port,
        uids=uids,
        gids=args.proxy_gid or uids,
        tproxy=args.istio_inbound_interception_mode == "TPROXY",
        inbound_ports=args.istio_inbound_ports,
        excluded_inbound_ports=args.istio_local_exclude_ports,
        outbound_ranges=args.istio_service_cidr,
        excluded_outbound_ranges=args.istio_service_exclude_cidr,
        outbound_ports=args.istio_outbound_ports,
        excluded_outbound_ports=args.istio_local_outbound_ports_exclude,
        groups=args.istio_outbound_owner_groups,
        excluded_groups=args.istio_outbound_owner_groups_exclude,
        excluded_interfaces=args.istio_exclude_interfaces,
        virtual_interfaces=args.kube_virt_interfaces,
        drop_invalid=args.drop_invalid,
        loopback=args.istio_outbound_ipv4_loopback_cidr,
        mark=args.istio_inbound_tproxy_mark,
        route_table=args.istio_inbound_tproxy_route_table,
    )


def _envoy_user(name: str) -> int:
    """The sidecar's user, as istio-iptables finds it: by name, else 1337."""
    try:
        return pwd.getpwnam(name).pw_uid if name else 1337
    except KeyError:
        return 1337


def _is_group(name: str) -> bool:
    try:
        return bool(grp.getgrnam(name))
    except KeyError:
        return False


def _enter(path: str) -> None:
    """Takes this process, and what it starts, into a network namespace."""
    try:
        with open(path) as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as e:
        raise SettingsError(f"network namespace {path}: {e.strerror}") from None


def _print(args: argparse.Namespace, capture: Capture, clean: bool) -> None:
    """What a kernel would be told; what takes back the rules in force, only root can see."""
    def text(family: Family, look: bool) -> str:
        if not clean:
            return restore_text(capture, family)
        tables = saves(family, args.force_iptables_binary) if look else {}
        return undo_text(tables[choose(tables, args.force_iptables_binary)] if look else restore_text(capture, family))

    if args.show:
        sys.stdout.write(text(IPV6 if args.ipv6 else IPV4, look=os.geteuid() == 0))
        return
    for family in spoken():
        print(f"{Backend(args.force_iptables_binary, family).tool}-restore --noflush <<END\n{text(family, look=False)}END")
        for command in add_commands(capture, family) if not clean else ():
            print(" ".join(["ip", f"-{family.version}", *command]))


def _default(name: str, otherwise: object) -> object:
    """What a flag's variable says, else its default, as a word that is still to be parsed. Empty is a list, but no number."""
    for variable in (name.upper().replace("-", "_"), *_MORE_VARIABLES.get(name, ())):
        text = os.environ.get(variable) if name != "envoy-port" else None
        if text or text is not None and isinstance(otherwise, str):
            found = _Variable(text)
            found.name = variable
            return found
    return otherwise


def _said(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The same parser, with its ValueError as argparse says it to people."""
    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as e:
            raise argparse.ArgumentTypeError(f"{text.name}: {e}" if isinstance(text, _Variable) else str(e)) from None
    return parse_argument


def _all_or(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    return lambda text: None if text == "*" else parse(text)


def _one_port(text: str) -> int:
    try:
        (port,) = parse_ports(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a port") from None
    return port


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is neither {' nor '.join(filter(None, words))}")
        return text
    return parse


_mode = _one_of("REDIRECT", "TPROXY", "")
_backend = _one_of("legacy", "nft", "")


def _boolean(text: str) -> bool:
    """Source: Go's strconv.ParseBool, which istio-iptables' flags use."""
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in ("1", "t", "true")
