"""Writes the tables of docs/ that the code knows better than people do: options, metrics, kinds and fields of rules.

    .venv/bin/python docs/make_tables.py

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`; what is around it is written by hand. tests/test_docs.py fails
when a table is not as this script would write it.
"""

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from meshcar.app.settings import OPTIONS
from meshcar.observe.names import METRICS, PEERS
from meshcar.rules.read import KINDS, REFUSED, SKIPPED
from meshcar.rules.schema_destinations import DestinationRule
from meshcar.rules.schema_gateway import HTTPRoute
from meshcar.rules.schema_kubernetes import Endpoints, EndpointSlice, Metadata, Pod, Service
from meshcar.rules.schema_routes import HttpMatch, HttpRule, VirtualService
from meshcar.rules.schema_security import AuthorizationPolicy, PeerAuthentication, When
from meshcar.rules.schema_services import ServiceEntry, WorkloadEntry
from meshcar.rules.schema_sidecar import Sidecar
from meshcar.rules.shapes import camel

DOCS = Path(__file__).parent
SPECS: Mapping[str, type] = {
    one.__name__: one
    for one in (
        VirtualService, DestinationRule, ServiceEntry, WorkloadEntry, Sidecar, HTTPRoute, PeerAuthentication, AuthorizationPolicy,
        Service, Endpoints, EndpointSlice, Pod,
    )
}  # fmt: skip
REMARKS: Mapping[tuple[type, str], str] = {
    (AuthorizationPolicy, "action"): "CUSTOM is refused: `UNSUPPORTED_FIELD`",
    (AuthorizationPolicy, "target_ref"): "for gateways and waypoints: sidecars pass the policy over, with a warning",
    (AuthorizationPolicy, "target_refs"): "the same",
    (When, "key"): "`request.auth.…` and `experimental.envoy.filters.…` are refused: `UNSUPPORTED_FIELD`",
    (HttpRule, "mirror_percent"): "the same",
    (HttpRule, "mirrorPercent"): "the older form of mirrorPercentage",
    (HttpMatch, "gateways"): "only `mesh` concerns a sidecar",
}
"""What is worth saying of a field, besides what it takes."""
WORDS: Mapping[str, str] = {
    "changeable_header": "a header's name, but [none of framing](headers.md#what-rules-cannot-change)",
    "application_endpoint": "`127.0.0.1:PORT` or `[::1]:PORT`; `0.0.0.0:PORT`, `[::]:PORT` or `:PORT` for the address that was meant",
    "egress_host": "`namespace/host`, with `.` and `*` for the own and any namespace, `~` before it to exclude",
    "entry_address": "an IP address or a DNS name",
    "fqdn": "a DNS name",
    "port_name": "a DNS label, upper case allowed",
    "subnet": "an IP address or a range such as `10.0.0.0/8`",
    "wildcard_domain": "a DNS name, `*` or `*.` before one",
    "count": "a whole number from 0",
    "duration": "a duration: `1.5s`, `250ms`, `1m30s`",
    "timespan": "a duration of whole milliseconds: `1.5s`, `250ms`, `1m30s`",
    "destination_host": "a host name, `*` or `*.` before one",
    "fault_percent": "0, or a number from 0.0001 to 100",
    "gateway_name": "`mesh`, or a gateway's `namespace/name`",
    "label_key": "a label's key",
    "label_value": "a label's value",
    "label_or_none": "a DNS label",
    "matched_header": "a header's or pseudo-header's name",
    "retry_words": "[words](retries.md#words), joined by commas",
    "parameter_name": "a parameter's name",
    "port_or_none": "a port number; 0 is none",
    "header_name": "a header's name",
    "header_format": "text with Envoy's `%OPERATORS%`",
    "host": "a host name",
    "label": "a DNS label",
    "pattern": "an RE2 pattern",
    "pattern_or_any": "an RE2 pattern, or `*`",
    "status": "an HTTP status, 200 to 600",
}
"""What functions of meshcar.rules.units, and others of their kind, take, where their docstrings would be long in a table."""

Rows = list[tuple[str, ...]]
Places = Mapping[type, str]
"""The anchor of the section that tells of a message."""


def options() -> str:
    """Every option of the sidecar, its variable and its default."""
    rows: Rows = [("`--rules SOURCE`", "`MESHCAR_RULES`", "required", "a YAML file or a folder of them; may be given more than once")]
    for name, option in OPTIONS.items():
        default = f"`{option.default}`" if option.default else "none"
        rows.append((f"`--{name.replace('_', '-')}`", f"`MESHCAR_{name.upper()}`", default, option.help))
    return _table(("option", "variable", "default", "meaning"), rows)


def metrics() -> str:
    """Every metric; Istio's long list of labels is not repeated."""
    rows: Rows = []
    for metric in METRICS:
        whole = set(PEERS) <= set(metric.labels)
        own = [f"`{label}`" for label in metric.labels if not (whole and label in PEERS)]
        labels = ", ".join(["the peers'", *own] if whole else own)
        rows.append((f"`{metric.name}`", metric.kind, labels or "none", metric.help, metric.source))
    return _table(("metric", "kind", "labels", "meaning", "name from"), rows)


