"""`meshcar certs`: a certificate authority for development, and workload certificates in Istio's file names."""

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from meshcar.errors import SettingsError
from meshcar.identity.credentials import Credentials
from meshcar.identity.issue import Authority
from meshcar.identity.spiffe import SpiffeId

_ROOT, _ROOT_KEY = Path("ca", "root-cert.pem"), Path("ca", "ca-key.pem")
_WORKLOAD_FILES = ("cert-chain.pem", "key.pem", "root-cert.pem")
_LONGEST_DAYS = 36500.0


def add_parser(subparsers: Any) -> None:
    """Adds the verb `certs` with init, issue and show."""
    parser = subparsers.add_parser("certs", help="a development CA and workload certificates", description=__doc__)
    verbs = parser.add_subparsers(dest="certs_verb", required=True, metavar="VERB")
    init = _verb(verbs, "init", "make the CA, unless it is there", _init)
    init.add_argument("--trust-domain", default="cluster.local", help="the mesh's name, the CA's organization (default %(default)s)")
    init.add_argument("--days", type=_days, default=3650.0, help="how long the CA is valid (default %(default)g)")
    issue = _verb(verbs, "issue", "make or replace a workload's certificate, key and trust bundle", _issue)
    issue.add_argument("spiffe_id", metavar="SPIFFE_ID", help="spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")
    issue.add_argument("--days", type=_days, default=90.0, help="how long it is valid; fractions are allowed (default %(default)g)")
    show = _verb(verbs, "show", "say whom the certificates are for, and whether they can be used", _show)
    show.add_argument("--json", action="store_true", help="everything but the keys, as Envoy's /certs")


def run(args: argparse.Namespace) -> int:
    """Does what add_parser's arguments ask for. Raises SettingsError, in one line."""
    act: Callable[[argparse.Namespace, datetime], int] = args.act
    try:
        return act(args, datetime.now(UTC))
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from error


def _verb(verbs: Any, name: str, says: str, act: Callable[[argparse.Namespace, datetime], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=says, description=says)
    parser.add_argument("--dir", type=Path, default=Path("certs"), help="the folder of them all (default %(default)s/)")
    parser.set_defaults(act=act)
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"{text}: not between 0 and {_LONGEST_DAYS:.0f}")
    return days


def _init(args: argparse.Namespace, now: datetime) -> int:
    root, key = args.dir / _ROOT, args.dir / _ROOT_KEY
    if root.exists() or key.exists():
        Authority.load(root.read_bytes(), key.read_bytes())
        print(f"{root} is there, and stays")
        return 0
    try:
        SpiffeId.parse(f"spiffe://{args.trust_domain}")
    except ValueError as error:
        raise SettingsError(f"--trust-domain {args.trust_domain}: {error}") from error
    authority = Authority.new(args.trust_domain, now, timedelta(days=args.days))
    _write(args.dir / "ca", {_ROOT_KEY.name: authority.key_pem, _ROOT.name: authority.pem})
    ignore = args.dir / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*.pem\n")
    print(f"{root}: a CA for {args.trust_domain}, valid until {_date(authority.certificate.not_valid_after_utc)}")
    return 0


def _issue(args: argparse.Namespace, now: datetime) -> int:
    try:
        spiffe_id = SpiffeId.parse(args.spiffe_id)
    except ValueError as error:
        raise SettingsError(f"{args.spiffe_id}: {error}") from error
    if spiffe_id.workload is None:
        raise SettingsError(f"{args.spiffe_id}: not a workload's id, spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")
    if not (args.dir / _ROOT).exists():
        raise SettingsError(f"{args.dir / _ROOT}: no CA there; `meshcar certs init` makes one")
    authority = Authority.load((args.dir / _ROOT).read_bytes(), (args.dir / _ROOT_KEY).read_bytes())
    issued = authority.issue(spiffe_id, now, timedelta(days=args.days))
    folder = args.dir / ".".join(spiffe_id.workload)
    chain_file, key_file, root_file = _WORKLOAD_FILES
    _write(folder, {key_file: issued.key, chain_file: issued.chain, root_file: authority.pem})
    credentials = Credentials.load(issued.chain, issued.key, authority.pem)
    print(f"{folder}: {spiffe_id}, valid until {_date(credentials.not_after)}")
    return 0


def _show(args: argparse.Namespace, now: datetime) -> int:
    folders = sorted(path.parent for path in args.dir.glob(f"*/{_WORKLOAD_FILES[0]}"))
    if not folders and not args.json:
        print(f"{args.dir}: no workload certificates")
    code, listed = 0, []
    for folder in folders:
        try:
            credentials = Credentials.load(*((folder / name).read_bytes() for name in _WORKLOAD_FILES))
        except SettingsError as error:
            raise SettingsError(f"{folder}/{error}") from error
        trouble = credentials.trouble(now)
        code |= trouble is not None
        listed.append({"folder": str(folder), "trouble": trouble, **credentials.facts(now)})
        if not args.json:
            print(f"{folder}: {trouble or f'{credentials.spiffe_id}, valid until {_date(credentials.not_after)}'}")
    if args.json:
        print(json.dumps({"certificates": listed}, indent=2))
    return code


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Replaces the files whole, one after another; keys can be read by their owner alone. They get the folder's owner.

    So a folder that was given to a sidecar's user stays readable for it when its certificate is renewed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder.stat()
    fresh = {}
    for name, text in files.items():
        descriptor, fresh[name] = mkstemp(prefix=f".{name}.", dir=folder)
        with open(descriptor, "wb") as file:
            file.write(text)
            os.fchmod(descriptor, 0o600 if name.endswith("key.pem") else 0o644)
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
    for name, path in fresh.items():
        os.replace(path, folder / name)


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
