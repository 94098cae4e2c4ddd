"""`meshcar apply`, `get`, `delete`, `reload`: a sidecar's rules, in kubectl's manner."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import yaml

from meshcar.cli.admin import Admin, add_admin_options, admin_of
from meshcar.errors import SettingsError

KINDS: Mapping[str, tuple[str, str, str]] = {
    "VirtualService": ("networking.istio.io", "virtualservices", "vs"),
    "DestinationRule": ("networking.istio.io", "destinationrules", "dr"),
    "ServiceEntry": ("networking.istio.io", "serviceentries", "se"),
    "WorkloadEntry": ("networking.istio.io", "workloadentries", "we"),
    "Sidecar": ("networking.istio.io", "sidecars", "sidecar"),
    "PeerAuthentication": ("security.istio.io", "peerauthentications", "pa"),
    "AuthorizationPolicy": ("security.istio.io", "authorizationpolicies", "ap"),
    "HTTPRoute": ("gateway.networking.k8s.io", "httproutes", "httproute"),
    "Service": ("", "services", "svc"),
    "Endpoints": ("", "endpoints", "ep"),
    "EndpointSlice": ("discovery.k8s.io", "endpointslices", "endpointslice"),
    "Pod": ("", "pods", "po"),
    "Deployment": ("apps", "deployments", "deploy"),
}
"""Kind: its API group, and the other names by which kubectl's users call it."""


@attrs.frozen
class Body:
    """Several files as one text: `starts` has each file's name and the number of lines before it."""

    text: bytes
    starts: tuple[tuple[str, int], ...]

    def place(self, line: int) -> tuple[str, int]:
        """The file, and the line in it, of a line of the text."""
        name, before = next((name, before) for name, before in reversed(self.starts) if before < max(line, 1))
        return name, line - before


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the four verbs."""
    apply = subparsers.add_parser("apply", help="add or replace documents in the running sidecar")
    apply.add_argument("-f", "--filename", action="append", required=True, metavar="FILE", help="YAML; - is stdin; may be repeated")
    apply.add_argument("--dry-run", action="store_true", help="only judge them")
    get = subparsers.add_parser("get", help="show the rules in force")
    get.add_argument("what", nargs="*", metavar="KIND[/NAME]", help="all of them, of a kind, or one")
    get.add_argument("-o", "--output", choices=("yaml", "json", "name"), help="whole documents, or only names")
    delete = subparsers.add_parser("delete", help="take an applied document back")
    delete.add_argument("what", nargs="+", metavar="KIND/NAME")
    reload = subparsers.add_parser("reload", help="read the rule files again, now")
    for parser in (get, delete):
        parser.add_argument("-n", "--namespace", help="its namespace" + (" (default)" if parser is delete else ""))
    for parser in (apply, get, delete, reload):
        add_admin_options(parser)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 refused; raises SettingsError where the sidecar does not answer."""
    verbs: Mapping[str, Callable[[Admin, argparse.Namespace], int]] = {"apply": _apply, "get": _get, "delete": _delete, "reload": _reload}
    return verbs[args.verb](admin_of(args), args)


def _apply(admin: Admin, args: argparse.Namespace) -> int:
    body = join_files(args.filename)
    answer = admin.ask("POST", "/rules/apply" + ("?dry_run=true" if args.dry_run else ""), body.text)
    if _report(answer, body):
        return 1
    note = " (dry run)" if args.dry_run else ""
    created = answer.get("created", ())
    for key in answer["changed"]:
        print(f"{_said(key)} {'created' if key in created else 'configured'}{note}")
    for key in answer.get("unchanged", ()):
        print(f"{_said(key)} unchanged{note}")
    for key in answer.get("skipped", ()):
        print(f"{_said(key)} skipped{note}")
    return 0


def _get(admin: Admin, args: argparse.Namespace) -> int:
    kind, name = _wanted(args.what)
    if args.output in ("yaml", "json"):
        return _print_documents(_documents(admin), kind, name, args)
    found = [one for one in admin.ask("GET", "/rules")["resources"] if _is_wanted(_key(one), kind, name, args.namespace)]
    if args.output == "name":
        print("".join(f"{_said(_key(one))}\n" for one in found), end="")
        return 0
    if not found:
        return _nothing(kind, name)
    _table([("NAMESPACE", "KIND", "NAME", "SOURCE"), *((one["namespace"], one["kind"], one["name"], one["source"]) for one in found)])
    return 0


