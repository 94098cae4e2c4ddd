"""YAML text to plain values with the place of each, from libyaml's event stream: no recursion, no aliases, no surprises."""

import json
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import yaml

from meshcar.rules.problems import Fault, Path, shorten

MAX_CHARACTERS = 64 << 20
MAX_NODES = 250_000
"""In a document; what Kubernetes stores has at most 1.5 MiB."""
MAX_DEPTH = 64
_COLUMNS = 20
_COLUMN_MASK = (1 << _COLUMNS) - 1

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?\Z")
_AMBIGUOUS = re.compile(
    r"(yes|no|on|off)\Z|[-+]?0[0-9_]+\Z|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9]*)?\Z|0[box][0-9a-f_]+\Z|[-+]?[0-9]+_[0-9_]*\Z", re.I
)
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}
_TOO_DEEP = "exceeded maximum nesting depth"
"""What libyaml says since 0.2.6 where brackets open a thousand deep, before we see the first of them."""
_NOWHERE = "while scanning for the next token"
_REMEDIES = {
    "found unexpected ':'": "; quote a text that ends with a colon",
    "found character that cannot start any token": "; indent with blanks, not with tabs, and quote texts that begin with @, ` or %",
    "mapping values are not allowed in this context": "; check the indentation, and quote a text with a colon in it",
    "could not find expected ':'": "; check the indentation: a line without a colon stands where a field is expected",
    "did not find expected key": "; check the indentation, quotes and brackets before it",
}
"""What to do about the more frequent of libyaml's words."""
_MARKER = re.compile(r"^---(?=\s|\Z)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")


@attrs.frozen
class YamlFault:
    """What the text itself does wrong. `line` and `column` count from 1."""

    line: int
    column: int
    code: str
    message: str


@attrs.frozen(eq=False)
class Document:
    """One document: dicts with text keys, lists, str, int, float, bool and None.

    `marks` holds the packed place of every node in reading order (of a mapping: itself, then each key and its value), eight
    bytes each, in a text before which there are `before` lines. A document with faults is not to be used.
    """

    value: Any
    marks: "array[int]"
    faults: tuple[YamlFault, ...] = ()
    before: int = 0

    @classmethod
    def unplaced(cls, value: Any) -> "Document":
        """A value that came without a text: all of it stands at line 0."""
        return cls(value, array("Q", bytes(8 * _nodes(value))))

    def places(self, faults: Sequence[Fault]) -> list[tuple[int, int]]:
        """Line and column of each fault, or of the deepest part of its path that exists."""
        index = _index(self.value) if faults else {}
        return [self._place(index, fault) for fault in faults]

    def start(self) -> tuple[int, int]:
        """Line and column of the document's own value."""
        return self._spot(0)

    def listed(self, field: str) -> Iterator["Document"]:
        """The items of a list that stands under a field of the document, each as a document of its own."""
        at = 1
        for key, value in self.value.items():
            at += 1
            if key == field:
                at += 1
                for item in value:
                    end = at + _nodes(item)
                    yield Document(item, self.marks[at:end], before=self.before)
                    at = end
                return
            at += _nodes(value)

    def packed(self) -> "Packed":
        """The same in a tenth of the memory."""
        return Packed(json.dumps(self.value, separators=(",", ":")).encode(), self.marks, self.before)

    def _place(self, index: dict[Path, tuple[int, int]], fault: Fault) -> tuple[int, int]:
        path, at_key = fault.path, fault.at_key
        while path not in index:
            path, at_key = path[:-1], False
        return self._spot(index[path][0 if at_key else 1])

    def _spot(self, number: int) -> tuple[int, int]:
        mark = self.marks[number]
        return self.before + (mark >> _COLUMNS), mark & _COLUMN_MASK


@attrs.frozen(eq=False)
class Packed:
    """A document without faults that is kept for long: ten thousand of them as dicts would take a hundred MiB."""

    json: bytes
    marks: "array[int]"
    before: int = 0

    def document(self) -> Document:
        """The document, made anew at each call."""
        return Document(json.loads(self.json), self.marks, before=self.before)

    def same_as(self, other: "Packed") -> bool:
        """Whether both say the same, in whatever order and place."""
        return self.json == other.json or (len(self.json) == len(other.json) and json.loads(self.json) == json.loads(other.json))


def documents(text: str, before: int = 0) -> Iterator[Document]:
    """The documents of a text, one by one; `before` lines stand in front of it.

    A syntax error or an exceeded limit gives a last document with that fault; what stood before it is whole. Duplicate keys,
    aliases, tags and scalars that YAML 1.1 and 1.2 read differently are faults, all of them reported.
    """
    if len(text) > MAX_CHARACTERS:
        yield _broken(YamlFault(before + 1, 1, "YAML_LIMIT", f"more than {MAX_CHARACTERS >> 20} MiB of YAML"))
        return
    builder = _Builder(before)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            done = builder.take(event)
            if done is not None:
                yield done
    except _TooMuch as limit:
        yield _broken(limit.fault)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = error.problem or str(error)
        code = "YAML_LIMIT" if problem == _TOO_DEEP else "YAML_SYNTAX"
        begun = error.context_mark if error.context != _NOWHERE else None
        where = f" {error.context} that begins in line {before + begun.line + 1}" if error.context and begun else ""
        yield _broken(YamlFault(before + line, column, code, shorten(problem + where, 200) + _REMEDIES.get(problem, "")))
    except yaml.reader.ReaderError as error:
        lines = text.encode(errors="surrogatepass")[: error.position].decode(errors="replace").split("\n")
        reason = f"{error.reason} (U+{error.character:04X})"
        yield _broken(YamlFault(before + len(lines), len(lines[-1]) + 1, "YAML_SYNTAX", reason))
    except UnicodeError:
        yield _broken(YamlFault(before + 1, 1, "YAML_SYNTAX", "the text is not valid Unicode"))


