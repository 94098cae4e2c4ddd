"""The RBAC rules that istiod makes of an AuthorizationPolicy's spec, for a real Envoy."""

import re
from typing import Any

_ANY = {"any": True}
_TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def rbac(policies: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules of a filter for DENY and of one for ALLOW, where there are such policies; by name, of namespace `shop`."""
    found = []
    for action in ("DENY", "ALLOW"):
        chosen = {name: spec for name, spec in policies.items() if spec.get("action", "ALLOW") == action}
        if chosen:
            rules = {
                f"ns[shop]-policy[{name}]-rule[{index}]": _policy(rule)
                for name, spec in chosen.items() for index, rule in enumerate(spec.get("rules", ()))
            }  # fmt: skip
            found.append({"action": action, "policies": rules})
    return found


def _policy(rule: dict[str, Any]) -> dict[str, Any]:
    conditions = [(one["key"], one.get("values", []), one.get("notValues", [])) for one in rule.get("when", ())]
    principals = [item for item in conditions if not item[0].startswith(("destination", "connection"))]
    permissions = [item for item in conditions if item not in principals]
    sources = [_pairs(one["source"]) for one in rule.get("from", ())] or [[]]
    operations = [_pairs(one["operation"]) for one in rule.get("to", ())] or [[]]
    return {
        "principals": [_and("ids", "not_id", "or_ids", group + principals) for group in sources],
        "permissions": [_and("rules", "not_rule", "or_rules", group + permissions) for group in operations],
    }


def _pairs(fields: dict[str, list[str]]) -> list[tuple[str, list[str], list[str]]]:
    found = []
    for field, values in fields.items():
        excluded = re.fullmatch("not([A-Z].*)", field)
        name = excluded[1][0].lower() + excluded[1][1:] if excluded else field
        found.append((name, [], values) if excluded else (name, values, []))
    return found


def _and(many: str, negated: str, one_of: str, items: list[tuple[str, list[str], list[str]]]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for key, values, excluded in items:
        if values:
            found.append({one_of: {many: [_match(key, value) for value in values]}})
        if excluded:
            found.append({negated: {one_of: {many: [_match(key, value) for value in excluded]}}})
    return {f"and_{many}": {many: found or [_ANY]}}


def _match(key: str, value: str) -> dict[str, Any]:
    if key.startswith("request.headers"):
        return _header(key[len("request.headers[") : -1], value)
    match key:
        case "principals" | "source.principal":
            return {"authenticated": {"principal_name": _text(value, "spiffe://")}}
        case "namespaces" | "source.namespace":
            return _named(".*/ns/" + ".*".join(map(re.escape, value.split("*"))) + "/.*")
        case "serviceAccounts" | "source.serviceAccount":
            namespace, account = value.split("/") if "/" in value else ("shop", value)
            return _named(f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?")
        case "ipBlocks" | "source.ip":
            return {"direct_remote_ip": _range(value)}
        case "remoteIpBlocks" | "remote.ip":
            return {"remote_ip": _range(value)}
        case "destination.ip":
            return {"destination_ip": _range(value)}
        case "connection.sni":
            return {"requested_server_name": _text(value)}
        case "methods":
            return _header(":method", value)
        case "hosts":
            return _header(":authority", value, ignore_case=True)
        case "paths" if "{" in value:
            template = value.replace("{*}", "*").replace("{**}", "**")
            return {"uri_template": {"name": "template", "typed_config": {"@type": _TEMPLATE, "path_template": template}}}
        case "paths":
            return {"url_path": {"path": _text(value)}}
    raise AssertionError(key)


def _named(pattern: str) -> dict[str, Any]:
    return {"authenticated": {"principal_name": {"safe_regex": {"regex": pattern}}}}


def _range(value: str) -> dict[str, Any]:
    address, _, length = value.partition("/")
    return {"address_prefix": address, "prefix_len": int(length or (128 if ":" in address else 32))}


def _text(value: str, prefix: str = "") -> dict[str, Any]:
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"safe_regex": {"regex": f"{prefix}.*{re.escape(value[1:])}"}} if prefix else {"suffix": value[1:]}
    return {"prefix": prefix + value[:-1]} if value.endswith("*") else {"exact": prefix + value}


def _header(name: str, value: str, **more: bool) -> dict[str, Any]:
    matcher = {"present_match": True} if value == "*" else {"string_match": _text(value) | more}
    return {"header": {"name": name} | matcher}
