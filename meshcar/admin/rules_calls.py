"""The calls about rules: list, apply, delete, reload."""

import json
from typing import Any
from urllib.parse import unquote

import yaml
from twisted.web.server import Request

from meshcar.admin.http import Answer, Answering, as_json, body_of, in_pieces, json_object, refusal, rfc3339
from meshcar.admin.operator import APPLIED, Operator, Outcome
from meshcar.rules.problems import Problem
from meshcar.rules.question import from_json
from meshcar.rules.read import Resource

DELETE_PREFIX = "/rules/"


def list_rules(operator: Operator, request: Request) -> Answering:
    """`GET /rules`: JSON, or with `Accept: application/yaml` the documents, namespaces filled in."""
    resources = operator.rules.resources()
    if "application/yaml" in (request.getHeader("accept") or ""):
        texts = (yaml.safe_dump(_document(resource), sort_keys=False, explicit_start=True) for resource in resources)
        return in_pieces(texts, "application/yaml")
    return in_pieces(json_object(summary(operator), "resources", map(entry, resources)), "application/json")


def summary(operator: Operator) -> dict[str, Any]:
    """The rules in force, but for the documents themselves."""
    rules = operator.rules
    return {
        "generation": rules.generation,
        "loaded_at": rfc3339(rules.loaded_at),
        "sources": list(rules.sources),
        "skipped": list(rules.skipped),
    }


def apply_rules(operator: Operator, request: Request) -> Answering:
    """`POST /rules/apply`: the body is YAML; `?dry_run=true` only judges it."""
    dry_run = request.args.get(b"dry_run", [b"false"])[-1]
    if dry_run not in (b"true", b"false"):
        return refusal(400, "dry_run is true or false")
    try:
        text = body_of(request).read().decode()
    except UnicodeDecodeError as e:
        problem = Problem("error", "-", 1, 1, "", "", "", "NOT_UTF8", f"byte {e.start} of the body is not UTF-8")
        return _answer(Outcome(generation=operator.rules.generation, errors=(problem,)))
    return operator.rules.apply(text, dry_run == b"true").addCallback(_answer)


def delete_rule(operator: Operator, request: Request) -> Answering:
    """`DELETE /rules/KIND/NAMESPACE/NAME`."""
    parts = [unquote(part) for part in request.path.decode("latin-1").removeprefix(DELETE_PREFIX).split("/")]
    if len(parts) != 3 or not all(parts):
        return refusal(404, "the path is /rules/KIND/NAMESPACE/NAME")

    def answer(outcome: Outcome | None) -> Answer:
        return _answer(outcome) if outcome is not None else refusal(404, f"{'/'.join(parts)}: not among the applied documents")

    return operator.rules.delete(*parts).addCallback(answer)


def reload_rules(operator: Operator, request: Request) -> Answering:
    """`POST /reload`."""
    return operator.rules.reload().addCallback(_answer)


def explain(operator: Operator, request: Request) -> Answering:
    """`POST /explain`: the body is a question, the answer that of `meshcar explain --json`."""
    try:
        asked = from_json(json.loads(body_of(request).read() or b"{}"))
    except RecursionError:
        return refusal(400, "the body is nested too deep")
    except ValueError as e:  # bytes that are no UTF-8 and text that is no JSON are ValueErrors, too
        return refusal(400, str(e))
    return operator.explain(asked).addCallback(as_json)


def _answer(outcome: Outcome) -> Answer:
    if outcome.errors:
        return as_json({"errors": [problem.entry() for problem in outcome.errors]}, 422)
    return as_json({
        "generation": outcome.generation,
        "changed": outcome.changed,
        "created": outcome.created,
        "unchanged": outcome.unchanged,
        "skipped": outcome.skipped,
        "warnings": [problem.entry() for problem in outcome.warnings],
    })


def entry(resource: Resource) -> dict[str, Any]:
    """A document, and where it came from."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "namespace": resource.namespace,
        "name": resource.name,
        "source": APPLIED if resource.file == APPLIED else resource.source,
        "spec": _spec(resource.document),
    }


def _spec(document: dict[str, Any]) -> Any:
    """The `spec`; of a kind without one (Endpoints, EndpointSlice) all that is neither type nor metadata."""
    if "spec" in document:
        return document["spec"]
    return {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}


def _document(resource: Resource) -> dict[str, Any]:
    metadata = {"name": resource.name, "namespace": resource.namespace, **(resource.document.get("metadata") or {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata,
            **{key: value for key, value in resource.document.items() if key not in ("apiVersion", "kind", "metadata")}}
