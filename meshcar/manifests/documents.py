"""YAML in and out so that what nobody touched stays as it was written: a scalar without quotes is never interpreted."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import yaml

from meshcar.rules.yaml_events import chunks

MAX_NODES = 1_000_000
MAX_DEPTH = 100

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_YES = re.compile(r"(y|yes|on|true)\Z", re.IGNORECASE)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_PLAIN = re.compile(r"-{0,2}[A-Za-z_/](?:[\w./@%+=,-]|:(?=[\w/]))*\Z", re.ASCII)
"""Texts that mean themselves without quotes, whatever the reader, unless they are one of these words."""
_WORD = re.compile(r"(y|n|yes|no|on|off|true|false|null)\Z", re.IGNORECASE)
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")


class BadYaml(ValueError):
    """A text that cannot be read. `line` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


class Plain(str):
    """A scalar that stood without quotes: a number, a boolean or a text, as its reader will have it. Written back as it is."""

    __slots__ = ()


@attrs.frozen
class Piece:
    """A part of a text, from one `---` to the next, with the documents in it. `line` is its first, counted from 1.

    A document is made of dicts with text keys, lists, str, Plain and None.
    """

    text: str
    line: int
    documents: tuple[Any, ...]


def read(text: str) -> Iterator[Piece]:
    """The pieces of a YAML text, in order; joined, their texts are the whole. Raises BadYaml.

    Aliases and merge keys are resolved.
    """
    for before, piece in chunks(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")):
        yield Piece(piece, before + 1, tuple(_documents(piece, before)))


def write(document: Any) -> str:
    """A document as YAML text, in block style. Of Python's values it takes bool, int and float besides those of `read`."""
    events = [
        yaml.StreamStartEvent(),
        yaml.DocumentStartEvent(explicit=False),
        *_events(document),
        yaml.DocumentEndEvent(explicit=False),
        yaml.StreamEndEvent(),
    ]
    text: str = yaml.emit(events, Dumper=yaml.CSafeDumper, width=1 << 30, allow_unicode=True)
    return text.removesuffix("...\n")


def value_of(node: Any) -> Any:
    """A document as JSON has it: a Plain that is a whole number or a boolean becomes one, any other a text."""
    if isinstance(node, dict):
        return {key: value_of(child) for key, child in node.items()}
    if isinstance(node, list):
        return [value_of(child) for child in node]
    if isinstance(node, Plain):
        if node in _TRUE or node in _FALSE:
            return node in _TRUE
        return int(node) if _INTEGER.match(node) else str(node)
    return node


def is_true(node: Any) -> bool:
    """Whether a scalar is the boolean true, or one of the words that YAML 1.1, and with it kubectl, takes for it."""
    return node is True or (isinstance(node, Plain) and _YES.match(node) is not None)


def whole_number(node: Any) -> int | None:
    """The whole number that stands there without quotes, or None."""
    value = value_of(node)
    return value if type(value) is int else None


def _documents(text: str, before: int) -> Iterator[Any]:
    builder = _Builder(before)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if builder.take(event):
                yield builder.root
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYaml(before + (mark.line + 1 if mark else 1), str(error.problem or error)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise BadYaml(before + 1, " ".join(str(error).split())) from None


class _Builder:
    """Events in, documents out. `root` is the document that has ended last."""

    def __init__(self, before: int) -> None:
        self.root: Any = None
        self._before = before
        self._nodes = 0
        self._stack: list[Any] = []
        self._keys: list[str | None] = []
        self._anchors: dict[str, Any] = {}
        self._names: list[str | None] = []

    def take(self, event: Any) -> bool:
        """Whether a document ends with this event."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open({} if kind is yaml.MappingStartEvent else [], event)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self.root, self._anchors = None, {}
        return kind is yaml.DocumentEndEvent

    def _scalar(self, event: Any) -> None:
        self._count(event, 1)
        if event.tag not in _TEXT_TAGS:
            raise self._bad(event, f"the tag {event.tag} is not for manifests")
        if self._stack and self._keys[-1] is None and type(self._stack[-1]) is dict:
            self._key(event)
            return
        value = _scalar_of(event)
        if event.anchor:
            self._anchors[event.anchor] = value
        self._put(value)

    def _key(self, event: Any) -> None:
        if event.value in self._stack[-1]:
            raise self._bad(event, f"{event.value!r} stands here twice")
        self._keys[-1] = _scalar_of(event) or event.value

    def _open(self, value: Any, event: Any) -> None:
        self._count(event, 1)
        if event.tag not in (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self._bad(event, f"the tag {event.tag} is not for manifests")
        if len(self._stack) >= MAX_DEPTH:
            raise self._bad(event, f"nested more than {MAX_DEPTH} deep")
        if self._stack and self._keys[-1] is None and type(self._stack[-1]) is dict:
            raise self._bad(event, "a key must be text")
        self._stack.append(value)
        self._keys.append(None)
        self._names.append(event.anchor)

    def _close(self) -> None:
        value, anchor = self._stack.pop(), self._names.pop()
        self._keys.pop()
        if type(value) is dict and "<<" in value:
            value = _merged(value)
        if anchor:
            self._anchors[anchor] = value
        self._put(value)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._bad(event, f"there is no anchor &{event.anchor} before this")
        if self._stack and self._keys[-1] is None and type(self._stack[-1]) is dict:
            raise self._bad(event, "a key must be text")
        self._put(self._copy(self._anchors[event.anchor], event))

    def _copy(self, value: Any, event: Any) -> Any:
        self._count(event, 1)
        if isinstance(value, dict):
            return {key: self._copy(child, event) for key, child in value.items()}
        return [self._copy(child, event) for child in value] if isinstance(value, list) else value

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        if type(top) is dict:
            top[self._keys[-1]] = value
            self._keys[-1] = None
        else:
            top.append(value)

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._bad(event, f"more than {MAX_NODES} values")

    def _bad(self, event: Any, why: str) -> BadYaml:
        return BadYaml(self._before + event.start_mark.line + 1, why)


def _scalar_of(event: Any) -> str | None:
    if event.style or event.tag:
        return str(event.value)
    return None if event.value in _NULLS else Plain(event.value)


def _merged(value: dict[str, Any]) -> dict[str, Any]:
    """A mapping with `<<` resolved (YAML's merge key): its own keys win, then those of the first mapping merged."""
    sources = value["<<"] if isinstance(value["<<"], list) else [value["<<"]]
    if not all(isinstance(source, dict) for source in sources):
        return value
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        merged |= source
    return merged | {key: child for key, child in value.items() if key != "<<"}


def _events(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        yield yaml.MappingStartEvent(None, None, True, flow_style=False)
        for key, child in node.items():
            yield from _events(key)
            yield from _events(child)
        yield yaml.MappingEndEvent()
    elif isinstance(node, Sequence) and not isinstance(node, str):
        yield yaml.SequenceStartEvent(None, None, True, flow_style=False)
        for child in node:
            yield from _events(child)
        yield yaml.SequenceEndEvent()
    elif isinstance(node, Plain) or not isinstance(node, str):
        text = "null" if node is None else str(node).lower() if isinstance(node, bool) else str(node)
        yield yaml.ScalarEvent(None, None, (True, False), text)
    else:
        yield _text(node)


def _text(text: str) -> Any:
    if _PLAIN.match(text) and not _WORD.match(text):
        return yaml.ScalarEvent(None, None, (True, True), text)
    style = "|" if "\n" in text.rstrip("\n") else "'" if '"' in text else '"'
    return yaml.ScalarEvent(None, None, (False, True), text, style=style)


def join(parts: Iterable[str]) -> str:
    """Documents' texts as one text, each on lines of its own."""
    return "".join(part if not part or part.endswith("\n") else f"{part}\n" for part in parts)