def chunks(text: str) -> Iterator[tuple[int, str]]:
    """A text cut before its document markers, each chunk with the number of lines in front of it.

    A line `---` is a marker whatever stands around it (YAML 1.2, section 9.1.2); directives stay with the document they are for.
    """
    start = before = 0
    for marker in _MARKER.finditer(text):
        end = marker.start()
        if end > start and not _DIRECTIVE.search(text, start, end):
            chunk = text[start:end]
            yield before, chunk
            before += chunk.count("\n")
            start = end
    yield before, text[start:]


def _index(value: Any) -> dict[Path, tuple[int, int]]:
    """For each path of a document the numbers of the marks of its key and of its value, found by counting nodes."""
    found: dict[Path, tuple[int, int]] = {}
    count = 0

    def walk(node: Any, path: Path, key: int) -> None:
        nonlocal count
        found[path] = (count if key < 0 else key, count)
        count += 1
        if isinstance(node, dict):
            for name, child in node.items():
                count += 1
                walk(child, (*path, name), count - 1)
        elif isinstance(node, list):
            for index, child in enumerate(node):
                walk(child, (*path, index), -1)

    walk(value, (), -1)
    return found


def _nodes(value: Any) -> int:
    """How many marks a value has."""
    if isinstance(value, dict):
        return 1 + sum(1 + _nodes(child) for child in value.values())
    return 1 + sum(map(_nodes, value)) if isinstance(value, list) else 1


def _broken(fault: YamlFault) -> Document:
    return Document(None, array("Q"), (fault,))


class _TooMuch(Exception):
    def __init__(self, fault: YamlFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Builder:
    """Events in, documents out. One for a text; `stack` holds the open collections and, for mappings, the key that waits."""

    def __init__(self, before: int) -> None:
        self._before = before
        self._start()

    def _start(self) -> None:
        self._nodes = 0
        self._root: Any = None
        self._marks = array("Q")
        self._faults: list[YamlFault] = []
        self._stack: list[Any] = []
        self._keys: list[str | None] = []

    def take(self, event: Any) -> Document | None:
        """A document when `event` ends one."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            self._open({}, event)
        elif kind is yaml.SequenceStartEvent:
            self._open([], event)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._stack.pop()
            self._keys.pop()
        elif kind is yaml.AliasEvent:
            self._place(event)
            self._fault(event, "YAML_ALIAS", "anchors and aliases are not allowed; write the value out")
            self._put(None)
        elif kind is yaml.DocumentStartEvent:
            self._start()
        elif kind is yaml.DocumentEndEvent:
            return Document(self._root, self._marks, tuple(self._faults), self._before)
        return None

    def _scalar(self, event: Any) -> None:
        self._place(event)
        if self._stack and self._keys[-1] is None and type(self._stack[-1]) is dict:
            self._key(event)
            return
        value = event.value
        if event.anchor or event.tag:
            self._decorated(event)
        elif not event.style:
            value = self._plain(value, event)
        self._put(value)

    def _key(self, event: Any) -> None:
        key = sys.intern(event.value)
        if key == "<<" and not event.style:
            self._fault(event, "YAML_ALIAS", "merge keys (<<) are not allowed; write the fields out")
        elif key in self._stack[-1]:
            self._fault(event, "DUPLICATE_KEY", f"{shorten(key)!r} stands here twice")
        self._keys[-1] = key

    def _plain(self, value: str, event: Any) -> Any:
        if value in _WORDS:
            return _WORDS[value]
        if value[0] in "+-.0123456789yYnNoO":
            if _INTEGER.match(value):
                return int(value)
            if _AMBIGUOUS.match(value):
                message = f"{shorten(value)} means different things to different YAML readers; quote it"
                self._fault(event, "YAML_AMBIGUOUS", message)
            elif _FLOAT.match(value):
                return float(value)
        return value

    def _open(self, value: Any, event: Any) -> None:
        self._place(event)
        if event.anchor or event.tag:
            self._decorated(event)
        if len(self._stack) >= MAX_DEPTH:
            raise _TooMuch(self._made(event, "YAML_LIMIT", f"nested more than {MAX_DEPTH} deep"))
        if self._stack and self._keys[-1] is None and type(self._stack[-1]) is dict:
            self._fault(event, "YAML_SYNTAX", "a key must be plain text")
            self._keys[-1] = ""
        self._put(value)
        self._stack.append(value)
        self._keys.append(None)

    def _put(self, value: Any) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if type(top) is dict:
            top[self._keys[-1]] = value
            self._keys[-1] = None
        else:
            top.append(value)

    def _place(self, event: Any) -> None:
        mark = event.start_mark
        self._marks.append((mark.line + 1) << _COLUMNS | min(mark.column + 1, _COLUMN_MASK))
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _TooMuch(self._made(event, "YAML_LIMIT", f"more than {MAX_NODES} values in a document"))

    def _decorated(self, event: Any) -> None:
        if event.anchor:
            self._fault(event, "YAML_ALIAS", "anchors and aliases are not allowed; write the value out")
        if event.tag and event.tag not in _TEXT_TAGS:
            self._fault(event, "YAML_TAG", f"the tag {shorten(event.tag)} is not allowed")

    def _fault(self, event: Any, code: str, message: str) -> None:
        self._faults.append(self._made(event, code, message))

    def _made(self, event: Any, code: str, message: str) -> YamlFault:
        return YamlFault(self._before + event.start_mark.line + 1, event.start_mark.column + 1, code, message)
