"""An explanation for people: plain ASCII, a line for each thing that happens, then the rules that were passed over."""

from collections.abc import Iterator, Mapping
from typing import Any


def lines(asked: str, answer: Mapping[str, Any]) -> Iterator[str]:
    """What to print for the answer of `meshcar explain --json`."""
    yield _shown(asked)
    for name, text in _parts(answer):
        yield _shown(f"  {name:<10}{text}")
    if answer["rejected"]:
        yield "passed over"
        for one in answer["rejected"]:
            who = one["virtual_service"] + (f" {one['route']}" if one["route"] else "")
            yield _shown(f"  {who}: {one['because']}")


def _parts(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "rule", _rule(answer)
    if answer["delegate"]:
        yield "delegate", f"{answer['delegate']['virtual_service']}, {answer['delegate']['source']}"
    yield "does", _deed(answer)
    for one in answer["destinations"]:
        yield "to", f"{one['weight']:g}  {_cluster(one['cluster'], answer)}"
        if "authority" in one.get("request", {}):
            yield "  as", one["request"]["authority"]
        yield from _changes("  request", one.get("request"))
        yield from _changes("  response", one.get("response"))
    if answer["action"] in ("route", "passthrough"):
        yield "as", f"{answer['request']['authority']} {answer['request']['path']}"
    yield from _changes("request", answer["request"])
    yield from _changes("response", answer["response"])
    for one in answer["mirrors"]:
        yield "copy", f"{one['percent']:g} %  {_cluster(one['cluster'], answer)} as {one['authority']}"
    yield from _limits(answer)
    for note in answer["notes"]:
        yield "note", note


def _rule(answer: Mapping[str, Any]) -> str:
    if answer["virtual_service"] is None:
        return f"none, {answer['route']}" if answer["route"] else "none"
    route = f" {answer['route']}" if answer["route"] else ""
    source = f", {answer['source']}" if answer["source"] else ""
    return f"{answer['kind']} {answer['virtual_service']}{route}{source}"


def _deed(answer: Mapping[str, Any]) -> str:
    status = answer["status"]
    said = {
        "route": "send it on", "passthrough": "pass it on unrouted", "blackhole": "refuse it", "not_found": "answer that nothing is found",
        "redirect": "redirect", "direct_response": "answer by itself",
    }[answer["action"]]  # fmt: skip
    if answer["redirect"]:
        return f"redirect, {answer['redirect']['code']} to {answer['redirect']['location']}"
    if answer["direct_response"] and answer["direct_response"]["body"]:
        return f"{said}, {status}: {_shown(answer['direct_response']['body'][:200])}"
    return said if status is None else f"{said}, {status}" if answer["action"] != "route" else f"answer {status}"


def _limits(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if answer["timeout"] is not None:
        yield "timeout", f"{answer['timeout']:g} s"
    retries = answer["retries"]
    if retries is not None:
        limit = f", {retries['per_try_timeout']:g} s each" if retries["per_try_timeout"] else ""
        yield "retries", f"{retries['attempts']}{limit}, on {', '.join(retries['retry_on'])}"
    fault = answer["fault"] or {}
    if fault.get("delay"):
        yield "fault", f"{fault['delay']['percent']:g} % wait {fault['delay']['seconds']:g} s"
    if fault.get("abort"):
        yield "fault", f"{fault['abort']['percent']:g} % get {fault['abort']['status']}"
    if answer["cors"]:
        told = ", ".join(f"{name}: {value}" for name, value in answer["cors"]["headers"].items())
        yield "cors", told or "this origin is allowed nothing"


def _changes(name: str, changes: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if changes is None:
        return
    said = [f"remove {header}" for header in changes["headers_removed"]]
    said += [f"set {header}: {value}" for header, value in changes["headers_set"].items()]
    said += [f"add {header}: {value}" for header, value in changes["headers_added"].items()]
    for one in said:
        yield name, one


def _cluster(name: str, answer: Mapping[str, Any]) -> str:
    count = answer["clusters"].get(name)
    return f"{name} (" + ("missing" if count is None else "1 endpoint" if count == 1 else f"{count} endpoints") + ")"


def _shown(text: str) -> str:
    """Printable ASCII; whatever else stands in requests and rules is escaped."""
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)