def _delete(admin: Admin, args: argparse.Namespace) -> int:
    kind, name = _wanted(args.what)
    if kind is None or name is None:
        raise SettingsError("say which: KIND/NAME")
    key = (kind, args.namespace or "default", name)
    answer = admin.ask("DELETE", "/rules/" + "/".join(quote(part, safe="") for part in key))
    if _report(answer, Body(b"", (("-", 0),))):
        return 1
    print(f'{_group(kind)} "{name}" deleted')
    return 0


def _reload(admin: Admin, args: argparse.Namespace) -> int:
    answer = admin.ask("POST", "/reload")
    if _report(answer, None):
        return 1
    for key in answer["changed"]:
        print(f"{_said(key)} changed")
    print(f"generation {answer['generation']}{'' if answer['changed'] else ', nothing changed'}")
    return 0


def join_files(names: Sequence[str]) -> Body:
    """The files as one YAML text. Raises SettingsError for one that cannot be read."""
    text, starts = b"", []
    for name in names:
        if text:
            text = text.rstrip(b"\n") + b"\n---\n"
        starts.append((name, text.count(b"\n")))
        try:
            text += sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as e:
            raise SettingsError(f"{name}: {e.strerror}") from None
    return Body(text, tuple(starts))


def _report(answer: dict[str, Any], body: Body | None) -> bool:
    """Errors and warnings on stderr, as `meshcar check` says them; whether there were errors."""
    for severity, problems in (("warning", answer.get("warnings", ())), ("error", answer.get("errors", ()))):
        for problem in problems:
            file, line = problem["file"], problem["line"]
            if body is not None and file == "-":
                file, line = body.place(line)
            who = f"{problem['kind'] or '-'}/{problem['name'] or '-'}"
            print(f"{file}:{line}:{problem['column']}: {severity} {problem['code']} {who}: {problem['message']}", file=sys.stderr)
    return bool(answer.get("errors"))


def _wanted(words: Sequence[str]) -> tuple[str | None, str | None]:
    """Kind and name out of `KIND/NAME`, `KIND NAME`, `KIND` or nothing; None is any."""
    parts = [part for word in words for part in word.split("/", 1)]
    if len(parts) > 2 or not all(parts):
        raise SettingsError(f"{' '.join(words)!r} is not KIND/NAME")
    return (_kind(parts[0]) if parts else None), (parts[1] if len(parts) > 1 else None)


def _kind(word: str) -> str:
    """The kind that people mean: any case, plural, short or with its group."""
    plain = word.partition(".")[0].lower()
    for kind, (_, plural, short) in KINDS.items():
        if plain in (kind.lower(), plural, short):
            return kind
    raise SettingsError(f"{word!r} is no kind of rule; known are {', '.join(KINDS)}")


def _is_wanted(key: str, kind: str | None, name: str | None, namespace: str | None) -> bool:
    its_kind, its_namespace, its_name = key.split("/", 2)
    return kind in (None, its_kind) and namespace in (None, its_namespace) and name in (None, its_name)


def _documents(admin: Admin) -> list[dict[str, Any]]:
    status, body = admin.call("GET", "/rules", accept="application/yaml")
    if status != 200:
        raise SettingsError(f"{admin.address} answered {status}: {' '.join(body.decode('utf-8', 'replace').split())}")
    return [document for document in yaml.load_all(body, Loader=yaml.CSafeLoader) if document]


def _print_documents(documents: Sequence[dict[str, Any]], kind: str | None, name: str | None, args: argparse.Namespace) -> int:
    found = [one for one in documents if _is_wanted(_key({"kind": one["kind"], **one["metadata"]}), kind, name, args.namespace)]
    if name is not None and not found:
        return _nothing(kind, name)
    if args.output == "yaml":
        print(yaml.safe_dump_all(found, sort_keys=False), end="")
    else:
        print(json.dumps(found[0] if name is not None else {"apiVersion": "v1", "kind": "List", "items": found}, indent=2))
    return 0


def _nothing(kind: str | None, name: str | None) -> int:
    print("No resources found" if name is None else f'Error (NotFound): {_group(kind or "")} "{name}" not found', file=sys.stderr)
    return 0 if name is None else 1


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _said(key: str) -> str:
    kind, _, name = key.split("/", 2)
    return f"{_group(kind)}/{name}"


def _key(entry: dict[str, Any]) -> str:
    return f"{entry['kind']}/{entry['namespace']}/{entry['name']}"


def _group(kind: str) -> str:
    """`virtualservice.networking.istio.io`."""
    group = KINDS.get(kind, ("", "", ""))[0]
    return f"{kind.lower()}.{group}" if group else kind.lower()