def kinds() -> str:
    """Which kinds there are, and what becomes of each."""
    rows: Rows = [(f"[{name}](#{name.lower()})", _group(group, kind.versions), "read") for (group, name), kind in KINDS.items()]
    for title, table in (("refused: to pass it over would be to lie", REFUSED), ("skipped, and listed as skipped", SKIPPED)):
        rows += [(", ".join(sorted(names)), f"`{group or 'v1'}`", title) for group, names in table.items()]
    return _table(("kind", "apiVersion", "what becomes of it"), rows)


def fields() -> str:
    """Every field of every kind that is read."""
    parts = []
    for name, spec in SPECS.items():
        kind = next(kind for (_, known), kind in KINDS.items() if known == name)
        paths = _messages(spec, "" if kind.whole else "spec")
        places = {message: _anchor(name, path) for message, path in paths.items()}
        parts.append(f"## {name}\n\n{_about(spec)}\n")
        for message, path in paths.items():
            heading = f"### {name}: `{path}`\n\n" if path else ""
            parts.append(f"{heading}{_fields_of(message, places)}")
    parts.append(f"## metadata\n\nOf all kinds. {_about(Metadata)}\n\n{_fields_of(Metadata, {})}")
    return "\n".join(parts)


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "operations.md": {"options": options, "metrics": metrics},
    "rules.md": {"kinds": kinds, "fields": fields},
}
"""By file of docs/, the tables in it."""


def rendered(name: str) -> str:
    """The text of a file of docs/ with its tables made anew. Raises ValueError when the place of one is missing."""
    text = (DOCS / name).read_text()
    for table, make in TABLES[name].items():
        begin, end = f"<!-- {table} -->", f"<!-- end of {table} -->"
        before, mark, rest = text.partition(begin)
        _, other, after = rest.partition(end)
        if not (mark and other):
            raise ValueError(f"{name}: no place for the table {table}")
        text = f"{before}{begin}\n\n{make().strip()}\n\n{end}{after}"
    return text


def _messages(spec: type, path: str) -> dict[type, str]:
    """A kind's message and all below it, each with the first path that leads there."""
    found: dict[type, str] = {spec: path}
    for name, hint in _hints(spec):
        below, steps = _message_in(hint)
        if below is not None:
            for message, where in _messages(below, f"{path}.{name}{steps}".lstrip(".")).items():
                found.setdefault(message, where)
    return found


def _hints(message: type) -> Iterator[tuple[str, Any]]:
    """Field names as the YAML has them, and their types."""
    hints = typing.get_type_hints(message, include_extras=True)
    spellings: Mapping[str, tuple[str, ...]] = getattr(message, "SPELLINGS", {})
    for field in attrs.fields(message):
        for name in spellings.get(field.name, (camel(field.name),)):
            yield name, hints[field.name]


def _message_in(hint: Any) -> tuple[type | None, str]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        return _message_in(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        return _message_in(arguments[0])[0], "[]"
    if origin is not None and origin is not Literal and origin is not Annotated and issubclass(origin, Mapping):
        return _message_in(arguments[1])[0], "{}"
    return (hint, "") if isinstance(hint, type) and attrs.has(hint) else (None, "")


def _anchor(kind: str, path: str) -> str:
    """As GitHub makes it of the section's heading."""
    return "#" + re.sub(r"[^a-z0-9-]", "", f"{kind}: {path}".lower().replace(" ", "-"))


def _fields_of(message: type, places: Places) -> str:
    required = {camel(one.name) for one in attrs.fields(message) if one.default is attrs.NOTHING}
    rows: Rows = []
    for name, hint in _hints(message):
        remark = "; ".join(filter(None, ("required" if name in required else "", REMARKS.get((message, name), ""))))
        rows.append((f"`{name}`", _takes(hint, places), remark))
    rows += [(f"`{name}`", "**refused**", "`UNSUPPORTED_FIELD`") for name in sorted(getattr(message, "REFUSED", ()))]
    beside = sorted(getattr(message, "BESIDE", ()))
    if beside:
        rows.append((", ".join(f"`{name}`" for name in beside), "read over", "means nothing to a sidecar"))
    if getattr(message, "OPEN", False):
        rows.append(("any other", "read over", "means nothing to a sidecar"))
    return _table(("field", "takes", ""), rows)


def _takes(hint: Any, places: Places) -> str:
    """A type, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return WORDS.get(arguments[1].__name__) or _first_sentence(arguments[1].__doc__)
    if origin is Union or origin is types.UnionType:
        return _takes(next(one for one in arguments if one is not type(None)), places)
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin is tuple:
        return f"list: {_takes(arguments[0], places)}"
    if origin is not None and issubclass(origin, Mapping):
        return f"map: {_takes(arguments[0], places)} → {_takes(arguments[1], places)}"
    plain = {str: "text", bool: "`true` or `false`", int: "a whole number"}.get(hint)
    return plain or f"[{hint.__name__}]({places[hint]})"


def _about(message: type) -> str:
    return " ".join((message.__doc__ or "").split())


def _first_sentence(text: str | None) -> str:
    sentence = " ".join((text or "").split()).partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _group(group: str, versions: tuple[str, ...]) -> str:
    return ", ".join(f"`{group}/{version}`" if group else f"`{version}`" for version in versions)


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(re.sub(r"\|", "\\|", cell) for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    for each in TABLES:
        (DOCS / each).write_text(rendered(each))
        print(DOCS / each)
